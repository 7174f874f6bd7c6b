"""Write h5ad: a file that any reader accepts, compressed on several threads.

h5py converts strings one by one while it holds the GIL. That takes longer than the rest of a table, and blocks the
threads that compress the matrix. Here all strings are encoded at once, and HDF5 gets the address of each string.

Numbers are compressed on threads by ISA-L, and stored with `write_direct_chunk`. HDF5 itself would compress one chunk
after another with zlib, which takes longer for the columns of obs than ISA-L takes for the matrix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.experimental import write_dispatched
from h5py import h5s, h5t
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.concurrency import THREADS, Caller, each, result, uninterruptible
from biocolab_accessor.errors import BiocolabError, InvalidArgument, InvalidValues
from biocolab_accessor.io.compression import GZIP, Compression, deflate_shuffled
from biocolab_accessor.io.safe_files import SafeFile, replacing
from biocolab_accessor.io.values import exact_in
from biocolab_accessor.messages import quoted


def write_text(group: h5py.Group, name: str, texts: NDArray[Any], dataset_kwargs: dict[str, Any]) -> bool:
    """Write an array of strings as anndata does; False, and nothing written, if it is not all valid text."""
    # Strings end with a NUL here. Anything but valid text without NUL is left to anndata's own writer.
    try:
        content = ("\0".join(texts.tolist()) + "\0").encode()
    except (TypeError, UnicodeEncodeError):
        return False
    octets = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(octets == 0)
    if texts.ndim != 1 or not len(texts) or len(ends) != len(texts):
        return False
    places = np.zeros(len(ends), np.uintp)
    places[1:] = ends[:-1] + 1
    places += octets.__array_interface__["data"][0]
    kind = h5t.C_S1.copy()
    kind.set_size(h5t.VARIABLE)
    kind.set_cset(h5t.CSET_UTF8)
    dataset = group.create_dataset(name, shape=texts.shape, dtype=h5py.string_dtype(), **dataset_kwargs)
    dataset.id.write(h5s.ALL, h5s.ALL, places, kind)
    dataset.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    return True


_CHUNK_BYTES = 1 << 20
_WORTH_IT = 4096
_CHUNKS_AT_ONCE = 8 * THREADS


def write_array(group: h5py.Group, name: str, values: NDArray[Any]) -> bool:
    """Write numbers as anndata does, with gzip and shuffle; False, and nothing written, if that does not pay."""
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8 or values.nbytes < _WORTH_IT:
        return False
    rows = min(len(values), max(1, _CHUNK_BYTES // (values.nbytes // len(values))))
    dataset = group.create_dataset(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(rows, *values.shape[1:]),
        shuffle=values.dtype.itemsize > 1,
        **GZIP,
    )
    dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    elsewhere = (0,) * (values.ndim - 1)

    def deflated(start: int) -> bytes:
        part = values[start : start + rows]
        if len(part) < rows:  # chunks in HDF5 are never partial
            whole = np.zeros((rows, *part.shape[1:]), part.dtype)
            whole[: len(part)] = part
            part = whole
        return deflate_shuffled(np.ascontiguousarray(part).reshape(-1))

    starts = range(0, len(values), rows)
    if len(starts) == 1:
        dataset.id.write_direct_chunk((0, *elsewhere), deflated(0))
        return True
    with ThreadPoolExecutor(THREADS, "biocolab-deflate") as pool:
        for first in range(0, len(starts), _CHUNKS_AT_ONCE):
            some = starts[first : first + _CHUNKS_AT_ONCE]
            for start, content in zip(some, each(pool, deflated, some), strict=True):
                dataset.id.write_direct_chunk((start, *elsewhere), content)
    return True


# Chunks of one array that wait to be compressed or stored. Their number bounds the memory, and they keep the threads
# busy while tables are written.
_MOST_CHUNKS_WAITING = 16
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
    """Write a matrix as anndata does, from consecutive rows in canonical CSR form and of the right dtype."""
    # HDF5 writes one thing at a time: `between` writes the tables in steps, one after each block, while chunks are
    # compressed. So the layout of the file does not depend on timing. Steps that are left over are not taken here.
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
    """Threads that compress; after an error, waiting chunks are not compressed."""
    pool = ThreadPoolExecutor(THREADS, "biocolab-deflate")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


class _ChunkedArray:
    """A growing 1-D dataset; threads compress its chunks, which are then stored directly."""

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
        """Append values."""
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
        """Write the rest, and cut the dataset to its length."""
        last = np.concatenate(self._rest) if self._rest else np.zeros(0, self._dtype)
        total = self._size + len(last)
        if self._dataset is None and not self._waiting:
            self._length = max(1, total)  # one chunk, so that a small matrix makes a small file
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
        while len(self._waiting) > _MOST_CHUNKS_WAITING:
            self._store(result(self._waiting.popleft()))

    def _store(self, content: bytes | memoryview) -> None:
        dataset = self._created()
        if self._written + self._length > dataset.shape[0]:
            dataset.resize((2 * self._written + self._length,))  # finish() cuts it to its length
        dataset.id.write_direct_chunk((self._written,), content)
        self._written += self._length

    def _created(self) -> h5py.Dataset:
        if self._dataset is None:
            filters = {**GZIP, "shuffle": True} if self._compression else {}
            self._dataset = self._group.create_dataset(
                self._name, shape=(0,), maxshape=(None,), chunks=(self._length,), dtype=self._dtype, **filters
            )
        return self._dataset


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
    """Write an h5ad from blocks of rows and write-safe tables; `path` is replaced only when the file is complete."""
    # Any reader of h5ad can read the file: its filters are built into HDF5, and tables have the oldest encodings.
    # `whole` rounds counts with float noise. `as_raw` makes raw/X and raw/var hard links to X and var, which takes no
    # space. All values must be exact in `dtype`, layers included.
    if compression not in ("gzip", None):
        msg = f"compression is {quoted(compression)}: give 'gzip' or None"
        raise InvalidArgument(msg)
    gzip = GZIP if compression else {}
    shape = (len(obs), len(var))

    def write(part: Path, caller: Caller) -> None:
        with SafeFile(part) as output, h5py.File(output, "w") as file:

            def put(key: str, element: Any, group: h5py.Group = file) -> None:
                try:
                    write_dispatched(group, key, element, step, dataset_kwargs=gzip)
                except (BiocolabError, OSError, CancelledError):
                    raise
                except Exception as error:
                    place = f"{group.name.strip('/')}/{key}".strip("/")
                    msg = f"{place} cannot be written to h5ad: {error}"
                    raise InvalidValues(msg) from error

            def step(write: Any, group: Any, key: str, element: Any, *, dataset_kwargs: Any, iospec: Any) -> None:
                output.check()
                caller.check()
                if isinstance(element, np.ndarray):
                    if iospec.encoding_type == "string-array" and write_text(group, key, element, dataset_kwargs):
                        return
                    if iospec.encoding_type == "array" and compression and write_array(group, key, element):
                        return
                write(group, key, element, dataset_kwargs=dataset_kwargs)

            def tables() -> Iterator[None]:
                put("obs", _text_as_objects(obs))
                yield
                put("var", _text_as_objects(var))
                yield
                put("obsm", {key: _plain(value) for key, value in obsm.items()})
                put("uns", dict(uns or {}))
                for empty in ("layers", "varm", "obsp", "varp"):
                    put(empty, {})

            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
            rows = _prepared(output.checked(caller.iterate(blocks)), dtype, whole=whole)
            between = tables()
            write_csr(file, "X", rows, shape, dtype, compression, between)
            for _ in between:  # the steps that are left
                pass
            for key, layer in (layers or {}).items():
                rows = _prepared(output.checked(caller.iterate(layer)), dtype, whole=False)
                write_csr(file["layers"], key, rows, shape, dtype, compression)
            if as_raw:
                raw = file.create_group("raw")
                raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
                raw["X"], raw["var"] = file["X"], file["var"]
                put("varm", {}, raw)

    with replacing(path) as part:
        uninterruptible(partial(write, part))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value)
    return _text_as_objects(value) if isinstance(value, pd.DataFrame) else value


def _text_as_objects(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with text as objects, since anndata writes pandas' string dtypes in a new encoding."""
    plain = frame.copy(deep=False)
    if isinstance(plain.index.dtype, pd.StringDtype):
        plain.index = plain.index.astype(object)
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.StringDtype):
            plain[name] = column.astype(object)
        elif isinstance(column.dtype, pd.CategoricalDtype) and isinstance(column.cat.categories.dtype, pd.StringDtype):
            labels, codes = column.cat.categories.astype(object), column.cat.codes.to_numpy()
            plain[name] = pd.Categorical.from_codes(codes, labels, ordered=column.cat.ordered)
    return plain


def _prepared(blocks: Iterable[sparse.csr_matrix], dtype: np.dtype[Any], *, whole: bool) -> Iterator[sparse.csr_matrix]:
    """Blocks in the stored dtype; values are converted in a copy."""
    for block in blocks:
        data = np.rint(block.data) if whole and block.data.dtype.kind == "f" else block.data
        if data.dtype != dtype:
            with np.errstate(over="ignore", under="ignore"):
                cast = data.astype(dtype)
            if not exact_in(data, dtype).all():
                msg = (
                    f"the matrix has values that {dtype} cannot hold exactly; was it modified after the plan was made?"
                )
                raise InvalidValues(msg)
            data = cast
        ready = sparse.csr_matrix(block.shape, dtype=dtype)
        ready.data, ready.indices, ready.indptr = data, block.indices, block.indptr
        yield ready
