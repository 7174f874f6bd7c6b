"""The command ``biocolab``: the same functions, from a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from biocolab_accessor.errors import BiocolabError

__all__ = ["app"]

app = typer.Typer(
    help="From files and notebooks to BBrowserX, Talk2Data and BioFlex, and back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


class Server(StrEnum):
    """Servers with groups."""

    bbrowserx = "bbrowserx"
    talk2data = "talk2data"


class Source(StrEnum):
    """Servers with studies."""

    bioflex = "bioflex"
    bbrowserx = "bbrowserx"
    talk2data = "talk2data"


class MatrixType(StrEnum):
    """What the matrix is."""

    auto = "auto"
    raw = "raw"
    normalized = "normalized"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Our own errors, and missing extras, as one message and exit code 1; anything else shows as it is."""
    try:
        yield
    except (BiocolabError, ModuleNotFoundError) as error:
        _err.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        _err.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


@app.command()
def demo(
    picture: Annotated[Path, typer.Option(help="Where the UMAP picture goes.")] = Path("biocolab_demo.png"),
) -> None:
    """Send real cells to a sandbox, let it process them, fetch them back, compare, and draw a UMAP."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with _said_plainly(), Progress(*columns, console=_out, transient=True) as progress:
        from biocolab_accessor.demo import run_demo

        bar = progress.add_task("loading", total=None)
        result = run_demo(
            picture.absolute(),
            lambda line: progress.console.print(f"[green]✓[/] {line}"),
            lambda line: progress.update(bar, description=line),
        )
    if not result.exact:
        _err.print("[bold red]The round trip was not exact.[/]")
        raise typer.Exit(1)
    _out.print(
        f"[bold]The round trip was exact:[/] {result.n_obs:,} cells x {result.n_vars:,} genes, "
        f"{result.n_counts:,} counts compared bit for bit, in {result.seconds:.0f} s. Picture: {result.picture}",
        soft_wrap=True,
    )


@app.command()
def sandbox(
    path: Annotated[Path | None, typer.Option(help="Folder for its data; without one they go with it.")] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Where to listen; elsewhere than here needs a token.")] = "127.0.0.1",
    reset: Annotated[bool, typer.Option("--reset", help="Forget the studies, uploads and tasks in --path.")] = False,
    control: Annotated[bool, typer.Option("--control", help="Offer faults, ledger, reset over HTTP.")] = False,
    study: Annotated[
        list[str] | None, typer.Option(metavar="ID=FILE", help="Make an h5ad a public study. Can be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the studies that are added.")] = "",
    reference: Annotated[str, typer.Option(help="Reference of the studies that are added.")] = "",
) -> None:
    """Run a local server with the protocols of BioFlex, BBrowserX and Talk2Data, until Ctrl-C.

    The token is that of the variable BIOCOLAB_SANDBOX_TOKEN, else the well-known one, for this machine only.

    Example: biocolab sandbox --path ./data --port 8765 --study GSE96583_batch2=gse96583.h5ad
    """
    from biocolab_accessor.sandbox.command import lines_to_paste, serving, wait

    with _said_plainly(), serving(path, port=port, host=host, reset=reset, control=control) as server:
        for entry in study or []:
            study_id, _, file = entry.partition("=")
            server.add_study(study_id, file, title=title or None, reference=reference)
            _out.print(f"added {study_id} from {file}", soft_wrap=True)
        shell, python = lines_to_paste(server)
        parts = [
            f"Sandbox at {server.url}/ (open it in a browser), data in {server.path}",
            "In another terminal:\n\n" + "\n".join(shell),
            "Or in Python:\n\n" + "\n".join(python),
            "Ctrl-C ends it.",
        ]
        _out.print("\n\n".join(parts), markup=False, soft_wrap=True)
        sys.stdout.flush()
        wait()


@app.command()
def submit(
    files: Annotated[list[Path], typer.Argument(help="Files, or folders for mtx_10x; several are batches.")],
    group: Annotated[str, typer.Option(help="Id or name of the group.")] = "personal",
    study_type: Annotated[str, typer.Option(help="h5ad, h5_10x, mtx_10x, tsv, rds, …")] = "h5ad",
    study_id: Annotated[str | None, typer.Option(help="The id that people will see.")] = None,
    name: Annotated[str | None, typer.Option(help="Title of the study.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="Can be repeated.")] = None,
    abstract: Annotated[str, typer.Option()] = "",
    species: Annotated[str, typer.Option(help="human, mouse, primate or others.")] = "human",
    input_matrix_type: Annotated[MatrixType, typer.Option()] = MatrixType.auto,
    min_counts: Annotated[float | None, typer.Option()] = None,
    min_genes: Annotated[float | None, typer.Option()] = None,
    max_counts: Annotated[float | None, typer.Option()] = None,
    max_genes: Annotated[float | None, typer.Option()] = None,
    mt_percentage: Annotated[float | None, typer.Option(help="In percent.")] = None,
    skip_dimred: Annotated[bool, typer.Option("--skip-dimred")] = False,
    to: Annotated[Server, typer.Option()] = Server.bbrowserx,
    wait: Annotated[bool, typer.Option(help="Wait until the study is there.")] = True,
    as_json: Json = False,
) -> None:
    """Submit files on disk.

    Example: biocolab submit sample1.h5ad sample2.h5ad --study-id my_study --species mouse
    """
    with _said_plainly():
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
            wait=wait,
        )
        found = {"study_id": submission.study_id, "task_id": submission.task_id, "status": submission.status}
    _show([found | {"uuid": submission.study_info.get("uuid", "")}], as_json=as_json)


@app.command()
def pull(
    study_id: Annotated[str, typer.Argument(help="Id of the study; a uuid for BBrowserX and Talk2Data too.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="h5ad to write; an existing one is replaced.")],
    source: Annotated[Source, typer.Option()] = Source.bioflex,
    species: Annotated[str, typer.Option()] = "human",
    group: Annotated[str | None, typer.Option(help="Id or name of the group.")] = None,
    unit: Annotated[str, typer.Option(help="raw or lognorm.")] = "raw",
    layer: Annotated[list[str] | None, typer.Option(help="Another unit to fetch besides. Can be repeated.")] = None,
    gene: Annotated[list[str] | None, typer.Option(help="Only these genes. Can be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a study into an h5ad file.

    Example: biocolab pull GSE96583_batch2 -o gse96583.h5ad --layer lognorm
    """
    with _said_plainly():
        import biocolab_accessor as bc
        from biocolab_accessor.storage.h5ad import replacing

        study = bc.study(study_id, source=source.value, species=species, group=group)
        adata = study.to_anndata(unit=unit, layers=layer or (), genes=gene)  # type: ignore[arg-type]
        with replacing(output) as part:
            adata.write_h5ad(part, compression="gzip")
    _show([{"study_id": study.id, "cells": adata.n_obs, "genes": adata.n_vars, "file": str(output)}], as_json=as_json)


@app.command()
def groups(source: Annotated[Server, typer.Option()] = Server.bbrowserx, as_json: Json = False) -> None:
    """List the groups that the token sees."""
    with _said_plainly():
        import biocolab_accessor as bc

        rows = bc.groups(source=source.value).to_dict("records")
    _show(rows, as_json=as_json)


@app.command()
def studies(
    group: Annotated[str, typer.Argument(help="Id or name of the group.")] = "personal",
    species: Annotated[str, typer.Option()] = "human",
    source: Annotated[Server, typer.Option()] = Server.bbrowserx,
    as_json: Json = False,
) -> None:
    """List the studies of a group."""
    with _said_plainly():
        import biocolab_accessor as bc

        rows = bc.studies(group, species=species, source=source.value).to_dict("records")
    _show(
        rows if as_json else [{k: row[k] for k in ("study_id", "title", "created_by", "uuid")} for row in rows],
        as_json=as_json,
    )


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="An h5ad file.")],
    input_matrix_type: Annotated[MatrixType, typer.Option()] = MatrixType.auto,
    as_json: Json = False,
) -> None:
    """Say what stands in the way of submitting a file; the exit code is 1 if something does."""
    with _said_plainly():
        from biocolab_accessor.check import check as check_

        report = check_(file, input_matrix_type=input_matrix_type.value)
    if as_json:
        _show(report.to_frame().to_dict("records"), as_json=True)
    else:
        _out.print(repr(report), markup=False, soft_wrap=True)
    raise typer.Exit(0 if report.ok else 1)


def _show(rows: list[dict[Any, Any]], *, as_json: bool) -> None:
    if as_json:
        _out.print(json.dumps(rows, indent=2, default=str), markup=False, soft_wrap=True)
        return
    if not rows:
        _out.print("nothing there")
        return
    table = Table(*[str(name) for name in rows[0]])
    for row in rows:
        table.add_row(*[str(value) for value in row.values()])
    _out.print(table)
