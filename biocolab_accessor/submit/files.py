"""Files: files on disk, checked, and copied if a server could not read the original."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
from anndata import AnnData
from filelock import FileLock
from filelock import Timeout as LockTimeout

from biocolab_accessor.check.files import (
    MTX_PARTS,
    check_10x_h5,
    check_mtx,
    open_h5ad,
    parts_in,
    pipeline_in,
    study_type_of,
)
from biocolab_accessor.check.report import Report
from biocolab_accessor.check.run import Checked, check_file
from biocolab_accessor.check.tables import check_table_file
from biocolab_accessor.errors import InvalidArgument, InvalidFile, MissingFile, UnknownField
from biocolab_accessor.io.columns import as_frame
from biocolab_accessor.io.hdf5_gate import is_hdf5, opened_foreign
from biocolab_accessor.io.matrix_blocks import Slot
from biocolab_accessor.io.names import distinct
from biocolab_accessor.messages import did_you_mean, listing, quoted, warn
from biocolab_accessor.platforms import expanded, temporary_folder
from biocolab_accessor.protocol import STUDY_TYPES, Server
from biocolab_accessor.submit.plan import (
    Plan,
    Strictness,
    StudyRequest,
    columns_chosen,
    expect_column,
    plan_of,
    plan_of_refused,
)
from biocolab_accessor.submit.write import write_plan

_LENS = {7: "Lens Bulk", 8: "Lens Bulk", 12: "Lens Bulk", 13: "Lens Bulk"}

_LENS |= dict.fromkeys((9, 10, 11, 14, 16, 17, 18, 19), "Lens SC")

_PROCESSED = ("coords.npy", "embeddings.db", "matrix.hdf5", "metadata.db")

_TAKES = "bc.submit takes paths of files"

StrPath = str | os.PathLike[str]

Files = StrPath | Mapping[str, StrPath] | Sequence[StrPath | Mapping[str, StrPath]]


@dataclass(frozen=True)
class Payload:
    """Files to upload."""

    files: tuple[Path, ...]
    names: tuple[str, ...]  # on the server, distinct and of safe characters
    batches: tuple[str, ...]  # for the submit request
    extra: tuple[Path, ...] = ()  # for the sub-folder custom_embeddings of a processed study


def study_type_number(study_type: Any) -> int:
    """The number on the wire of a study type given by name, number or enum member."""
    value = getattr(study_type, "value", study_type)
    if isinstance(value, str) and value.lower() in STUDY_TYPES:
        return STUDY_TYPES[value.lower()]
    known = isinstance(value, int) and not isinstance(value, bool)
    if known and value in STUDY_TYPES.values():
        return int(value)
    if known and value in _LENS:
        getter = "get_lensbulk" if _LENS[value] == "Lens Bulk" else "get_lenssc"
        msg = (
            f"study type {value} goes to a {_LENS[value]} server: use EConnector.{getter}().submit_study_from_local(…)"
        )
        raise InvalidArgument(msg)
    near = did_you_mean(str(value), STUDY_TYPES)
    msg = f"study_type is {quoted(study_type)}{near}: give one of {listing(STUDY_TYPES, limit=9)}"
    raise InvalidArgument(msg)


def study_type_of_files(files: Any) -> str:
    """The study type that all files look like."""
    entries = as_entries(files, _TAKES, str | os.PathLike | Mapping)
    kinds = {_type_of_entry(entry): entry for entry in reversed(entries)}
    if len(kinds) > 1:
        held = "; ".join(f"{entry} looks like {kind}" for kind, entry in reversed(kinds.items()))
        msg = f"the files of one study must be of one type, but {held}: submit them one by one, or give study_type"
        raise InvalidArgument(msg)
    return next(iter(kinds), "h5ad")


def _type_of_entry(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return study_type_of(expanded(entry))
    if "features" in entry or "barcodes" in entry:
        return "mtx_10x"
    alone = entry.get("matrix", "")
    return study_type_of(expanded(alone)) if alone and not expanded(alone).is_dir() else "h5ad"


def as_entries(given: Any, takes: str, kinds: Any) -> list[Any]:
    """One or several values of some types, as a list; ``takes`` begins the error message for other types."""
    # Iterating over a DataFrame would give its column names.
    one = isinstance(given, kinds | bytes | AnnData | pd.DataFrame) or not isinstance(given, Iterable)
    entries = [given] if one else list(given)
    wrong = [type(entry).__name__ for entry in entries if not isinstance(entry, kinds)]
    if wrong:
        msg = (
            f"{takes}, not {wrong[0]}: submit an object in memory with adata.biocolab.submit(…), "
            "an expression table with df.biocolab.submit(…)"
        )
        raise InvalidArgument(
            msg, line="{it}.biocolab.submit()" if one and isinstance(given, AnnData | pd.DataFrame) else ""
        )
    return entries


def collect(files: Files, study_type: int) -> Payload:
    """Collect the files of a submission, with distinct names so that none overwrites another on the server."""
    entries = as_entries(files, _TAKES, str | os.PathLike | Mapping)
    if not entries:
        msg = "files is empty: give at least one path"
        raise InvalidArgument(msg)
    if study_type == STUDY_TYPES["tile_db"]:
        msg = "TileDB studies can only be read from S3: use bc.submit_from_s3(…, study_type='tile_db')"
        raise InvalidArgument(msg)
    if study_type == STUDY_TYPES["processed_folder"]:
        return _processed(entries)
    if study_type == STUDY_TYPES["mtx_10x"]:
        return _mtx(entries)
    given = [_parts(entry, ("matrix",))["matrix"] if isinstance(entry, Mapping) else entry for entry in entries]
    paths = [_existing(_no_folder(path)) for path in given]
    names = tuple(distinct([path.name for path in paths], [path.parent.name for path in paths]))
    return Payload(tuple(paths), names, names)


def _mtx(entries: list[Any]) -> Payload:
    parts = [_mtx_parts(entry) for entry in entries]
    labels = [
        str(entry["name"]) if isinstance(entry, Mapping) and "name" in entry else found["matrix"].parent.name
        for entry, found in zip(entries, parts, strict=True)
    ]
    batches = distinct(labels)
    endings = {"matrix": "matrix.mtx", "features": "features.tsv", "barcodes": "barcodes.csv"}
    files, names = [], []
    for batch, found in zip(batches, parts, strict=True):
        for part, ending in endings.items():
            files.append(found[part])
            names.append(f"{batch}{ending}{'.gz' if _is_gzip(found[part]) else ''}")
    return Payload(tuple(files), tuple(names), tuple(batches))


def _mtx_parts(entry: Any) -> dict[str, Path]:
    if isinstance(entry, Mapping):
        return {part: _existing(path) for part, path in _parts(entry, tuple(MTX_PARTS)).items()}
    folder = expanded(entry)
    if not folder.is_dir():
        msg = (
            f"{folder} is not a folder: give a folder with matrix, features and barcodes for each 10x MTX batch, or a "
            "dict of them"
        )
        raise InvalidFile(msg)
    return {part: _existing(path) for part, path in parts_in(folder).items()}


def _parts(entry: Mapping[str, StrPath], needed: Sequence[str]) -> dict[str, StrPath]:
    missing = [part for part in needed if part not in entry]
    if missing:
        msg = f"a batch of this study type needs {listing(needed)}: {listing(missing)} missing"
        raise InvalidArgument(msg)
    return {part: entry[part] for part in needed}


def _processed(entries: list[Any]) -> Payload:
    folder = None if isinstance(entries[0], Mapping) else expanded(entries[0])
    if len(entries) > 1 or folder is None or not folder.is_dir():
        msg = "a processed study is a single folder: give its path"
        raise InvalidFile(msg)
    main = tuple(_existing(folder / name) for name in _PROCESSED)
    embeddings = tuple(_existing(path) for path in sorted((folder / "custom_embeddings").glob("*.npy")))
    if not embeddings:
        msg = f"{folder / 'custom_embeddings'} has no .npy file"
        raise InvalidFile(msg)
    return Payload(main, _PROCESSED, (), embeddings)


def _no_folder(path: StrPath) -> StrPath:
    """The path, or an error with advice if it is a folder."""
    folder = expanded(path)
    if not folder.is_dir():
        return path
    names = {entry.name for entry in folder.iterdir()}
    if pipeline := pipeline_in(folder):
        what = pipeline
    elif any(name.removesuffix(".gz").endswith(MTX_PARTS["matrix"]) for name in names):
        what = f"of a 10x matrix: {_as_type('mtx_10x')}"
    elif names.issuperset(_PROCESSED):
        what = f"of a processed study: {_as_type('processed_folder')}"
    elif folder.suffix == ".zarr" or names & {"zarr.json", ".zgroup"}:
        what = "of Zarr, which servers cannot read: submit the object, anndata.read_zarr(…).biocolab.submit(…)"
    else:
        what = f"instead of a file: give the files in it; for a 10x matrix, {_as_type('mtx_10x')}"
    msg = f"{folder} is a folder {what}"
    raise InvalidFile(msg)


def _as_type(study_type: str) -> str:
    return f"submit it with study_type={quoted(study_type)}, in a terminal with --study-type {study_type}"


def _existing(path: StrPath) -> Path:
    found = expanded(path)
    if not found.is_file():
        msg = f"{found} does not exist"
        if found.is_dir():
            msg = f"{found} is a folder: give a file"
        elif found.exists():
            msg = f"{found} is a FIFO, a socket or a device: give a file"
        else:
            raise MissingFile(msg)
        raise InvalidFile(msg)
    if not found.stat().st_size:
        msg = f"{found} is empty"
        raise InvalidFile(msg)
    return found


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


_NO_CELL_KEPT = "BC703"
_SENT_AS_TEXT = "BC208"
_NEEDS_COPY = ("BC201", _SENT_AS_TEXT)


def prepare_h5ad_files(
    paths: Sequence[Path],
    request: StudyRequest,
    input_matrix_type: Any,
    folder: Path,
    columns: Sequence[str] | str | None = None,
    batch_key: str | None = None,
    gene_symbols: str | None = None,
    check: Strictness = "default",
) -> tuple[list[Path], bool]:
    """Check h5ad files and copy those that cannot be sent unchanged; return the paths to send, and whether raw."""
    chosen, checked = _checked(paths, request, input_matrix_type, columns, batch_key, gene_symbols, check)
    choices = {path: found.choice for path, found in checked.items() if found.choice is not None}
    raw = any(choice.input_matrix_type == "raw" for choice in choices.values())
    slot = Slot("raw.X" if raw else "X")
    ready = []
    for number, path in enumerate(paths):
        unchanged = not any(found.code in _NEEDS_COPY for found in checked[path].report) and chosen[path] is None
        if choices[path].slot == slot and unchanged and batch_key is None and gene_symbols is None:
            ready.append(path)
            continue
        with _opened(path) as adata:
            plan = plan_of(
                adata,
                checked[path],
                request=request,
                batch_key=batch_key,
                chosen=chosen[path],
                gene_symbols=gene_symbols,
            )
            ready += write_plan(adata, plan, folder / str(number))
    return ready, raw


def plan_h5ad_files(
    paths: Sequence[Path],
    request: StudyRequest,
    input_matrix_type: Any,
    to: Server,
    columns: Sequence[str] | str | None = None,
    batch_key: str | None = None,
    gene_symbols: str | None = None,
    check: Strictness = "default",
) -> tuple[list[Plan], Report]:
    """What :func:`prepare_h5ad_files` would make of each file, also of one with errors; all findings."""
    chosen, checked = _checked(paths, request, input_matrix_type, columns, batch_key, gene_symbols)
    plans = []
    for path in paths:
        planned = plan_of if checked[path].report.ok else plan_of_refused
        with _opened(path) as adata:
            plan = planned(
                adata,
                checked[path],
                request=request,
                to=to,
                batch_key=batch_key,
                chosen=chosen[path],
                gene_symbols=gene_symbols,
            )
        plans.append(replace(plan, encoded=None, check=check))
    return plans, Report([found for plan in plans for found in plan.report])


def _checked(
    paths: Sequence[Path],
    request: StudyRequest,
    input_matrix_type: Any,
    columns: Sequence[str] | str | None,
    batch_key: str | None,
    gene_symbols: str | None,
    check: Strictness | None = None,
) -> tuple[dict[Path, tuple[str, ...] | None], dict[Path, Checked]]:
    """The columns to send and the findings of each file, which ``check`` refuses; all must hold one kind of matrix."""
    chosen = {path: _chosen(path, columns, batch_key) for path in dict.fromkeys(paths)}
    checked = {
        path: check_file(
            path,
            input_matrix_type=input_matrix_type,
            batch_key=batch_key,
            species=request.species,
            filters=request.filters,
            obs=names,
            gene_symbols=gene_symbols,
            is_batch=len(paths) > 1,
        )
        for path, names in chosen.items()
    }
    reports = _of_batches({path: found.report for path, found in checked.items()})
    checked = {path: found._replace(report=reports[path]) for path, found in checked.items()}
    if check is not None:
        _refuse(reports, check)
    choices = {path: found.choice for path, found in checked.items() if found.choice is not None and found.report.ok}
    if len({choice.input_matrix_type for choice in choices.values()}) > 1:
        held = "; ".join(f"{path.name}: {choice.reason}" for path, choice in choices.items())
        msg = f"the batches of one study must all be counts or all be normalized: {held}"
        raise InvalidArgument(msg)
    return chosen, checked


@contextmanager
def _opened(path: Path) -> Iterator[AnnData]:
    adata = open_h5ad(path)
    try:
        yield adata
    finally:
        adata.file.close()


def _chosen(path: Path, columns: Sequence[str] | str | None, batch_key: str | None) -> tuple[str, ...] | None:
    if columns is None and batch_key is None:
        return None
    with _opened(path) as adata:
        try:
            expect_column(adata, batch_key)
            return columns_chosen(as_frame(adata.obs), columns, batch_key)
        except UnknownField as error:
            msg = f"{path}: {error}"
            raise UnknownField(msg) from error


def check_readable(payload: Payload, study_type: int, species: str, *, check: Strictness | None = None) -> Report:
    """Check the first lines or values of tables and 10x files; files that cannot be checked here are sent."""
    reports: dict[Path, Report] = {}
    if study_type == STUDY_TYPES["mtx_10x"]:
        parts = tuple(MTX_PARTS)
        for start in range(0, len(payload.files), len(parts)):
            batch = dict(zip(parts, payload.files[start : start + len(parts)], strict=True))
            reports[batch["matrix"]] = check_mtx(batch, species)
    elif study_type in (STUDY_TYPES["h5_10x"], STUDY_TYPES["tsv"]):
        look = check_10x_h5 if study_type == STUDY_TYPES["h5_10x"] else check_table_file
        reports = {path: look(path, species) for path in dict.fromkeys(payload.files)}
    else:  # a virtual dataset, for example, would arrive without its values
        for path in dict.fromkeys(payload.files):
            if is_hdf5(path):
                with opened_foreign(path, filters=False):
                    pass
    if check is not None:
        _refuse(reports, check)
    return Report([found for report in reports.values() for found in report])


def _of_batches(reports: Mapping[Path, Report]) -> dict[Path, Report]:
    """Turn the error of a batch that loses all its cells into a warning if another batch keeps some."""
    if all(any(found.code == _NO_CELL_KEPT for found in report) for report in reports.values()):
        return dict(reports)
    return {
        path: Report([replace(each, severity="warning") if each.code == _NO_CELL_KEPT else each for each in report])
        for path, report in reports.items()
    }


def _refuse(reports: Mapping[Path, Report], check: Strictness) -> None:
    """Raise for errors, and warn of the rest; if strict, raise for warnings too."""
    for path, report in reports.items():
        report.raise_for_errors(of=str(path), strict=check == "strict")
    for path, report in reports.items():
        for found in report:
            # A file is sent unchanged, and a copy is fetched with the values of the file: no warning needed.
            if found.severity != "note" and (not found.changed or found.code == _SENT_AS_TEXT):
                warn(f"{path.name}: {found.code} {found.path}: {found.text}")


logger = logging.getLogger("biocolab_accessor.submit")

_PREFIX = "biocolab-submit-"
_LOCK, _UNLOCKED = "lock", "unlocked"
_SECONDS_TO_LOCK = 60.0
_SECONDS_WITHOUT_LOCK = 7 * 86400.0


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty temporary folder for the duration of a ``with`` block."""
    # A killed process cannot remove its folder. The next process does: the lock shows that the owner is gone.
    # SIGTERM ends Python without cleanup by default; here it leaves the block like Ctrl-C.
    with suppress(OSError):
        _remove_abandoned(Path(tempfile.gettempdir()))
    with _terminated_as_interrupted():
        outer = temporary_folder(_PREFIX)
        lock = FileLock(outer / _LOCK, mode=0o600)
        try:
            _hold(lock, outer)
            inner = outer / "files"
            inner.mkdir(mode=0o700)
            yield inner
        finally:
            lock.release()
            shutil.rmtree(outer, ignore_errors=True)


def _hold(lock: FileLock, folder: Path) -> None:
    """Acquire the lock; on file systems without locks, mark the folder with a file."""
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError) as error:
        logger.warning(
            "no file locks in %s (%s): continuing without. To use a folder with locks, set TMPDIR", folder, error
        )
        (folder / _UNLOCKED).touch(mode=0o600)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            mine = not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
            # The owner of a new folder may not have acquired its lock yet.
            age = time.time() - path.lstat().st_mtime
            if not mine or path.is_symlink() or age < _SECONDS_TO_LOCK:
                continue
            if (path / _UNLOCKED).exists():  # without a lock, only the age tells
                if age > _SECONDS_WITHOUT_LOCK:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            with FileLock(path / _LOCK, mode=0o600).acquire(timeout=0):
                shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(path, ignore_errors=True)  # Windows removes the lock when it is released
        except (OSError, LockTimeout, NotImplementedError):
            continue


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM raise SystemExit instead of ending the process at once, so that cleanup runs."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)  # the exit code of a process that the signal ended

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
