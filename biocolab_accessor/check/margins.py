"""Margins: how many cells and genes of a matrix are empty."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from anndata.abc import CSRDataset
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.blocks import Source, canonical, row_pieces
from biocolab_accessor.soundness import expect_whole, expect_within
from biocolab_accessor.threads import THREADS, shares
from biocolab_accessor.waits import each

__all__ = ["Margins", "count_empty"]

_FIRST_VALUES = 1 << 16
_INDICES_AT_ONCE = 1 << 20
_WORTH_THREADS = 1 << 20


class Margins(NamedTuple):
    """Numbers of cells and genes that are zero throughout."""

    cells: int
    genes: int


def count_empty(source: Source, nnz: int) -> Margins:
    """Count cells and genes without any value.

    Parameters
    ----------
    source
        A matrix of finite real numbers.
    nnz
        How many of its values are not zero; where all stored ones are, most of it need not be looked at.

    Raises
    ------
    InvalidValues
        A sparse matrix is damaged.

    Examples
    --------
    >>> import numpy as np
    >>> count_empty(Source(np.array([[0, 1, 0], [0, 2, 0]])), 2)
    Margins(cells=0, genes=2)
    """
    matrix, rows, columns = source
    whole = rows is None and columns is None
    expect_whole(matrix)
    if whole and sparse.issparse(matrix) and matrix.format == "csc":
        return Margins(*reversed(count_empty(Source(matrix.T), nnz)))  # the same arrays, read as rows
    lengths = _row_lengths(matrix, nnz) if whole else None
    cells, seen = 0, np.zeros(source.shape[1], bool)
    if lengths is not None and sparse.issparse(matrix):
        first = matrix.indices[: min(_FIRST_VALUES, nnz)]  # where few genes were measured these have all of them
        expect_within(first, len(seen))
        seen[first] = True
        if not seen.all():
            seen |= _measured(matrix)
    elif lengths is not None:
        indices = matrix.group["indices"]  # no value is zero, so that none needs to be read
        for start in range(0, nnz, _INDICES_AT_ONCE):
            some = indices[start : min(start + _INDICES_AT_ONCE, nnz)]
            expect_within(some, len(seen))
            seen[some] = True
            if seen.all():
                break
    else:
        for piece in row_pieces(source):
            if not sparse.issparse(piece):
                filled = np.asarray(piece) != 0
                cells += int(np.count_nonzero(~filled.any(axis=1)))
                seen |= filled.any(axis=0)
                continue
            block = canonical(piece)
            cells += int(np.count_nonzero(~_any(block)))
            seen |= _any(_transposed(block))
    if lengths is not None:
        cells = int(np.count_nonzero(lengths == 0))
    return Margins(cells, int(np.count_nonzero(~seen)))


def _row_lengths(matrix: Any, nnz: int) -> NDArray[Any] | None:
    """Number of values of each row, where that is known without reading them."""
    if isinstance(matrix, CSRDataset):
        indptr = matrix.group["indptr"][...]
    elif sparse.issparse(matrix) and matrix.format == "csr":
        indptr = matrix.indptr
    else:
        return None
    lengths: NDArray[Any] = np.diff(indptr)
    return lengths if indptr[-1] == nnz else None


def _measured(matrix: sparse.csr_matrix) -> NDArray[np.bool_]:
    """Whether a column has a value, of ranges of rows side by side: SciPy's product lets other threads run."""

    def one(first: int, last: int) -> NDArray[np.bool_]:
        low, high = matrix.indptr[first], matrix.indptr[last]
        part = sparse.csr_matrix((last - first, matrix.shape[1]), dtype=matrix.dtype)
        part.data, part.indices = matrix.data[low:high], matrix.indices[low:high]
        part.indptr = matrix.indptr[first : last + 1] - low
        expect_within(part.indices, matrix.shape[1])
        return _any(_transposed(part))

    if matrix.nnz < _WORTH_THREADS:
        return one(0, matrix.shape[0])
    with ThreadPoolExecutor(THREADS, "biocolab-margins") as pool:
        parts = each(pool, one, *zip(*shares(matrix.indptr), strict=True))
    found: NDArray[np.bool_] = np.logical_or.reduce(parts)
    return found


def _transposed(block: sparse.csr_matrix) -> sparse.csc_matrix:
    """The same arrays; SciPy's own ``.T`` copies those that are part of larger ones."""
    turned = sparse.csc_matrix(block.shape[::-1], dtype=block.dtype)
    turned.data, turned.indices, turned.indptr = block.data, block.indices, block.indptr
    return turned


def _any(block: sparse.spmatrix) -> NDArray[np.bool_]:
    """Whether a row has a value; what is negative cannot cancel out, and a stored zero is none."""
    if block.data.dtype.kind in "fi" and len(block.data) and block.data.min() < 0:
        block = block.astype(bool)  # not by abs, which leaves the least whole number of a dtype negative
    found: NDArray[np.bool_] = (block @ np.ones(block.shape[1], np.float32)) > 0
    return found
