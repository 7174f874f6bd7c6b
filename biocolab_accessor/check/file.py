"""File: opening an h5ad without reading its matrices, and saying what else a file may be."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
from anndata import AnnData
from anndata.experimental import read_dispatched
from anndata.io import sparse_dataset

from biocolab_accessor.blocks import mark_as_passed
from biocolab_accessor.check.pipeline_folder import pipeline_in
from biocolab_accessor.errors import InvalidFile
from biocolab_accessor.home import expanded
from biocolab_accessor.naming import listing, quoted
from biocolab_accessor.platforms import expect_regular, opened_regular
from biocolab_accessor.storage.foreign_hdf5 import Foreign, is_hdf5, opened_foreign

__all__ = ["open_h5ad"]

_NAMES_AT_ONCE = 1 << 14

_TROUBLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError)


def open_h5ad(path: Path) -> AnnData:
    """Open an h5ad file without reading its matrices, layers included; the caller closes ``adata.file``.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InvalidFile
        It is missing, or something else; the message says what it looks like.
    """
    path = expanded(path)
    if not path.is_file():
        pipeline = pipeline_in(path) if path.is_dir() else ""
        msg = (
            f"{path} is a folder {pipeline}" if pipeline else f"{path} {_instead(path)}: give the path of an h5ad file"
        )
        raise InvalidFile(msg)
    if not is_hdf5(path):
        with opened_regular(path) as (descriptor, _):
            kind = _BY_ENDING.get(path.suffix.casefold()) or _looks_like(os.read(descriptor, 512))
            msg = f"{path} is not an h5ad file: it {kind}"
        raise InvalidFile(msg)
    try:
        with opened_foreign(path) as foreign, warnings.catch_warnings():
            # Of duplicate names the report tells, and that a file is old is no concern of a check.
            warnings.simplefilter("ignore")
            _refuse_others(path, foreign.file)
            return _open(path, foreign)
    except InvalidFile:
        raise
    except _TROUBLE as error:
        msg = f"{path} cannot be read as h5ad: {error}"
        raise InvalidFile(msg) from error


def _instead(path: Path) -> str:
    """What is at a path where no file is."""
    try:
        expect_regular(os.stat(path))
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return "is a folder" if path.is_dir() else str(error.strerror).replace("it is", "is")
    return "does not exist"


def _open(path: Path, foreign: Foreign) -> AnnData:
    """As anndata's backed mode, but layers stay on disk too, and what is never sent is not read."""
    adata = _opened(foreign)
    # It is open already; where it is opened again, it is by its name.
    adata.file.filename = path
    mark_as_passed(adata)
    return adata


def _opened(foreign: Foreign) -> AnnData:
    file = foreign.file
    if file.attrs.get("encoding-type") != "anndata":
        return ad.read_h5ad(foreign.path, backed="r")  # files from before 0.7 need what anndata does for them
    raw = {"var": _read(file["raw/var"])} if "raw/var" in file else None
    tables = {key: _read(file[key]) for key in ("obs", "var", "obsm") if key in file}
    adata = AnnData(filename=foreign.path, filemode="r", raw=raw, **tables)
    try:
        for key in file.get("layers", ()):
            stored = adata.file[f"layers/{key}"]
            adata.layers[key] = sparse_dataset(stored) if isinstance(stored, h5py.Group) else stored
    except BaseException:
        adata.file.close()
        raise
    return adata


def _read(stored: h5py.Group) -> Any:
    """As anndata reads it, but text in pieces: h5py holds all of it twice otherwise, once as bytes."""

    def read(read_it: Any, _name: str, element: Any, iospec: Any) -> Any:
        if iospec.encoding_type != "string-array" or not isinstance(element, h5py.Dataset) or element.ndim != 1:
            return read_it(element)
        text, whole = element.asstr(), np.empty(len(element), object)
        for start in range(0, len(whole), _NAMES_AT_ONCE):
            whole[start : start + _NAMES_AT_ONCE] = text[start : start + _NAMES_AT_ONCE]
        return whole

    return read_dispatched(stored, read)


def _refuse_others(path: Path, file: h5py.File) -> None:
    if file.attrs.get("encoding-type") == "MuData":  # it has obs and var too: those of all modalities together
        names = sorted(file.get("mod", ()))
        first = f"mudata.read_h5ad({quoted(str(path))}, mod={quoted(names[0])})" if names else "mdata['rna']"
        msg = f"{path} is an h5mu file of several modalities ({listing(names)}): take one of them, {first}.biocolab"
        raise InvalidFile(msg)
    missing = [name for name in ("obs", "var") if name not in file]
    bare = [name for name in ("obs", "var") if not missing and _is_bare(file[name])]
    if bare:
        msg = (
            f"{path} is HDF5 but not h5ad: {' and '.join(bare)} without an encoding-type, which anndata would write; "
            "read it with what wrote it, and write it with anndata"
        )
        raise InvalidFile(msg)
    if not missing:
        return
    hint = ""
    if isinstance(file.get("matrix"), h5py.Group) and "barcodes" in file["matrix"]:
        hint = " (it looks like a 10x file: use study_type='h5_10x')"
    elif "row_attrs" in file and "col_attrs" in file:
        hint = " (it looks like a loom file: read it with anndata.io.read_loom)"
    elif "assays" in file and "cell.names" in file:
        hint = " (it looks like an h5Seurat file: in R, SeuratDisk::Convert('x.h5seurat', dest = 'h5ad'))"
    elif "mod" in file:
        hint = " (it looks like an h5mu file: take one of its modalities)"
    msg = f"{path} is HDF5 but not h5ad: it has no {' and no '.join(missing)}{hint}"
    raise InvalidFile(msg)


def _is_bare(stored: h5py.Group | h5py.Dataset) -> bool:
    """Whether it is a group that does not say what it is; tables of old files are datasets."""
    return isinstance(stored, h5py.Group) and "encoding-type" not in stored.attrs


# Which of them a file is, its packed beginning does not tell.
_BY_ENDING = {
    ".rds": "is an R file; use study_type='rds'",
    ".cloupe": "is a Loupe file, which servers do not read; use the h5 file or the folder of Cell Ranger",
}


def _looks_like(start: bytes) -> str:
    if not start:
        return "is empty"
    if start.startswith(b"\x1f\x8b"):
        return "is gzip-compressed; unpack it first"
    if start.startswith(b"PK"):
        return "is a zip archive"
    if start.startswith(b"RDX") or start.startswith(b"X\n"):
        return "is an R file; use study_type='rds'"
    if start.lstrip().startswith(b"<"):
        return "is a web page or XML"
    if start.lstrip().startswith(b"%%MatrixMarket"):
        return "is a Matrix Market file; use study_type='mtx_10x' with its folder"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return "is a text file"
    return f"begins with {quoted(start[:8])}"
