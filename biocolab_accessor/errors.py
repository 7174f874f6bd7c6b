"""Errors: all exceptions that this package raises on purpose, and how they reach the user.

::

    BiocolabError
    ├── ConfigurationError (ValueError)        a host, token or setting is invalid
    │   ├── MissingCredentials (LookupError)
    │   ├── InvalidHost
    │   │   └── InsecureHost
    │   ├── InvalidToken
    │   └── InvalidSettingsFile
    ├── InvalidArgument (ValueError)           an argument is out of range or of the wrong type
    │   ├── InvalidFilter                      obs_filter is not a condition on the fields
    │   └── NoCells                            obs_filter and cells leave no cell
    ├── UnknownName (LookupError)              the server does not have this name
    │   ├── UnknownGroup
    │   ├── UnknownDatabase
    │   ├── UnknownStudy
    │   ├── UnknownGene
    │   ├── UnknownField
    │   ├── UnknownCell
    │   ├── UnknownEmbedding
    │   └── AmbiguousName                      several studies or groups have this name
    ├── CheckFailed (ValueError)               the object cannot be submitted; carries the report
    │   ├── EmptyAnnData
    │   ├── NoCounts
    │   ├── InvalidValues                      NaN, infinite or negative where counts are expected
    │   ├── InvalidNames                       duplicate, empty or invalid names
    │   └── InvalidColumn                      an obs or var column that h5ad cannot store
    ├── DataChanged (ValueError)               parts of a study differ from those of a lock
    ├── InvalidFile (ValueError)               a file is missing, damaged or of the wrong type
    │   └── MissingFile (FileNotFoundError)
    ├── TooLarge (MemoryError)                 the object does not fit into memory
    ├── TransportError (ConnectionError)       no usable response arrived
    │   ├── TimedOut (TimeoutError)
    │   └── RedirectRefused
    ├── ServerError (RuntimeError)             the server refused the request
    │   ├── Unauthorized (PermissionError)
    │   ├── NotFound (LookupError)
    │   └── TaskFailed
    ├── InvalidResponse (ValueError)           the server's response is malformed
    └── SandboxError (RuntimeError)            the local server could not start, stop or store its data

Each is also a subclass of the builtin in parentheses, so ``except ValueError`` and ``except ConnectionError`` work.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import sys
import traceback
import types
import typing
from typing import TYPE_CHECKING

from biocolab_accessor.messages import PACKAGE, did_you_mean, is_ours, listing, shown

if TYPE_CHECKING:  # at run time, these classes would be names of bc.errors
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from biocolab_accessor.check.report import Report


class BiocolabError(Exception):
    """Base of every error of this package.

    Attributes
    ----------
    passing
        Whether the same call may succeed later: after several retries the server did not respond, or was busy.
    cause
        The error of requests or urllib3 that this one stands for, if any; its class and text are in a note.
    line
        A line of code that helps, which is added as a note where the error reaches the user; often empty, and then
        chosen by the kind of the error. Names in braces are those of ``_LINES``.
    """

    passing = False
    cause: BaseException | None = None

    def __init__(self, *args: object, line: str = "") -> None:
        super().__init__(*args)
        self.line = line

    def __str__(self) -> str:
        # The text may come from a server: control characters are escaped.
        return shown(super().__str__(), lines=True)

    def __reduce__(self) -> tuple[type[BiocolabError], tuple[Any, ...], dict[str, Any]]:
        # Without this, Dask takes errors apart and cannot rebuild those that are also a builtin.
        # The error of another library may not be picklable; its note stays.
        return type(self), self.args, {name: value for name, value in self.__dict__.items() if name != "cause"}

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the user's own lines, and the message. ``%xmode Verbose`` shows everything."""
        return short_traceback(self)


def short_traceback(error: BaseException, message: str = "") -> list[str]:
    """The lines that IPython shows for an error: no frames below the user's call, and no causes."""
    message = message or str(error)
    shell = _shell()
    if shell is None:
        return traceback.format_exception_only(error)
    if shell.InteractiveTB.mode == "Verbose":
        lines: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
        return lines
    # IPython always shows the causes of an error, so that it gets one without.
    alike = type(type(error).__name__, (Exception,), {"__str__": lambda _: message})()
    for note in getattr(error, "__notes__", ()):
        alike.add_note(note)
    lines = shell.InteractiveTB.structured_traceback(type(alike), alike, _above_package(error.__traceback__))
    return lines


def _shell() -> Any:
    """IPython's shell; None in any other Python."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _above_package(trace: types.TracebackType | None) -> types.TracebackType | None:
    """A traceback that ends where the user calls this package; unchanged if it starts within it."""
    above, rest = [], trace
    while rest is not None and not is_ours(rest.tb_frame):
        above.append(rest)
        rest = rest.tb_next
    if len(above) < 2:  # IPython leaves out the first frame, which is its own
        return trace
    short = None
    for each in reversed(above):
        short = types.TracebackType(short, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return short


class ConfigurationError(BiocolabError, ValueError):
    """A host, token or setting is invalid."""


class MissingCredentials(ConfigurationError, LookupError):
    """No host or token was found; the message lists all places that were searched.

    Attributes
    ----------
    missing
        ``"host"``, ``"token"`` or both; empty if something else is missing.
    """

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class InvalidHost(ConfigurationError):
    """The host is not a valid http(s) address."""


class InsecureHost(InvalidHost):
    """The host would receive the token over plain http and is not this machine."""


class InvalidToken(ConfigurationError):
    """The token is empty, not a string, or contains characters that are invalid in a header."""


class InvalidSettingsFile(ConfigurationError):
    """A settings file exists but is invalid."""


class InvalidArgument(BiocolabError, ValueError):
    """An argument is out of range or of the wrong type."""


class InvalidFilter(InvalidArgument):
    """``obs_filter`` is not a condition on the fields; the message has the column, a caret, and what to write."""


class NoCells(InvalidArgument):
    """``obs_filter`` and ``cells`` leave no cell; the message has the number of cells of each condition."""


class UnknownName(BiocolabError, LookupError):
    """The server does not have this name."""


class UnknownGroup(UnknownName):
    """The token has access to no group with this id or name."""


class UnknownDatabase(UnknownName):
    """The token has access to no database with this species and version."""


class UnknownStudy(UnknownName):
    """The token has access to no study with this id."""


class UnknownGene(UnknownName):
    """The study or database does not have this gene."""


class UnknownField(UnknownName):
    """The study has no metadata field with this name."""


class UnknownCell(UnknownName):
    """The study has no cell with this barcode."""


class UnknownEmbedding(UnknownName):
    """The study has no embedding with this name, or no embedding at all."""


class AmbiguousName(UnknownName):
    """Several studies or groups have this name; the message lists their ids."""


class CheckFailed(BiocolabError, ValueError):
    """The object cannot be submitted.

    Attributes
    ----------
    report
        All findings of the check, not only the one that raised this error; None if no check ran.
    """

    def __init__(self, message: str, report: Report | None = None, *, line: str = "") -> None:
        super().__init__(message, line=line)
        self.report = report

    def _render_traceback_(self) -> list[str]:
        shell = _shell()
        if self.report is None or not hasattr(shell, "kernel"):
            return short_traceback(self)
        # A notebook shows the report as a table, once for each cell: IPython asks twice.
        if vars(self).get("_shown_in") != shell.execution_count:
            from IPython.display import display

            self._shown_in = shell.execution_count
            display(self.report)  # type: ignore[no-untyped-call]
        return short_traceback(self, f"{str(self).partition(chr(10))[0]}: see the report above")


class EmptyAnnData(CheckFailed):
    """The object has no cells, no genes, or no matrix."""


class NoCounts(CheckFailed):
    """``input_matrix_type="raw"`` was requested, but no slot contains counts."""


class InvalidValues(CheckFailed):
    """The matrix contains NaN, infinite, or (as counts) negative values."""


class InvalidNames(CheckFailed):
    """Barcodes, gene names or column names are duplicated, empty, or cannot be written."""


class InvalidColumn(CheckFailed):
    """A column of obs or var cannot be written to h5ad."""


class DataChanged(BiocolabError, ValueError):
    """Parts of a study differ from those of a lock; the message names each of them."""


class InvalidFile(BiocolabError, ValueError):
    """A file is missing, empty, damaged, or of the wrong type."""


class MissingFile(InvalidFile, FileNotFoundError):
    """The file or folder does not exist."""


def unreadable(path: object, kind: str, error: Exception) -> InvalidFile:
    """The error for a file that cannot be read as what it should be, or does not exist."""
    if isinstance(error, FileNotFoundError):
        return MissingFile(f"{path} does not exist")
    return InvalidFile(f"{path} cannot be read as {kind}: {error}")


class TooLarge(BiocolabError, MemoryError):
    """The object would not fit into memory; the message has the sizes and an alternative.

    Attributes
    ----------
    sizes
        The memory that is needed and available, as text; empty if requesting less would not help.
    """

    def __init__(self, message: str, sizes: str = "") -> None:
        super().__init__(message)
        self.sizes = sizes


class TransportError(BiocolabError, ConnectionError):
    """No usable response arrived: connection refused, reset or cut short, or a proxy's error page."""


class TimedOut(TransportError, TimeoutError):
    """The server did not respond in time, or the whole operation exceeded its deadline."""


class RedirectRefused(TransportError):
    """The server redirected to another origin, where the token is never sent."""


class ServerError(BiocolabError, RuntimeError):
    """The server refused the request.

    Attributes
    ----------
    status
        HTTP status, or the ``status`` in the response where the HTTP status is 200.
    detail
        The server's own message.
    """

    def __init__(self, message: str, *, status: int | None = None, detail: str = "", line: str = "") -> None:
        super().__init__(message, line=line)
        self.status = status
        self.detail = detail


class Unauthorized(ServerError, PermissionError):
    """The server does not accept the token, or the token does not allow this."""


class NotFound(ServerError, LookupError):
    """The server has no such route or object."""


class TaskFailed(ServerError):
    """A submission or export ended in ERROR on the server.

    Attributes
    ----------
    task_id
        The task on the server.
    log
        The complete log of the task.
    """

    def __init__(self, message: str, *, task_id: str = "", log: str = "") -> None:
        super().__init__(message, detail=log)
        self.task_id = task_id
        self.log = log


class InvalidResponse(BiocolabError, ValueError):
    """The server's response has a wrong shape, length, type or index."""


class SandboxError(BiocolabError, RuntimeError):
    """The local server could not start, stop, or store its data."""


_Thing = typing.TypeVar("_Thing")

# The first class that fits counts. {it} is the name of the object, {study} the study it asks, {call} the function, and
# {arguments} what it was given, each with a comma after it.
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


def public(thing: _Thing) -> _Thing:
    """A public function, or a class with its public methods and properties."""
    if isinstance(thing, type):
        for name, each in list(vars(thing).items()):
            if name.startswith("_") and name != "__init__":
                continue
            if isinstance(each, types.FunctionType):
                setattr(thing, name, public(each))
            elif isinstance(each, property) and isinstance(each.fget, types.FunctionType):
                setattr(thing, name, property(public(each.fget), each.fset, each.fdel, each.__doc__))
        return thing
    assert isinstance(thing, types.FunctionType)
    function = thing
    parameters = inspect.signature(function).parameters
    names = [name for name in parameters if name != "self"]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            unknown = next((name for name in kwargs if name not in parameters), None)
            if unknown is not None and not takes_any:
                near = did_you_mean(unknown, names) or f"; it takes {listing(names, limit=20) or 'no arguments'}"
                msg = f"{_shown(called)}() got an unexpected keyword argument {unknown!r}{near}"
                raise TypeError(msg)
            return function(*args, **kwargs)
        except (BiocolabError, KeyboardInterrupt, OSError, TypeError) as error:
            does_not_fit = error.__traceback__ is not None and error.__traceback__.tb_next is None
            # A TypeError from further in is a bug, which only a full traceback would help to find.
            if does_not_fit or not isinstance(error, TypeError):
                _suggest(error, called, args, kwargs, sys._getframe(1))
            raise
        finally:
            del args, kwargs  # a verbose traceback shows the variables of this frame, and any argument may be a token

    return called  # type: ignore[return-value]


def _shown(call: Callable[..., Any]) -> str:
    """The name of a public function as users call it, such as ``bc.submit`` or ``adata.biocolab.submit``."""
    owner, _, method = call.__qualname__.rpartition(".")
    if owner in _NAMES:
        return f"{_NAMES[owner]}.biocolab.{method}"
    name = _call_of_user(call, owner)
    return call.__qualname__ if name.startswith("'") else name


def _suggest(
    error: BaseException,
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    caller: types.FrameType,
) -> None:
    """Let IPython hide our frames, and add a line of code that helps unless the error ends in one already."""
    if not hasattr(error, "_render_traceback_"):
        error._render_traceback_ = functools.partial(short_traceback, error)  # type: ignore[attr-defined]
    # If this package made the call, perhaps through an official client, the user's call is further out.
    if any(is_ours(frame) for frame, _ in traceback.walk_stack(caller)) or _ends_in_code(error):
        return
    if line := _line_for(error, call, args):
        error.add_note(f"  {_with_names(line, call, args, kwargs, caller)}")


def _ends_in_code(error: BaseException) -> bool:
    last_lines = [text.rpartition("\n")[2] for text in getattr(error, "__notes__", ())]
    return str(error).rpartition("\n")[2].startswith("  bc.") or any(line.startswith("  ") for line in last_lines)


def _with_names(
    line: str, call: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], caller: types.FrameType
) -> str:
    """A line of ``_LINES`` with the user's variables, or usual names, in place of its braces."""
    owner, _, method = call.__qualname__.rpartition(".")
    subject = next(iter(args), None)
    of_accessor = owner.endswith("Accessor") and bool(args)
    if of_accessor:
        subject = next(iter(vars(subject).values()))
    variable = _name_of(subject, caller)
    it = variable or _NAMES.get(owner) or owner.casefold() or "adata"
    function = _call_of_user(call, f"{it}.biocolab" if of_accessor else variable)
    study = {"Study": it, "Collection": f"{it}.studies[0]"}.get(owner, "")
    if of_accessor and method.startswith(("pull_", "push_")):
        study = _name_of(kwargs.get("study"), caller) or ("" if "study" in kwargs else f"{it}.biocolab.study")
    if "{study}" in line and not study:
        line = "help({call})"
    line = line.replace("{it}", it).replace("{study}", study).replace("{call}", function)
    if "{arguments}" not in line:  # those of other calls may be tokens, or half made
        return line
    return line.replace("{arguments}", _arguments_text(args[of_accessor:], kwargs, caller))


def _arguments_text(args: Sequence[Any], kwargs: Mapping[str, Any], caller: types.FrameType) -> str:
    """The arguments of a call as code."""

    def code(value: Any) -> str:
        return repr(value) if isinstance(value, str | bool) else _name_of(value, caller) or repr(value)

    texts = [code(value) for value in args] + [f"{name}={code(value)}" for name, value in kwargs.items()]
    return "".join(f"{text}, " for text in texts)


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
        transposed = any(found.code == "BC409" for found in error.report)
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


def _name_of(held: object, caller: types.FrameType) -> str:
    """The user's variable that holds an object."""
    local = caller.f_locals
    known = {**caller.f_globals, **local}
    if sys.version_info < (3, 13) and caller.f_code.co_flags & inspect.CO_OPTIMIZED:
        local.clear()  # a copy, which the frame of a function would keep with all that the user deletes later
    return next((name for name, value in known.items() if held is not None and value is held and name[0] != "_"), "")


def _call_of_user(call: Callable[..., Any], subject: str) -> str:
    """A public function as users write it, such as ``study.metadata`` or ``bc.study``."""
    package = sys.modules[PACKAGE]
    owner, _, method = call.__qualname__.rpartition(".")
    if not owner:
        name = next((name for name, value in vars(package).items() if value is call), "")
        return f"bc.{name}" if name else repr(f"{call.__module__}.{call.__qualname__}")
    if method != "__init__" and subject:
        return f"{subject}.{method}"
    inner = "" if method == "__init__" else f".{method}"
    return f"bc.{owner}{inner}" if hasattr(package, owner) else repr(f"{call.__module__}.{owner}{inner}")
