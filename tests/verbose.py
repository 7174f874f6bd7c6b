"""Verbose tracebacks: all that ``rich`` with show_locals and IPython's Verbose mode show of an error."""

from __future__ import annotations

import io
import types

from IPython.core.ultratb import VerboseTB
from rich.console import Console
from rich.scope import render_scope
from rich.traceback import Traceback

__all__ = ["verbose"]


def verbose(error: BaseException) -> str:
    """The tracebacks of an error, from the first frame of the package on: what a user's own frames show is theirs.

    Of rich's without the lines of code, whose coloring takes nearly all of its time.
    """
    trace = _own(error.__traceback__)
    shown = Console(file=io.StringIO(), width=300)
    extracted = Traceback.extract(
        type(error), error, trace, show_locals=True, locals_max_string=None, locals_max_length=None
    )
    for stack in extracted.stacks:
        for frame in stack.frames:
            shown.print(render_scope(frame.locals or {}, title=frame.name))
        shown.print(stack.exc_type, stack.exc_value, *getattr(stack, "notes", ()), markup=False)
    try:
        reader = VerboseTB(theme_name="nocolor")
    except TypeError:  # before IPython 9
        reader = VerboseTB(color_scheme="NoColor")
    return shown.file.getvalue() + reader.text(type(error), error, trace)


def _own(trace: types.TracebackType | None) -> types.TracebackType | None:
    while trace is not None and "biocolab_accessor" not in str(trace.tb_frame.f_globals.get("__name__")):
        trace = trace.tb_next
    return trace
