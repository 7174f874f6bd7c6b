"""Filters: counts, genes and mitochondrial share of each cell, and how many cells the bounds of a server keep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.check.matrix_choice import MatrixChoice
from biocolab_accessor.io.columns import labels_of
from biocolab_accessor.io.matrix_blocks import Source, row_blocks, source_of
from biocolab_accessor.protocol import Filters


class Quality(NamedTuple):
    """The values of each cell that filters compare."""

    counts: NDArray[np.float64]  # the sum
    genes: NDArray[np.int64]  # how many are above zero
    mt_share: NDArray[np.float64]  # the part of the sum in mitochondrial genes, 0 to 1


def mitochondrial(features: Iterable[Any]) -> NDArray[np.bool_]:
    """Which genes the servers treat as mitochondrial: names that begin with ``MT-``, in upper or lower case."""
    return np.array([str(name).upper().startswith("MT-") for name in features], bool)


def measure(source: Source, mito: NDArray[np.bool_]) -> Quality:
    """Measure each cell as a server does: values in float32, sums in float64."""
    # The matrix is read once, some tens of megabytes at a time. Counts with float noise are whole in float32, or they
    # would not be treated as counts.
    n_cells, n_genes = source.shape
    counts, mt_counts = np.zeros(n_cells), np.zeros(n_cells)
    genes = np.zeros(n_cells, np.int64)
    every, of_mito = np.ones(n_genes), mito.astype(np.float64)
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):  # the check reports values that servers cannot hold
        for block in row_blocks(source):
            sent = sparse.csr_matrix(block.shape, dtype=np.float32)
            sent.data = block.data.astype(np.float32, copy=False)
            sent.indices, sent.indptr = block.indices, block.indptr
            rows = slice(start, start + block.shape[0])
            counts[rows], mt_counts[rows] = sent @ every, sent @ of_mito
            positive = np.concatenate(([0], np.cumsum(sent.data > 0)))
            genes[rows] = positive[sent.indptr[1:]] - positive[sent.indptr[:-1]]
            start = rows.stop
        return Quality(counts, genes, mt_counts / np.where(counts > 0, counts, 1))


def failing(filters: Filters, quality: Quality) -> dict[str, NDArray[np.bool_]]:
    """The cells that each given bound removes, and those above the caps of the protocol if there are any."""
    sent = filters.on_the_wire()
    counts, genes, share = quality
    found = {
        "min_counts": (sent["min_counts"] > 0) & (counts < sent["min_counts"]),
        "max_counts": counts > sent["max_counts"],
        "min_genes": (sent["min_genes"] > 0) & (genes < sent["min_genes"]),
        "max_genes": genes > sent["max_genes"],
        "mt_percentage": (sent["mt_percentage"] < 1) & (share > sent["mt_percentage"]),
    }
    return {name: cells for name, cells in found.items() if name in filters.given or cells.any()}


class Kept(NamedTuple):
    """How many cells the filters would keep."""

    n_obs: int
    n_kept: int
    removed: dict[str, int]  # by filter, how many cells it would remove if it were the only one
    emptied: tuple[str, ...]  # batches that would lose all cells
    has_mitochondrial: bool  # whether mt_percentage has genes to count

    @property
    def share(self) -> float:
        """The share of cells that would be kept, 0 to 1."""
        return self.n_kept / self.n_obs


def count_kept(
    adata: AnnData, choice: MatrixChoice, features: pd.Index, filters: Filters, batches: pd.Series | None
) -> Kept:
    """Count the cells that the filters keep of a matrix of finite real numbers with at least one cell."""
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
