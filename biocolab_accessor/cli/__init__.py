"""The command ``biocolab``: the functions of the package in a terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from biocolab_accessor.cli import local, studies, submit
from biocolab_accessor.cli.output import Commands

app = typer.Typer(
    cls=Commands,
    epilog=(
        "Exit codes: 0 success; 1 check or doctor found a problem, or a name or file does not exist; "
        "2 invalid arguments; 3 a host, token or setting is missing or invalid; 4 no valid answer (try again); "
        "5 the server rejected the request; 130 Ctrl-C. Results go to stdout, messages to stderr. If stdout is not a "
        "terminal, tables are tab-separated. Use --json for programs."
    ),
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
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Can be given anywhere.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Exchange single-cell data with BBrowserX, Talk2Data and BioFlex."""


for panel, commands in {
    "Try it without an account": (local.demo, local.sandbox),
    "Send to a server": (submit.check, submit.submit, submit.resume, submit.wait, submit.tasks),
    "Browse a server": (studies.groups, studies.studies, studies.search, studies.summary),
    "Fetch from a server": (studies.pull, studies.replay),
    "This machine": (local.login, local.logout, local.doctor),
}.items():
    for command in commands:
        # Typer keeps the line breaks of the source, which a terminal would break again.
        paragraphs = [" ".join(each.split()) for each in (command.__doc__ or "").split("\n\n")]
        app.command(help="\n\n".join(paragraphs), rich_help_panel=panel)(command)
app.add_typer(local.app, name="cache", rich_help_panel="This machine")
