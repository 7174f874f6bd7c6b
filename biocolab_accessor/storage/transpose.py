"""Transpose: from genes-major to cells-major with little more memory than the result, or with a bound on it.

The matrix comes in stripes of genes. Each stripe is transposed on its own by SciPy and put on a shelf, in memory or in
a file; then the rows of all stripes are joined, a range of cells at a time. What was read is dropped as it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import _sparsetools

from biocolab_accessor.storage.pages import empty_pages, release

__all__ = ["FileShelf", "Shelf", "Shelved", "csr_of_csc", "join_rows", "shelve"]

_SMALL = 2 << 20
_STRIPES, _RANGES = 16, 32
_PIECE = 256 << 10
_PAGE = 4096
_MAX_INT32 = np.iinfo(np.int32).max


class Slice(NamedTuple):
    """Where an array lies on a shelf."""

    start: int
    length: int
    dtype: np.dtype[Any]


class Shelf(Protocol):
    """Arrays that are put once and taken in ascending parts."""

    def room(self, length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Memory for an array that is going to be put."""

    def put(self, array: NDArray[Any]) -> Any:
        """Keep an array."""

    def take(self, kept: Any, start: int, stop: int) -> NDArray[Any]:
        """Part of an array that was put here."""


class MemoryShelf:
    """A shelf in memory; a part that was taken is gone once a later one is taken."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}

    def room(self, length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """See Shelf."""
        return empty_pages(length * dtype.itemsize).view(dtype)

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        """See Shelf."""
        return array

    def take(self, kept: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        """See Shelf."""
        before = self._taken.get(id(kept), 0)
        if (start - before) * kept.itemsize >= _PIECE:
            release(kept[max(before - _PAGE, 0) : start])
            self._taken[id(kept)] = start
        return kept[start:stop]


class FileShelf:
    """A shelf in a file.

    Parameters
    ----------
    file
        Open for reading and writing, without a buffer of its own.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0

    def room(self, length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """See Shelf."""
        return np.empty(length, dtype)

    def put(self, array: NDArray[Any]) -> Slice:
        """See Shelf."""
        kept = Slice(self._end, len(array), array.dtype)
        self._file.seek(self._end)
        self._file.write(np.ascontiguousarray(array).view(np.uint8).data)
        self._end += array.nbytes
        return kept

    def take(self, kept: Slice, start: int, stop: int) -> NDArray[Any]:
        """See Shelf."""
        part = np.empty(stop - start, kept.dtype)
        self._file.seek(kept.start + start * kept.dtype.itemsize)
        view, filled = part.view(np.uint8).data, 0
        while filled < len(view):
            count = self._file.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                msg = "a scratch file is shorter than what was written to it"
                raise OSError(msg)
            filled += count
        return part


class Shelved(NamedTuple):
    """A matrix in transposed stripes.

    Attributes
    ----------
    shape
        Cells and genes.
    indptr
        (n_obs + 1,) int64 row pointers of the whole matrix.
    stripes
        For each stripe its first gene, and where its indptr, indices and data are.
    """

    shape: tuple[int, int]
    indptr: NDArray[np.int64]
    stripes: list[tuple[int, Any, Any, Any]]


def shelve(stripes: Iterable[sparse.csc_matrix], n_obs: int, shelf: Shelf) -> Shelved:
    """Transpose stripes one after another.

    Parameters
    ----------
    stripes
        (n_obs, any) each, consecutive genes in canonical form.
    n_obs
        Number of cells.
    shelf
        Where to.
    """
    counts = np.zeros(n_obs + 1, np.int64)
    kept = []
    first = 0
    for stripe in stripes:
        index = stripe.indices.dtype
        indptr = np.empty(n_obs + 1, index)
        indices, data = shelf.room(stripe.nnz, index), shelf.room(stripe.nnz, stripe.dtype)
        # What tocsr calls, into memory of our own: that of tocsr could only be given back all at once.
        _sparsetools.csr_tocsc(
            stripe.shape[1], n_obs, stripe.indptr.astype(index), stripe.indices, stripe.data, indptr, indices, data
        )
        counts += indptr
        kept.append((first, shelf.put(indptr), shelf.put(indices), shelf.put(data)))
        first += stripe.shape[1]
    return Shelved((n_obs, first), counts, kept)


def join_rows(shelved: Shelved, shelf: Shelf, most: int) -> Iterator[sparse.csr_matrix]:
    """Consecutive rows of all stripes, in canonical CSR form.

    Parameters
    ----------
    shelved, shelf
        As :func:`shelve` left them.
    most
        Non-zeros of one range of cells; a single cell may have more.
    """
    (n_obs, n_vars), indptr = shelved.shape, shelved.indptr
    widths = np.diff([*(first for first, *_ in shelved.stripes), n_vars])
    start = 0
    while start < n_obs:
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + most, side="right")) - 1)
        parts: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
        for _, pointers, indices, data in shelved.stripes:
            own = shelf.take(pointers, start, stop + 1)
            low, high = int(own[0]), int(own[-1])
            parts.append((own - own[0], shelf.take(indices, low, high), shelf.take(data, low, high)))
        yield _joined(parts, widths, (stop - start, n_vars))
        start = stop


def _joined(
    parts: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]], widths: NDArray[np.int64], shape: tuple[int, int]
) -> sparse.csr_matrix:
    """Stripes side by side, as ``scipy.sparse.hstack`` does after looking for what needs no looking for here."""
    joined = sparse.csr_matrix(shape, dtype=np.float32)
    if parts:
        pointers, indices, data = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        index = indices.dtype
        joined.indptr = np.empty(shape[0] + 1, index)
        joined.indices, joined.data = np.empty(len(indices), index), np.empty(len(data), data.dtype)
        _sparsetools.csr_hstack(
            len(parts), shape[0], widths.astype(index), pointers, indices, data,
            joined.indptr, joined.indices, joined.data,
        )  # fmt: skip
    joined.has_sorted_indices = joined.has_canonical_format = True
    return joined


def csr_of_csc(matrix: sparse.csc_matrix, *, consume: bool = False) -> sparse.csr_matrix:
    """The same matrix in CSR form.

    Parameters
    ----------
    matrix
        (n_obs, n_vars) float32 in canonical form.
    consume
        Whether its arrays may be given back to the system meanwhile. Then the peak is little above the size of one
        matrix, where ``tocsr`` holds two; the matrix must not be used again.
    """
    if not consume or matrix.nnz < _SMALL:
        return matrix.tocsr()
    n_obs, _ = matrix.shape
    nnz = int(matrix.indptr[-1])
    shelf = MemoryShelf()
    shelved = shelve(_stripes(matrix), n_obs, shelf)
    result = sparse.csr_matrix(matrix.shape, dtype=matrix.dtype)
    index = np.dtype(np.int32 if nnz <= _MAX_INT32 else np.int64)
    result.data, result.indices = np.empty(nnz, matrix.dtype), np.empty(nnz, index)
    result.indptr = shelved.indptr.astype(index)
    filled = 0
    for block in join_rows(shelved, shelf, -(-nnz // _RANGES)):
        end = filled + block.nnz
        result.data[filled:end], result.indices[filled:end] = block.data, block.indices
        filled = end
    result.has_sorted_indices = result.has_canonical_format = True
    return result


def _stripes(matrix: sparse.csc_matrix) -> Iterator[sparse.csc_matrix]:
    """Consecutive genes that share the arrays of the matrix, which are released behind them."""
    n_obs, n_vars = matrix.shape
    most = -(-matrix.nnz // _STRIPES)
    first = 0
    while first < n_vars:
        last = max(first + 1, int(np.searchsorted(matrix.indptr, int(matrix.indptr[first]) + most, side="right")) - 1)
        low, high = int(matrix.indptr[first]), int(matrix.indptr[last])
        stripe = sparse.csc_matrix((n_obs, last - first), dtype=matrix.dtype)
        stripe.data, stripe.indices = matrix.data[low:high], matrix.indices[low:high]
        stripe.indptr = matrix.indptr[first : last + 1] - matrix.indptr[first]
        yield stripe
        # From a page before, which the stripe before had to leave since this one had part of it.
        release(matrix.data[max(low - _PAGE, 0) : high])
        release(matrix.indices[max(low - _PAGE, 0) : high])
        first = last
