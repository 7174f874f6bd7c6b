"""Default connection: the servers that ``bc.study``, ``adata.biocolab.submit`` and the rest use, also on a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from biocolab_accessor.connection.connector import EConnector
from biocolab_accessor.errors import ConfigurationError, InvalidArgument, MissingCredentials, public
from biocolab_accessor.security.redaction import sealed, without_frames

_PREFIXES = {"bioflex": "bioflex", "bbrowserx": "private", "talk2data": "public"}

_lock = threading.Lock()

_stack: list[EConnector] = []

_by_connect: EConnector | None = None

_ambient: EConnector | None = None


@public
def connect(
    bioflex_token: str = "",
    public_token: str = "",
    private_host: str = "",
    private_token: str = "",
    *,
    bioflex_host: str = "",
    public_host: str = "",
    ssl: bool | str | Path | None = None,
) -> EConnector:
    """Set the servers that all following calls use by default. Nothing is sent yet.

    Parameters
    ----------
    bioflex_token
        Token for BioFlex.
    public_token
        Token for Talk2Data.
    private_host, private_token
        Address and token of a BBrowserX private server. Plain http is accepted for this machine only.
    bioflex_host, public_host
        Addresses to use instead of the public ones.
    ssl
        Which certificate authorities are trusted: True, ``"system"`` for the certificate store of this machine (with
        the extra ``system-certificates``), or the path of a bundle. False accepts every certificate. None uses
        ``bc.settings.ssl``.

    Returns
    -------
    EConnector
        The new default. Hosts and tokens that are not set here are read from ``bc.settings``, the key file or the
        keyring when they are needed.

    Raises
    ------
    InvalidHost
        A host is not a usable address.
    InsecureHost
        A host would receive its token over plain http.
    InvalidToken
        A token is not a valid one.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server:
    ...     connector = bc.connect(private_host=server.private_host, private_token=server.token)
    ...     bc.groups()["name"].tolist()
    ['All members', 'Personal workspace']
    """
    bioflex_token, public_token, private_token = sealed(bioflex_token), sealed(public_token), sealed(private_token)
    from biocolab_accessor.connection.connector import EConnector
    from biocolab_accessor.security.urls import without_user

    private_host, public_host = without_user(private_host), without_user(public_host)
    bioflex_host = without_user(bioflex_host)
    global _by_connect
    connector = EConnector(
        bioflex_token,
        public_token,
        private_host,
        private_token,
        bioflex_host=bioflex_host,
        public_host=public_host,
        ssl=ssl,
    )
    connector._place = "bc.connect's"
    with _lock:
        if _by_connect in _stack:
            _stack.remove(_by_connect)
        _by_connect = connector
        _stack.append(connector)
    return connector


def current() -> EConnector:
    """The current default: the newest of ``bc.connect`` and open sandboxes, else the connection from the settings."""
    from biocolab_accessor.connection.connector import EConnector

    global _ambient
    with _lock:
        if _stack:
            return _stack[-1]
        if _ambient is None:
            _ambient = EConnector()
            _ambient._place = "argument"
        return _ambient


def push_default(connector: EConnector) -> None:
    """Make a connector the default until it is dropped."""
    with _lock:
        _stack.append(connector)


def move_default(connector: EConnector) -> None:
    """Make a known connector the default."""
    with _lock:
        _stack.remove(connector)
        _stack.append(connector)


def drop_default(connector: EConnector) -> None:
    """Remove a connector; the previous one is the default again."""
    global _by_connect
    with _lock:
        if connector in _stack:
            _stack.remove(connector)
        if _by_connect is connector:
            _by_connect = None


def how_to_reconnect(source: str, host: str) -> str:
    """The call that connects to a server again, for messages."""
    prefix = _PREFIXES[source]
    return f"bc.connect({prefix}_host={host!r}, {prefix}_token=…)"


_NAME = "biocolab-credentials"


class _Credentials:
    """Connects every worker of a cluster to the servers of this session, also workers that join later or restart."""

    # Dask sends it to the scheduler, which passes it to each worker, over the cluster's own connections: secure them
    # (`distributed.security`) if anyone else can listen.

    name = _NAME  # Dask replaces an earlier plugin of the same name

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = _Hidden(arguments)
        self._connector: EConnector | None = None

    def __repr__(self) -> str:
        return "Credentials(****)"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        self._connector = EConnector(**self._arguments)
        push_default(self._connector)

    def teardown(self, worker: Any) -> None:
        """Called by Dask when a worker ends, and when the credentials are taken back or replaced."""
        if self._connector is not None:
            drop_default(self._connector)
            self._connector.close()


class _Hidden(dict[str, Any]):
    """Arguments that no traceback shows."""

    def __repr__(self) -> str:
        return "****"

    def __rich_repr__(self) -> Iterator[str]:
        yield "****"


@public
def share_credentials(client: Any) -> None:
    """Give the workers of a Dask cluster the hosts and tokens of this session.

    This is not needed for workers that have ``BIOCOLAB_BIOFLEX_TOKEN`` and the like in their own environment. If
    ``ssl`` is a bundle of certificate authorities, every worker needs it at the same path. A further call, after
    another ``connect`` or with a new token, replaces what was shared before.

    The scheduler keeps hosts and tokens in its memory as plain text, and gives them to every worker that joins. Anyone
    who can connect to the scheduler can therefore read them: any other client, task or worker of the cluster, and,
    without TLS (``distributed.security.Security``), anyone who listens on the network. On a shared cluster, use tokens
    of an account with few rights, and take them back with :func:`unshare_credentials`.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``.

    Raises
    ------
    ConfigurationError
        Dask's distributed scheduler is not installed.
    InvalidArgument
        ``client`` is not a ``dask.distributed.Client``.
    MissingCredentials
        This session has no credentials to share.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> import dask
    >>> from dask.distributed import Client
    >>> from tempfile import TemporaryDirectory
    >>> with bc.sandbox(), TemporaryDirectory() as folder, dask.config.set(temporary_directory=folder):
    ...     with Client(n_workers=1, dashboard_address=None) as client:
    ...         bc.share_credentials(client)
    ...         bc.collection(["PBMC68k_reduced"]).to_anndata(genes=["LYZ"]).shape
    (700, 1)
    """
    _expect_client(client)
    from distributed import WorkerPlugin

    kind = type("Credentials", (_Credentials, WorkerPlugin), {"__module__": __name__})
    plugin = kind(_arguments())
    try:
        client.register_plugin(plugin)
    except BaseException as error:
        without_frames(error, "")  # their variables hold the plugin as bytes
        raise error


@public
def unshare_credentials(client: Any) -> None:
    """Take back the hosts and tokens that :func:`share_credentials` gave to a cluster.

    The scheduler forgets them, and each worker drops its connection. Copies that a task, another client or a swap file
    made in the meantime remain: if that matters, make a new token on the server. If nothing was shared, nothing
    happens.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``, of this session or another one.

    Raises
    ------
    ConfigurationError
        Dask's distributed scheduler is not installed.
    InvalidArgument
        ``client`` is not a ``dask.distributed.Client``.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> import dask
    >>> from dask.distributed import Client
    >>> from tempfile import TemporaryDirectory
    >>> with bc.sandbox(), TemporaryDirectory() as folder, dask.config.set(temporary_directory=folder):
    ...     with Client(n_workers=1, dashboard_address=None) as client:
    ...         bc.share_credentials(client)
    ...         bc.unshare_credentials(client)
    """
    _expect_client(client)
    with suppress(ValueError):  # how Dask reports an unknown name
        client.unregister_worker_plugin(_NAME)


def _expect_client(client: Any) -> None:
    try:
        from distributed import Client
    except ImportError as error:
        msg = "a cluster needs Dask's distributed scheduler: pip install 'biocolab_accessor[dask]'"
        raise ConfigurationError(msg) from error
    if not isinstance(client, Client):
        msg = f"client is {type(client).__name__}: it must be the dask.distributed.Client of the cluster"
        raise InvalidArgument(msg)


def _arguments() -> dict[str, Any]:
    """The arguments for the same connection elsewhere: every server that this session has a token for."""
    connector = current()
    servers: dict[str, Callable[[], Any]] = {
        "bioflex": connector.get_bioflex,
        "private": connector.get_bbrowserx,
        "public": connector.get_talk2data,
    }
    arguments = _Hidden()
    missing: list[MissingCredentials] = []
    for name, client_of in servers.items():
        try:
            http = client_of().http
        except MissingCredentials as error:
            missing.append(error)
            continue
        arguments |= {f"{name}_host": http.host, f"{name}_token": http.token.reveal()}
        if http.ssl is not True:
            arguments["ssl"] = http.ssl
    if not arguments:
        raise missing[0]
    return arguments
