"""Run: all rules over an object or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anndata import AnnData

from biocolab_accessor.check import filter_preview, rules_columns, rules_genes, rules_matrix, rules_names
from biocolab_accessor.check.files import check_10x_h5, check_mtx, open_h5ad, parts_in, study_type_of
from biocolab_accessor.check.matrix_choice import MatrixChoice, decide
from biocolab_accessor.check.report import Finding, Report
from biocolab_accessor.check.rules import RULES, Context
from biocolab_accessor.check.rules_matrix import damage, misfits
from biocolab_accessor.check.tables import check_table_file
from biocolab_accessor.errors import CheckFailed, InvalidArgument, InvalidFile, InvalidValues
from biocolab_accessor.io.columns import Verdicts
from biocolab_accessor.io.matrix_blocks import expect_own_values
from biocolab_accessor.platforms import expanded
from biocolab_accessor.protocol import Filters, known_species

# Importing these modules registers their rules; a new module is added here.
_ROOMS = (
    rules_names,
    rules_columns,
    rules_genes,
    rules_matrix,
    filter_preview,
)


class Checked(NamedTuple):
    """A report, the matrix to send (None if no matrix could be chosen), and the columns as they are written."""

    report: Report
    choice: MatrixChoice | None
    verdicts: Verdicts


def run_rules(
    adata_or_path: Any,
    *,
    input_matrix_type: Any = "auto",
    batch_key: str | None = None,
    species: Any = None,
    filters: Filters | None = None,
) -> Report:
    """See :func:`biocolab_accessor.check.check`."""
    known = None if species is None else known_species(species)
    if isinstance(adata_or_path, str | Path):
        other = _of_other_kind(expanded(adata_or_path), known)
        if other is not None:
            return other
        return check_file(
            Path(adata_or_path),
            input_matrix_type=input_matrix_type,
            batch_key=batch_key,
            species=species,
            filters=filters,
        )[0]
    if not isinstance(adata_or_path, AnnData):
        msg = f"expected an AnnData or the path of an h5ad file, got {type(adata_or_path).__name__}"
        raise InvalidArgument(msg)
    return check_object(
        adata_or_path, input_matrix_type=input_matrix_type, batch_key=batch_key, species=species, filters=filters
    )[0]


def _of_other_kind(path: Path, species: str | None) -> Report | None:
    """The report on a table, a 10x h5 file or a 10x folder; None if the path has to be an h5ad file."""
    kind = study_type_of(path)
    if kind == "mtx_10x":
        return check_mtx(parts_in(path), species)
    if kind == "h5_10x":
        return check_10x_h5(path, species)
    return check_table_file(path, species) if kind == "tsv" else None


def check_file(
    path: Path,
    *,
    input_matrix_type: Any = "auto",
    batch_key: str | None = None,
    species: Any = None,
    filters: Filters | None = None,
    obs: Sequence[str] | None = None,
    gene_symbols: str | None = None,
    is_batch: bool = False,
) -> Checked:
    """As :func:`check_object`, for an h5ad file; InvalidFile if it is not one or cannot be read."""
    adata = open_h5ad(path)
    try:
        return check_object(
            adata,
            input_matrix_type=input_matrix_type,
            batch_key=batch_key,
            species=species,
            filters=filters,
            obs=obs,
            gene_symbols=gene_symbols,
            is_batch=is_batch,
        )
    except OSError as error:
        msg = f"{path} could not be read completely and may be corrupted: {error}. Download or copy it again"
        raise InvalidFile(msg) from error
    finally:
        adata.file.close()


def check_object(
    adata: AnnData,
    *,
    input_matrix_type: Any = "auto",
    batch_key: str | None = None,
    species: Any = None,
    filters: Filters | None = None,
    of_table: Sequence[Finding] | None = None,
    obs: Sequence[str] | None = None,
    gene_symbols: str | None = None,
    is_batch: bool = False,
) -> Checked:
    """The report on an object, and what else the check found out."""
    expect_own_values(adata)
    species = None if species is None else known_species(species)
    findings = misfits(adata)
    if findings:
        return Checked(Report(findings), None, {})
    choice = None
    try:
        choice = decide(adata, input_matrix_type)
    except CheckFailed as error:
        findings.append(Finding("BC300", "error", "X, raw.X, layers", str(error), error=type(error)))
    findings += of_table or ()
    table = None if of_table is None else tuple(of_table)
    columns = None if obs is None else tuple(obs)
    context = Context(adata, choice, batch_key, species, filters, table, columns, gene_symbols, is_batch)
    damaged: Finding | None = None
    for rule in RULES:
        try:
            findings += rule(context)
        except InvalidValues as error:  # raised by the first rule that reads the chosen matrix, and by later ones
            if choice is None:
                raise
            damaged = damage(choice.slot, error)
    return Checked(Report([*findings, *([damaged] if damaged else [])]), choice, context.verdicts_of)
