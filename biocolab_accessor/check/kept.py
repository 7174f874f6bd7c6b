"""Kept: how many cells the filters of a submission would leave."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from biocolab_accessor.blocks import source_of
from biocolab_accessor.bounds import Filters, failing, measure, mitochondrial
from biocolab_accessor.check.columns import labels_of
from biocolab_accessor.check.counts import MatrixChoice

__all__ = ["Kept", "count_kept"]


class Kept(NamedTuple):
    """What filters would leave.

    Attributes
    ----------
    n_obs, n_kept
        Cells now, and cells that the server would keep.
    removed
        By filter, how many cells it would remove if it were the only one.
    emptied
        Batches of which no cell would be left.
    has_mitochondrial
        Whether there are genes that ``mt_percentage`` could go by.
    """

    n_obs: int
    n_kept: int
    removed: dict[str, int]
    emptied: tuple[str, ...]
    has_mitochondrial: bool

    @property
    def share(self) -> float:
        """Which part of the cells would be kept, 0 to 1."""
        return self.n_kept / self.n_obs


def count_kept(
    adata: AnnData, choice: MatrixChoice, features: pd.Index, filters: Filters, batches: pd.Series | None
) -> Kept:
    """Count what filters leave of the matrix that would be sent.

    Parameters
    ----------
    adata
        The object, with at least one cell.
    choice
        The matrix; its values are finite real numbers.
    features
        Names of its genes.
    filters
        The bounds.
    batches
        Label of each cell, or None.
    """
    mito = mitochondrial(features)
    fails = failing(filters, measure(source_of(adata, choice.slot), mito))
    keep = ~np.any([*fails.values(), np.zeros(adata.n_obs, bool)], axis=0)
    emptied: tuple[str, ...] = ()
    if batches is not None:
        labels = labels_of(batches)
        left = set(labels[keep])
        emptied = tuple(label for label in dict.fromkeys(labels) if label not in left)
    return Kept(
        n_obs=adata.n_obs,
        n_kept=int(keep.sum()),
        removed={name: int(cells.sum()) for name, cells in fails.items()},
        emptied=emptied,
        has_mitochondrial=bool(mito.any()),
    )
