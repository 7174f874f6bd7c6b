"""Transpose: from genes-major to cells-major with little more memory than the result, or with a bound on it.

The matrix is cut into stripes of genes. Each stripe is transposed on its own by SciPy's C code, which lets other
threads run; then the rows of all stripes are joined, a range of cells at a time. What was read is given back as it is
read. A matrix that does not fit keeps its stripes in a scratch file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import _sparsetools

from biocolab_accessor.storage.pages import empty_pages, release
from biocolab_accessor.threads import THREADS

__all__ = ["PEAK", "Scratch", "Shelved", "csr_of_csc", "join_rows", "shelve"]

PEAK = 1.4
"""What a matrix takes at the most while :func:`csr_of_csc` makes another of it and gives it back, of its own size."""
_SMALL = 2 << 20
_STRIPES, _RANGES = 16, 16
_MAX_INT32 = np.iinfo(np.int32).max

Compressed = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""indptr, indices and data."""


def csr_of_csc(matrix: sparse.csc_matrix, *, consume: bool = False) -> sparse.csr_matrix:
    """The same matrix in CSR form.

    Parameters
    ----------
    matrix
        (n_obs, n_vars) float32 in canonical form.
    consume
        Whether its arrays may be given back to the system meanwhile. Then the peak is little above the size of one
        matrix, where ``tocsr`` holds two, and all cores work; the matrix must not be used again.
    """
    if not consume or matrix.nnz < _SMALL:
        return matrix.tocsr()
    n_obs, n_vars = matrix.shape
    nnz = int(matrix.indptr[-1])
    index = np.dtype(np.int32 if max(nnz, n_vars) <= _MAX_INT32 else np.int64)
    genes = _bounds(matrix.indptr, -(-nnz // _STRIPES))
    # All stripes side by side in one piece of memory, which the system gives and takes in large pages.
    indices, data = (empty_pages(nnz * size.itemsize).view(size) for size in (index, matrix.dtype))

    def turn(first: int, last: int) -> NDArray[Any]:
        low, high = int(matrix.indptr[first]), int(matrix.indptr[last])
        pointers = matrix.indptr[first : last + 1] - matrix.indptr[first]
        stripe = pointers, matrix.indices[low:high], matrix.data[low:high]
        turned, _, _ = _turned(stripe, n_obs, indices[low:high], data[low:high])
        release(matrix.indices[low:high])
        release(matrix.data[low:high])
        return turned

    result = sparse.csr_matrix(matrix.shape, dtype=matrix.dtype)
    result.data, result.indices = np.empty(nnz, matrix.dtype), np.empty(nnz, index)

    with ThreadPoolExecutor(THREADS, "biocolab-transpose") as pool:
        stripes = list(pool.map(turn, *zip(*genes, strict=True)))
        release(matrix.indices)
        release(matrix.data)
        pointers = np.stack(stripes)
        result.indptr = pointers.sum(axis=0, dtype=index)
        widths = np.array([last - first for first, last in genes], index)
        starts = matrix.indptr[[first for first, _ in genes]].astype(np.int64)

        def join(first: int, last: int) -> None:
            low, high = int(result.indptr[first]), int(result.indptr[last])
            turned = pointers[:, first : last + 1], indices, data
            _joined(turned, pointers[:, -1], widths, result.indices[low:high], result.data[low:high])
            for start, own in zip(starts, pointers, strict=True):
                release(indices[start + own[first] : start + own[last]])
                release(data[start + own[first] : start + own[last]])

        list(pool.map(join, *zip(*_bounds(result.indptr, -(-nnz // _RANGES)), strict=True)))
    result.has_sorted_indices = result.has_canonical_format = True
    return result


class _Place(NamedTuple):
    """Where an array lies in a scratch file."""

    start: int
    dtype: np.dtype[Any]


class Scratch:
    """Arrays in a file, put whole and taken in parts.

    Parameters
    ----------
    file
        Open for reading and writing, without a buffer of its own.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0

    def put(self, array: NDArray[Any]) -> _Place:
        """Keep an array."""
        place = _Place(self._end, array.dtype)
        view, written = np.ascontiguousarray(array).view(np.uint8).data, 0
        self._file.seek(self._end)
        while written < len(view):
            written += self._file.write(view[written:])
        self._end += array.nbytes
        return place

    def take(self, place: _Place, start: int, stop: int) -> NDArray[Any]:
        """Part of an array that was put here."""
        part = np.empty(stop - start, place.dtype)
        self._file.seek(place.start + start * place.dtype.itemsize)
        view, filled = part.view(np.uint8).data, 0
        while filled < len(view):
            count = self._file.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                msg = "a scratch file is shorter than what was written to it"
                raise OSError(msg)
            filled += count
        return part


class Shelved(NamedTuple):
    """A matrix in a scratch file, in transposed stripes.

    Attributes
    ----------
    shape
        Cells and genes.
    indptr
        (n_obs + 1,) int64 row pointers of the whole matrix.
    stripes
        Of each stripe the number of genes, and where its indptr, indices and data are.
    """

    shape: tuple[int, int]
    indptr: NDArray[np.int64]
    stripes: list[tuple[int, _Place, _Place, _Place]]


def shelve(stripes: Iterable[sparse.csc_matrix], n_obs: int, scratch: Scratch) -> Shelved:
    """Transpose stripes into a scratch file, one after another.

    Parameters
    ----------
    stripes
        (n_obs, any) float32 each, consecutive genes in canonical form.
    n_obs
        Number of cells.
    scratch
        Where to.
    """
    total = np.zeros(n_obs + 1, np.int64)
    kept = []
    for stripe in stripes:
        index = stripe.indices.dtype
        arrays = stripe.indptr.astype(index), stripe.indices, stripe.data
        turned = _turned(arrays, n_obs, np.empty(stripe.nnz, index), np.empty(stripe.nnz, stripe.dtype))
        total += turned[0]
        kept.append((stripe.shape[1], *(scratch.put(array) for array in turned)))
    return Shelved((n_obs, sum(width for width, *_ in kept)), total, kept)


def join_rows(shelved: Shelved, scratch: Scratch, most: int) -> Iterator[sparse.csr_matrix]:
    """Consecutive rows of all stripes, in canonical CSR form.

    Parameters
    ----------
    shelved, scratch
        As :func:`shelve` left them.
    most
        Non-zeros of one range of cells; a single cell may have more.
    """
    widths = np.array([width for width, *_ in shelved.stripes])
    for first, last in _bounds(shelved.indptr, most):
        parts: list[Compressed] = []
        for _, pointers, indices, data in shelved.stripes:
            own = scratch.take(pointers, first, last + 1)
            low, high = int(own[0]), int(own[-1])
            parts.append((own - own[0], scratch.take(indices, low, high), scratch.take(data, low, high)))
        block = sparse.csr_matrix((last - first, shelved.shape[1]), dtype=np.float32)
        nnz = int(shelved.indptr[last] - shelved.indptr[first])
        block.indices, block.data = np.empty(nnz, block.indices.dtype), np.empty(nnz, np.float32)
        if parts:
            rows = np.stack([own for own, _, _ in parts])
            turned = rows, np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])
            block.indptr = _joined(turned, rows[:, -1], widths, block.indices, block.data)
        block.has_sorted_indices = block.has_canonical_format = True
        yield block


def _bounds(indptr: NDArray[Any], most: int) -> list[tuple[int, int]]:
    """Consecutive ranges of compressed rows with at most so many values, or of one row."""
    bounds, first, end = [], 0, len(indptr) - 1
    while first < end:
        last = int(np.searchsorted(indptr, int(indptr[first]) + most, side="right")) - 1
        last = min(max(first + 1, last), end)
        bounds.append((first, last))
        first = last
    return bounds


def _turned(stripe: Compressed, n_obs: int, indices: NDArray[Any], data: NDArray[Any]) -> Compressed:
    """A CSC stripe as CSR; what ``tocsr`` calls, but into memory of the caller's."""
    pointers = np.empty(n_obs + 1, indices.dtype)
    own = tuple(array.astype(indices.dtype, copy=False) for array in stripe[:2])
    _sparsetools.csr_tocsc(len(own[0]) - 1, n_obs, *own, stripe[2], pointers, indices, data)
    return pointers, indices, data


def _joined(
    stripes: Compressed,
    sizes: NDArray[Any],
    widths: NDArray[Any],
    indices: NDArray[Any],
    data: NDArray[Any],
) -> NDArray[Any]:
    """A range of rows of all stripes side by side, into ``indices`` and ``data``; gives the row pointers.

    What ``hstack`` calls, but without cutting the range out of the stripes first. That C code finds a stripe by the
    last pointers of those before it; a stripe without rows after each one leads it over what follows the range.

    Parameters
    ----------
    stripes
        (n_stripes, n_rows + 1) pointers, each into its own stripe; indices and data of all stripes, end to end.
    sizes
        Non-zeros of each whole stripe.
    widths
        Genes of each stripe.
    """
    pointers, theirs, values = stripes
    index = indices.dtype
    steps = np.empty((2 * len(pointers), pointers.shape[1]), index)
    steps[::2], steps[1::2] = pointers, (sizes - pointers[:, -1])[:, None]
    columns = np.zeros(len(steps), index)
    columns[::2] = widths
    joined = np.empty(pointers.shape[1], index)
    own = theirs.astype(index, copy=False)
    _sparsetools.csr_hstack(len(steps), len(joined) - 1, columns, steps.ravel(), own, values, joined, indices, data)
    return joined
