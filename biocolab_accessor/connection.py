"""The default connection: which servers ``bc.study``, ``adata.biocolab.submit`` and the rest talk to."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from biocolab_accessor.secret import sealed

if TYPE_CHECKING:
    from biocolab_accessor.connector import EConnector

__all__ = ["connect", "current", "drop_default", "how_to_return", "push_default"]

_PREFIXES = {"bioflex": "bioflex", "bbrowserx": "private", "talk2data": "public"}

_lock = threading.Lock()
_stack: list[EConnector] = []
_by_connect: EConnector | None = None
_ambient: EConnector | None = None


def connect(
    bioflex_token: str = "",
    public_token: str = "",
    private_host: str = "",
    private_token: str = "",
    *,
    bioflex_host: str = "",
    public_host: str = "",
    ssl: bool | str | Path = True,
) -> EConnector:
    """Make the servers that the following calls talk to by default. Nothing is sent yet.

    Parameters
    ----------
    bioflex_token
        Token of BioFlex.
    public_token
        Token of Talk2Data.
    private_host, private_token
        Address and token of a BBrowserX private server. Plain http is taken for this machine only.
    bioflex_host, public_host
        Other addresses than the public ones.
    ssl
        True, or the path of a bundle of certificate authorities, or False.

    Returns
    -------
    EConnector
        What was made; what is not given here comes from ``bc.settings`` or the key file when it is needed.

    Raises
    ------
    InvalidHost
        A host is not a usable address.
    InsecureHost
        A host would receive its token over plain http.
    InvalidToken
        A token cannot be one.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server:
    ...     connector = bc.connect(private_host=server.private_host, private_token=server.token)
    ...     bc.groups()["name"].tolist()
    ['All members', 'Personal workspace']
    """
    bioflex_token, public_token, private_token = sealed(bioflex_token), sealed(public_token), sealed(private_token)
    from biocolab_accessor.clients.address import without_user
    from biocolab_accessor.connector import EConnector

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
    with _lock:
        if _by_connect in _stack:
            _stack.remove(_by_connect)
        _by_connect = connector
        _stack.append(connector)
    return connector


def current() -> EConnector:
    """What is connected to now: the newest of ``bc.connect`` and open sandboxes, else what the settings say."""
    from biocolab_accessor.connector import EConnector

    global _ambient
    with _lock:
        if _stack:
            return _stack[-1]
        if _ambient is None:
            _ambient = EConnector()
        return _ambient


def push_default(connector: EConnector) -> None:
    """Make a connector the default until it is dropped."""
    with _lock:
        _stack.append(connector)


def drop_default(connector: EConnector) -> None:
    """Take a connector back; the one before it is the default again."""
    global _by_connect
    with _lock:
        if connector in _stack:
            _stack.remove(connector)
        if _by_connect is connector:
            _by_connect = None


def how_to_return(source: str, host: str) -> str:
    """The call that connects to a server again, for messages.

    Examples
    --------
    >>> how_to_return("bbrowserx", "https://company/t2d_index_tool/")
    "bc.connect(private_host='https://company/t2d_index_tool/', private_token=…)"
    """
    prefix = _PREFIXES[source]
    return f"bc.connect({prefix}_host={host!r}, {prefix}_token=…)"
