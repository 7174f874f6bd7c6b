"""Transpose: from genes-major to cells-major with little more memory than the result.

The matrix is cut into stripes of genes, which are transposed side by side; then the rows of all stripes are joined, a
range of cells at a time. What was read is given back as it is read. How fast this goes is a matter of how many bytes
pass through memory: of a stripe, genes and counts fit into half the bytes that they have before and after.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import sparse

from biocolab_accessor.storage.pages import empty_pages, release
from biocolab_accessor.storage.stripes import SHORT, put_side_by_side, shorten, spans, turn
from biocolab_accessor.threads import THREADS
from biocolab_accessor.waits import each

__all__ = ["PEAK", "csr_of_csc"]

PEAK = 1.4
"""What a matrix takes at the most while :func:`csr_of_csc` makes another of it and gives it back, of its own size."""
_SMALL = 2 << 20
_STRIPES, _RANGES = 32, 64
# So many ranges are joined before what they were joined of is given back: that costs, more often than it is worth.
_GIVEN_BACK = 4
_LOOKED_AT = 1 << 18
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
        return _joined(pool, _turned(pool, matrix), matrix)


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


def _turned(pool: ThreadPoolExecutor, matrix: sparse.csc_matrix) -> _Stripes:
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
    desk = _Desk()

    def one(first: int, last: int) -> tuple[NDArray[Any], NDArray[Any]]:
        low, high = int(matrix.indptr[first]), int(matrix.indptr[last])
        values, own = matrix.data[low:high], data[low:high]
        if own.dtype == SHORT:
            short = desk.room("data", high - low, SHORT)
            values, own = (short, own) if shorten(values, short) else (values, np.empty_like(values))
        room = indices[low:high] if indices.dtype == index else desk.room("indices", high - low, index)
        stripe = matrix.indptr[first : last + 1] - low, matrix.indices[low:high], values
        pointers = turn(stripe, n_obs, room, own)
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
    desk = _Desk()

    def one(first: int, last: int) -> None:
        low, high = int(result.indptr[first]), int(result.indptr[last])
        steps = pointers[:, first : last + 1]
        theirs, kept = desk.room("indices", high - low, widths.dtype), desk.room("data", high - low, common)
        at = 0
        for start, own, step in zip(starts, values, steps, strict=True):
            head, tail = int(step[0]), int(step[-1])
            part = slice(at, at := at + tail - head)
            theirs[part], kept[part] = indices[start + head : start + tail], own[head:tail]
        room = result.data[low:high] if common == matrix.dtype else desk.room("joined", high - low, common)
        put_side_by_side(steps - steps[:, :1], (theirs, kept), widths, result.indices[low:high], room)
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


class _Desk(threading.local):
    """Room for each thread's work at hand, used again: what the system gives anew it has to fill with zeros first."""

    def __init__(self) -> None:
        self._rooms: dict[str, NDArray[np.uint8]] = {}

    def room(self, use: str, length: int, dtype: DTypeLike) -> NDArray[Any]:
        """An array of that length, with anything in it; the next of the same use takes its place."""
        n_bytes = length * np.dtype(dtype).itemsize
        if use not in self._rooms or len(self._rooms[use]) < n_bytes:
            self._rooms[use] = np.empty(n_bytes, np.uint8)
        return self._rooms[use][:n_bytes].view(dtype)


def _pages(length: int, dtype: DTypeLike) -> NDArray[Any]:
    return empty_pages(length * np.dtype(dtype).itemsize).view(dtype)
