"""``biocolab check``, ``submit`` and ``resume``: turn files on disk into a study."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
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
    for_terminal,
    out,
    print_json,
    print_submission,
    print_table,
    say,
)
from biocolab_accessor.errors import InvalidArgument, InvalidFile

if TYPE_CHECKING:
    from biocolab_accessor.check.report import Finding, Report

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def check(
    files: Annotated[list[Path], typer.Argument(help="h5ad, 10x h5 and table files, and 10x folders.")],
    input_matrix_type: Annotated[MatrixType, typer.Option(help="raw requires counts.")] = MatrixType.auto,
    batch_key: Annotated[str | None, typer.Option(help="Column of obs that defines the batches.")] = None,
    species: Annotated[str, typer.Option(help="Species to compare the gene names with.")] = "human",
    min_counts: MinCounts = None,
    min_genes: MinGenes = None,
    max_counts: MaxCounts = None,
    max_genes: MaxGenes = None,
    mt_percentage: MtPercentage = None,
    as_json: Json = False,
) -> None:
    """Check whether files can be submitted. The exit code is 1 if a file has errors.

    Nothing is sent and no file is changed. The documentation's catalog of checks explains the codes. In JSON,
    InvalidFile marks a file that cannot be read. If you give the filters of the submission, the number of cells that
    they keep is reported.

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
            say(type(error).__name__, "bold red", error)  # continue with the other files
            ready = False
            if as_json:  # a program does not read stderr
                rows += _rows(file, Report([Finding("InvalidFile", "error", "", str(error))]))
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
        print_table([{**row, "fix": for_terminal(row["fix"]), "examples": ", ".join(row["examples"])} for row in rows])
    raise typer.Exit(0 if ready else 1)


def _rows(file: Path, report: Report) -> list[dict[Any, Any]]:
    return [{"file": str(file), **row} for row in report.to_frame().to_dict("records")]


def _shown(finding: Finding) -> dict[str, Any]:
    style = _STYLES[finding.severity]
    shown = {"code": Text(finding.code, style), "severity": Text(finding.severity, style)}
    return {**shown, "where": finding.path, "problem and fix": for_terminal(finding.text)}


def submit(
    files: Annotated[list[Path], typer.Argument(help="Files or 10x folders. Several are batches of one study.")],
    group: Annotated[str, typer.Option(help="Id or name of the group.")] = "personal",
    study_type: Annotated[str, typer.Option(help="h5ad, h5_10x, mtx_10x, tsv, rds, …")] = "auto",
    study_id: Annotated[str | None, typer.Option(help="The id that users will see.")] = None,
    name: Annotated[str | None, typer.Option(help="Title of the study; default --study-id.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="Author. Can be repeated.")] = None,
    abstract: Annotated[str, typer.Option(help="Shown with the study.")] = "",
    species: Species = "human",
    input_matrix_type: Annotated[
        MatrixType, typer.Option(help="auto looks for counts in h5ad files and tables.")
    ] = MatrixType.auto,
    batch_key: Annotated[str | None, typer.Option(help="Column of obs that splits an h5ad file into batches.")] = None,
    gene_symbols: Annotated[str | None, typer.Option(help="Column of var with the gene names to send (h5ad).")] = None,
    min_counts: MinCounts = None,
    min_genes: MinGenes = None,
    max_counts: MaxCounts = None,
    max_genes: MaxGenes = None,
    mt_percentage: MtPercentage = None,
    skip_dimred: Annotated[
        bool, typer.Option("--skip-dimred", help="Keep the embeddings of the file; compute none.")
    ] = False,
    obs: Annotated[
        list[str] | None, typer.Option(help="A column of obs to send (h5ad). Can be repeated; default all.")
    ] = None,
    to: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx,
    strict: Annotated[bool, typer.Option("--strict", help="Send nothing if the check has warnings.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the study is ready.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, and show what would be sent.")] = False,
    as_json: Json = False,
) -> None:
    """Submit files on disk to a group of BBrowserX or Talk2Data.

    h5ad files, tables and 10x files are recognized and checked first; nothing is sent if a file has errors. With
    --dry-run, the exit code is then 1.

    Example: biocolab submit sample1.h5ad sample2.h5ad --study-id my_study --species mouse

    Example: biocolab submit x.h5ad --obs cell_type --batch-key donor --dry-run

    Example: biocolab submit filtered_feature_bc_matrix/

    Example: uuid=$(biocolab submit x.h5ad --json | jq -r .uuid)
    """
    import biocolab_accessor as bc

    arguments: dict[str, Any] = {
        "study_type": study_type,
        "study_id": study_id,
        "name": name,
        "authors": author or (),
        "abstract": abstract,
        "species": species,
        "input_matrix_type": input_matrix_type.value,
        "batch_key": batch_key,
        "gene_symbols": gene_symbols,
        "min_counts": min_counts,
        "min_genes": min_genes,
        "max_counts": max_counts,
        "max_genes": max_genes,
        "mt_percentage": mt_percentage,
        "skip_dimred": skip_dimred,
        "to": to.value,
        "obs": obs or None,
        "check": "strict" if strict else "default",
    }
    if not dry_run:
        with bc.settings.override(follow=False):  # this process ends
            submission = bc.submit(files, group, **arguments, wait=wait, dry_run=False)
        print_submission(submission, as_json=as_json)
        return
    plan = bc.submit(files, group, **arguments, dry_run=True)
    if as_json:
        fields = {name: getattr(plan, name) for name in plan.__dataclass_fields__ if name not in ("plans", "report")}
        print_json({"ok": plan.ok, **fields, "findings": plan.report.to_frame().to_dict("records")})
    else:
        text = for_terminal(repr(plan))
        if out.is_terminal:
            text = "\n".join(
                fill(line, out.width, subsequent_indent="    ", break_on_hyphens=False) for line in text.splitlines()
            )
        out.print(text, markup=False, soft_wrap=True)
    raise typer.Exit(0 if plan.ok else 1)


def resume(
    name: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the study, or its start. Not needed if there is only one.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Forget it instead; the server is not contacted.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List interrupted submissions and do nothing else.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the study is ready.")] = True,
    as_json: Json = False,
) -> None:
    """Resume an interrupted submission, or forget it.

    Submissions of files are resumed if the files exist unchanged. To resume the submission of an object in a notebook,
    repeat the submit call there; if the server has all data already, this command works too.

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
            print_table([each.row() for each in known], empty="no interrupted submissions")
        if known and not show:
            msg = f"{len(known)} interrupted submissions: give the ID of one"
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
    with bc.settings.override(follow=False):
        submission = chosen.resume(wait=wait)
    print_submission(submission, as_json=as_json)


def wait(
    task: Annotated[
        str | None, typer.Argument(metavar="TASK", help="Id of the task. Not needed if only one is waiting.")
    ] = None,
    to: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx,
    as_json: Json = False,
) -> None:
    """Wait until the server has processed a submission, and make it a study.

    Example: biocolab submit x.h5ad --no-wait && biocolab wait

    Example: biocolab wait 7
    """
    import biocolab_accessor as bc
    from biocolab_accessor.submit.resume import connected_submissions

    if task is None:
        waiting = [each for each in connected_submissions(to.value) if each.task_id != ""]
        if len(waiting) != 1:
            found = f"{len(waiting)} tasks of this machine are" if waiting else "no task of this machine is"
            msg = f"{found} waiting: give the TASK{', see biocolab tasks' if waiting else ' of another machine'}"
            raise InvalidArgument(msg)
        task = str(waiting[0].task_id)
    print_submission(bc.submission(task, to=to.value).wait(), as_json=as_json)


def tasks(as_json: Json = False) -> None:
    """List the tasks of this machine that are not studies yet.

    Example: biocolab tasks
    """
    import biocolab_accessor as bc
    from biocolab_accessor.submit.resume import as_json as plain

    waiting = [each for each in bc.submissions() if each.task_id != ""]
    if as_json:
        print_json([plain(each) for each in waiting])
    else:
        print_table([{"task": str(each.task_id), **each.row()} for each in waiting], empty="no tasks are waiting")
