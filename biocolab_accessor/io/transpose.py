"""Transpose: from genes-major to cells-major, in memory or out of core.

Both are SciPy's C code, which lets other threads run, but from and into memory of the caller's.

The matrix is cut into stripes of genes, which are transposed side by side; then the rows of all stripes are joined, a
range of cells at a time. What was read is given back as it is read. How fast this goes is a matter of how many bytes
pass through memory: of a stripe, genes and counts fit into half the bytes that they have before and after.

Its stripes of genes are transposed one after another and kept there; then the rows of all stripes are taken out, a
range of cells at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import sparse
from scipy.sparse import _sparsetools

from biocolab_accessor.concurrency import THREADS, each, in_order
from biocolab_accessor.io.memory import empty_pages, release

__all__ = [
    "PEAK",
    "SHORT",
    "Scratch",
    "StoredStripes",
    "csr_of_csc",
    "join_rows",
    "join_stripes",
    "shorten",
    "spans",
    "transpose_stripe",
    "write_stripes",
]

SHORT = np.dtype(np.uint16)
"""Half of what the wire has: most counts fit, and the genes of a stripe."""

_LOOKED_AT = 1 << 18


def spans(indptr: NDArray[Any], most: int) -> list[tuple[int, int]]:
    """Consecutive ranges of compressed rows with at most so many values, or of one row.

    Examples
    --------
    >>> spans(np.array([0, 2, 3, 9, 10]), 3)
    [(0, 2), (2, 3), (3, 4)]
    """
    bounds, first, end = [], 0, len(indptr) - 1
    while first < end:
        last = int(np.searchsorted(indptr, int(indptr[first]) + most, side="right")) - 1
        last = min(max(first + 1, last), end)
        bounds.append((first, last))
        first = last
    return bounds


def transpose_stripe(
    stripe: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], n_obs: int, indices: NDArray[Any], data: NDArray[Any]
) -> NDArray[Any]:
    """A CSC stripe as CSR, into ``indices`` and ``data``.

    Parameters
    ----------
    stripe
        Its indptr, indices and data.
    n_obs
        Number of cells.
    indices, data
        As long as the stripe's, and ``data`` of the same dtype.

    Returns
    -------
    numpy.ndarray
        (n_obs + 1,) row pointers, of the dtype of ``indices``.
    """
    pointers = np.empty(n_obs + 1, indices.dtype)
    own = tuple(array.astype(indices.dtype, copy=False) for array in stripe[:2])
    _sparsetools.csr_tocsc(len(own[0]) - 1, n_obs, *own, stripe[2], pointers, indices, data)
    return pointers


def join_stripes(
    pointers: NDArray[Any],
    parts: tuple[NDArray[Any], NDArray[Any]],
    widths: NDArray[Any],
    indices: NDArray[Any],
    data: NDArray[Any],
) -> NDArray[Any]:
    """Rows of all stripes as rows of the whole matrix, into ``indices`` and ``data``.

    Parameters
    ----------
    pointers
        (n_stripes, n_rows + 1), those of each stripe from 0.
    parts
        Indices and data of these rows of all stripes, end to end.
    widths
        (n_stripes,) genes of each stripe.
    indices, data
        As long as the parts, and ``data`` of the same dtype.

    Returns
    -------
    numpy.ndarray
        (n_rows + 1,) row pointers, of the dtype of ``indices``.
    """
    index = indices.dtype
    own = [array.astype(index, copy=False) for array in (widths, pointers.ravel(), parts[0])]
    joined = np.empty(pointers.shape[1], index)
    _sparsetools.csr_hstack(len(pointers), len(joined) - 1, *own, parts[1], joined, indices, data)
    return joined


def shorten(values: NDArray[Any], short: NDArray[np.uint16]) -> bool:
    """Put the same numbers into half the bytes; False where they are no counts, or zero, which may be negative."""
    for start in range(0, len(values), _LOOKED_AT):
        part = slice(start, start + _LOOKED_AT)
        with np.errstate(invalid="ignore"):
            np.copyto(short[part], values[part], casting="unsafe")
        if not (short[part].min() and (short[part] == values[part]).all()):
            return False
    return True


PEAK = 1.4
"""What a matrix takes at the most while :func:`csr_of_csc` makes another of it and gives it back, of its own size."""

_SMALL = 2 << 20

_STRIPES, _RANGES = 32, 64

# So many ranges are joined before what they were joined of is given back: that costs, more often than it is worth.
_GIVEN_BACK = 4

_MAX_INT32 = np.iinfo(np.int32).max


def csr_of_csc(matrix: sparse.csc_matrix, *, consume: bool = False) -> sparse.csr_matrix:
    """The same matrix in CSR form.

    Parameters
    ----------
    matrix
        (n_obs, n_vars) float32 in canonical form.
    consume
        Whether its arrays may be written to and given back to the system. Then the peak is little above the size of one
        matrix, where ``tocsr`` holds two, and all cores work; the matrix must not be used again.
    """
    if not consume or matrix.nnz < _SMALL:
        return matrix.tocsr()
    with ThreadPoolExecutor(THREADS, "biocolab-transpose") as pool:
        return _joined(pool, _transposed(pool, matrix), matrix)


class _Stripes(NamedTuple):
    """All of a matrix in stripes of genes, each in CSR form.

    Attributes
    ----------
    widths, starts
        Genes of each, and where its indices begin.
    pointers
        (n_stripes, n_obs + 1), each from 0.
    indices
        Genes, counted from the first of the stripe; those of all stripes end to end.
    values
        Those of each stripe.
    """

    widths: NDArray[Any]
    starts: list[int]
    pointers: NDArray[Any]
    indices: NDArray[Any]
    values: Sequence[NDArray[Any]]


def _transposed(pool: ThreadPoolExecutor, matrix: sparse.csc_matrix) -> _Stripes:
    """The stripes of a matrix; its indices are given back on the way."""
    n_obs, n_vars = matrix.shape
    nnz = int(matrix.indptr[-1])
    index = np.dtype(np.int32 if max(nnz, n_vars) <= _MAX_INT32 else np.int64)
    genes = spans(matrix.indptr, -(-nnz // _STRIPES))
    widths = np.array([last - first for first, last in genes], index)
    some = matrix.data[:: max(1, nnz // _LOOKED_AT)]
    # All stripes side by side in one piece of memory, which the system gives and takes in large pages.
    indices = _pages(nnz, SHORT if widths.max() <= 1 << 16 else index)
    data = _pages(nnz, SHORT if shorten(some, np.empty(len(some), SHORT)) else matrix.dtype)
    buffers = _Buffers()

    def one(first: int, last: int) -> tuple[NDArray[Any], NDArray[Any]]:
        low, high = int(matrix.indptr[first]), int(matrix.indptr[last])
        values, own = matrix.data[low:high], data[low:high]
        if own.dtype == SHORT:
            short = buffers.get("data", high - low, SHORT)
            values, own = (short, own) if shorten(values, short) else (values, np.empty_like(values))
        room = indices[low:high] if indices.dtype == index else buffers.get("indices", high - low, index)
        stripe = matrix.indptr[first : last + 1] - low, matrix.indices[low:high], values
        pointers = transpose_stripe(stripe, n_obs, room, own)
        np.copyto(indices[low:high], room, casting="unsafe")
        release(matrix.indices[low:high])
        return pointers, own

    pointers, values = zip(*each(pool, one, *zip(*genes, strict=True)), strict=True)
    release(matrix.indices)
    return _Stripes(widths, [int(matrix.indptr[first]) for first, _ in genes], np.stack(pointers), indices, values)


def _joined(pool: ThreadPoolExecutor, stripes: _Stripes, matrix: sparse.csc_matrix) -> sparse.csr_matrix:
    """The rows of all stripes; they are given back on the way."""
    widths, starts, pointers, indices, values = stripes
    result = sparse.csr_matrix(matrix.shape, dtype=matrix.dtype)
    result.indptr = pointers.sum(axis=0, dtype=widths.dtype)
    nnz = int(result.indptr[-1])
    result.indices = np.empty(nnz, widths.dtype)
    # What the values were read of has no use any more, and memory that was filled once need not be filled again.
    result.data = matrix.data[:nnz] if matrix.data.flags.writeable else np.empty(nnz, matrix.dtype)
    common = np.result_type(*values)
    buffers = _Buffers()

    def one(first: int, last: int) -> None:
        low, high = int(result.indptr[first]), int(result.indptr[last])
        steps = pointers[:, first : last + 1]
        theirs, kept = buffers.get("indices", high - low, widths.dtype), buffers.get("data", high - low, common)
        at = 0
        for start, own, step in zip(starts, values, steps, strict=True):
            head, tail = int(step[0]), int(step[-1])
            part = slice(at, at := at + tail - head)
            theirs[part], kept[part] = indices[start + head : start + tail], own[head:tail]
        room = result.data[low:high] if common == matrix.dtype else buffers.get("joined", high - low, common)
        join_stripes(steps - steps[:, :1], (theirs, kept), widths, result.indices[low:high], room)
        np.copyto(result.data[low:high], room, casting="unsafe")

    ranges = spans(result.indptr, -(-nnz // _RANGES))
    for some in (ranges[at : at + _GIVEN_BACK] for at in range(0, len(ranges), _GIVEN_BACK)):
        each(pool, one, *zip(*some, strict=True))
        for start, own, step in zip(starts, values, pointers, strict=True):
            head, tail = int(step[some[0][0]]), int(step[some[-1][-1]])
            release(indices[start + head : start + tail])
            release(own[head:tail])
    result.has_sorted_indices = result.has_canonical_format = True
    return result


class _Buffers(threading.local):
    """Room for each thread's work at hand, used again: what the system gives anew it has to fill with zeros first."""

    def __init__(self) -> None:
        self._rooms: dict[str, NDArray[np.uint8]] = {}

    def get(self, use: str, length: int, dtype: DTypeLike) -> NDArray[Any]:
        """An array of that length, with anything in it; the next of the same use takes its place."""
        n_bytes = length * np.dtype(dtype).itemsize
        if use not in self._rooms or len(self._rooms[use]) < n_bytes:
            self._rooms[use] = np.empty(n_bytes, np.uint8)
        return self._rooms[use][:n_bytes].view(dtype)


def _pages(length: int, dtype: DTypeLike) -> NDArray[Any]:
    return empty_pages(length * np.dtype(dtype).itemsize).view(dtype)


# Stripes that are transposed at once, while the next is read: each is there twice.
_AT_ONCE = 2


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


class StoredStripes(NamedTuple):
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


def write_stripes(stripes: Iterable[sparse.csc_matrix], n_obs: int, scratch: Scratch) -> StoredStripes:
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
    kept: list[tuple[int, _Place, _Place, _Place]] = []
    # Closed also where the disk is full: an error that somebody keeps would keep the threads.
    with closing(in_order(_transposed_stripe, stripes, "biocolab-stripes", _AT_ONCE)) as turned:
        for width, pointers, indices, data in turned:
            total += pointers
            kept.append((width, scratch.put(pointers), scratch.put(indices), scratch.put(data)))
    return StoredStripes((n_obs, sum(width for width, *_ in kept)), total, kept)


def _transposed_stripe(stripe: sparse.csc_matrix) -> tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Its number of genes, and itself in CSR form; in half the bytes where that holds the same."""
    n_obs, width = stripe.shape
    index = stripe.indices.dtype
    indices, data = np.empty(stripe.nnz, index), np.empty(stripe.nnz, stripe.dtype)
    pointers = transpose_stripe((stripe.indptr.astype(index), stripe.indices, stripe.data), n_obs, indices, data)
    if width <= np.iinfo(SHORT).max + 1:
        indices = indices.astype(SHORT)
    short = np.empty(stripe.nnz, SHORT)
    return width, pointers, indices, short if shorten(data, short) else data


def join_rows(stored: StoredStripes, scratch: Scratch, most: int) -> Iterator[sparse.csr_matrix]:
    """Consecutive rows of all stripes, in canonical CSR form.

    Parameters
    ----------
    stored, scratch
        As :func:`write_stripes` left them.
    most
        Non-zeros of one range of cells; a single cell may have more.
    """
    widths = np.array([width for width, *_ in stored.stripes])
    for first, last in spans(stored.indptr, most):
        parts = []
        for _, pointers, indices, data in stored.stripes:
            own = scratch.take(pointers, first, last + 1)
            low, high = int(own[0]), int(own[-1])
            parts.append((own - own[0], scratch.take(indices, low, high), scratch.take(data, low, high)))
        block = sparse.csr_matrix((last - first, stored.shape[1]), dtype=np.float32)
        if parts:
            rows, theirs, values = zip(*parts, strict=True)
            index, nnz = block.indices.dtype, sum(map(len, values))
            ends = np.concatenate(theirs, dtype=index), np.concatenate(values, dtype=np.float32, casting="unsafe")
            block.indices, block.data = np.empty(nnz, index), np.empty(nnz, np.float32)
            block.indptr = join_stripes(np.stack(rows), ends, widths, block.indices, block.data)
        block.has_sorted_indices = block.has_canonical_format = True
        yield block
