"""Cell Ranger: 10x matrices as h5 and as MTX files, looked at before they are sent."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from biocolab_accessor.check.gene_names import gene_share
from biocolab_accessor.check.pipeline_folder import pipeline_in
from biocolab_accessor.check.report import Finding, Report, Severity
from biocolab_accessor.check.table_file import opened_text
from biocolab_accessor.errors import CheckFailed, InvalidFile, InvalidNames, InvalidValues
from biocolab_accessor.naming import counted, listing
from biocolab_accessor.storage.foreign_hdf5 import is_hdf5, opened_foreign

__all__ = ["MTX_PARTS", "check_10x_h5", "check_mtx", "parts_in"]

MTX_PARTS = {
    "matrix": ("matrix.mtx",),
    "features": ("features.tsv", "genes.tsv"),
    "barcodes": ("barcodes.tsv", "barcodes.csv"),
}
"""How the names of the files of a 10x folder end, packed or not."""

_MOST_VALUES = 1_000_000
_MOST_ENTRIES = 1_000
_HEADERS = frozenset(
    ["x", "v1", "barcode", "barcodes", "cell", "cells", "cell_id", "gene", "genes", "gene_id", "feature", "index"]
)
_AGAIN = "Copy or download it again"


def parts_in(folder: Path) -> dict[str, Path]:
    """The three files of a 10x folder.

    Raises
    ------
    InvalidFile
        One is missing, or there are several of a kind.
    """
    if pipeline := pipeline_in(folder):
        msg = f"{folder} is a folder {pipeline}"
        raise InvalidFile(msg)
    found = {}
    for part, endings in MTX_PARTS.items():
        named = (p for p in sorted(folder.iterdir()) if p.name.removesuffix(".gz").endswith(endings))
        fitting = [p for p in named if p.is_file()]
        if len(fitting) != 1:
            what = "no" if not fitting else f"{len(fitting)} different"
            msg = f"{folder} has {what} {' or '.join(endings)}[.gz]; give a dict with matrix, features and barcodes"
            raise InvalidFile(msg)
        found[part] = fitting[0]
    return found


def check_10x_h5(path: Path) -> Report:
    """Look at a 10x h5 file: whether its parts are there and fit, and what its first values are.

    Raises
    ------
    InvalidFile
        It is something else, or cannot be read.
    """
    if not is_hdf5(path):
        msg = f"{path} is not HDF5, as 10x h5 files are. A folder or files of MTX go with study_type='mtx_10x'"
        raise InvalidFile(msg)
    try:
        with opened_foreign(path) as (file, *_):
            if "obs" in file and "var" in file:
                msg = f"{path} is an h5ad file: submit it with study_type='h5ad'"
                raise InvalidFile(msg)
            return Report([finding for group in _matrices(path, file) for finding in _h5(path.name, group)])
    except (OSError, RuntimeError, KeyError) as error:
        msg = f"{path} cannot be read: {error}. {_AGAIN}"
        raise InvalidFile(msg) from error


def _matrices(path: Path, file: h5py.File) -> list[h5py.Group]:
    groups = [group for group in file.values() if isinstance(group, h5py.Group) and "barcodes" in group]
    if not groups:
        msg = f"{path} is HDF5 but not of 10x: it has no group 'matrix' with barcodes ({listing(file, limit=5)})"
        raise InvalidFile(msg)
    return groups


def _h5(name: str, group: h5py.Group) -> Iterator[Finding]:
    place = f"{name} {group.name}"
    ids = next((key for key in ("features/id", "genes", "features/name") if key in group), None)
    missing = [key for key in ("data", "indices", "indptr", "shape") if key not in group]
    missing += [] if ids else ["features/id"]
    if missing:
        yield _found("BC801", place, f"has no {listing(missing)}", "Take the file that Cell Ranger wrote")
        return
    n_genes, n_cells = (int(number) for number in group["shape"][:2])
    wanted = {"barcodes": n_cells, ids: n_genes, "indptr": n_cells + 1, "indices": len(group["data"])}
    uneven = {key: len(group[key]) for key, number in wanted.items() if len(group[key]) != number}
    for key, length in uneven.items():
        message = f"has {length:,} entries, {wanted[key]:,} are needed for {n_cells:,} cells x {n_genes:,} features"
        yield _found("BC801", f"{place}/{key}", message, _AGAIN)
    if uneven:
        return
    if int(group["indptr"][-1]) != len(group["data"]):
        message = f"ends at {int(group['indptr'][-1]):,}, but there are {len(group['data']):,} values"
        yield _found("BC801", f"{place}/indptr", message, _AGAIN)
    indices, data = group["indices"][:_MOST_VALUES], group["data"][:_MOST_VALUES]
    if len(indices) and not (indices.min() >= 0 and indices.max() < n_genes):
        message = f"names feature {int(indices.max()):,} of {n_genes:,}"
        yield _found("BC801", f"{place}/indices", message, _AGAIN)
    yield from _counts(f"{place}/data", data)
    yield from _barcodes(f"{place}/barcodes", [text.decode(errors="replace") for text in group["barcodes"][:]])


def check_mtx(parts: Mapping[str, Path]) -> Report:
    """Look at the three files of a 10x matrix: whether they belong together, and what the first entries are.

    Raises
    ------
    InvalidFile
        One cannot be read.
    """
    try:
        return Report(list(_mtx(parts)))
    except UnicodeDecodeError as error:
        msg = f"one of {listing(path.name for path in parts.values())} is not a text file: {error.reason}"
        raise InvalidFile(msg) from error
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{parts['matrix'].parent} cannot be read: {error}. {_AGAIN}"
        raise InvalidFile(msg) from error


def _mtx(parts: Mapping[str, Path]) -> Iterator[Finding]:
    matrix = parts["matrix"].name
    features, barcodes = _first_column(parts["features"]), _first_column(parts["barcodes"])
    with opened_text(parts["matrix"]) as file:
        banner = file.readline().split()
        if not banner or banner[0].casefold() != "%%matrixmarket":
            yield _found(
                "BC801", f"{matrix} line 1", "does not begin with %%MatrixMarket", "Give the matrix.mtx of the folder"
            )
            return
        if "coordinate" not in map(str.casefold, banner):
            yield _found("BC801", f"{matrix} line 1", f"is not a sparse matrix ({' '.join(banner[1:])})",
                         "Write it with scipy.io.mmwrite of a sparse matrix")  # fmt: skip
            return
        number, line = 1, "%"
        while line.startswith("%") or (line and not line.strip()):
            number, line = number + 1, file.readline()
        sizes = _numbers(line)
        if len(sizes) != 3:
            yield _found(
                "BC801", f"{matrix} line {number}", f"{line.strip()[:40]!r} is not the size of a matrix", _AGAIN
            )
            return
        shape = (int(sizes[0]), int(sizes[1]))
        yield from _fit(parts, shape, f"{matrix} line {number}", features, barcodes)
        values = []
        for line_number, entry in enumerate(file, number + 1):
            if line_number - number > _MOST_ENTRIES:
                break
            fields = _numbers(entry)
            pattern = "pattern" in map(str.casefold, banner)
            if len(fields) != (2 if pattern else 3):
                message = f"{entry.strip()[:40]!r} is not row, column and value"
                yield _found("BC801", f"{matrix} line {line_number}", message, _AGAIN)
                return
            if not (1 <= fields[0] <= shape[0] and 1 <= fields[1] <= shape[1]):
                message = f"entry {fields[0]:g}, {fields[1]:g} lies outside {shape[0]:,} x {shape[1]:,}"
                yield _found("BC801", f"{matrix} line {line_number}", message, _AGAIN)
                return
            values.append(fields[-1])
        else:
            if len(values) < sizes[2]:
                message = f"has {len(values):,} entries, {int(sizes[2]):,} are announced"
                yield _found("BC801", matrix, message, f"It was cut short. {_AGAIN}")
        yield from _counts(f"{matrix} line {number + 1} and on", np.array(values))
    yield from _barcodes(parts["barcodes"].name, barcodes)


def _fit(
    parts: Mapping[str, Path], shape: tuple[int, int], place: str, features: list[str], barcodes: list[str]
) -> Iterator[Finding]:
    found = (len(features), len(barcodes))
    if found == shape:
        if gene_share(barcodes) > 0.5 > gene_share(features) and len(barcodes) > 1:
            fix = "Give the file of features as features, and that of barcodes as barcodes"
            yield _found("BC801", parts["barcodes"].name, "has names of genes where barcodes are meant", fix)
        return
    if found == shape[::-1]:
        fix = "10x matrices have features in rows: write the transposed matrix, scipy.io.mmwrite(path, matrix.T)"
        yield _found("BC409", place, f"the matrix is {shape[0]:,} cells x {shape[1]:,} features", fix)
        return
    for part, names, number in (("features", features, shape[0]), ("barcodes", barcodes, shape[1])):
        if len(names) == number:
            continue
        header = len(names) == number + 1 and names[0].casefold() in _HEADERS
        where = f"{parts[part].name}{' line 1' if header else ''}"
        what = f"{names[0]!r} is a header, which these files do not have" if header else (
            f"has {counted(len(names), 'line')}, the matrix {number:,} {part}")  # fmt: skip
        fix = "Take the first line out" if header else "Give the three files that were written together"
        yield _found("BC801", where, what, fix)


def _first_column(path: Path) -> list[str]:
    with opened_text(path) as file:
        return [line.split("\t", 1)[0].strip().strip('"') for line in file.read().splitlines() if line.strip()]


def _numbers(line: str) -> list[float]:
    try:
        return [float(text) for text in line.split()]
    except ValueError:
        return []


def _counts(place: str, values: np.ndarray[Any, Any]) -> Iterator[Finding]:
    if not len(values):
        return
    if not np.isfinite(values).all() or values.min() < 0:
        bad = int((~np.isfinite(values) | (values < 0)).sum())
        yield _found("BC802", place, f"{counted(bad, 'value')} of the first {len(values):,} negative, NaN or infinite",
                     "Counts are whole numbers of 0 or more", count=bad, error=InvalidValues)  # fmt: skip
    elif values.dtype.kind == "f" and not (values == np.rint(values)).all():
        fix = "If it was normalized, submit it with input_matrix_type='normalized'"
        yield _found("BC803", place, "the first values are not whole numbers: not counts", fix, severity="warning")


def _barcodes(place: str, names: list[str]) -> Iterator[Finding]:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        message = f"barcodes that occur more than once: {listing(twice, limit=3)}"
        yield _found("BC101", place, message, "Make them unique", count=len(twice), error=InvalidNames)


def _found(
    code: str, path: str, message: str, fix: str, *, count: int = 1, severity: Severity = "error",
    error: type[CheckFailed] = CheckFailed,
) -> Finding:  # fmt: skip
    return Finding(code, severity, path, message, count, fix=fix, error=error)
