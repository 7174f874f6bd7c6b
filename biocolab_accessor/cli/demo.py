"""``biocolab demo``: both roads on real cells, against a sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from biocolab_accessor.cli.options import Json
from biocolab_accessor.cli.output import err, out, print_json

__all__ = ["demo"]


def demo(
    picture: Annotated[Path, typer.Option(help="Where the UMAP picture goes.")] = Path("biocolab_demo.png"),
    as_json: Json = False,
) -> None:
    """Send real cells to a sandbox, let it process them, fetch them back, compare, and draw a UMAP.

    Needs no account and no network. The exit code is 1 if a single count came back as another.

    Example: biocolab demo --picture umap.png
    """
    console = err if as_json else out
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("loading", total=None)
        from biocolab_accessor.demo import run_demo

        result = run_demo(
            picture.absolute(),
            lambda line: progress.console.print(Text("✓ ", "green") + Text(line), soft_wrap=True),
            lambda line: progress.update(bar, description=line),
        )
    if as_json:
        print_json({name: getattr(result, name) for name in result.__dataclass_fields__})
    elif result.exact:
        told = (
            f" {result.n_obs:,} cells x {result.n_vars:,} genes, {result.n_counts:,} counts compared bit for bit, "
            f"in {result.seconds:.0f} s. Picture: {result.picture}"
        )
        out.print(Text("The round trip was exact:", "bold") + Text(told), soft_wrap=True)
    if not result.exact:
        err.print("[bold red]The round trip was not exact.[/]")
        raise typer.Exit(1)
