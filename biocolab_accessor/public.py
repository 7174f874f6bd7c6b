"""Public: the wrapper of every public function.

It suggests keywords, shortens tracebacks, and ends errors in a line of code that helps.
"""

from __future__ import annotations

import errno
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps
from types import FrameType, FunctionType
from typing import Any, TypeVar

from biocolab_accessor.errors import (
    BiocolabError,
    CheckFailed,
    ConfigurationError,
    InvalidArgument,
    MissingFile,
    NotFound,
    TransportError,
    UnknownCell,
    UnknownDatabase,
    UnknownEmbedding,
    UnknownField,
    UnknownGene,
    UnknownGroup,
    UnknownName,
    UnknownStudy,
    short_traceback,
)
from biocolab_accessor.messages import did_you_mean, listing

__all__ = ["public"]

_Thing = TypeVar("_Thing")
# None of these is a bug, which only a full traceback would help to find.
_USUAL = (BiocolabError, KeyboardInterrupt, OSError)
_PACKAGE = __name__.partition(".")[0]

# The first class that fits counts. {it} is the name of the object, {study} the study it asks, {call} the function.
_LINES: tuple[tuple[type[BaseException], str], ...] = (
    (UnknownGroup, "bc.groups()"),
    (UnknownDatabase, "bc.databases()"),
    (UnknownStudy, "bc.studies()"),
    (UnknownGene, "{study}.features()"),
    (UnknownField, "{study}.fields"),
    (UnknownCell, "{study}.barcodes()"),
    (UnknownEmbedding, ""),  # its message has the lines that compute one
    (UnknownName, "help({call})"),
    (NotFound, "bc.submissions()"),
    (TransportError, "bc.doctor()"),
    (InvalidArgument, "help({call})"),
    (ConfigurationError, "help({call})"),
    (TypeError, "help({call})"),
)
_NAMES = {"AnnDataAccessor": "adata", "DataFrameAccessor": "df", "MuDataAccessor": "mdata"}
_TRANSPOSED = ("BC409",)


def public(thing: _Thing) -> _Thing:
    """A public function, or a class with its public methods and properties."""
    if isinstance(thing, type):
        for name, each in list(vars(thing).items()):
            if name.startswith("_") and name != "__init__":
                continue
            if isinstance(each, FunctionType):
                setattr(thing, name, public(each))
            elif isinstance(each, property) and isinstance(each.fget, FunctionType):
                setattr(thing, name, property(public(each.fget), each.fset, each.fdel, each.__doc__))
        return thing
    assert isinstance(thing, FunctionType)
    function = thing
    parameters = inspect.signature(function).parameters
    names = [name for name in parameters if name != "self"]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            unknown = next((name for name in kwargs if name not in parameters), None)
            if unknown is not None and not takes_any:
                near = did_you_mean(unknown, names) or f"; it takes {listing(names, limit=20) or 'no arguments'}"
                msg = f"{function.__qualname__}() got an unexpected keyword argument {unknown!r}{near}"
                raise _suggest(_with_short_traceback(TypeError(msg)), called, args, kwargs, sys._getframe(1))
            return function(*args, **kwargs)
        except _USUAL as error:
            _suggest(_with_short_traceback(error), called, args, kwargs, sys._getframe(1))
            raise
        finally:
            del args, kwargs  # a verbose traceback shows the variables of this frame, and any argument may be a token

    return called  # type: ignore[return-value]


def _with_short_traceback(error: BaseException) -> BaseException:
    """The error, whose traceback IPython then shows without the frames of this package."""
    if not hasattr(error, "_render_traceback_"):
        error._render_traceback_ = partial(short_traceback, error)  # type: ignore[attr-defined]
    return error


def _suggest(
    error: BaseException,
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    caller: FrameType,
) -> BaseException:
    """Add a line of code that helps to an error that reaches the user, unless it ends in one already."""
    if _is_within(caller):
        return error
    ended = str(error).rpartition("\n")[2].startswith("  bc.")
    ended = ended or any(note.rpartition("\n")[2].startswith("  ") for note in getattr(error, "__notes__", ()))
    line = "" if ended else _line_for(error, call, args)
    if not line:
        return error
    owner, _, method = call.__qualname__.rpartition(".")
    first = next(iter(args), None)
    of_accessor = owner.endswith("Accessor") and bool(args)
    held = next(iter(vars(first).values())) if of_accessor else first
    mine = _name_of(held, caller)
    it = mine or _NAMES.get(owner) or owner.casefold() or "adata"
    function = _call_of_user(call, f"{it}.biocolab" if of_accessor else mine)
    studies = {"Study": it, "Collection": f"{it}.studies[0]"}
    study = studies.get(owner, "")
    if of_accessor and method.startswith(("pull_", "push_")):
        study = _name_of(kwargs.get("study"), caller) or ("" if "study" in kwargs else f"{it}.biocolab.study")
    if "{study}" in line and not study:
        line = "help({call})"
    error.add_note("  " + line.replace("{it}", it).replace("{study}", study).replace("{call}", function))
    return error


def _is_within(frame: FrameType | None) -> bool:
    """Whether this package made the call, perhaps through an official client: the user's call is further out."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] == _PACKAGE:
            return True
        frame = frame.f_back
    return False


def _line_for(error: BaseException, call: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """A line that fixes what went wrong, or else shows more of it."""
    first = next(iter(args), None)
    path = os.fspath(first) if isinstance(first, str | os.PathLike) else ""
    if line := getattr(error, "line", ""):
        return str(line)
    if isinstance(error, UnknownStudy) and isinstance(first, str):
        return f"bc.search({first!r})"
    if isinstance(error, UnknownField) and str(error).startswith("obs "):
        return "list({it}.obs)"
    if isinstance(error, CheckFailed) and error.report is not None:
        if path:
            return f"bc.check({path!r}).to_frame()"
        transposed = any(found.code in _TRANSPOSED for found in error.report)
        return "{it}.T.biocolab.submit()" if transposed else "{it}.biocolab.check().to_frame()"
    if isinstance(error, MissingFile) and path:
        return f"import os; os.listdir({_folder_of(path)!r})"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        written = error.filename if isinstance(error.filename, str) else "."
        return f"import shutil; shutil.disk_usage({_folder_of(written)!r})"
    return next((line for kind, line in _LINES if isinstance(error, kind)), "")


def _folder_of(path: str) -> str:
    """The folder of a file, or the nearest one above it that exists."""
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def _name_of(held: object, caller: FrameType) -> str:
    """The user's variable that holds an object."""
    local = caller.f_locals
    known = {**caller.f_globals, **local}
    if sys.version_info < (3, 13) and caller.f_code.co_flags & inspect.CO_OPTIMIZED:
        local.clear()  # a copy, which the frame of a function would keep with all that the user deletes later
    return next((name for name, value in known.items() if held is not None and value is held and name[0] != "_"), "")


def _call_of_user(call: Callable[..., Any], subject: str) -> str:
    """A public function as users write it, such as ``study.metadata`` or ``bc.study``."""
    package = sys.modules[_PACKAGE]
    owner, _, method = call.__qualname__.rpartition(".")
    if not owner:
        name = next((name for name, value in vars(package).items() if value is call), "")
        return f"bc.{name}" if name else repr(f"{call.__module__}.{call.__qualname__}")
    if method != "__init__" and subject:
        return f"{subject}.{method}"
    inner = "" if method == "__init__" else f".{method}"
    return f"bc.{owner}{inner}" if hasattr(package, owner) else repr(f"{call.__module__}.{owner}{inner}")
