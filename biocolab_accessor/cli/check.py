"""``biocolab check``: what stands in the way of submitting files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from biocolab_accessor.cli.options import Json, MatrixType, MaxCounts, MaxGenes, MinCounts, MinGenes, MtPercentage
from biocolab_accessor.cli.output import err, out, print_json, print_table, say
from biocolab_accessor.errors import InvalidFile

if TYPE_CHECKING:
    from biocolab_accessor.check.report import Finding, Report

__all__ = ["check"]

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def check(
    files: Annotated[list[Path], typer.Argument(help="h5ad files; each is read piece by piece.")],
    input_matrix_type: Annotated[MatrixType, typer.Option(help="raw insists on counts.")] = MatrixType.auto,
    batch_key: Annotated[str | None, typer.Option(help="Column of obs that will be the batches.")] = None,
    species: Annotated[str | None, typer.Option(help="Compared with the names of the genes.")] = None,
    min_counts: MinCounts = None,
    min_genes: MinGenes = None,
    max_counts: MaxCounts = None,
    max_genes: MaxGenes = None,
    mt_percentage: MtPercentage = None,
    as_json: Json = False,
) -> None:
    """Say what stands in the way of submitting files; the exit code is 1 if something does.

    Nothing is sent and no file is changed. The codes are explained in the documentation's catalogue of checks; in the
    JSON, InvalidFile is a file that cannot be read. With the filters of the submission it says how many cells they
    would leave.

    Example: biocolab check *.h5ad

    Example: biocolab check x.h5ad --min-genes 200 --mt-percentage 10

    Example: biocolab check x.h5ad --json | jq -r '.[] | select(.severity == "error") | .code'
    """
    from biocolab_accessor.check import check as check_
    from biocolab_accessor.check.report import Finding, Report

    rows: list[dict[Any, Any]] = []
    ready = True
    for file in files:
        try:
            report = check_(
                file,
                input_matrix_type=input_matrix_type.value,
                batch_key=batch_key,
                species=species,
                min_counts=min_counts,
                min_genes=min_genes,
                max_counts=max_counts,
                max_genes=max_genes,
                mt_percentage=mt_percentage,
            )
        except InvalidFile as error:
            say(type(error).__name__, "bold red", error)  # and on with the others, as of all findings of one file
            ready = False
            if as_json:  # what reads it sees no stderr
                rows += _rows(file, Report([Finding(type(error).__name__, "error", "", str(error))]))
            continue
        ready = ready and report.ok
        rows += _rows(file, report)
        if not as_json:
            headline = repr(report).partition("\n")[0].removeprefix("Report: ")
            (out if out.is_terminal else err).print(
                Text(f"{file}: ", "bold") + Text(headline, "" if report.ok else "bold red"), soft_wrap=True
            )
            if out.is_terminal and report:
                print_table([_shown(finding) for finding in report])
    if as_json:
        print_json(rows)
    elif not out.is_terminal and rows:
        print_table([{**row, "examples": ", ".join(row["examples"])} for row in rows])
    raise typer.Exit(0 if ready else 1)


def _rows(file: Path, report: Report) -> list[dict[Any, Any]]:
    return [{"file": str(file), **row} for row in report.to_frame().to_dict("records")]


def _shown(finding: Finding) -> dict[str, Any]:
    style = _STYLES[finding.severity]
    shown = {"code": Text(finding.code, style), "severity": Text(finding.severity, style)}
    return {**shown, "where": finding.path, "what, and what to do": finding.text}
