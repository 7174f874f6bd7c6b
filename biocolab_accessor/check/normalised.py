"""Normalised: what was done to a matrix that holds no counts, told from a few of its cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from anndata.abc import CSCDataset
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.blocks import Source, row_blocks

__all__ = ["HIGHEST_LOG", "Scaling", "glimpse", "scaling_of"]

_MOST_CELLS, _FEWEST_CELLS = 200, 10
# Float32 and rounding of the logarithm leave a few millionths; other ways to normalise differ by far more.
_SPREAD = 5e-3
HIGHEST_LOG = 25.0
"""log1p of counts scaled to a few ten thousand stays below, counts of real cells do not; its inverse has no meaning."""


class Scaling(NamedTuple):
    """How counts became what is there: cells scaled to one total, then a logarithm.

    Attributes
    ----------
    logarithm
        ``"log1p"`` or ``"log2(x + 1)"``.
    target_sum
        The total.
    """

    logarithm: str
    target_sum: float

    def __str__(self) -> str:
        return f"{self.logarithm}, target sum ≈ {self.target_sum:,.0f}"


def scaling_of(source: Source) -> Scaling | None:
    """Undo the logarithm for some cells, and see whether they have one total.

    Parameters
    ----------
    source
        A matrix, of which at most 200 cells are read.

    Returns
    -------
    Scaling or None
        None where cells differ in their totals, as they do when genes were left out afterwards, or where single cells
        cannot be read without reading all, as of matrices that are stored by columns.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(1.0, (50, 20)) + np.eye(50, 20)
    >>> print(scaling_of(Source(np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)))))
    log1p, target sum ≈ 10,000
    """
    sample = _sample(source)
    return None if sample is None else _scaling(sample)


def glimpse(source: Source) -> str:
    """What a matrix looks like to judge by some of its cells, in words; empty where that cannot be said.

    Parameters
    ----------
    source
        A matrix, of which at most 200 cells are read.
    """
    sample = _sample(source)
    if sample is None or not sample.nnz:
        return ""
    values = sample.data
    if not np.isfinite(values).all():
        return "holds values that are not finite"
    if (np.rint(values) == values).all():
        return "holds whole numbers"
    if values.min() < 0:
        return "looks scaled"
    if found := _scaling(sample):
        return f"looks normalised ({found})"
    return "looks log-normalised" if values.max() <= HIGHEST_LOG else "looks normalised, without a logarithm"


def _sample(source: Source) -> sparse.csr_matrix | None:
    by_columns = sparse.issparse(source.matrix) and source.matrix.format != "csr"
    if by_columns or isinstance(source.matrix, CSCDataset) or hasattr(source.matrix, "compute"):
        return None
    if source.dtype.kind not in "fiub" or not all(source.shape):
        return None
    rows = np.unique(np.linspace(0, source.shape[0] - 1, _MOST_CELLS).astype(np.intp))
    return sparse.vstack([block.astype(np.float64) for block in row_blocks(source, rows)], format="csr")


def _scaling(sample: sparse.csr_matrix) -> Scaling | None:
    if not sample.nnz or sample.data.min() < 0 or sample.data.max() > HIGHEST_LOG:
        return None
    for logarithm, values in (("log1p", np.expm1(sample.data)), ("log2(x + 1)", np.exp2(sample.data) - 1)):
        total = _common_total(values, sample)
        if total is not None:
            return Scaling(logarithm, total)
    return None


def _common_total(values: NDArray[np.float64], sample: sparse.csr_matrix) -> float | None:
    sums = np.asarray(sparse.csr_matrix((values, sample.indices, sample.indptr), sample.shape).sum(axis=1)).ravel()
    sums = sums[sums > 0]
    if len(sums) < _FEWEST_CELLS:
        return None
    middle = float(np.median(sums))
    return middle if np.quantile(np.abs(sums - middle), 0.95) <= _SPREAD * middle else None
