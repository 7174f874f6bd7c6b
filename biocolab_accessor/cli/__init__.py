"""The command ``biocolab``: the same functions, from a terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from biocolab_accessor.cli import (
    demo,
    doctor,
    studies,
    submit,
)
from biocolab_accessor.cli import (
    local as cache,
)
from biocolab_accessor.cli import (
    local as sandbox,
)
from biocolab_accessor.cli import (
    studies as groups,
)
from biocolab_accessor.cli import (
    studies as pull,
)
from biocolab_accessor.cli import (
    studies as summary,
)
from biocolab_accessor.cli import (
    submit as check,
)
from biocolab_accessor.cli import (
    submit as resume,
)
from biocolab_accessor.cli.output import Commands

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
    epilog=(
        "Exit codes: 0 done; 1 a check or doctor found something, or the name or file is not there; "
        "2 wrong arguments; 3 a host, token or setting cannot be used; 4 no usable answer arrived (try again); "
        "5 the server said no; 130 Ctrl-C. Answers go to stdout, messages to stderr. Where stdout is no terminal, "
        "tables are tab-separated; --json is for programs."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        import biocolab_accessor

        typer.echo(f"biocolab_accessor {biocolab_accessor.__version__}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from. Works at any place.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """From files and notebooks to BBrowserX, Talk2Data and BioFlex, and back."""


for command, panel in (
    (demo.demo, "Try it without an account"),
    (sandbox.sandbox, "Try it without an account"),
    (check.check, "From here to a server"),
    (submit.submit, "From here to a server"),
    (resume.resume, "From here to a server"),
    (groups.groups, "What a server has"),
    (studies.studies, "What a server has"),
    (summary.summary, "What a server has"),
    (pull.pull, "From a server to here"),
    (doctor.doctor, "This machine"),
):
    app.command(rich_help_panel=panel)(command)
app.add_typer(cache.app, name="cache", rich_help_panel="This machine")
