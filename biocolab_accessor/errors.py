"""Errors: all exceptions that this package raises on purpose.

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

import traceback
import types
from typing import TYPE_CHECKING

from biocolab_accessor.messages import shown

if TYPE_CHECKING:
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
    """

    passing = False
    cause: BaseException | None = None
    line = ""  # of code that helps; it is added as a note where the error reaches the user, see `public`

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
    import sys

    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _above_package(trace: types.TracebackType | None) -> types.TracebackType | None:
    """A traceback that ends where the user calls this package; unchanged if it starts within it."""
    package, above, rest = __name__.partition(".")[0], [], trace
    while rest is not None and str(rest.tb_frame.f_globals.get("__name__")).partition(".")[0] != package:
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

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
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

    def __init__(self, message: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(message)
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
