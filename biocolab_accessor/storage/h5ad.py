"""h5ad: writing the file that is sent, block by block and compressed on several threads."""

from __future__ import annotations

import os
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import InvalidArgument, InvalidValues
from biocolab_accessor.storage.deflate import deflate_shuffled

__all__ = ["Compression", "replacing", "write_h5ad"]

Compression = Literal["gzip"] | None

_CHUNK_BYTES = 1 << 20
_THREADS = min(4, os.cpu_count() or 1)
_MAX_INT32 = np.iinfo(np.int32).max


def write_h5ad(
    path: Path,
    blocks: Iterable[sparse.csr_matrix],
    obs: pd.DataFrame,
    var: pd.DataFrame,
    obsm: Mapping[str, Any],
    *,
    dtype: np.dtype[Any],
    whole: bool = False,
    as_raw: bool = False,
    compression: Compression = "gzip",
    layers: Mapping[str, Iterable[sparse.csr_matrix]] | None = None,
    uns: Mapping[str, Any] | None = None,
) -> None:
    """Write an h5ad.

    Any reader of h5ad takes it: the matrix is gzip with byte shuffle (HDF5's own filters), the tables are in the oldest
    encodings. The chunks are deflated on threads by ISA-L and stored as they are, which HDF5's own writer cannot do.

    Parameters
    ----------
    path
        Replaced only when the new file is complete.
    blocks
        Consecutive rows of the matrix in canonical CSR form, as many in all as obs has.
    obs, var
        Write-safe tables, see :mod:`biocolab_accessor.outbound.shadow`.
    obsm
        Arrays, CSR matrices and write-safe tables by key, each with the rows of obs.
    dtype
        Of the stored values; all of them must be exact in it.
    whole
        Round the values to whole numbers: they are counts with float noise.
    as_raw
        Let ``raw/X`` and ``X`` be the same matrix (by an HDF5 hard link, so it is stored once), and likewise ``var``.
    compression
        ``"gzip"``, or None for plain.
    layers
        Blocks by key, as ``blocks`` and of the same dtype.
    uns
        What h5ad can hold.

    Raises
    ------
    InvalidArgument
        There is no such compression, or the blocks do not have the rows of obs.
    InvalidValues
        A value is not exact in ``dtype``.
    OSError
        The file cannot be written; nothing is left behind then.
    """
    if compression not in ("gzip", None):
        msg = f"compression is {compression!r}: give 'gzip' or None"
        raise InvalidArgument(msg)
    tables = {"compression": "gzip", "compression_opts": 1} if compression else {}
    with replacing(path) as part, h5py.File(part, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        shape = (len(obs), len(var))
        _write_matrix(file, "X", _prepared(blocks, dtype, whole=whole), shape, dtype, compression)
        write_elem(file, "layers", {})
        for key, layer in (layers or {}).items():
            _write_matrix(file["layers"], key, _prepared(layer, dtype, whole=False), shape, dtype, compression)
        write_elem(file, "obs", obs, dataset_kwargs=tables)
        write_elem(file, "var", var, dataset_kwargs=tables)
        contiguous = {key: np.ascontiguousarray(v) if isinstance(v, np.ndarray) else v for key, v in obsm.items()}
        write_elem(file, "obsm", contiguous, dataset_kwargs=tables)
        write_elem(file, "uns", dict(uns or {}))
        for empty in ("varm", "obsp", "varp"):
            write_elem(file, empty, {})
        if as_raw:
            raw = file.create_group("raw")
            raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
            raw["X"], raw["var"] = file["X"], file["var"]
            write_elem(raw, "varm", {})


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` that takes its place when the block ends well, and is removed when it does not."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _prepared(blocks: Iterable[sparse.csr_matrix], dtype: np.dtype[Any], *, whole: bool) -> Iterator[sparse.csr_matrix]:
    """Blocks in the stored dtype; what has to change is changed in a copy."""
    for block in blocks:
        data = np.rint(block.data) if whole and block.data.dtype.kind == "f" else block.data
        if data.dtype != dtype:
            with np.errstate(over="ignore", under="ignore"):
                cast = data.astype(dtype)
            if not np.array_equal(cast, data, equal_nan=data.dtype.kind == "f"):
                msg = f"the matrix holds values that {dtype} cannot hold exactly; was it changed since it was planned?"
                raise InvalidValues(msg)
            data = cast
        ready = sparse.csr_matrix(block.shape, dtype=dtype)
        ready.data, ready.indices, ready.indptr = data, block.indices, block.indptr
        yield ready


def _write_matrix(
    parent: h5py.Group,
    name: str,
    blocks: Iterator[sparse.csr_matrix],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    compression: Compression,
) -> None:
    group = parent.create_group(name)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array(shape, np.int64)
    indptr = np.zeros(shape[0] + 1, np.int64)
    row = 0
    with ThreadPoolExecutor(_THREADS, "biocolab-deflate") as pool:
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
        if row != shape[0]:
            msg = f"the blocks do not make up a matrix of {shape[0]:,} x {shape[1]:,}"
            raise InvalidArgument(msg)
        data.finish()
        indices.finish()
    small = indptr[-1] <= _MAX_INT32
    group.create_dataset("indptr", data=indptr.astype(np.int32) if small else indptr)


class _ChunkedArray:
    """A growing 1-D dataset whose chunks are deflated elsewhere and stored as they are.

    Parameters
    ----------
    group, name, dtype, compression
        Of the dataset.
    pool
        Threads that deflate; a few chunks wait for them at most, so that memory stays bounded.
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
            self._store(self._waiting.popleft().result())
        self._created().resize((total,))

    def _put(self, chunk: NDArray[Any]) -> None:
        self._size += len(chunk)
        if self._compression is None:
            self._store(chunk.tobytes())
            return
        self._waiting.append(self._pool.submit(deflate_shuffled, chunk))
        while len(self._waiting) > 2 * _THREADS:
            self._store(self._waiting.popleft().result())

    def _store(self, content: bytes) -> None:
        dataset = self._created()
        if self._written + self._length > dataset.shape[0]:
            dataset.resize((2 * self._written + self._length,))  # cut to its length in the end
        dataset.id.write_direct_chunk((self._written,), content)
        self._written += self._length

    def _created(self) -> h5py.Dataset:
        if self._dataset is None:
            filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if self._compression else {}
            self._dataset = self._group.create_dataset(
                self._name, shape=(0,), maxshape=(None,), chunks=(self._length,), dtype=self._dtype, **filters
            )
        return self._dataset
