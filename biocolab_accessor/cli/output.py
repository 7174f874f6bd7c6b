"""Output: shared options, results on stdout, messages on stderr, and exit codes."""

from __future__ import annotations

import errno
import io
import json
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from biocolab_accessor.cli.hints import for_terminal, learn_options
from biocolab_accessor.errors import (
    BiocolabError,
    ConfigurationError,
    InvalidArgument,
    InvalidResponse,
    ServerError,
    TransportError,
)
from biocolab_accessor.messages import shown
from biocolab_accessor.protocol import UNITS

if TYPE_CHECKING:
    from biocolab_accessor.submit.submission import Submission

__all__ = [
    "Commands",
    "HelpByDefault",
    "Json",
    "MatrixType",
    "MaxCounts",
    "MaxGenes",
    "MinCounts",
    "MinGenes",
    "MtPercentage",
    "Server",
    "Source",
    "Species",
    "Unit",
    "code_of",
    "err",
    "out",
    "print_json",
    "print_lines",
    "print_submission",
    "print_table",
    "say",
]


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
    """Types of matrices."""

    auto = "auto"
    raw = "raw"
    normalized = "normalized"


class Unit(StrEnum):
    """Units of values."""

    vars().update({unit: unit for unit in UNITS})


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Species = Annotated[str, typer.Option(help="human, mouse, primate or others.")]

MinCounts = Annotated[float | None, typer.Option(help="Keep cells with at least this many counts.")]

MinGenes = Annotated[float | None, typer.Option(help="Keep cells with at least this many genes.")]

MaxCounts = Annotated[float | None, typer.Option(help="Keep cells with at most this many counts.")]

MaxGenes = Annotated[float | None, typer.Option(help="Keep cells with at most this many genes.")]

MtPercentage = Annotated[float | None, typer.Option(help="Maximum share of mitochondrial counts, in percent.")]

out = Console(highlight=False)

err = Console(stderr=True, highlight=False)

Row = Mapping[Any, Any]

_IN_ONE_LINE = ("id", "uuid")


def print_json(answer: Any) -> None:
    """Print JSON, not wrapped; values without a JSON type become strings, NaN and infinity become null."""
    plain = json.loads(json.dumps(answer, default=_plain), parse_constant=lambda _: None)
    typer.echo(json.dumps(plain, indent=2))


def print_table(rows: Sequence[Row], *, title: str = "", numbers: Sequence[str] = (), empty: str = "") -> None:
    """Print rows as a table, or tab-separated if stdout is not a terminal; ``empty`` goes to stderr if no rows."""
    if not rows:
        err.print(empty or "no results", markup=False)
        return
    if not out.is_terminal:
        for line in (list(rows[0]), *(list(row.values()) for row in rows)):
            typer.echo("\t".join(_one_line(value) for value in line))  # rich would turn tabs into spaces
        return
    table = Table(title=shown(title) or None, title_justify="left", header_style="bold", title_style="bold")
    for name in rows[0]:
        # Folded, not cut: half an id is useless. An id in two lines is hard to copy, so it gets one line if it fits in
        # half of the width.
        one_line = name in _IN_ONE_LINE and 2 * max(len(str(row[name])) for row in rows) <= out.width
        # The place of a finding may be a long path; its message needs the room more.
        widest = out.width // 4 if name == "where" else None
        justify: Literal["left", "right"] = "right" if name in numbers else "left"
        table.add_column(shown(name), overflow="fold", justify=justify, no_wrap=one_line, max_width=widest)
    for row in rows:
        table.add_row(*(value if isinstance(value, Text) else Text(shown(value)) for value in row.values()))
    out.print(table)


def print_lines(row: Row) -> None:
    """Print one result, one line per value."""
    width = max(len(name) for name in row)
    for name, value in row.items():
        if value in (None, ""):
            continue
        if out.is_terminal:
            out.print(Text(name.ljust(width), "bold") + f"  {shown(value)}", soft_wrap=True)
        else:
            typer.echo(f"{name}\t{_one_line(value)}")


def print_submission(submission: Submission, *, as_json: bool) -> None:
    """Print the state of a submission."""
    answer = {
        "study_id": submission.study_id,
        "uuid": submission.study_info.get("uuid", ""),
        "task_id": submission.task_id,
        "status": submission.status,
        "page": submission.url,
    }
    if as_json:
        print_json(answer)
    else:
        print_lines(answer | {"kept": submission._kept()})
    if submission._was_there:
        err.print("It was submitted before, so nothing was sent.")
    if not submission.done:
        option = "" if submission.source == "bbrowserx" else f" --to {submission.source}"
        state = "has processed" if answer["status"] == "SUCCESS" else "processes"
        line = f"The server {state} it. This makes it a study: biocolab wait {submission.task_id}{option}"
        err.print(line, markup=False, soft_wrap=True)


def say(kind: str, style: str, message: object) -> None:
    """Print a message on stderr, with commands for its Python code; wrapped in a terminal, one line in a log."""
    text = Text(kind, style) + Text(f": {shown(for_terminal(str(message)), lines=True)}")
    for line in text.split("\n"):  # a command stays one line, to be copied
        err.print(line, soft_wrap=not err.is_terminal or line.plain.startswith("  "))


def _one_line(value: Any) -> str:
    return shown(" ".join(str(value).split()))


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)  # a NumPy number
    return item() if callable(item) else str(value)


_CODES: tuple[tuple[type[BiocolabError], int], ...] = (
    (InvalidArgument, 2),
    (ConfigurationError, 3),
    (TransportError, 4),
    (InvalidResponse, 4),
    (ServerError, 5),
)

_INTERRUPTED = 130
_OF_A_SHELL = ("  biocolab ", "  export ", "  read ", "  $env:")  # other lines that help are Python


def code_of(error: type[BaseException]) -> int:
    """The exit code for a class of errors; 1 for findings and all other errors."""
    return next((code for kind, code in _CODES if issubclass(error, kind)), 1)


class HelpByDefault(TyperGroup):
    """A group of commands that shows its help if no command is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without arguments, ask for help; typer's own way ends with an exit code of 2."""
        parsed: list[str] = super().parse_args(ctx, args or ["--help"])
        return parsed


class Commands(HelpByDefault):
    """The group of all commands: accepts ``--debug`` anywhere and prints our errors without a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move ``--debug`` to where click expects it."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As Python does for stderr: a pipe on Windows may not be able to encode the name of a study.
            sys.stdout.reconfigure(errors="backslashreplace")
        own = args[: args.index("--")] if "--" in args else args
        if "--debug" in own:
            args = ["--debug", *(arg for arg in own if arg != "--debug"), *args[len(own) :]]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        learn_options(self.commands.values())
        with _errors_as_messages(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@contextmanager
def _errors_as_messages(*, debug: bool) -> Iterator[None]:
    """Print our errors, missing extras and errors of the system as one message; anything else is a bug."""
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            yield
        except KeyboardInterrupt as interrupt:
            notes = "\n".join(getattr(interrupt, "__notes__", ()))
            if notes:
                say("interrupted", "", notes[0].lower() + notes[1:])
            else:
                err.print("interrupted")
            raise typer.Exit(_INTERRUPTED) from None
        except (BiocolabError, ModuleNotFoundError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of stdout ended, as head does
            if debug:
                err.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True, end="")
            else:
                parts = [str(error), *getattr(error, "__notes__", ())]
                line = for_terminal(f"  {getattr(error, 'line', '')}")
                parts += [line] if line.startswith(_OF_A_SHELL) else []
                say(type(error).__name__, "bold red", "\n".join(parts))
            raise typer.Exit(code_of(type(error))) from error


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Print warnings for users; leave out warnings of libraries for developers."""
    if issubclass(category, UserWarning | DeprecationWarning):
        say("warning", "yellow", message)
