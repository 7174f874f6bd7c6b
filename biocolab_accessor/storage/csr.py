"""CSR: a matrix written block by block, its chunks deflated on several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.storage.deflate import GZIP, deflate_shuffled
from biocolab_accessor.threads import THREADS
from biocolab_accessor.waits import result

__all__ = ["Compression", "write_csr"]

Compression = Literal["gzip"] | None

_CHUNK_BYTES = 1 << 20
# Of one array, those that wait to be deflated or to be stored: they bound the memory, and are what the threads work at
# while tables are written.
_MOST_WAITING = 16
_MAX_INT32 = np.iinfo(np.int32).max


def write_csr(
    parent: h5py.Group,
    name: str,
    blocks: Iterable[sparse.csr_matrix],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    compression: Compression,
    between: Iterator[None] | None = None,
) -> None:
    """Write a matrix in the encoding of anndata.

    Parameters
    ----------
    parent, name
        Where it goes.
    blocks
        Consecutive rows in canonical CSR form and of the right dtype, as many in all as the matrix has.
    shape
        Cells and genes.
    dtype
        Of the values.
    compression
        ``"gzip"`` or None.
    between
        Something else to write to the file, a step of it after each block while its chunks are deflated; what is left
        of it is not begun. HDF5 writes one thing at a time, and where a file has what must not depend on how fast that
        goes.

    Raises
    ------
    InvalidArgument
        The blocks are not the rows of this matrix.
    """
    group = parent.create_group(name)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array(shape, np.int64)
    indptr = np.zeros(shape[0] + 1, np.int64)
    row = 0
    with _threads() as pool:
        data = _ChunkedArray(group, "data", dtype, compression, pool)
        indices = _ChunkedArray(group, "indices", np.dtype(np.int32), compression, pool)
        for block in blocks:
            rows = block.shape[0]
            if block.shape[1] != shape[1] or row + rows > shape[0]:
                row = -1
                break
            indptr[row + 1 : row + rows + 1] = indptr[row] + block.indptr[1:]
            row += rows
            data.append(block.data)
            indices.append(block.indices)
            if between is not None:
                next(between, None)
        if row != shape[0]:
            msg = f"the blocks do not make up a matrix of {shape[0]:,} x {shape[1]:,}"
            raise InvalidArgument(msg)
        data.finish()
        indices.finish()
    small = indptr[-1] <= _MAX_INT32
    group.create_dataset("indptr", data=indptr.astype(np.int32) if small else indptr)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that deflate; when something goes wrong nothing that waits is begun."""
    pool = ThreadPoolExecutor(THREADS, "biocolab-deflate")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _ChunkedArray:
    """A growing 1-D dataset whose chunks are deflated elsewhere and stored as they are.

    Parameters
    ----------
    group, name, dtype, compression
        Of the dataset.
    pool
        Threads that deflate; some chunks wait for them at most, so that memory stays bounded.
    """

    def __init__(
        self, group: h5py.Group, name: str, dtype: np.dtype[Any], compression: Compression, pool: ThreadPoolExecutor
    ) -> None:
        self._group, self._name, self._dtype, self._compression = group, name, dtype, compression
        self._pool = pool
        self._length = _CHUNK_BYTES // dtype.itemsize
        self._dataset: h5py.Dataset | None = None
        self._rest: list[NDArray[Any]] = []
        self._size = self._written = 0
        self._waiting: deque[Future[bytes]] = deque()

    def append(self, values: NDArray[Any]) -> None:
        """Add values at the end."""
        values = values.astype(self._dtype, copy=False)
        held = sum(len(piece) for piece in self._rest)
        start = 0
        if held:
            start = min(self._length - held, len(values))
            self._rest.append(values[:start].copy())
            if held + start < self._length:
                return
            self._put(np.concatenate(self._rest))
            self._rest = []
        while start + self._length <= len(values):
            self._put(values[start : start + self._length])
            start += self._length
        if start < len(values):
            self._rest.append(values[start:].copy())

    def finish(self) -> None:
        """Write what is left, and cut the dataset to its length."""
        last = np.concatenate(self._rest) if self._rest else np.zeros(0, self._dtype)
        total = self._size + len(last)
        if self._dataset is None and not self._waiting:
            self._length = max(1, total)  # all of it in one chunk, so that a small matrix makes a small file
        if len(last):
            self._put(np.concatenate([last, np.zeros(self._length - len(last), self._dtype)]))
        while self._waiting:
            self._store(result(self._waiting.popleft()))
        self._created().resize((total,))

    def _put(self, chunk: NDArray[Any]) -> None:
        self._size += len(chunk)
        if self._compression is None:
            self._store(chunk.view(np.uint8).data)
            return
        self._waiting.append(self._pool.submit(deflate_shuffled, chunk))
        while len(self._waiting) > _MOST_WAITING:
            self._store(result(self._waiting.popleft()))

    def _store(self, content: bytes | memoryview) -> None:
        dataset = self._created()
        if self._written + self._length > dataset.shape[0]:
            dataset.resize((2 * self._written + self._length,))  # cut to its length in the end
        dataset.id.write_direct_chunk((self._written,), content)
        self._written += self._length

    def _created(self) -> h5py.Dataset:
        if self._dataset is None:
            filters = {**GZIP, "shuffle": True} if self._compression else {}
            self._dataset = self._group.create_dataset(
                self._name, shape=(0,), maxshape=(None,), chunks=(self._length,), dtype=self._dtype, **filters
            )
        return self._dataset
