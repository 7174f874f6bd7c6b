"""h5ad: writing a file that any reader takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.experimental import write_dispatched
from scipy import sparse

from biocolab_accessor.aside import Waiting, aside
from biocolab_accessor.errors import BiocolabError, InvalidArgument, InvalidValues
from biocolab_accessor.naming import quoted
from biocolab_accessor.precision import kept
from biocolab_accessor.storage.array import write_array
from biocolab_accessor.storage.csr import Compression, write_csr
from biocolab_accessor.storage.deflate import GZIP
from biocolab_accessor.storage.place import replacing
from biocolab_accessor.storage.sink import Sink
from biocolab_accessor.storage.text import write_text

__all__ = ["write_h5ad"]


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
        Write-safe tables, see :mod:`biocolab_accessor.outbound.shadow`; text may be of any dtype of pandas.
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
        with Sink(part) as sink, h5py.File(sink, "w") as file:

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
                sink.expect()
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
            rows = _prepared(sink.watched(waiting.served(blocks)), dtype, whole=whole)
            between = tables()
            write_csr(file, "X", rows, shape, dtype, compression, between)
            for _ in between:  # the steps that are left
                pass
            for key, layer in (layers or {}).items():
                rows = _prepared(sink.watched(waiting.served(layer)), dtype, whole=False)
                write_csr(file["layers"], key, rows, shape, dtype, compression)
            if as_raw:
                raw = file.create_group("raw")
                raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
                raw["X"], raw["var"] = file["X"], file["var"]
                put("varm", {}, raw)

    with replacing(path) as part:
        aside(partial(write, part))


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
