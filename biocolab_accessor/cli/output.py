"""Output: shared options, results on stdout, messages on stderr in the words of a terminal, and exit codes."""

from __future__ import annotations

import ast
import errno
import io
import json
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

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


# Sentences that a terminal needs in other words. The rules below translate the code in the others.
_SENTENCES: tuple[tuple[str, str], ...] = (
    (r"\S+, in a terminal with (?=--)", ""),
    (r", or run in a terminal\n(  biocolab .*)\nor in Python\n  bc\..*", r", or run\n\1"),
    (r"To go on with study (.+), repeat the call$", r"To go on, repeat the command, or run\n  bc.resume(\1)"),
    (r"^The whole log:\n(?=  bc)", "The whole log, in Python:\n"),
    (r"\bthe value of submission\.task_id\b", "the task_id that biocolab submit printed"),
    (r"this lists all species: (?=bc)", "this lists all species:\n  "),
    (r", in a terminal(?=:\n)| \(in a terminal: [^)]*\)(?=:\n)", ""),
    (r"\b([Rr])epeat the (?:submit )?call\b(?!, adata)", r"\1epeat the command"),
    (r"\bthe same call without dry_run\b", "the same command without --dry-run"),
    (r"\bthe same call\b", "the same command"),
    (r"\bcheck='strict'", "--strict"),
    (r"; see study\.features\(\)", "; without --genes, all genes are fetched"),
    (r"(?:adata|df)\.biocolab\.submit\((?=\w+=)([^()…]*)\)", r"\1"),
)
_COMMANDS = {
    "check": "check",
    "doctor": "doctor",
    "groups": "groups",
    "replay": "replay",
    "resume": "resume",
    "sandbox": "sandbox",
    "search": "search",
    "studies": "studies",
    "study": "pull",
    "submission": "wait",
    "submissions": "resume --list",
    "submit": "submit",
}
_TEXT = r"'[^'\n]*'|\"[^\"\n]*\""
_CALL = re.compile(
    rf"(?:from getpass import getpass; )?\bbc\.(\w+)\(((?:[^()'\"\n]|{_TEXT}|\((?:[^()'\"\n]|{_TEXT})*\))*)\)"
    r"(?:\.(?:wait|study|to_frame)\(\))*(?!\.\w)"
)
_SETTING = re.compile(r"\bbc\.settings\.([a-z0-9_]+)(?:, \$BIOCOLAB_\w+| \(\$BIOCOLAB_\w+\))?")
# Calls are matched first: their arguments stay.
_ARGUMENT = re.compile(
    r"\w\((?:[^()]|\([^()]*\))*\)|"
    rf"(?<![^\s(])([a-z_]+)=({_TEXT}|[0-9.]*[0-9]|True|False|(?![\w\[{{(…/=]))"
)
_OF_CONNECTIONS = re.compile(r"ssl|(?:private|public|bioflex)_(?:host|token)")
# The options of all commands by the names of their arguments. A switch has a second name, perhaps an empty one.
_options: dict[str, tuple[str, str | None]] = {}


def learn_options(commands: Iterable[Any]) -> None:
    """Take the options of the commands, which import this module."""
    for option in (each for command in commands for each in command.params if each.param_type_name == "option"):
        _options[option.name] = (option.opts[0], "".join(option.secondary_opts) if option.is_flag else None)


def for_terminal(text: str) -> str:
    """A message of the package in the words of the command line; what has no command stays Python."""
    for pattern, words in _SENTENCES:
        text = re.sub(pattern, words, text, flags=re.MULTILINE)
    text = _CALL.sub(_command, text)
    return _ARGUMENT.sub(_option, _SETTING.sub(lambda found: f"$BIOCOLAB_{found[1].upper()}", text))


def literal(value: str) -> str:
    """A value as the shell reads it."""
    return "'" + value.replace("'", "''") + "'" if os.name == "nt" else shlex.quote(value)


def assignment(name: str, word: str) -> str:
    """The line of a shell that sets a variable."""
    return f"$env:{name} = {word}" if os.name == "nt" else f"export {name}={word}"


def _command(found: re.Match[str]) -> str:
    """A call of ``bc`` as a command."""
    name = found[1]
    if name not in (*_COMMANDS, "connect"):
        return found[0]
    arguments = found[2].replace("…, ", "").replace("=…", "='…'").strip("…")
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        assert isinstance(call, ast.Call)
        if name == "connect":
            alone = found.string[: found.start()].rpartition("\n")[2] == "  "
            return ("\n  " if alone else "; ").join(
                _exported(f"BIOCOLAB_{each.arg}".upper(), each.value) for each in call.keywords
            )
        words = [f"biocolab {_COMMANDS[name]}", *map(_word, call.args)]
        words += [_option_of(str(each.arg), _word(each.value)) or _refuse(each.value) for each in call.keywords]
    except (SyntaxError, ValueError):
        return found[0]
    if name == "study" and call.args:
        words.append("-o " + re.sub(r"[^\w.-]+", "_", _value(call.args[0])) + ".h5ad")
    return " ".join(words)


def _value(node: ast.expr) -> str:
    """An argument as text: a variable becomes a placeholder."""
    if isinstance(node, ast.Name):
        return node.id.upper()
    return str(node.value) if isinstance(node, ast.Constant) else _refuse(node)


def _refuse(node: ast.expr) -> NoReturn:
    msg = f"{ast.unparse(node)} cannot be typed"
    raise ValueError(msg)


def _word(node: ast.expr) -> str:
    return literal(_value(node))


def _exported(name: str, node: ast.expr) -> str:
    """A variable of the environment that stands for an argument of ``bc.connect``."""
    if ast.unparse(node).startswith("getpass("):  # shown neither while it is typed nor in the history
        return assignment(name, "Read-Host -MaskInput") if os.name == "nt" else f"read -rs {name}; export {name}"
    return assignment(name, _word(node))


def _option(found: re.Match[str]) -> str:
    """An argument in a sentence, such as ``species='mouse'`` or ``genes=``, as an option."""
    name, code = found[1], found[2]
    word = literal(str(ast.literal_eval(code))) if code else ""
    if name and _OF_CONNECTIONS.fullmatch(name):
        return f"BIOCOLAB_{name.upper()}={word}"
    return _option_of(name, word) or found[0]


def _option_of(name: str, word: str) -> str:
    """An option of the command line with its value; empty if no command has it."""
    on, off = _options.get(name, ("", ""))
    if off is None:
        return f"{on} {'all' if word == 'None' else word}".rstrip()
    return {"True": on, "": on, "False": off}.get(word, "")


_CODES: tuple[tuple[type[BiocolabError], int], ...] = (
    (InvalidArgument, 2),
    (ConfigurationError, 3),
    (TransportError, 4),
    (InvalidResponse, 4),
    (ServerError, 5),
)

_OF_A_SHELL = ("  biocolab ", "  export ", "  read ", "  $env:")  # other lines that help are Python


def code_of(error: type[BaseException]) -> int:
    """The exit code for a class of errors; 1 for findings and all other errors."""
    return next((code for kind, code in _CODES if issubclass(error, kind)), 1)


class HelpByDefault(TyperGroup):
    """A group of commands that shows its help if no command is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without arguments, ask for help; typer's own way ends with an exit code of 2."""
        return super().parse_args(ctx, args or ["--help"])


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
        return super().parse_args(ctx, args)

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
            raise typer.Exit(130) from None  # as shells do
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


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print warnings for users; leave out warnings of libraries for developers."""
    if issubclass(category, UserWarning | DeprecationWarning):
        say("warning", "yellow", message)
