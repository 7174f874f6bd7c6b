"""Files: what is on disk, under which names it goes to the server."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from anndata import AnnData

from biocolab_accessor.check.cell_ranger import MTX_PARTS, parts_in
from biocolab_accessor.check.pipeline_folder import pipeline_in
from biocolab_accessor.errors import InvalidArgument, InvalidFile
from biocolab_accessor.home import expanded
from biocolab_accessor.naming import did_you_mean, listing, quoted
from biocolab_accessor.outbound.names import distinct

__all__ = ["STUDY_TYPES", "Payload", "collect", "each_of", "study_type_number"]

STUDY_TYPES = {
    "bbrowser": 0,
    "h5_10x": 1,
    "h5ad": 2,
    "mtx_10x": 3,
    "bcs": 4,
    "rds": 5,
    "tsv": 6,
    "tile_db": 15,
    "processed_folder": 23,
}
"""Study types that BBrowserX and Talk2Data take, by name and by number on the wire."""

_LENS = {7: "Lens Bulk", 8: "Lens Bulk", 12: "Lens Bulk", 13: "Lens Bulk"}
_LENS |= dict.fromkeys((9, 10, 11, 14, 16, 17, 18, 19), "Lens SC")
_PROCESSED = ("coords.npy", "embeddings.db", "matrix.hdf5", "metadata.db")

StrPath = str | os.PathLike[str]
Files = StrPath | Mapping[str, StrPath] | Sequence[StrPath | Mapping[str, StrPath]]


@dataclass(frozen=True)
class Payload:
    """Files to upload.

    Attributes
    ----------
    files
        Paths here.
    names
        Names on the server, all different and of safe characters.
    batches
        What the submit call lists as batches.
    extra
        Files for the sub-folder ``custom_embeddings`` of a processed study.
    """

    files: tuple[Path, ...]
    names: tuple[str, ...]
    batches: tuple[str, ...]
    extra: tuple[Path, ...] = ()


def study_type_number(study_type: Any) -> int:
    """The number on the wire of a study type given by name, number or enum member.

    Raises
    ------
    InvalidArgument
        The servers do not take it; for a Lens type the message names the right connector.
    """
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


def each_of(given: Any, takes: str, kinds: Any) -> list[Any]:
    """One or several of what names files, as a list.

    Parameters
    ----------
    given
        One of ``kinds``, or several.
    takes
        For the message: what the function takes.
    kinds
        Types of what names files.

    Raises
    ------
    InvalidArgument
        It is something else, such as an object in memory.
    """
    # Of a table Python would go through the names of the columns.
    one = isinstance(given, kinds | bytes | AnnData | pd.DataFrame) or not isinstance(given, Iterable)
    entries = [given] if one else list(given)
    wrong = [type(entry).__name__ for entry in entries if not isinstance(entry, kinds)]
    if wrong:
        msg = (
            f"{takes}, and no {wrong[0]}: an object in memory goes with adata.biocolab.submit(…), "
            "a table of expression with df.biocolab.submit(…)"
        )
        raise InvalidArgument(msg)
    return entries


def collect(files: Files, study_type: int) -> Payload:
    """Find what belongs to a submission, and name it so that nothing overwrites anything on the server.

    Parameters
    ----------
    files
        A path or several; for 10x MTX folders, or dicts with ``matrix``, ``features`` and ``barcodes``; for a processed
        study its folder.
    study_type
        Number on the wire.

    Raises
    ------
    InvalidFile
        Something is missing or empty.
    InvalidArgument
        Nothing was given, or something else than paths, or this kind cannot be uploaded.
    """
    entries = each_of(files, "bc.submit takes paths of files", str | os.PathLike | Mapping)
    if not entries:
        msg = "files is empty: give at least one path"
        raise InvalidArgument(msg)
    if study_type == STUDY_TYPES["tile_db"]:
        msg = "TileDB studies are read from S3 only: use bc.submit_from_s3(…, study_type='tile_db')"
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
            f"{folder} is no folder: a 10x MTX batch is a folder with matrix, features and barcodes, or a dict of them"
        )
        raise InvalidFile(msg)
    return {part: _existing(path) for part, path in parts_in(folder).items()}


def _parts(entry: Mapping[str, StrPath], needed: Sequence[str]) -> dict[str, StrPath]:
    missing = [part for part in needed if part not in entry]
    if missing:
        msg = f"a batch of this study type needs {listing(needed)}; {listing(missing)} not given"
        raise InvalidArgument(msg)
    return {part: entry[part] for part in needed}


def _processed(entries: list[Any]) -> Payload:
    folder = None if isinstance(entries[0], Mapping) else expanded(entries[0])
    if len(entries) > 1 or folder is None or not folder.is_dir():
        msg = "a processed study is one folder"
        raise InvalidFile(msg)
    main = tuple(_existing(folder / name) for name in _PROCESSED)
    embeddings = tuple(_existing(path) for path in sorted((folder / "custom_embeddings").glob("*.npy")))
    if not embeddings:
        msg = f"{folder / 'custom_embeddings'} has no .npy file"
        raise InvalidFile(msg)
    return Payload(main, _PROCESSED, (), embeddings)


def _no_folder(path: StrPath) -> StrPath:
    """The path, unless it is a folder: of those another study type, or another call, is meant."""
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
        what = "of Zarr, which servers do not read: submit the object, anndata.read_zarr(…).biocolab.submit(…)"
    else:
        what = f"and no file: give the files in it; of 10x matrices {_as_type('mtx_10x')}"
    msg = f"{folder} is a folder {what}"
    raise InvalidFile(msg)


def _as_type(study_type: str) -> str:
    return f"submit it with study_type={quoted(study_type)}, in a terminal with --study-type {study_type}"


def _existing(path: StrPath) -> Path:
    found = expanded(path)
    if not found.is_file():
        msg = f"there is no file {found}"
        if found.is_dir():
            msg = f"{found} is a folder, where a file is wanted"
        elif found.exists():
            msg = f"{found} is a FIFO, a socket or a device, where a file is wanted"
        raise InvalidFile(msg)
    if not found.stat().st_size:
        msg = f"{found} is empty"
        raise InvalidFile(msg)
    return found


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
