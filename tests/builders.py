"""Builders: objects that several tests need and no public call makes."""

from __future__ import annotations

from typing import Any

import anndata as ad

__all__ = ["layer_names", "set_matrix"]


def layer_names(adata: ad.AnnData) -> list[str]:
    """Keys of the layers but None, under which anndata 0.13 lists X."""
    return [key for key in adata.layers if key is not None]


def set_matrix(adata: ad.AnnData, matrix: Any) -> None:
    """Put a matrix into X as it is; anndata's own setter converts or refuses some of them."""
    if hasattr(adata, "_X"):
        adata._X = matrix
    else:  # anndata 0.13 keeps X among the layers
        adata._layers[None] = matrix
