"""Slots: which entries of obsm can be sent, and which entries of other slots h5ad cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData, settings
from pandas.arrays import NumpyExtensionArray
from scipy import sparse

from biocolab_accessor.io.columns import as_frame, judge, plain_verdict
from biocolab_accessor.io.names import key_as_text, sent_name, unwritable_key, unwritable_text
from biocolab_accessor.messages import quoted

_DEEPEST = 20
_MOST_LOOKED_AT = 10_000


def is_table(value: Any) -> bool:
    """Whether a value is a data frame, in memory or lazily opened."""
    return isinstance(value, pd.DataFrame) or (hasattr(value, "to_memory") and hasattr(value, "columns"))


def unsendable(key: Any, value: Any) -> str:
    """Why an entry of obsm cannot be sent; empty for 2D arrays of numbers or booleans, sparse matrices and tables."""
    if key_as_text(key) is None:
        return f"its key is a {type(key).__name__}, not text"
    if is_table(value):
        return _unsendable_table(as_frame(value))
    if not all(hasattr(value, name) for name in ("dtype", "shape")):
        return f"is a {type(value).__name__}"
    if np.dtype(value.dtype).kind not in "fiub":
        return f"holds {value.dtype} values"
    if np.ma.is_masked(value):
        return "has masked values"
    if len(value.shape) != 2:
        return f"has {len(value.shape)} dimensions"
    return "" if value.shape[1] else "has no columns"


def unwritable_parts(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Places within a value, such as ``uns``, that h5ad cannot hold or would change, and why."""
    if depth > _DEEPEST:  # deeper than any real object
        return
    if sparse.issparse(value):  # before Mapping, as one of its kinds is a dict too
        if value.format not in ("csr", "csc"):
            yield path, f"is a {type(value).__name__}"
    elif isinstance(value, Mapping):
        if depth and type(value) is not dict:  # uns itself is a mapping of anndata
            yield path, f"is a {type(value).__name__}"
        for key in value:
            place = f"{path}[{quoted(key, escape=True)}]"
            if not isinstance(key, str):
                yield place, f"the key is a {type(key).__name__}, not text"
            elif reason := unwritable_key(key):
                yield place, f"the key {reason}"
            yield from unwritable_parts(value[key], place, depth + 1)
    elif isinstance(value, list):
        yield from _unwritable_list(value, path)
    elif isinstance(value, pd.DataFrame):
        yield from _unwritable_table(value, path)
    elif type(value) is str:
        if reason := unwritable_text(value):
            yield path, reason
    elif isinstance(value, np.ndarray):
        yield from _unwritable_array(value, path)
    elif isinstance(value, pd.api.extensions.ExtensionArray) and type(value) is not NumpyExtensionArray:
        if reason := _unwritable_values(pd.Series(value), path):
            yield path, reason
    elif not _is_writable(value):
        yield path, f"is a {type(value).__name__}"


def _unwritable_list(value: list[Any], path: str) -> Iterator[tuple[str, str]]:
    kinds = {type(item) for item in value[:_MOST_LOOKED_AT]}
    strange = sorted(kind.__name__ for kind in kinds if not issubclass(kind, str | bytes | Number | np.generic | list))
    if strange:
        yield path, f"is a list of {', '.join(strange)}"
    elif any(issubclass(kind, str) for kind in kinds) and len(kinds) > 1:
        yield path, "is a list of text and other values, which would all become text"
    else:
        try:
            array = np.array(value[:_MOST_LOOKED_AT])
        except ValueError:
            yield path, "is a list of lists of different lengths"
        else:
            yield from _unwritable_array(array, path)


def _unwritable_array(array: np.ndarray[Any, Any], path: str) -> Iterator[tuple[str, str]]:
    if array.dtype.names:
        for name in array.dtype.names:
            yield from _unwritable_array(array[name], f"{path}[{quoted(name, escape=True)}]")
    elif array.dtype.kind == "O":
        if reason := _unwritable_values(pd.Series(array.reshape(-1), dtype=object), path):
            yield path, reason
    elif array.dtype.kind in "mM":
        yield path, f"holds {array.dtype} values"
    elif array.dtype.kind == "U" and any("\0" in text for text in array.reshape(-1)[:_MOST_LOOKED_AT]):
        yield path, "holds a NUL"


def _unwritable_table(table: pd.DataFrame, path: str) -> Iterator[tuple[str, str]]:
    for position, name in enumerate(table.columns):
        if not isinstance(name, str):
            yield f"{path}[{quoted(name, escape=True)}]", f"the column name is a {type(name).__name__}, not text"
        elif name == "_index":
            yield f"{path}[{quoted(name, escape=True)}]", "the column name is reserved for the index in h5ad"
        elif "/" in name:  # anndata 0.12 writes it with a warning, and 0.13 does not
            yield f"{path}[{quoted(name, escape=True)}]", f"the column name {unwritable_key(name)}"
        elif reason := _unwritable_values(table.iloc[:, position], path):
            yield f"{path}[{quoted(name, escape=True)}]", reason
    if not table.columns.is_unique:
        yield path, "has columns with the same name"
    elif table.index.name in table.columns and not table.index.equals(pd.Index(table[table.index.name])):
        yield f"{path}.index.name", "is also the name of a column, which has other values"
    if plain_verdict(pd.Series(table.index.to_numpy(object), dtype=object), path).column is None:
        yield f"{path}.index", "holds values of mixed types"


def _unwritable_values(values: pd.Series, path: str) -> str:
    """Why anndata would not write a column or array; a submission converts many of these first and sends them."""
    if (verdict := plain_verdict(values, path)).column is None:
        return verdict.problem
    array, dtype = values.array, values.dtype
    if isinstance(array, pd.Categorical):
        text = pd.api.types.infer_dtype(array.categories) in ("string", "empty")
        return "" if text or array.categories.dtype != object else "has categories that are objects, not text"
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        if pd.api.types.infer_dtype(values, skipna=False) in ("string", "empty") or not len(values):
            return ""
        return f"holds objects, {'some of them missing' if values.isna().any() else 'not text'}"
    if isinstance(dtype, np.dtype) or isinstance(array, pd.arrays.IntegerArray | pd.arrays.BooleanArray):
        return ""
    if isinstance(dtype, pd.StringDtype) and getattr(settings, "allow_write_nullable_strings", True) is not False:
        return ""
    return f"holds {dtype} values, which anndata does not write"


def _is_writable(value: Any) -> bool:
    if isinstance(value, np.generic):
        return value.dtype.kind in "biufcU"
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if value is None or isinstance(value, bool | AnnData) or type(value) is float:
        return True
    return all(hasattr(value, name) for name in ("dtype", "shape")) and not isinstance(
        value, pd.Series | pd.Index | NumpyExtensionArray
    )


def _unsendable_table(table: pd.DataFrame) -> str:
    names = [sent_name(name) for name in table.columns]
    for given, name in zip(table.columns, names, strict=True):
        if name is None:
            return f"column name {quoted(given, escape=True)} is a {type(given).__name__}, not text"
    if len(set(names)) < len(names):
        return "has columns with the same name"
    # A column that cannot be converted is left out; a table that has only such columns is not sent.
    problems = []
    for position, name in enumerate(table.columns):
        verdict = judge(table.iloc[:, position])
        if verdict.column is not None:
            return ""
        problems.append(f"column {quoted(name, escape=True)}: {verdict.problem}")
    return problems[0] if problems else "has no columns"
