"""``biocolab check``, ``submit`` and ``resume``: files on disk become a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from biocolab_accessor.cli.output import (
    Json,
    MatrixType,
    MaxCounts,
    MaxGenes,
    MinCounts,
    MinGenes,
    MtPercentage,
    Server,
    Species,
    err,
    out,
    print_json,
    print_submission,
    print_table,
    say,
)
from biocolab_accessor.errors import InvalidArgument, InvalidFile

if TYPE_CHECKING:
    from biocolab_accessor.check.report import Finding, Report

__all__ = ["check", "resume", "submit"]

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


def submit(
    files: Annotated[list[Path], typer.Argument(help="Files, or folders for mtx_10x; several are batches.")],
    group: Annotated[str, typer.Option(help="Id or name of the group.")] = "personal",
    study_type: Annotated[str, typer.Option(help="h5ad, h5_10x, mtx_10x, tsv, rds, …")] = "h5ad",
    study_id: Annotated[str | None, typer.Option(help="The id that people will see.")] = None,
    name: Annotated[str | None, typer.Option(help="Title of the study; else its --study-id.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="Can be repeated.")] = None,
    abstract: Annotated[str, typer.Option(help="Shown with the study.")] = "",
    species: Species = "human",
    input_matrix_type: Annotated[MatrixType, typer.Option(help="auto looks for counts.")] = MatrixType.auto,
    min_counts: MinCounts = None,
    min_genes: MinGenes = None,
    max_counts: MaxCounts = None,
    max_genes: MaxGenes = None,
    mt_percentage: MtPercentage = None,
    skip_dimred: Annotated[bool, typer.Option("--skip-dimred", help="Compute no embedding, keep the file's.")] = False,
    obs: Annotated[
        list[str] | None, typer.Option(help="A column of obs to send, of h5ad; can be repeated. Else all.")
    ] = None,
    to: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx,
    wait: Annotated[bool, typer.Option(help="Wait until the study is there.")] = True,
    as_json: Json = False,
) -> None:
    """Submit files on disk to a group of BBrowserX or Talk2Data.

    h5ad files are checked first; what stands in the way is said before anything is sent.

    Example: biocolab submit sample1.h5ad sample2.h5ad --study-id my_study --species mouse

    Example: biocolab submit x.h5ad --obs cell_type --obs donor

    Example: uuid=$(biocolab submit x.h5ad --json | jq -r .uuid)
    """
    import biocolab_accessor as bc

    submission = bc.submit(
        files,
        group,
        study_type=study_type,
        study_id=study_id,
        name=name,
        authors=author or (),
        abstract=abstract,
        species=species,
        input_matrix_type=input_matrix_type.value,
        min_counts=min_counts,
        min_genes=min_genes,
        max_counts=max_counts,
        max_genes=max_genes,
        mt_percentage=mt_percentage,
        skip_dimred=skip_dimred,
        to=to.value,
        obs=obs or None,
        wait=wait,
    )
    print_submission(submission, as_json=as_json)


def resume(
    name: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the study, or how it begins. Not needed for the only one.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Drop it instead; the server is not asked.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List them and do nothing.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the study is there.")] = True,
    as_json: Json = False,
) -> None:
    """Carry on a submission that was broken off, or drop it.

    Files that are still there unchanged are sent on. An object of a notebook is carried on by the same submit call
    there; where the server has it already, also by this command.

    Example: biocolab resume --list

    Example: biocolab resume my_study

    Example: biocolab resume --forget my_study
    """
    import biocolab_accessor as bc
    from biocolab_accessor.submit.resume import as_json as plain
    from biocolab_accessor.submit.resume import find

    known = bc.submissions(finished=forget and name is not None)
    if show or (name is None and len(known) != 1):
        rows = [plain(each) for each in known]
        if as_json:
            print_json(rows)
        else:
            print_table([each.row() for each in known], empty="no submission was broken off")
        if known and not show:
            msg = f"{len(known)} submissions were broken off: give the ID of one"
            raise InvalidArgument(msg)
        return
    chosen = known[0] if name is None else find(name, known)
    if forget:
        if name is None:
            msg = f"give the ID of the submission to forget: biocolab resume --forget {chosen.study_id}"
            raise InvalidArgument(msg)
        chosen.forget()
        err.print(f"forgotten: {chosen}", markup=False, soft_wrap=True)
        return
    submission = chosen.resume(wait=wait)
    print_submission(submission, as_json=as_json)
