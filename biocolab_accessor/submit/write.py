"""Write: obs, var and obsm in the oldest encodings of h5ad, and the files of a plan, one for each batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.check.matrix_choice import stored_dtype
from biocolab_accessor.check.rules_names import is_kept
from biocolab_accessor.check.slots import is_table, unsendable
from biocolab_accessor.errors import InvalidArgument, InvalidColumn
from biocolab_accessor.io.columns import Verdict, Verdicts, as_frame, chosen_columns, judge_each, labels_of, named_by
from biocolab_accessor.io.compression import Compression
from biocolab_accessor.io.matrix_blocks import Slot, row_blocks, source_of
from biocolab_accessor.io.names import sent_name
from biocolab_accessor.io.write_h5ad import write_h5ad
from biocolab_accessor.messages import quoted

if TYPE_CHECKING:
    from biocolab_accessor.submit.plan import Plan


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


class Tables:
    """The matrix and tables that the files contain, encoded once for all batches."""

    # Once for all: a column could get a different dtype in one batch, such as integers where no value is missing.

    def __init__(self, adata: AnnData, plan: Plan) -> None:
        assert plan.slot is not None  # a plan without a matrix has errors, and is never written
        self.summary = next(summary for summary in plan.slots if summary.slot == plan.slot)
        self.raw = plan.input_matrix_type == "raw"
        self.source = source_of(adata, plan.slot)
        encoded = plan.encoded
        if encoded is None:
            obs = chosen_columns(as_frame(adata.obs), plan.chosen)
            encoded = encode(adata, plan.slot, obs, encoded_obsm(adata), gene_symbols=plan.gene_symbols)
        self.obs, self.var, self.obsm = encoded

    def write(self, path: Path, rows: NDArray[np.intp] | None, compression: Compression) -> None:
        """Write one file with the selected cells, or all of them."""
        write_h5ad(
            path,
            row_blocks(self.source, rows),
            rows_of(self.obs, rows),
            self.var,
            {key: rows_of(value, rows) for key, value in self.obsm.items()},
            dtype=stored_dtype(self.summary, raw=self.raw),
            whole=self.raw and self.summary.noise > 0,
            as_raw=self.raw,
            compression=compression,
        )


def write_plan(adata: AnnData, plan: Plan, folder: str | Path, *, compression: Compression = "gzip") -> list[Path]:
    """Write the files of a plan, one per batch, and return their paths in the order of ``plan.batches``."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    tables = tables_of(adata, plan)
    paths = [target / batch.file_name for batch in plan.batches]
    if plan.batch_key is None:
        tables.write(paths[0], None, compression)
        return paths
    labels = labels_of(as_frame(adata.obs)[plan.batch_key]).to_numpy()
    for batch, path in zip(plan.batches, paths, strict=True):
        rows = np.flatnonzero(labels == batch.name)
        if len(rows) != batch.n_obs:
            msg = f"batch {quoted(batch.name)} has {len(rows):,} cells, but {batch.n_obs:,} in the plan: plan again"
            raise InvalidArgument(msg)
        tables.write(path, rows, compression)
    return paths


def tables_of(adata: AnnData, plan: Plan) -> Tables:
    """The tables and matrix of a plan; InvalidArgument if the object has another shape by now."""
    assert plan.slot is not None
    now = (adata.n_obs, plan.slot.shape(adata)[1])
    if now != (plan.n_obs, plan.n_vars):
        msg = f"the object is {now[0]:,} x {now[1]:,}, but {plan.n_obs:,} x {plan.n_vars:,} in the plan: plan again"
        raise InvalidArgument(msg)
    return Tables(adata, plan)


def rows_of(value: Any, rows: NDArray[np.intp] | None) -> Any:
    """The selected rows of an array, a sparse matrix or a table; None means all."""
    if rows is None:
        return value
    return value.iloc[rows] if isinstance(value, pd.DataFrame) else value[rows]
