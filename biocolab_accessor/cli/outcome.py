"""Outcome: how a command ends, as one line for people and an exit code for scripts."""

from __future__ import annotations

import errno
import io
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from biocolab_accessor.cli.output import err, say
from biocolab_accessor.errors import (
    BiocolabError,
    ConfigurationError,
    InvalidArgument,
    InvalidResponse,
    ServerError,
    TransportError,
)

__all__ = ["Commands", "code_of"]

_CODES: tuple[tuple[type[BiocolabError], int], ...] = (
    (InvalidArgument, 2),
    (ConfigurationError, 3),
    (TransportError, 4),
    (InvalidResponse, 4),
    (ServerError, 5),
)
_INTERRUPTED = 130


def code_of(error: type[BaseException]) -> int:
    """The exit code that a class of errors stands for; 1 is a finding or a refusal of any other kind."""
    return next((code for kind, code in _CODES if issubclass(error, kind)), 1)


class Commands(TyperGroup):
    """The group of all commands: takes ``--debug`` at any place, and lets no error of ours out as a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``--debug`` where click looks for it."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As Python does on stderr: a pipe on Windows may have no character for what a study is called.
            sys.stdout.reconfigure(errors="backslashreplace")
        own = args[: args.index("--")] if "--" in args else args
        if "--debug" in own:
            args = ["--debug", *(arg for arg in own if arg != "--debug"), *args[len(own) :]]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with _said_plainly(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@contextmanager
def _said_plainly(*, debug: bool) -> Iterator[None]:
    """Our own errors, missing extras and refusals of the system as one message; anything else is a bug and shows."""
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            yield
        except KeyboardInterrupt as interrupt:
            said = ": ".join(["interrupted", *getattr(interrupt, "__notes__", ())])
            err.print(said, markup=False, soft_wrap=not err.is_terminal)
            raise typer.Exit(_INTERRUPTED) from None
        except (BiocolabError, ModuleNotFoundError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of our output went away, as head does
            if debug:
                err.print("".join(traceback.format_exception(error)), markup=False, soft_wrap=True, end="")
            else:
                say(type(error).__name__, "bold red", error)
            raise typer.Exit(code_of(type(error))) from error


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """What is for the user, as a message; what libraries tell their developers is left out."""
    if issubclass(category, UserWarning | DeprecationWarning):
        say("warning", "yellow", message)
