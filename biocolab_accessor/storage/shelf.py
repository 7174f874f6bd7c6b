"""Shelf: a matrix that does not fit into memory, transposed by way of a scratch file.

Its stripes of genes are transposed one after another and kept there; then the rows of all stripes are taken out, a
range of cells at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.storage.stripes import SHORT, put_side_by_side, shorten, spans, turn
from biocolab_accessor.threads import in_order

__all__ = ["Scratch", "Shelved", "join_rows", "shelve"]

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
    kept: list[tuple[int, _Place, _Place, _Place]] = []
    # Closed also where the disk is full: an error that somebody keeps would keep the threads.
    with closing(in_order(_turned, stripes, "biocolab-shelve", _AT_ONCE)) as turned:
        for width, pointers, indices, data in turned:
            total += pointers
            kept.append((width, scratch.put(pointers), scratch.put(indices), scratch.put(data)))
    return Shelved((n_obs, sum(width for width, *_ in kept)), total, kept)


def _turned(stripe: sparse.csc_matrix) -> tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Its number of genes, and itself in CSR form; in half the bytes where that holds the same."""
    n_obs, width = stripe.shape
    index = stripe.indices.dtype
    indices, data = np.empty(stripe.nnz, index), np.empty(stripe.nnz, stripe.dtype)
    pointers = turn((stripe.indptr.astype(index), stripe.indices, stripe.data), n_obs, indices, data)
    if width <= np.iinfo(SHORT).max + 1:
        indices = indices.astype(SHORT)
    short = np.empty(stripe.nnz, SHORT)
    return width, pointers, indices, short if shorten(data, short) else data


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
    for first, last in spans(shelved.indptr, most):
        parts = []
        for _, pointers, indices, data in shelved.stripes:
            own = scratch.take(pointers, first, last + 1)
            low, high = int(own[0]), int(own[-1])
            parts.append((own - own[0], scratch.take(indices, low, high), scratch.take(data, low, high)))
        block = sparse.csr_matrix((last - first, shelved.shape[1]), dtype=np.float32)
        if parts:
            rows, theirs, values = zip(*parts, strict=True)
            index, nnz = block.indices.dtype, sum(map(len, values))
            ends = np.concatenate(theirs, dtype=index), np.concatenate(values, dtype=np.float32, casting="unsafe")
            block.indices, block.data = np.empty(nnz, index), np.empty(nnz, np.float32)
            block.indptr = put_side_by_side(np.stack(rows), ends, widths, block.indices, block.data)
        block.has_sorted_indices = block.has_canonical_format = True
        yield block
