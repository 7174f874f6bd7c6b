"""Compare: what is different between an object and what came back of it, and whether an object is as it was."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from biocolab_accessor.io.matrix_blocks import Slot
from biocolab_accessor.io.names import restored, sent_name, unescaped
from biocolab_accessor.submit.plan import Plan

_MANY = 10_000
_STORES = ("_X", "_obs", "_var", "_obsm", "_varm", "_obsp", "_varp", "_layers", "_uns")


def snapshot(adata: ad.AnnData) -> dict[str, Any]:
    """All that a user could see of an object, and in which arrays it lies."""
    if adata.is_view:
        return {"view": True, "of": snapshot(adata._adata_ref), "obs": adata.obs.copy(), "var": adata.var.copy()}
    held: dict[str, Any] = {}
    for name in _STORES:
        if not hasattr(adata, name):  # anndata 0.13 has X among the layers
            continue
        value = getattr(adata, name)
        # What holds itself has no copy that could be compared.
        held[name] = (
            copy.deepcopy(dict(value) if isinstance(value, Mapping) else value) if name != "_uns" else repr(value)
        )
        held[f"place of {name}"] = id(value)
    held["raw"] = None if adata.raw is None else (id(adata.raw.X), copy.deepcopy(adata.raw.X), adata.raw.var.copy())
    return held


def assert_unchanged(adata: ad.AnnData, before: Mapping[str, Any]) -> None:
    """The object is the same in every value, dtype and array."""
    after = snapshot(adata)
    assert after.keys() == before.keys()
    for name in before:
        assert same(after[name], before[name]), name


def same(one: Any, other: Any) -> bool:
    """Whether two things are equal in type, dtype and every value, missing ones included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, pd.DataFrame):
        return (
            same(one.index, other.index)
            and same(one.columns, other.columns)
            and all(same(one.iloc[:, i], other.iloc[:, i]) for i in range(one.shape[1]))
        )
    if isinstance(one, pd.Series | pd.Index):
        alike = one.dtype == other.dtype and len(one) == len(other) and one.name == other.name
        if len(one) > _MANY:
            return bool(alike and one.equals(other))
        return bool(alike and all(map(_same_value, one, other)))
    if sparse.issparse(one):
        return one.dtype == other.dtype and one.format == other.format and same(one.toarray(), other.toarray())
    if hasattr(one, "compute"):
        return same(one.compute(), other.compute())
    if isinstance(one, np.ndarray):
        alike = one.dtype == other.dtype and one.shape == other.shape and one.strides == other.strides
        if one.dtype.kind in "fiubc":
            return bool(alike and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
        return bool(alike and all(map(_same_value, one.ravel().tolist(), other.ravel().tolist())))
    return _same_value(one, other)


def _same_value(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) and not (isinstance(one, str) and isinstance(other, str)):
        return False
    if isinstance(one, np.ndarray):
        return same(one, other)
    missing = pd.api.types.is_scalar(one) and pd.isna(one)
    return bool(missing and pd.isna(other)) or bool(one == other)


def differences(adata: ad.AnnData, again: ad.AnnData, plan: Plan) -> list[str]:
    """Places where what came back is not what was there; text and labels are one, and so are 1 and 1.0."""
    found = []
    slot = plan.slot
    if slot.kind != "X" and "X" in plan.left_out:
        found.append("X")
    was, now = _matrix(adata, slot), _dense(again.X)
    if was.shape != now.shape or not np.array_equal(was, now):
        found.append(str(slot))
    var = adata.raw.var if slot.kind == "raw.X" else adata.var
    for where, ours, theirs in (("obs", adata.obs, again.obs), ("var", var, again.var)):
        if list(ours.index) != list(theirs.index):
            found.append(f"{where}_names")
        if ours.index.name != theirs.index.name:
            found.append(f"{where}.index.name")
        found += _columns(where, ours, theirs)
    for key in adata.obsm:
        name = sent_name(key, embedding=True)
        if name not in again.obsm:
            found.append(f"obsm[{key!r}]")
        elif isinstance(adata.obsm[key], pd.DataFrame):
            found += _columns(f"obsm[{key!r}]", adata.obsm[key], again.obsm[name])
        elif not np.array_equal(_dense(adata.obsm[key]), _dense(again.obsm[name]), equal_nan=True) or name != key:
            found.append(f"obsm[{key!r}]")
    for name in ("uns", "varm", "obsp", "varp", "layers"):
        entries = getattr(adata, name)
        found += [f"{name}[{key!r}]" for key in entries if key is not None and f"{name}[{key!r}]" != str(slot)]
    return found


def is_said(place: str, said: list[str]) -> bool:
    """Whether a place is among what a plan names, which writes some names in ASCII."""
    plain = place.encode("ascii", "backslashreplace").decode()
    return any(place in line or plain in line for line in said)


def assert_names_come_back(adata: ad.AnnData, again: ad.AnnData) -> None:
    """Undone by nothing but the names themselves, text is what it was."""
    names = [str(name) for name in adata.obs.columns if sent_name(name) in again.obs.columns]
    assert [unescaped(name) for name in again.obs.columns] == names
    assert list(restored(again.obs.columns).values()) == names or set(names) & set(again.obs.columns)
    keys = [str(key) for key in adata.obsm if sent_name(key, embedding=True) in again.obsm]
    assert sorted(unescaped(key, embedding=True) for key in again.obsm) == sorted(keys)


def _columns(where: str, ours: pd.DataFrame, theirs: pd.DataFrame) -> list[str]:
    found = []
    for position, name in enumerate(ours.columns):
        sent = sent_name(name)
        if sent not in theirs.columns or sent != name or not _same_column(ours.iloc[:, position], theirs[sent]):
            found.append(f"{where}[{name!r}]")
    return found


def _same_column(ours: pd.Series, theirs: pd.Series) -> bool:
    if isinstance(ours.dtype, pd.SparseDtype) or ours.dtype == np.longdouble:
        return False  # the values are the same, but not what holds them
    if isinstance(ours.dtype, pd.CategoricalDtype):
        if not isinstance(theirs.dtype, pd.CategoricalDtype) or ours.cat.ordered != theirs.cat.ordered:
            return False
        if list(ours.cat.categories) != list(theirs.cat.categories):
            return False
    if len(ours) > _MANY and list(map(str, ours)) == list(map(str, theirs)):
        return True
    floats = any(isinstance(value, float) for value in ours)  # among which 1 is 1.0 as well
    return all(_same_cell(was, now, floats=floats) for was, now in zip(ours, theirs, strict=True))


def _same_cell(was: Any, now: Any, *, floats: bool) -> bool:
    if pd.isna(was) or pd.isna(now):
        return bool(pd.isna(was) and pd.isna(now))
    if any(isinstance(was, kind) != isinstance(now, kind) for kind in (str, bool | np.bool_)):
        return False
    return bool(was == now) and (floats or not (isinstance(was, int | np.integer) and isinstance(now, float)))


def _matrix(adata: ad.AnnData, slot: Slot) -> np.ndarray:
    """What is in a slot; of a view cut here, since anndata cannot cut all that it was given behind its back."""
    if not adata.is_view or slot.kind == "raw.X":
        return _dense(slot.of(adata))
    return _dense(slot.of(adata._adata_ref))[adata._oidx][:, adata._vidx]


def _dense(matrix: Any) -> np.ndarray:
    matrix = matrix.compute() if hasattr(matrix, "compute") else matrix
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
