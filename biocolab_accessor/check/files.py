"""Files: checks of h5ad files and 10x matrices before they are sent."""

from __future__ import annotations

import os
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import h5py
import numpy as np
from anndata import AnnData
from anndata.experimental import read_dispatched
from anndata.io import sparse_dataset

from biocolab_accessor.check.genes import gene_share, identify, species_findings
from biocolab_accessor.check.report import Finding, Report, finding
from biocolab_accessor.check.tables import opened_text
from biocolab_accessor.errors import InvalidFile, InvalidNames, InvalidValues, MissingFile
from biocolab_accessor.io.hdf5_gate import Foreign, is_hdf5, opened_foreign
from biocolab_accessor.io.matrix_blocks import mark_as_passed
from biocolab_accessor.messages import counted, listing, quoted
from biocolab_accessor.platforms import expanded, expect_regular, opened_regular


class _Pipeline(NamedTuple):
    """What a pipeline writes: a matrix with cells in rows, and what names its cells and genes."""

    name: str
    matrix: tuple[str, ...]
    cells: str
    genes: str
    reading_cells: str
    reading_genes: str


_NAMES = "names=['{}'], index_col='{}'"

_PIPELINES = (
    _Pipeline(
        "Parse Biosciences",
        ("DGE.mtx", "count_matrix.mtx"),
        "cell_metadata.csv",
        "all_genes.csv",
        "index_col=0",
        "index_col='gene_name'",
    ),
    _Pipeline(
        "kallisto|bustools",
        ("cells_x_genes.mtx",),
        "cells_x_genes.barcodes.txt",
        "cells_x_genes.genes.txt",
        _NAMES.format("barcode", "barcode"),
        _NAMES.format("gene", "gene"),
    ),
    _Pipeline(
        "alevin-fry",
        ("quants_mat.mtx",),
        "quants_mat_rows.txt",
        "quants_mat_cols.txt",
        _NAMES.format("barcode", "barcode"),
        _NAMES.format("gene", "gene"),
    ),
)


def pipeline_in(folder: Path) -> str:
    """What a folder is, with the line that reads it, as the end of a sentence; empty of any other folder."""
    there = {entry.name.removesuffix(".gz"): entry for entry in folder.iterdir()}
    for pipeline in _PIPELINES:
        matrix = next((name for name in pipeline.matrix if name in there), None)
        if matrix is None or not {pipeline.cells, pipeline.genes} <= there.keys():
            continue
        paths = [quoted(str(there[name])) for name in (matrix, pipeline.cells, pipeline.genes)]
        line = (
            f"adata = anndata.AnnData(scanpy.read_mtx({paths[0]}).X, pandas.read_csv({paths[1]}, "
            f"{pipeline.reading_cells}), pandas.read_csv({paths[2]}, {pipeline.reading_genes}))"
        )
        return (
            f"with the output of {pipeline.name}, which servers do not read. Read it with {line}, and submit "
            "that: adata.biocolab.submit(…)"
        )
    return ""


_NAMES_AT_ONCE = 1 << 14
_TROUBLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError)


def open_h5ad(path: Path) -> AnnData:
    """Open an h5ad file without reading X, raw or layers; the caller closes ``adata.file``."""
    path = expanded(path)
    if not path.is_file():
        pipeline = pipeline_in(path) if path.is_dir() else ""
        # Path has made one slash of the two in an address.
        address = re.sub(r"^([a-z]\w+:)/(?=\w)", r"\1//", path.as_posix())
        if pipeline:
            msg = f"{path} is a folder {pipeline}"
        elif "://" in address:
            msg = f"{address} is an address: download it, and give the file"
        else:
            msg = f"{path} {_instead(path)}: give an h5ad file, a 10x h5 file, a table, or a folder with a 10x matrix"
        raise (InvalidFile if path.exists() or "://" in address else MissingFile)(msg)
    if not is_hdf5(path):
        with opened_regular(path) as (descriptor, _):
            kind = _of_folder(path) or _BY_ENDING.get(path.suffix.casefold()) or _looks_like(os.read(descriptor, 512))
            msg = f"{path} is not an h5ad file: it {kind}"
        raise InvalidFile(msg, line=f"bc.submit({str(path)!r}, study_type='tsv')" if "text" in kind else "")
    try:
        with opened_foreign(path) as foreign, warnings.catch_warnings():
            # The report has duplicate names, and the age of a file does not matter to a check.
            warnings.simplefilter("ignore")
            _refuse_others(path, foreign.file)
            return _open(path, foreign)
    except InvalidFile:
        raise
    except _TROUBLE as error:
        msg = f"{path} cannot be read as h5ad: {error}"
        raise InvalidFile(msg) from error


def _instead(path: Path) -> str:
    """Why a path is not a file."""
    try:
        expect_regular(os.stat(path))
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return "is a folder without a 10x matrix" if path.is_dir() else str(error.strerror).replace("it is", "is")
    return "does not exist"


def _open(path: Path, foreign: Foreign) -> AnnData:
    """As backed mode of anndata, but layers stay on disk too, and slots that are never sent are not read."""
    adata = _opened(foreign)
    # The file is open already; to open it again, its path is needed.
    adata.file.filename = path
    mark_as_passed(adata)
    return adata


def _opened(foreign: Foreign) -> AnnData:
    file = foreign.file
    if file.attrs.get("encoding-type") != "anndata":
        return ad.read_h5ad(foreign.path, backed="r")  # anndata converts files from before 0.7
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
    """As anndata reads it, but text in pieces: h5py would hold all text twice, once as bytes."""

    def read(read_it: Any, _name: str, element: Any, iospec: Any) -> Any:
        if iospec.encoding_type != "string-array" or not isinstance(element, h5py.Dataset) or element.ndim != 1:
            return read_it(element)
        text, whole = element.asstr(), np.empty(len(element), object)
        for start in range(0, len(whole), _NAMES_AT_ONCE):
            whole[start : start + _NAMES_AT_ONCE] = text[start : start + _NAMES_AT_ONCE]
        return whole

    return read_dispatched(stored, read)


def _refuse_others(path: Path, file: h5py.File) -> None:
    if file.attrs.get("encoding-type") == "MuData":  # has obs and var too, for all modalities together
        names = sorted(file.get("mod", ()))
        first = f"mudata.read_h5ad({quoted(str(path))}, mod={quoted(names[0])})" if names else "mdata['rna']"
        msg = f"{path} is an h5mu file with several modalities ({listing(names)}): use one of them, {first}.biocolab"
        raise InvalidFile(msg)
    missing = [name for name in ("obs", "var") if name not in file]
    bare = [name for name in ("obs", "var") if not missing and _is_bare(file[name])]
    if bare:
        msg = (
            f"{path} is HDF5 but not h5ad: {' and '.join(bare)} without the encoding-type that anndata writes. Read it "
            "with the program that wrote it, and write it with anndata"
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
        hint = " (it looks like an h5mu file: use one of its modalities)"
    msg = f"{path} is HDF5 but not h5ad: it has no {' and no '.join(missing)}{hint}"
    raise InvalidFile(msg)


def _is_bare(stored: h5py.Group | h5py.Dataset) -> bool:
    """Whether it is a group without an encoding type; tables of old files are datasets."""
    return isinstance(stored, h5py.Group) and "encoding-type" not in stored.attrs


# Both are compressed, and only the ending of the name tells them apart.
_BY_ENDING = {
    ".rds": "is an R file; use study_type='rds'",
    ".cloupe": "is a Loupe file, which servers do not read; use the h5 file or folder from Cell Ranger",
}


def _of_folder(path: Path) -> str:
    """What to do with a file of a 10x folder, which is submitted as a whole; empty for other files."""
    name = path.name.removesuffix(".gz")
    if not any(name.endswith(endings) for endings in MTX_PARTS.values()):
        return ""
    return f"is a part of a 10x folder; give the folder, {quoted(str(path.parent))}"


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


MTX_PARTS = {
    "matrix": ("matrix.mtx",),
    "features": ("features.tsv", "genes.tsv"),
    "barcodes": ("barcodes.tsv", "barcodes.csv"),
}
"""How the file names of a 10x folder end, before an optional ``.gz``."""

_TYPE_BY_ENDING = dict.fromkeys((".tsv", ".csv", ".txt", ".tab"), "tsv") | {".rds": "rds", ".bcs": "bcs"}


def study_type_of(path: Path) -> str:
    """The study type that a file or folder looks like: a 10x matrix, a table, an R or BCS file, else ``"h5ad"``."""
    if path.is_dir():
        names = (found.name.removesuffix(".gz") for found in path.iterdir())
        return "mtx_10x" if any(name.endswith(MTX_PARTS["matrix"]) for name in names) else "h5ad"
    if not path.is_file() or not path.stat().st_size:
        return "h5ad"
    if is_hdf5(path):
        with suppress(InvalidFile), opened_foreign(path) as (file, *_):  # whoever opens it next reports the problem
            matrix = file.get("matrix")
            if "obs" not in file and isinstance(matrix, h5py.Group) and {"barcodes", "indptr"} <= set(matrix):
                return "h5_10x"
        return "h5ad"
    return _TYPE_BY_ENDING.get(Path(path.name.removesuffix(".gz")).suffix.casefold(), "h5ad")


_MOST_VALUES = 1_000_000
_MOST_ENTRIES = 1_000

_HEADERS = frozenset(
    ["x", "v1", "barcode", "barcodes", "cell", "cells", "cell_id", "gene", "genes", "gene_id", "feature", "index"]
)

_AGAIN = "Copy or download it again"


def parts_in(folder: Path) -> dict[str, Path]:
    """The three files of a 10x folder; InvalidFile if one is missing or not unique."""
    if pipeline := pipeline_in(folder):
        msg = f"{folder} is a folder {pipeline}"
        raise InvalidFile(msg)
    found = {}
    for part, endings in MTX_PARTS.items():
        named = (p for p in sorted(folder.iterdir()) if p.name.removesuffix(".gz").endswith(endings))
        fitting = [p for p in named if p.is_file()]
        if len(fitting) != 1:
            what = "no" if not fitting else f"{len(fitting)} different"
            msg = f"{folder} has {what} {' or '.join(endings)}[.gz]; pass a dict with matrix, features and barcodes"
            raise InvalidFile(msg)
        found[part] = fitting[0]
    return found


def check_10x_h5(path: Path, species: str | None = None) -> Report:
    """Check the parts of a 10x h5 file and its first values; InvalidFile if it is not one or cannot be read."""
    if not is_hdf5(path):
        msg = f"{path} is not HDF5, so it is not a 10x h5 file. For MTX files or a folder, use study_type='mtx_10x'"
        raise InvalidFile(msg)
    try:
        with opened_foreign(path) as (file, *_):
            if "obs" in file and "var" in file:
                msg = f"{path} is an h5ad file: submit it with study_type='h5ad'"
                raise InvalidFile(msg)
            return Report([finding for group in _matrices(path, file) for finding in _h5(path.name, group, species)])
    except (OSError, RuntimeError, KeyError) as error:
        msg = f"{path} cannot be read: {error}. {_AGAIN}"
        raise InvalidFile(msg) from error


def _matrices(path: Path, file: h5py.File) -> list[h5py.Group]:
    groups = [group for group in file.values() if isinstance(group, h5py.Group) and "barcodes" in group]
    if not groups:
        msg = f"{path} is HDF5 but not a 10x file: it has no group 'matrix' with barcodes ({listing(file, limit=5)})"
        raise InvalidFile(msg)
    return groups


def _h5(name: str, group: h5py.Group, species: str | None) -> Iterator[Finding]:
    place = f"{name} {group.name}"
    ids = next((key for key in ("features/id", "genes", "features/name") if key in group), None)
    missing = [key for key in ("data", "indices", "indptr", "shape") if key not in group]
    missing += [] if ids else ["features/id"]
    if missing:
        yield finding("BC801", place, f"has no {listing(missing)}", "Use the file that Cell Ranger wrote")
        return
    n_genes, n_cells = (int(number) for number in group["shape"][:2])
    wanted = {"barcodes": n_cells, ids: n_genes, "indptr": n_cells + 1, "indices": len(group["data"])}
    uneven = {key: len(group[key]) for key, number in wanted.items() if len(group[key]) != number}
    for key, length in uneven.items():
        message = f"has {length:,} entries, but {n_cells:,} cells x {n_genes:,} features need {wanted[key]:,}"
        yield finding("BC801", f"{place}/{key}", message, _AGAIN)
    if uneven:
        return
    if int(group["indptr"][-1]) != len(group["data"]):
        message = f"ends at {int(group['indptr'][-1]):,}, but data has {len(group['data']):,} values"
        yield finding("BC801", f"{place}/indptr", message, _AGAIN)
    indices, data = group["indices"][:_MOST_VALUES], group["data"][:_MOST_VALUES]
    if len(indices) and not (indices.min() >= 0 and indices.max() < n_genes):
        message = f"refers to feature {int(indices.max()):,} of {n_genes:,}"
        yield finding("BC801", f"{place}/indices", message, _AGAIN)
    yield from _counts(f"{place}/data", data)
    yield from _barcodes(f"{place}/barcodes", _texts(group["barcodes"]))
    yield from species_findings(f"{place}/{ids}", identify(_texts(group[ids])), species)


def _texts(stored: h5py.Dataset) -> list[str]:
    return [text.decode(errors="replace") for text in stored[:]]


def check_mtx(parts: Mapping[str, Path], species: str | None = None) -> Report:
    """Check that the three files of a 10x matrix fit, and their first entries; InvalidFile if one cannot be read."""
    try:
        return Report(list(_mtx(parts, species)))
    except UnicodeDecodeError as error:
        msg = f"one of {listing(path.name for path in parts.values())} is not a text file: {error.reason}"
        raise InvalidFile(msg) from error
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{parts['matrix'].parent} cannot be read: {error}. {_AGAIN}"
        raise InvalidFile(msg) from error


def _mtx(parts: Mapping[str, Path], species: str | None) -> Iterator[Finding]:
    matrix = parts["matrix"].name
    features, barcodes = _first_column(parts["features"]), _first_column(parts["barcodes"])
    with opened_text(parts["matrix"]) as file:
        banner = file.readline().split()
        if not banner or banner[0].casefold() != "%%matrixmarket":
            yield finding(
                "BC801", f"{matrix} line 1", "does not begin with %%MatrixMarket", "Use the matrix.mtx of the folder"
            )
            return
        if "coordinate" not in map(str.casefold, banner):
            yield finding("BC801", f"{matrix} line 1", f"is not a sparse matrix ({' '.join(banner[1:])})",
                         "Write it with scipy.io.mmwrite of a sparse matrix")  # fmt: skip
            return
        number, line = 1, "%"
        while line.startswith("%") or (line and not line.strip()):
            number, line = number + 1, file.readline()
        sizes = _numbers(line)
        if len(sizes) != 3:
            yield finding(
                "BC801", f"{matrix} line {number}", f"{line.strip()[:40]!r} is not the size of a matrix", _AGAIN
            )
            return
        shape = (int(sizes[0]), int(sizes[1]))
        unfit = list(_fit(parts, shape, f"{matrix} line {number}", features, barcodes))
        yield from unfit
        values = []
        for line_number, entry in enumerate(file, number + 1):
            if line_number - number > _MOST_ENTRIES:
                break
            fields = _numbers(entry)
            pattern = "pattern" in map(str.casefold, banner)
            if len(fields) != (2 if pattern else 3):
                message = f"{entry.strip()[:40]!r} is not an entry of row, column and value"
                yield finding("BC801", f"{matrix} line {line_number}", message, _AGAIN)
                return
            if not (1 <= fields[0] <= shape[0] and 1 <= fields[1] <= shape[1]):
                message = f"entry {fields[0]:g}, {fields[1]:g} is outside {shape[0]:,} x {shape[1]:,}"
                yield finding("BC801", f"{matrix} line {line_number}", message, _AGAIN)
                return
            values.append(fields[-1])
        else:
            if len(values) < sizes[2]:
                message = f"has {len(values):,} entries, but the header announces {int(sizes[2]):,}"
                yield finding("BC801", matrix, message, f"The file is truncated. {_AGAIN}")
        yield from _counts(f"{matrix} from line {number + 1}", np.array(values))
    yield from _barcodes(parts["barcodes"].name, barcodes)
    if not unfit:
        yield from species_findings(parts["features"].name, identify(features), species)


def _fit(
    parts: Mapping[str, Path], shape: tuple[int, int], place: str, features: list[str], barcodes: list[str]
) -> Iterator[Finding]:
    found = (len(features), len(barcodes))
    if found == shape:
        if gene_share(barcodes) > 0.5 > gene_share(features) and len(barcodes) > 1:
            fix = "Swap the files: pass gene names as features, and barcodes as barcodes"
            yield finding("BC801", parts["barcodes"].name, "holds gene names instead of barcodes", fix)
        return
    if found == shape[::-1]:
        fix = "10x matrices have features in rows: write the transposed matrix, scipy.io.mmwrite(path, matrix.T)"
        yield finding("BC409", place, f"the matrix is {shape[0]:,} cells x {shape[1]:,} features", fix)
        return
    for part, names, number in (("features", features, shape[0]), ("barcodes", barcodes, shape[1])):
        if len(names) == number:
            continue
        header = len(names) == number + 1 and names[0].casefold() in _HEADERS
        where = f"{parts[part].name}{' line 1' if header else ''}"
        what = f"{names[0]!r} is a header, which servers do not expect here" if header else (
            f"has {counted(len(names), 'line')}, but the matrix has {number:,} {part}")  # fmt: skip
        fix = "Remove the first line" if header else "Use the three files that were written together"
        yield finding("BC801", where, what, fix)


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
        message = f"among the first {len(values):,} values, {bad:,} negative, NaN or infinite"
        yield finding(
            "BC802", place, message, "Counts must be non-negative whole numbers", count=bad, error=InvalidValues
        )
    elif values.dtype.kind == "f" and not (values == np.rint(values)).all():
        fix = "If the values are normalized, submit with input_matrix_type='normalized'"
        yield finding("BC803", place, "the first values are not whole numbers, so not counts", fix, severity="warning")


def _barcodes(place: str, names: list[str]) -> Iterator[Finding]:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        message = f"duplicate barcodes: {listing(twice, limit=3)}"
        yield finding("BC101", place, message, "Make them unique", count=len(twice), error=InvalidNames)
