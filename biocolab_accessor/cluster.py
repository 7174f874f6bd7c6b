"""Cluster: tokens for the workers of a Dask cluster, beside its tasks and never in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from biocolab_accessor.connection import connect, current
from biocolab_accessor.errors import ConfigurationError, InvalidArgument, MissingCredentials

__all__ = ["share_credentials"]


class _Credentials:
    """Connects every worker as this session is connected; a worker that comes later, or again, as well.

    Dask carries it to the scheduler and hands it to each worker, over the cluster's own connections: secure them
    (``distributed.security``) where others can listen.
    """

    name = "biocolab-credentials"  # Dask puts what has the same name in the place of what was given before

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments

    def __repr__(self) -> str:
        return "Credentials(****)"

    def setup(self, worker: Any) -> None:
        """Called by Dask on each worker."""
        connect(**self._arguments)

    def teardown(self, worker: Any) -> None:
        """Called by Dask when a worker ends."""


def share_credentials(client: Any) -> None:
    """Give the workers of a cluster the hosts and tokens of this session.

    Workers that have ``BIOCOLAB_BIOFLEX_TOKEN`` and the like in their own environment do not need this. A bundle of
    certificate authorities that was given as ``ssl`` has to be at the same path on every worker. Called again, after
    another ``connect`` or with a new token, it takes the place of what was shared before.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``.

    Raises
    ------
    ConfigurationError
        Dask's distributed scheduler is not installed.
    InvalidArgument
        ``client`` is no client of it.
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
    try:
        from distributed import Client, WorkerPlugin
    except ImportError as error:
        msg = "a cluster needs Dask's distributed scheduler: pip install 'biocolab_accessor[dask]'"
        raise ConfigurationError(msg) from error
    if not isinstance(client, Client):
        msg = f"client is {type(client).__name__}: give the dask.distributed.Client of the cluster"
        raise InvalidArgument(msg)
    plugin = type("Credentials", (_Credentials, WorkerPlugin), {"__module__": __name__})
    client.register_plugin(plugin(_arguments()))


def _arguments() -> dict[str, Any]:
    """What makes the same connection elsewhere: every server that this session has a token for."""
    connector = current()
    servers: dict[str, Callable[[], Any]] = {
        "bioflex": connector.get_bioflex,
        "private": connector.get_bbrowserx,
        "public": connector.get_talk2data,
    }
    arguments: dict[str, Any] = {}
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
