"""Every error that this package raises on purpose.

::

    BiocolabError
    ├── ConfigurationError (ValueError)        what we were told to connect with cannot be used
    │   ├── MissingCredentials (LookupError)
    │   ├── InvalidHost
    │   │   └── InsecureHost
    │   ├── InvalidToken
    │   └── InvalidSettingsFile
    ├── InvalidArgument (ValueError)           an argument is out of its range
    ├── UnknownName (LookupError)              a name that the server does not have
    │   ├── UnknownGroup
    │   ├── UnknownDatabase
    │   ├── UnknownStudy
    │   ├── UnknownGene
    │   ├── UnknownField
    │   ├── UnknownEmbedding
    │   └── AmbiguousName                      a name that stands for several things
    ├── CheckFailed (ValueError)               the object is not fit to send; carries the report
    │   ├── EmptyAnnData
    │   ├── NoCounts
    │   ├── InvalidValues                      NaN, infinite or negative where counts are expected
    │   ├── InvalidNames                       duplicate, empty or unwritable names
    │   └── InvalidColumn                      an obs or var column that no h5ad can hold
    ├── InvalidFile (ValueError)               a file on disk is not what it should be
    ├── TooLarge (MemoryError)
    ├── TransportError (ConnectionError)       no usable answer arrived
    │   ├── TimedOut (TimeoutError)
    │   └── RedirectRefused
    ├── ServerError (RuntimeError)             the server answered and said no
    │   ├── Unauthorized (PermissionError)
    │   ├── NotFound (LookupError)
    │   └── TaskFailed
    ├── InvalidResponse (ValueError)           the server's answer cannot be right
    └── SandboxError (RuntimeError)            the local server could not start, stop or keep its data

Each is also the builtin in parentheses, so ``except ValueError`` and ``except ConnectionError`` work as expected.
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
        Whether it was tried several times, and the same may succeed later: no answer, or a server that is busy.
    """

    passing = False

    def __str__(self) -> str:
        # The words may be a server's: no terminal obeys them.
        return shown(super().__str__(), lines=True)

    def __reduce__(self) -> tuple[type[BiocolabError], tuple[Any, ...], dict[str, Any]]:
        # Dask takes errors without one of their own apart, and cannot make those again that are also a builtin.
        return type(self), self.args, self.__dict__


class ConfigurationError(BiocolabError, ValueError):
    """A host, token or setting cannot be used."""


class MissingCredentials(ConfigurationError, LookupError):
    """No host or no token was found; the message lists every place that was looked at.

    Attributes
    ----------
    missing
        ``"host"``, ``"token"`` or both, where it is one of these.
    """

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class InvalidHost(ConfigurationError):
    """The host is not a usable http(s) address."""


class InsecureHost(InvalidHost):
    """The host would receive the token over plain http and is not this machine."""


class InvalidToken(ConfigurationError):
    """The token is empty, not text, or holds characters that no header can carry."""


class InvalidSettingsFile(ConfigurationError):
    """A settings file exists but cannot be read as one."""


class InvalidArgument(BiocolabError, ValueError):
    """An argument is outside its range or of the wrong kind."""


class UnknownName(BiocolabError, LookupError):
    """The server has nothing of this name."""


class UnknownGroup(UnknownName):
    """The token sees no group of this id or name."""


class UnknownDatabase(UnknownName):
    """The token sees no database of this species and version."""


class UnknownStudy(UnknownName):
    """The token sees no study of this id."""


class UnknownGene(UnknownName):
    """The study or database has no such gene."""


class UnknownField(UnknownName):
    """The study has no metadata field of this name."""


class UnknownEmbedding(UnknownName):
    """The study has no embedding of this name, or none at all."""


class AmbiguousName(UnknownName):
    """The name stands for several things; the message lists their ids."""


class CheckFailed(BiocolabError, ValueError):
    """The object is not fit to be sent.

    Attributes
    ----------
    report
        All findings of the check, not only the one that named the error; None where no check ran.
    """

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report


class EmptyAnnData(CheckFailed):
    """There are no cells, no genes, or no matrix."""


class NoCounts(CheckFailed):
    """``input_matrix_type="raw"`` was asked for and no slot holds counts."""


class InvalidValues(CheckFailed):
    """The matrix that would be sent holds NaN, infinite, or (as counts) negative values."""


class InvalidNames(CheckFailed):
    """Barcodes, features or column names are duplicated, empty, or cannot be written."""


class InvalidColumn(CheckFailed):
    """A column of obs or var cannot be written to h5ad as it is."""


class InvalidFile(BiocolabError, ValueError):
    """A file on disk is missing, empty, or not of the kind that was announced."""


class TooLarge(BiocolabError, MemoryError):
    """The object would not fit into memory; the message has the sizes and what to use instead.

    Attributes
    ----------
    sizes
        What it needs and what there is; empty where no other way to ask for it would help.
    """

    def __init__(self, message: str, sizes: str = "") -> None:
        super().__init__(message)
        self.sizes = sizes


class TransportError(BiocolabError, ConnectionError):
    """No usable answer arrived: refused, reset, cut short, or a proxy's page."""


class TimedOut(TransportError, TimeoutError):
    """The server stayed silent, or the whole operation took longer than its deadline."""


class RedirectRefused(TransportError):
    """The server redirected to another origin; the token is never sent there."""


class ServerError(BiocolabError, RuntimeError):
    """The server answered and refused.

    Attributes
    ----------
    status
        HTTP status, or the envelope's ``status`` where HTTP itself said 200.
    detail
        The server's own words.
    """

    def __init__(self, message: str, *, status: int | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.detail = detail


class Unauthorized(ServerError, PermissionError):
    """The server does not accept the token, or not for this."""


class NotFound(ServerError, LookupError):
    """The server has no such route or object."""


class TaskFailed(ServerError):
    """A submission or export ended in ERROR on the server.

    Attributes
    ----------
    task_id
        The task on the server.
    log
        The whole log of the task.
    """

    def __init__(self, message: str, *, task_id: str = "", log: str = "") -> None:
        super().__init__(message, detail=log)
        self.task_id = task_id
        self.log = log


class InvalidResponse(BiocolabError, ValueError):
    """The server's answer has a wrong shape, length, type or index."""


class SandboxError(BiocolabError, RuntimeError):
    """The local server could not start, stop, or keep its data."""
