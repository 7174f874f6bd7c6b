"""Ready: h5ad files on disk that a server can read as they are, or copies of them that it can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from biocolab_accessor.blocks import Slot
from biocolab_accessor.check.cell_ranger import MTX_PARTS, check_10x_h5, check_mtx
from biocolab_accessor.check.columns import as_frame
from biocolab_accessor.check.counts import MatrixChoice
from biocolab_accessor.check.report import Report
from biocolab_accessor.check.run import check_file, open_h5ad
from biocolab_accessor.check.table_file import check_table_file
from biocolab_accessor.errors import InvalidArgument, UnknownField
from biocolab_accessor.notice import notice
from biocolab_accessor.outbound.files import STUDY_TYPES, Payload
from biocolab_accessor.outbound.plan import columns_chosen, plan_of, write_plan
from biocolab_accessor.outbound.request import StudyRequest
from biocolab_accessor.storage.foreign_hdf5 import is_hdf5, opened_foreign

__all__ = ["expect_readable", "make_ready"]

_NO_CELL_KEPT = "BC703"
_SENT_AS_TEXT = "BC208"
_NEEDS_COPY = ("BC201", _SENT_AS_TEXT)


def make_ready(
    paths: Sequence[Path],
    request: StudyRequest,
    input_matrix_type: Any,
    folder: Path,
    columns: Sequence[str] | str | None = None,
) -> tuple[list[Path], bool]:
    """Check files, and copy those that a server would not read as they are, or not as they shall be.

    Parameters
    ----------
    paths
        The files, each a batch. They are not changed.
    request
        What the study shall be.
    input_matrix_type
        ``"auto"``, ``"raw"`` or ``"normalized"``.
    folder
        Where copies are written.
    columns
        Columns of obs that are sent; None means all.

    Returns
    -------
    tuple
        For each path itself or its copy, and whether they hold counts.

    Raises
    ------
    CheckFailed
        A file is not fit to be sent, or no cell of any passes the filters.
    InvalidArgument
        Some hold counts and others do not.

    Warns
    -----
    UserWarning
        What the check warns of.
    """
    chosen = {path: _chosen(path, columns) for path in dict.fromkeys(paths)}
    checked = {
        path: check_file(
            path,
            input_matrix_type=input_matrix_type,
            species=request.species,
            filters=request.filters,
            obs=names,
        )
        for path, names in chosen.items()
    }
    _refuse({path: report for path, (report, _) in checked.items()})
    choices: dict[Path, MatrixChoice] = {path: choice for path, (_, choice) in checked.items() if choice is not None}
    types = {choice.input_matrix_type for choice in choices.values()}
    if len(types) > 1:
        held = "; ".join(f"{path.name}: {choice.reason}" for path, choice in choices.items())
        msg = f"the batches of one study must all be counts or all be normalized: {held}"
        raise InvalidArgument(msg)
    raw = types == {"raw"}
    slot = Slot("raw.X" if raw else "X")
    ready = []
    for number, path in enumerate(paths):
        as_it_is = not any(found.code in _NEEDS_COPY for found in checked[path][0]) and chosen[path] is None
        if choices[path].slot == slot and as_it_is:
            ready.append(path)
            continue
        adata = open_h5ad(path)
        try:
            copy = folder / str(number)
            ready += write_plan(adata, plan_of(adata, checked[path][0], choices[path], chosen=chosen[path]), copy)
        finally:
            adata.file.close()
    return ready, raw


def _chosen(path: Path, columns: Sequence[str] | str | None) -> tuple[str, ...] | None:
    if columns is None:
        return None
    adata = open_h5ad(path)
    try:
        return columns_chosen(as_frame(adata.obs), columns)
    except UnknownField as error:
        msg = f"{path}: {error}"
        raise UnknownField(msg) from error
    finally:
        adata.file.close()


def expect_readable(payload: Payload, study_type: int) -> None:
    """Look at the first lines or values of tables and 10x files; what cannot be looked at here is left to the server.

    Raises
    ------
    CheckFailed
        A file is not what servers read; the message has the file, the line and the column.
    InvalidFile
        A file cannot be read, or is something else.

    Warns
    -----
    UserWarning
        What may be wrong with a file.
    """
    reports: dict[Path, Report] = {}
    if study_type == STUDY_TYPES["mtx_10x"]:
        parts = tuple(MTX_PARTS)
        for start in range(0, len(payload.files), len(parts)):
            batch = dict(zip(parts, payload.files[start : start + len(parts)], strict=True))
            reports[batch["matrix"]] = check_mtx(batch)
    elif study_type in (STUDY_TYPES["h5_10x"], STUDY_TYPES["tsv"]):
        look = check_10x_h5 if study_type == STUDY_TYPES["h5_10x"] else check_table_file
        reports = {path: look(path) for path in dict.fromkeys(payload.files)}
    else:  # a virtual dataset, for one, would arrive without its values
        for path in dict.fromkeys(payload.files):
            if is_hdf5(path):
                with opened_foreign(path, filters=False):
                    pass
    _refuse(reports)


def _refuse(reports: Mapping[Path, Report]) -> None:
    """Raise for what cannot be sent, and warn of the rest; of several batches some may lose all their cells."""
    all_lost = all(any(found.code == _NO_CELL_KEPT for found in report) for report in reports.values())
    for path, report in reports.items():
        grave = Report([found for found in report if all_lost or found.code != _NO_CELL_KEPT])
        grave.raise_for_errors(of=str(path))
    for path, report in reports.items():
        for found in report:
            # A file goes as it is, and its copy comes back as the file was: nothing to warn of.
            if found.severity != "note" and (not found.changed or found.code == _SENT_AS_TEXT):
                notice(f"{path.name}: {found.code} {found.path}: {found.text}")
