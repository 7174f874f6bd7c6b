"""Transpose: from genes-major to cells-major with little more memory than the result.

The matrix is cut into stripes of genes, which are transposed side by side; then the rows of all stripes are joined, a
range of cells at a time. What was read is given back as it is read. How fast this goes is a matter of how many bytes
pass through memory: of a stripe, genes and counts fit into half the bytes that they have before and after.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import sparse

from biocolab_accessor.storage.pages import empty_pages, release
from biocolab_accessor.storage.stripes import put_side_by_side, spans, turn
from biocolab_accessor.threads import THREADS

__all__ = ["PEAK", "csr_of_csc"]

PEAK = 1.4
"""What a matrix takes at the most while :func:`csr_of_csc` makes another of it and gives it back, of its own size."""
_SMALL = 2 << 20
_STRIPES, _RANGES = 24, 32
# So many ranges are joined before what they were joined of is given back: that costs, more often than it is worth.
_GIVEN_BACK = 8
_LOOKED_AT = 1 << 18
_SHORT = np.dtype(np.uint16)
_MAX_INT32 = np.iinfo(np.int32).max


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
    genes = spans(matrix.indptr, -(-nnz // _STRIPES))
    widths = np.array([last - first for first, last in genes], index)
    starts = [int(matrix.indptr[first]) for first, _ in genes]
    # All stripes side by side in one piece of memory, which the system gives and takes in large pages.
    indices = _pages(nnz, _SHORT if widths.max() <= 1 << 16 else index)
    some = matrix.data[:: max(1, nnz // _LOOKED_AT)]
    data = _pages(nnz, _SHORT if _fit(some, np.empty(len(some), _SHORT)) else matrix.dtype)
    desk = _Desk()

    def turned(first: int, last: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Transpose a stripe; gives its row pointers, and where its values are."""
        low, high = int(matrix.indptr[first]), int(matrix.indptr[last])
        values, own = matrix.data[low:high], data[low:high]
        if own.dtype == _SHORT:
            fit = desk.room("data", high - low, _SHORT)
            values, own = (fit, own) if _fit(values, fit) else (values, np.empty_like(values))
        room = indices[low:high] if indices.dtype == index else desk.room("indices", high - low, index)
        stripe = matrix.indptr[first : last + 1] - low, matrix.indices[low:high], values
        pointers = turn(stripe, n_obs, room, own)
        np.copyto(indices[low:high], room, casting="unsafe")  # genes of a stripe are counted from its first
        release(matrix.indices[low:high])
        return pointers, own

    result = sparse.csr_matrix(matrix.shape, dtype=matrix.dtype)
    # When all stripes are turned, the values are where they were and in the stripes: one place is as good as a new one.
    result.data = matrix.data[:nnz] if matrix.data.flags.writeable else np.empty(nnz, matrix.dtype)
    result.indices = np.empty(nnz, index)

    with ThreadPoolExecutor(THREADS, "biocolab-transpose") as pool:
        rows, values = zip(*pool.map(turned, *zip(*genes, strict=True)), strict=True)
        release(matrix.indices)
        pointers = np.stack(rows)
        result.indptr = pointers.sum(axis=0, dtype=index)
        common = np.result_type(*values)

        def join(first: int, last: int) -> None:
            low, high = int(result.indptr[first]), int(result.indptr[last])
            steps = pointers[:, first : last + 1]
            theirs, kept = desk.room("indices", high - low, index), desk.room("data", high - low, common)
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
            list(pool.map(join, *zip(*some, strict=True)))
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


def _fit(values: NDArray[Any], short: NDArray[np.uint16]) -> bool:
    """Put the same numbers into half the bytes; False where they are no counts, or zero, which may be negative."""
    for start in range(0, len(values), _LOOKED_AT):
        part = slice(start, start + _LOOKED_AT)
        with np.errstate(invalid="ignore"):
            np.copyto(short[part], values[part], casting="unsafe")
        if not (short[part].min() and (short[part] == values[part]).all()):
            return False
    return True
