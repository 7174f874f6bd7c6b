"""Base: what every part of ``adata.biocolab`` holds, which is the object and nothing else."""

from __future__ import annotations

from anndata import AnnData

__all__ = ["AnnDataPart"]


class AnnDataPart:
    """A part of the accessor.

    Parameters
    ----------
    adata
        The object.
    """

    def __init__(self, adata: AnnData) -> None:
        self._adata = adata
