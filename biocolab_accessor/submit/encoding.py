"""Encoding: obs, var and obsm in the oldest encodings of h5ad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.check.rules_names import is_kept
from biocolab_accessor.check.slots import is_table, unsendable
from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.io.columns import Verdict, Verdicts, as_frame, judge_each, named_by
from biocolab_accessor.io.matrix_blocks import Slot
from biocolab_accessor.io.names import sent_name
from biocolab_accessor.messages import quoted

__all__ = ["Encoded", "EncodedObsm", "encode", "encoded_frame", "encoded_obsm", "var_of"]


def encoded_frame(
    frame: pd.DataFrame, where: str, verdicts: Sequence[tuple[Any, Verdict]] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """A copy of obs or var in the oldest encodings of h5ad, and the list of changes."""
    # Text becomes categorical (existing categories keep their order) and nullable dtypes become NumPy dtypes. Columns
    # that need no change are shared, not copied; columns that h5ad cannot store are left out.
    changes: list[str] = []
    arrays: list[Any] = []
    names: list[Any] = []
    for name, verdict in judge_each(frame, where) if verdicts is None else verdicts:
        if verdict.column is None:
            continue
        if verdict.change:
            changes.append(f"{where}[{quoted(name)}]: {verdict.change}")
        arrays.append(verdict.column.array)
        names.append(name)
    labels = frame.index.to_numpy(object)
    plain = frame.index.inferred_type == "string"  # known at once; asking each label is slow
    others = Counter() if plain else Counter(type(label).__name__ for label in labels if not isinstance(label, str))
    if others:
        changes.append(f"{where}_names: {', '.join(others)} converted to text")
        labels = np.array([str(label) for label in labels], object)
    kept = frame.index.name if is_kept(frame) else None
    if frame.index.name is not None and kept is None:
        changes.append(f"{where}.index.name: {quoted(frame.index.name, escape=True)} is not sent")
    encoded = pd.DataFrame(dict(enumerate(arrays)), index=pd.Index(labels, dtype=object, name=kept), copy=False)
    encoded.columns = pd.Index([_sent(name, where) for name in names], dtype=object)
    changes += [
        f"{where}[{quoted(name)}]: sent as {quoted(sent)}"
        for name, sent in zip(names, encoded.columns, strict=True)
        if sent != name
    ]
    return encoded, changes


def _sent(name: Any, where: str) -> str:
    sent = sent_name(name)
    if sent is None:
        msg = f"{where}: the column name {quoted(name)} is a {type(name).__name__}, not text. Rename it in a copy"
        raise InvalidColumn(msg)
    return sent


class EncodedObsm(NamedTuple):
    """The parts of obsm that are sent, the parts that are not, and the changes."""

    sent: dict[str, Any]  # arrays, CSR matrices and encoded tables, by the key on the server
    left_out: dict[str, str]  # key and reason
    changes: list[str]


def encoded_obsm(adata: AnnData, verdicts: Verdicts | None = None) -> EncodedObsm:
    """Copies of the parts of obsm that h5ad can store: two-dimensional numeric arrays, sparse matrices and tables."""
    sent: dict[str, Any] = {}
    left: dict[str, str] = {}
    changes: list[str] = []
    for key in adata.obsm:
        value = adata.obsm[key]
        name = sent_name(key, embedding=True)
        reason = unsendable(key, value) or ("has the name of another key" if name in sent else "")
        if reason or name is None:
            left[key] = reason
        elif is_table(value):
            where = f"obsm[{quoted(key)}]"
            sent[name], changed = encoded_frame(as_frame(value), where, (verdicts or {}).get(where))
            # Its index is obs_names, whose changes are listed under obs already.
            changes += [change for change in changed if not change.startswith((f"{where}_names", f"{where}.index"))]
        else:
            sent[name] = _plain_array(key, value, changes)
    return EncodedObsm(sent, left, changes)


def _plain_array(key: str, value: Any, changes: list[str]) -> Any:
    for load in ("compute", "to_memory"):
        value = getattr(value, load)() if hasattr(value, load) else value
    array = value if sparse.issparse(value) else np.asarray(value)
    if array.dtype.kind == "b" and not sparse.issparse(array):  # servers read embeddings from numeric arrays only
        return array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        wider = np.float32 if array.dtype.itemsize == 2 else np.float64
        if wider is np.float64:
            changes.append(f"obsm[{quoted(key)}]: {array.dtype} sent as float64")
        array = array.astype(wider)
    return sparse.csr_matrix(array) if sparse.issparse(array) else array


class Encoded(NamedTuple):
    """obs, var and obsm in the oldest encodings of h5ad."""

    obs: pd.DataFrame
    var: pd.DataFrame
    obsm: dict[str, Any]


def encode(
    adata: AnnData,
    slot: Slot,
    obs: pd.DataFrame,
    obsm: EncodedObsm,
    verdicts: Verdicts | None = None,
    *,
    gene_symbols: str | None = None,
) -> Encoded:
    """obs, var and obsm as they are written, from the verdicts of the check if they are known."""
    known, (var, where) = verdicts or {}, var_of(adata, slot)
    var, _ = named_by(var, gene_symbols, where)
    sent_var, _ = encoded_frame(var, "var", known.get(where))
    return Encoded(encoded_frame(obs, "obs", known.get("obs"))[0], sent_var, obsm.sent)


def var_of(adata: AnnData, slot: Slot) -> tuple[pd.DataFrame, str]:
    """The var of a matrix, and its place."""
    raw = slot.kind == "raw.X"
    return as_frame(adata.raw.var if raw else adata.var), "raw.var" if raw else "var"
