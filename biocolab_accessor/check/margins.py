"""Margins: which cells and genes of a matrix have values, and how many are empty."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.blocks import Source, canonical, row_pieces
from biocolab_accessor.soundness import expect_whole, expect_within
from biocolab_accessor.threads import THREADS, shares
from biocolab_accessor.waits import each

__all__ = ["Filled", "Filling", "Margins", "count_empty", "filled_of"]

_FIRST_VALUES = 1 << 16
_INDICES_AT_ONCE = 1 << 20
_WORTH_THREADS = 1 << 20


class Margins(NamedTuple):
    """Numbers of cells and genes that are zero throughout."""

    cells: int
    genes: int


class Filled(NamedTuple):
    """Which cells and which genes have at least one value that is not zero."""

    cells: NDArray[np.bool_]
    genes: NDArray[np.bool_]

    @property
    def empty(self) -> Margins:
        """The numbers of the others."""
        return Margins(*(int(np.count_nonzero(~axis)) for axis in self))


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
    return filled_of(source, nnz).empty


def filled_of(source: Source, nnz: int) -> Filled:
    """As :func:`count_empty`, but which ones have values."""
    matrix, rows, columns = source
    whole = rows is None and columns is None
    expect_whole(matrix)
    if whole and sparse.issparse(matrix) and matrix.format == "csc":
        return Filled(*reversed(filled_of(Source(matrix.T), nnz)))  # the same arrays, read as rows
    lengths = _line_lengths(matrix, nnz) if whole else None
    if lengths is None:
        return _by_pieces(source)
    if isinstance(matrix, CSCDataset):
        return Filled(_seen_on_disk(matrix, nnz, source.shape[0]), lengths > 0)
    if isinstance(matrix, CSRDataset):
        return Filled(lengths > 0, _seen_on_disk(matrix, nnz, source.shape[1]))
    seen = np.zeros(source.shape[1], bool)
    first = matrix.indices[: min(_FIRST_VALUES, nnz)]  # where few genes were measured these have all of them
    expect_within(first, len(seen))
    seen[first] = True
    return Filled(lengths > 0, seen if seen.all() else seen | _measured(matrix))


def _seen_on_disk(matrix: CSRDataset | CSCDataset, nnz: int, length: int) -> NDArray[np.bool_]:
    """Which indices there are; no value is zero, so that none needs to be read."""
    seen = np.zeros(length, bool)
    indices = matrix.group["indices"]
    for start in range(0, nnz, _INDICES_AT_ONCE):
        some = indices[start : min(start + _INDICES_AT_ONCE, nnz)]
        expect_within(some, length)
        seen[some] = True
        if seen.all():
            break
    return seen


class Filling:
    """Which cells and genes have values, as far as was read.

    Parameters
    ----------
    shape
        Of the matrix.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.filled = Filled(np.zeros(shape[0], bool), np.zeros(shape[1], bool))
        self._start = 0

    def add(self, piece: Any) -> None:
        """Take account of the next rows, which are canonical where they are sparse."""
        cells, genes = self.filled
        if sparse.issparse(piece):
            has, measured = _any(piece), _any(_transposed(piece))
        else:
            filled = np.asarray(piece) != 0
            has, measured = filled.any(axis=1), filled.any(axis=0)
        cells[self._start : self._start + len(has)] = has
        genes |= measured
        self._start += len(has)


def _by_pieces(source: Source) -> Filled:
    filling = Filling(source.shape)
    for piece in row_pieces(source):
        filling.add(canonical(piece) if sparse.issparse(piece) else piece)
    return filling.filled


def _line_lengths(matrix: Any, nnz: int) -> NDArray[Any] | None:
    """Number of values of each row (or column), where that is known without reading them."""
    if isinstance(matrix, CSRDataset | CSCDataset):
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
