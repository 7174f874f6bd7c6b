"""Running the rules over an object or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import h5py
from anndata import AnnData

from biocolab_accessor.check import rules_columns, rules_matrix, rules_names
from biocolab_accessor.check.counts import MatrixChoice, choose_matrix
from biocolab_accessor.check.report import Finding, Report
from biocolab_accessor.check.rules import RULES, Context
from biocolab_accessor.errors import CheckFailed, InvalidArgument, InvalidFile

__all__ = ["check_object", "open_h5ad", "run_rules"]

# The rooms of the rules are imported for what they register.
_ROOMS = (rules_names, rules_columns, rules_matrix)


def run_rules(adata_or_path: Any, *, input_matrix_type: Any = "auto", batch_key: str | None = None) -> Report:
    """See :func:`biocolab_accessor.check.check`."""
    if isinstance(adata_or_path, str | Path):
        adata = open_h5ad(Path(adata_or_path))
        try:
            return run_rules(adata, input_matrix_type=input_matrix_type, batch_key=batch_key)
        finally:
            adata.file.close()
    if not isinstance(adata_or_path, AnnData):
        msg = f"expected an AnnData or a path, got {type(adata_or_path).__name__}"
        raise InvalidArgument(msg)
    return check_object(adata_or_path, input_matrix_type=input_matrix_type, batch_key=batch_key)[0]


def check_object(
    adata: AnnData, *, input_matrix_type: Any = "auto", batch_key: str | None = None
) -> tuple[Report, MatrixChoice | None]:
    """The report on an object, and the matrix that was chosen for it (None where none could be)."""
    findings: list[Finding] = []
    choice = None
    try:
        choice = choose_matrix(adata, input_matrix_type)
    except CheckFailed as error:
        findings.append(Finding("BC300", "error", "X, raw.X, layers", str(error), error=type(error)))
    context = Context(adata, choice, batch_key)
    return Report([*findings, *(finding for rule in RULES for finding in rule(context))]), choice


def open_h5ad(path: Path) -> AnnData:
    """Open an h5ad file without reading its matrices; the caller closes ``adata.file``.

    Raises
    ------
    InvalidFile
        It is missing, or something else; the message says what it looks like.
    """
    if not path.is_file():
        msg = f"there is no file {path}"
        raise InvalidFile(msg)
    with path.open("rb") as file:
        start = file.read(8)
    if start != b"\x89HDF\r\n\x1a\n":
        msg = f"{path} is not an h5ad file: it {_looks_like(start)}"
        raise InvalidFile(msg)
    try:
        with h5py.File(path, "r") as file:
            missing = {"obs", "var"} - set(file)
            tenx = "matrix" in file
    except OSError as error:
        msg = f"{path} is a broken HDF5 file: {error}"
        raise InvalidFile(msg) from error
    if missing:
        hint = " (it looks like a 10x file: use study_type='h5_10x')" if tenx else ""
        msg = f"{path} is HDF5 but not h5ad: it has no {' and no '.join(sorted(missing))}{hint}"
        raise InvalidFile(msg)
    try:
        return ad.read_h5ad(path, backed="r")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        msg = f"{path} cannot be read as h5ad: {error}"
        raise InvalidFile(msg) from error


def _looks_like(start: bytes) -> str:
    if not start:
        return "is empty"
    if start.startswith(b"\x1f\x8b"):
        return "is gzip-compressed; unpack it first"
    if start.startswith(b"PK"):
        return "is a zip archive"
    if start.lstrip().startswith(b"<"):
        return "is a web page or XML"
    if start.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in start):
        return "is a text file"
    return f"begins with {start!r}"
