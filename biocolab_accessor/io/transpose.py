"""Transpose: from genes-major (CSC) to cells-major (CSR), in memory or out of core.

The matrix is cut into stripes of genes. Each stripe is transposed, and then the rows of all stripes are joined, a range
of cells at a time. Both steps call SciPy's C code, which releases the GIL, with our own buffers. Speed depends on the
bytes that pass through memory: within a stripe, genes and counts fit into uint16, half of their size before and after.

In memory, stripes are transposed in parallel, and memory is released as soon as it has been read. Out of core, they are
transposed one after another into a scratch file.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import sparse

from biocolab_accessor.concurrency import THREADS, each, in_order
from biocolab_accessor.io.memory import empty_pages, release

try:  # private, but the only way to give SciPy buffers of our own
    from scipy.sparse import _sparsetools as _kernels
except ImportError:
    _kernels = None

SHORT = np.dtype(np.uint16)
"""Half the size of values on the wire; most counts fit, and so do the genes of a stripe."""

_LOOKED_AT = 1 << 18


def spans(indptr: NDArray[Any], most: int) -> list[tuple[int, int]]:
    """Consecutive ranges of compressed rows with at most `most` values each, or one row."""
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
    """Convert a CSC stripe to CSR, into ``indices`` and ``data``; returns its (n_obs + 1,) row pointers."""
    pointers = np.empty(n_obs + 1, indices.dtype)
    own = tuple(array.astype(indices.dtype, copy=False) for array in stripe[:2])
    if kernels_work():
        _kernels.csr_tocsc(len(own[0]) - 1, n_obs, *own, stripe[2], pointers, indices, data)
        return pointers
    turned = sparse.csc_matrix((stripe[2], own[1], own[0]), (n_obs, len(own[0]) - 1)).tocsr()
    pointers[:], indices[:], data[:] = turned.indptr, turned.indices, turned.data
    return pointers


def join_stripes(
    pointers: NDArray[Any],
    parts: tuple[NDArray[Any], NDArray[Any]],
    widths: NDArray[Any],
    indices: NDArray[Any],
    data: NDArray[Any],
) -> NDArray[Any]:
    """Join rows of all stripes, into ``indices`` and ``data``; returns (n_rows + 1,) row pointers."""
    index = indices.dtype
    own = [array.astype(index, copy=False) for array in (widths, pointers.ravel(), parts[0])]
    joined = np.empty(pointers.shape[1], index)
    if kernels_work():
        _kernels.csr_hstack(len(pointers), len(joined) - 1, *own, parts[1], joined, indices, data)
        return joined
    ends = np.cumsum(pointers[:, -1], dtype=np.intp)
    stripes = [
        sparse.csr_matrix((parts[1][end - row[-1] : end], parts[0][end - row[-1] : end], row), (len(row) - 1, width))
        for row, width, end in zip(pointers, widths.tolist(), ends.tolist(), strict=True)
    ]
    side_by_side = sparse.hstack(stripes, "csr")
    joined[:], indices[:], data[:] = side_by_side.indptr, side_by_side.indices, side_by_side.data
    return joined


def is_canonical(indptr: NDArray[Any], indices: NDArray[Any]) -> bool:
    """Whether the indices of each compressed row increase; ``indptr`` may be a part of the matrix's own."""
    if kernels_work():
        return bool(_kernels.csr_has_canonical_format(len(indptr) - 1, indptr, indices))
    increases = np.diff(indices[indptr[0] : indptr[-1]].astype(np.int64)) > 0
    between = indptr[1:-1] - indptr[0] - 1
    increases[between[(between >= 0) & (between < len(increases))]] = True
    return bool(increases.all())


@cache
def kernels_work() -> bool:
    """Whether SciPy's private functions exist and do what they did; if not, its public ones are used."""
    expected = sparse.csr_matrix(np.array([[0, 2, 3], [4, 0, 5]], np.float32))
    turned = expected.tocsc()
    index, one = turned.indices.dtype, np.ones(1, turned.indices.dtype)
    indptr, indices, data = np.empty(3, index), np.empty(4, index), np.empty(4, np.float32)
    try:
        _kernels.csr_tocsc(3, 2, turned.indptr, turned.indices, turned.data, indptr, indices, data)
        found = sparse.csr_matrix((data.copy(), indices.copy(), indptr.copy()), (2, 3))
        _kernels.csr_hstack(1, 2, 3 * one, indptr.copy(), indices.copy(), data.copy(), indptr, indices, data)
        sound = _kernels.csr_has_canonical_format(2, indptr, indices)
        unsound = _kernels.csr_has_canonical_format(1, np.array([0, 2], index), np.array([1, 0], index))
    except (AttributeError, TypeError, ValueError):
        return False
    same = sparse.csr_matrix((data, indices, indptr), (2, 3))
    return (found != expected).nnz + (same != expected).nnz == 0 and bool(sound) and not unsound


def shorten(values: NDArray[Any], short: NDArray[np.uint16]) -> bool:
    """Copy values into uint16; False if they are not all positive counts that fit (a zero may be negative)."""
    for start in range(0, len(values), _LOOKED_AT):
        part = slice(start, start + _LOOKED_AT)
        with np.errstate(invalid="ignore"):
            np.copyto(short[part], values[part], casting="unsafe")
        if not (short[part].min() and (short[part] == values[part]).all()):
            return False
    return True


PEAK = 1.4
"""Peak memory of :func:`csr_of_csc` with `consume`, relative to the size of the matrix."""

_SMALL = 2 << 20
_STRIPES, _RANGES = 32, 64

# Memory is released after this many ranges: releasing it has a cost.
_RELEASE_EVERY = 4
_MAX_INT32 = np.iinfo(np.int32).max


def csr_of_csc(matrix: sparse.csc_matrix, *, consume: bool = False) -> sparse.csr_matrix:
    """The same matrix as CSR; `consume` overwrites the input, needs little extra memory, and uses all cores."""
    if not consume or matrix.nnz < _SMALL:
        return matrix.tocsr()
    with ThreadPoolExecutor(THREADS, "biocolab-transpose") as pool:
        return _joined(pool, _transposed(pool, matrix), matrix)


class _Stripes(NamedTuple):
    """A matrix in stripes of genes, each in CSR form."""

    widths: NDArray[Any]  # genes of each stripe
    starts: list[int]  # where its indices begin
    pointers: NDArray[Any]  # (n_stripes, n_obs + 1), each from 0
    indices: NDArray[Any]  # genes, counted from the first of the stripe; all stripes concatenated
    values: Sequence[NDArray[Any]]


def _transposed(pool: ThreadPoolExecutor, matrix: sparse.csc_matrix) -> _Stripes:
    """The stripes of a matrix; memory of its indices is released on the way."""
    n_obs, n_vars = matrix.shape
    nnz = int(matrix.indptr[-1])
    index = np.dtype(np.int32 if max(nnz, n_vars) <= _MAX_INT32 else np.int64)
    genes = spans(matrix.indptr, -(-nnz // _STRIPES))
    widths = np.array([last - first for first, last in genes], index)
    some = matrix.data[:: max(1, nnz // _LOOKED_AT)]
    # All stripes in one allocation, which the system handles in large pages.
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
    """The rows of all stripes; memory of the stripes is released on the way."""
    widths, starts, pointers, indices, values = stripes
    result = sparse.csr_matrix(matrix.shape, dtype=matrix.dtype)
    result.indptr = pointers.sum(axis=0, dtype=widths.dtype)
    nnz = int(result.indptr[-1])
    result.indices = np.empty(nnz, widths.dtype)
    # The values have been copied into stripes, so their memory is reused: new memory would be filled with zeros first.
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
    for some in (ranges[at : at + _RELEASE_EVERY] for at in range(0, len(ranges), _RELEASE_EVERY)):
        each(pool, one, *zip(*some, strict=True))
        for start, own, step in zip(starts, values, pointers, strict=True):
            head, tail = int(step[some[0][0]]), int(step[some[-1][-1]])
            release(indices[start + head : start + tail])
            release(own[head:tail])
    result.has_sorted_indices = result.has_canonical_format = True
    return result


class _Buffers(threading.local):
    """Reusable buffers for each thread: the system fills new memory with zeros first."""

    def __init__(self) -> None:
        self._rooms: dict[str, NDArray[np.uint8]] = {}

    def get(self, use: str, length: int, dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialized array of that length; the next one for the same use replaces it."""
        n_bytes = length * np.dtype(dtype).itemsize
        if use not in self._rooms or len(self._rooms[use]) < n_bytes:
            self._rooms[use] = np.empty(n_bytes, np.uint8)
        return self._rooms[use][:n_bytes].view(dtype)


def _pages(length: int, dtype: DTypeLike) -> NDArray[Any]:
    return empty_pages(length * np.dtype(dtype).itemsize).view(dtype)


# Stripes that are transposed at the same time, while the next is read; each is in memory twice.
_AT_ONCE = 2


class _Place(NamedTuple):
    """Position of an array in a scratch file."""

    start: int
    dtype: np.dtype[Any]


class Scratch:
    """Arrays in an unbuffered file, written whole and read in parts."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0

    def put(self, array: NDArray[Any]) -> _Place:
        """Write an array."""
        place = _Place(self._end, array.dtype)
        view, written = np.ascontiguousarray(array).view(np.uint8).data, 0
        self._file.seek(self._end)
        while written < len(view):
            written += self._file.write(view[written:])
        self._end += array.nbytes
        return place

    def take(self, place: _Place, start: int, stop: int) -> NDArray[Any]:
        """Read part of an array."""
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
    """A matrix in a scratch file, in transposed stripes."""

    shape: tuple[int, int]
    indptr: NDArray[np.int64]  # (n_obs + 1,), of the whole matrix
    stripes: list[tuple[int, _Place, _Place, _Place]]  # number of genes, places of indptr, indices and data


def write_stripes(stripes: Iterable[sparse.csc_matrix], n_obs: int, scratch: Scratch) -> StoredStripes:
    """Transpose stripes (consecutive genes, canonical CSC, float32) into a scratch file, one after another."""
    total = np.zeros(n_obs + 1, np.int64)
    kept: list[tuple[int, _Place, _Place, _Place]] = []
    # Closed even if the disk is full: otherwise a stored error would keep the threads alive.
    with closing(in_order(_transposed_stripe, stripes, "biocolab-stripes", _AT_ONCE)) as turned:
        for width, pointers, indices, data in turned:
            total += pointers
            kept.append((width, scratch.put(pointers), scratch.put(indices), scratch.put(data)))
    return StoredStripes((n_obs, sum(width for width, *_ in kept)), total, kept)


def _transposed_stripe(stripe: sparse.csc_matrix) -> tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The number of genes, and the stripe in CSR form; in uint16 if that is exact."""
    n_obs, width = stripe.shape
    index = stripe.indices.dtype
    indices, data = np.empty(stripe.nnz, index), np.empty(stripe.nnz, stripe.dtype)
    pointers = transpose_stripe((stripe.indptr.astype(index), stripe.indices, stripe.data), n_obs, indices, data)
    if width <= np.iinfo(SHORT).max + 1:
        indices = indices.astype(SHORT)
    short = np.empty(stripe.nnz, SHORT)
    return width, pointers, indices, short if shorten(data, short) else data


def join_rows(stored: StoredStripes, scratch: Scratch, most: int) -> Iterator[sparse.csr_matrix]:
    """Consecutive rows of all stripes in canonical CSR form, at most `most` values or one cell at a time."""
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
