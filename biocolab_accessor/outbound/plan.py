"""Plan: what a submission would send, decided before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.blocks import Slot, row_blocks
from biocolab_accessor.check.counts import MatrixChoice, SlotSummary
from biocolab_accessor.check.report import Report
from biocolab_accessor.check.run import check_object
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.outbound.h5ad import Compression, write_h5ad
from biocolab_accessor.outbound.names import distinct, safe_name
from biocolab_accessor.outbound.shadow import sendable_obsm, shadow_frame

__all__ = ["Batch", "Plan", "plan_submission", "to_h5ad", "write_plan"]

_LARGEST_FLOAT32_INTEGER = 2**24


@dataclass(frozen=True)
class Batch:
    """One file of a submission.

    Attributes
    ----------
    name
        Value of the batch column; empty for the only batch.
    file_name
        Name on the server.
    n_obs
        Number of cells.
    """

    name: str
    file_name: str
    n_obs: int


@dataclass(frozen=True)
class Plan:
    """What would be sent. Holds no reference to the object.

    Attributes
    ----------
    n_obs, n_vars
        Cells and genes.
    slot
        The matrix that goes to the server.
    input_matrix_type
        ``"raw"`` or ``"normalized"``.
    reason
        Why this matrix.
    slots
        What was looked at.
    obs, obsm
        Names of the columns and embeddings that are sent.
    batches
        The files.
    batch_key
        Column of obs that makes the batches.
    left_out
        What is not sent, since the servers read none of it.
    changes
        What is sent in another form than it has here.
    n_bytes
        Estimate of the bytes before compression; None where the number of stored values is not known.
    report
        What the check found.
    """

    n_obs: int
    n_vars: int
    slot: Slot
    input_matrix_type: Literal["raw", "normalized"]
    reason: str
    slots: tuple[SlotSummary, ...]
    obs: tuple[str, ...]
    obsm: tuple[str, ...]
    batches: tuple[Batch, ...]
    batch_key: str | None
    left_out: tuple[str, ...]
    changes: tuple[str, ...]
    n_bytes: int | None
    report: Report

    def _rows(self) -> list[tuple[str, str]]:
        size = f"about {self.n_bytes / 1e6:,.1f} MB before compression" if self.n_bytes is not None else ""
        files = ", ".join(f"{batch.file_name} ({batch.n_obs:,} cells)" for batch in self.batches)
        rows = [
            ("cells x genes", f"{self.n_obs:,} x {self.n_vars:,}"),
            ("matrix", f"{self.slot} as {self.input_matrix_type}"),
            ("because", self.reason),
            ("obs", ", ".join(self.obs)),
            ("obsm", ", ".join(self.obsm)),
            ("files", files),
            ("size", size),
            ("changed", "; ".join(self.changes)),
            ("left out", ", ".join(self.left_out)),
            ("warnings", "; ".join(str(finding) for finding in self.report.warnings)),
        ]
        return [(name, text) for name, text in rows if text]

    def __repr__(self) -> str:
        return "\n".join(["Plan: nothing has been sent", *(f"  {name}: {text}" for name, text in self._rows())])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td style='text-align:left'>{name}</td><td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        head = "<thead><tr><th colspan='2' style='text-align:left'>Plan: nothing has been sent</th></tr></thead>"
        return f"<table>{head}{cells}</table>"


def plan_submission(
    adata: AnnData, *, input_matrix_type: Any = "auto", batch_key: str | None = None, name: str = "study"
) -> Plan:
    """Decide what to send.

    Parameters
    ----------
    adata
        Any AnnData: in memory, view, backed, Dask. It is not changed.
    input_matrix_type
        ``"auto"``, ``"raw"`` or ``"normalized"``.
    batch_key
        Column of obs whose values become the batches, each a file of its own.
    name
        What the file is called where there is one only.

    Raises
    ------
    CheckFailed
        The object is not fit to be sent; the error holds the report.

    Examples
    --------
    >>> import anndata as ad, numpy as np
    >>> plan = plan_submission(ad.AnnData(np.array([[3.0, 0.0], [0.0, 1.0]], dtype="float32")))
    >>> plan.input_matrix_type, str(plan.slot)
    ('raw', 'X')
    """
    report, choice = check_object(adata, input_matrix_type=input_matrix_type, batch_key=batch_key)
    report.raise_for_errors()
    assert choice is not None
    obsm, left_obsm = sendable_obsm(adata)
    n_obs, n_vars = choice.slot.shape(adata)
    return Plan(
        n_obs=n_obs,
        n_vars=n_vars,
        slot=choice.slot,
        input_matrix_type=choice.input_matrix_type,
        reason=choice.reason,
        slots=choice.slots,
        obs=tuple(adata.obs.columns),
        obsm=tuple(obsm),
        batches=_batches(adata, batch_key, name),
        batch_key=batch_key,
        left_out=_left_out(adata, choice.slot, left_obsm),
        changes=tuple(f"{f.path}: {f.message}" for f in report if f.severity == "note"),
        n_bytes=_estimate(adata, choice, list(obsm.values())),
        report=report,
    )


def write_plan(adata: AnnData, plan: Plan, folder: Path, *, compression: Compression = "gzip") -> list[Path]:
    """Write the files of a plan, one for each batch, and give their paths.

    Parameters
    ----------
    adata
        The object that was planned for.
    plan
        What to write.
    folder
        Where to.
    compression
        ``"gzip"`` or None.
    """
    paths = [folder / batch.file_name for batch in plan.batches]
    if plan.batch_key is None:
        _write(adata, plan, paths[0], None, compression)
        return paths
    labels = adata.obs[plan.batch_key].astype(str).to_numpy()
    for batch, path in zip(plan.batches, paths, strict=True):
        _write(adata, plan, path, np.flatnonzero(labels == batch.name), compression)
    return paths


def to_h5ad(
    adata: AnnData, path: str | Path, *, input_matrix_type: Any = "auto", compression: Compression = "gzip"
) -> Path:
    """Write exactly the file that a submission sends; see :meth:`AnnDataAccessor.to_h5ad`."""
    target = Path(path)
    if not target.parent.is_dir():
        msg = f"there is no folder {target.parent}"
        raise InvalidArgument(msg)
    plan = plan_submission(adata, input_matrix_type=input_matrix_type)
    _write(adata, plan, target, None, compression)
    return target


def _write(adata: AnnData, plan: Plan, path: Path, rows: NDArray[np.intp] | None, compression: Compression) -> None:
    obs = adata.obs if rows is None else adata.obs.iloc[rows]
    var = adata.raw.var if plan.slot.kind == "raw.X" else adata.var
    obsm, _ = sendable_obsm(adata)
    summary = next(summary for summary in plan.slots if summary.slot == plan.slot)
    raw = plan.input_matrix_type == "raw"
    write_h5ad(
        path,
        row_blocks(adata, plan.slot, rows),
        shadow_frame(obs, "obs")[0],
        shadow_frame(var, "var")[0],
        {key: array if rows is None else array[rows] for key, array in obsm.items()},
        dtype=_stored_dtype(summary, raw=raw),
        whole=raw,
        as_raw=raw,
        compression=compression,
    )


def _stored_dtype(summary: SlotSummary, *, raw: bool) -> np.dtype[Any]:
    """float32 where that is exact, which it is for counts up to 2**24; else what the matrix has."""
    dtype = np.dtype(summary.dtype or np.float32)
    if raw and summary.maximum <= _LARGEST_FLOAT32_INTEGER:
        return np.dtype(np.float32)
    exact = (
        dtype.kind == "b" or (dtype.kind == "f" and dtype.itemsize <= 4) or (dtype.kind in "iu" and dtype.itemsize <= 2)
    )
    return np.dtype(np.float32) if exact else dtype


def _batches(adata: AnnData, batch_key: str | None, name: str) -> tuple[Batch, ...]:
    if batch_key is None:
        return (Batch("", f"{safe_name(name)}.h5ad", adata.n_obs),)
    column = adata.obs[batch_key]
    counts = column.astype(str).value_counts()
    if isinstance(column.dtype, pd.CategoricalDtype):
        order = [str(label) for label in column.cat.categories if str(label) in counts.index]
    else:
        order = list(dict.fromkeys(column.astype(str)))
    names = distinct([label.replace(".", "_") for label in order])
    return tuple(Batch(label, f"{file}.h5ad", int(counts[label])) for label, file in zip(order, names, strict=True))


def _left_out(adata: AnnData, slot: Slot, obsm: Sequence[str]) -> tuple[str, ...]:
    left = [] if slot.kind == "X" else ["X"]
    if adata.raw is not None and slot.kind != "raw.X":
        left.append("raw")
    left += [f"layers[{key!r}]" for key in adata.layers if slot != Slot("layer", key)]
    left += [f"obsm[{key!r}]" for key in obsm]
    for name in ("varm", "obsp", "varp", "uns"):
        left += [f"{name}[{key!r}]" for key in getattr(adata, name)]
    return tuple(left)


def _estimate(adata: AnnData, choice: MatrixChoice, obsm: Sequence[NDArray[Any]]) -> int | None:
    matrix = choice.slot.of(adata) if choice.slot.kind == "raw.X" or not adata.is_view else None
    rest = sum(array.nbytes for array in obsm)
    if matrix is not None and sparse.issparse(matrix):
        return int(matrix.nnz) * 8 + rest
    return int(np.count_nonzero(matrix)) * 8 + rest if isinstance(matrix, np.ndarray) else None
