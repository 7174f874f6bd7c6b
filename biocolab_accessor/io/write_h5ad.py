"""Write h5ad: a file that any reader accepts, compressed on several threads.

h5py asks each string for its bytes while it holds Python's lock, for longer than all the rest of a table takes, and
the threads that deflate a matrix meanwhile stand still. Here the bytes are made at once, and HDF5 gets the address at
which each string begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
from anndata.experimental import write_dispatched
from h5py import h5s, h5t
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.concurrency import THREADS, Waiting, each, result, uninterruptible
from biocolab_accessor.errors import BiocolabError, InvalidArgument, InvalidValues
from biocolab_accessor.io.compression import GZIP, deflate_shuffled
from biocolab_accessor.io.safe_files import SafeFile, replacing
from biocolab_accessor.io.values import kept
from biocolab_accessor.messages import quoted

__all__ = ["Compression", "write_array", "write_csr", "write_h5ad", "write_text"]


def write_text(group: h5py.Group, name: str, texts: NDArray[Any], dataset_kwargs: dict[str, Any]) -> bool:
    r"""Write an array of strings in the encoding of anndata, where all of it is text that C can hold.

    Parameters
    ----------
    group, name
        Where it goes.
    texts
        (n,) objects.
    dataset_kwargs
        As :meth:`h5py.Group.create_dataset` takes them.

    Returns
    -------
    bool
        False where something is no text, has a ``"\0"`` or no UTF-8 form, or there is nothing: nothing is written then.

    Examples
    --------
    >>> with h5py.File("names.h5", "w", driver="core", backing_store=False) as file:
    ...     write_text(file, "names", np.array(["CD3D", "", "µ"], object), {})
    ...     file["names"].asstr()[:].tolist()
    True
    ['CD3D', '', 'µ']
    """
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
    """Write an array in the encoding of anndata, by gzip and byte shuffle.

    HDF5 itself would deflate one chunk after another with zlib, which takes longer for the columns of obs than ISA-L
    does for the matrix.

    Parameters
    ----------
    group, name
        Where it goes.
    values
        (n, ...) of any dtype.

    Returns
    -------
    bool
        False where that does not pay or the dtype is none of numbers; nothing is written then.
    """
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
        if len(part) < rows:  # a chunk of HDF5 is always whole
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


Compression = Literal["gzip"] | None

# Of one array, those that wait to be deflated or to be stored: they bound the memory, and are what the threads work at
# while tables are written.
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
        while len(self._waiting) > _MOST_CHUNKS_WAITING:
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
        Write-safe tables, see :mod:`biocolab_accessor.submit.h5ad_encoding`; text may be of any dtype of pandas.
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
        A value is not exact in ``dtype``, or anndata cannot write an element; the message names it.
    OSError
        The file cannot be written; nothing is left behind then.
    """
    if compression not in ("gzip", None):
        msg = f"compression is {quoted(compression)}: give 'gzip' or None"
        raise InvalidArgument(msg)
    gzip = GZIP if compression else {}
    shape = (len(obs), len(var))

    def write(part: Path, waiting: Waiting) -> None:
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
                output.expect()
                waiting.expect()
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
            rows = _prepared(output.watched(waiting.served(blocks)), dtype, whole=whole)
            between = tables()
            write_csr(file, "X", rows, shape, dtype, compression, between)
            for _ in between:  # the steps that are left
                pass
            for key, layer in (layers or {}).items():
                rows = _prepared(output.watched(waiting.served(layer)), dtype, whole=False)
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
    """A table whose text is objects, since pandas' own dtypes of text are written in an encoding that is new."""
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
    """Blocks in the stored dtype; what has to change is changed in a copy."""
    for block in blocks:
        data = np.rint(block.data) if whole and block.data.dtype.kind == "f" else block.data
        if data.dtype != dtype:
            with np.errstate(over="ignore", under="ignore"):
                cast = data.astype(dtype)
            if not kept(data, dtype).all():
                msg = f"the matrix holds values that {dtype} cannot hold exactly; was it changed since it was planned?"
                raise InvalidValues(msg)
            data = cast
        ready = sparse.csr_matrix(block.shape, dtype=dtype)
        ready.data, ready.indices, ready.indptr = data, block.indices, block.indptr
        yield ready
