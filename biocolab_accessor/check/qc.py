"""QC: counts, genes and mitochondrial share of each cell, and how many cells the filters of a submission would keep."""

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

__all__ = ["Kept", "Quality", "count_kept", "failing", "measure", "mitochondrial"]


class Quality(NamedTuple):
    """What filters go by.

    Attributes
    ----------
    counts
        Of each cell the sum (float64).
    genes
        How many genes are above zero (int64).
    mt_share
        Which part of the sum is of mitochondrial genes (0 to 1).
    """

    counts: NDArray[np.float64]
    genes: NDArray[np.int64]
    mt_share: NDArray[np.float64]


def mitochondrial(features: Iterable[Any]) -> NDArray[np.bool_]:
    """Which genes the servers take for mitochondrial: those whose names begin with ``MT-``, in upper or lower case."""
    return np.array([str(name).upper().startswith("MT-") for name in features], bool)


def measure(source: Source, mito: NDArray[np.bool_]) -> Quality:
    """Measure each cell as a server does that got the matrix: everything in float32, sums in float64.

    The matrix is read once, some tens of megabytes at a time. Counts with float noise are whole in float32, or they
    would not be taken for counts.

    Parameters
    ----------
    source
        A matrix of finite real numbers.
    mito
        Which genes are mitochondrial.

    Examples
    --------
    >>> measure(Source(np.array([[6, 3, 1], [0, 0, 2]])), mitochondrial(["CD3D", "LYZ", "mt-Co1"])).genes
    array([3, 1])
    """
    n_cells, n_genes = source.shape
    counts, mt_counts = np.zeros(n_cells), np.zeros(n_cells)
    genes = np.zeros(n_cells, np.int64)
    every, of_mito = np.ones(n_genes), mito.astype(np.float64)
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):  # of values that no server could hold the check tells
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
    """Which cells do not keep to each bound: to those that are given, and to the protocol's own caps if any goes over.

    Examples
    --------
    >>> quality = Quality(np.array([10.0, 2.0]), np.array([3, 1]), np.array([0.1, 0.5]))
    >>> {name: cells.tolist() for name, cells in failing(Filters(min_counts=5, mt_percentage=50), quality).items()}
    {'min_counts': [False, True], 'mt_percentage': [False, False]}
    """
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
