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
    """

    passing = False

    def __str__(self) -> str:
        # The text may come from a server: control characters are escaped.
        return shown(super().__str__(), lines=True)

    def __reduce__(self) -> tuple[type[BiocolabError], tuple[Any, ...], dict[str, Any]]:
        # Without this, Dask takes errors apart and cannot rebuild those that are also a builtin.
        return type(self), self.args, self.__dict__


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
