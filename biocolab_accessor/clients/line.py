"""Line: the connection that a request goes over, which is cut when nobody waits for the answer any more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from biocolab_accessor.crew import stopped_by

__all__ = ["Adapter", "Session", "line"]


_MOMENT = 1.0


class Session(requests.Session):
    """A session that never reads where a redirect leads, which our own strict parser does."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere: requests would read the address, also where it is not to follow it, and fail at a doubtful one."""


class _Line:
    """What a thread has asked over, once it has; a moment later it may wait for the answer."""

    def __init__(self) -> None:
        self._socket: Any = None
        self._cut = False

    def take(self, socket: Any) -> None:
        self._socket = socket
        if self._cut:
            self.cut()

    def cut(self) -> None:
        self._cut = True
        if isinstance(self._socket, socket.socket):
            with suppress(OSError):  # the other end was faster
                # Of TLS too it is the line that is cut; its own method would forget what a thread reads through.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Own(threading.local):
    line: _Line | None = None


_own = _Own()


@contextmanager
def line(seconds: float) -> Iterator[None]:
    """One request of this thread, up to the last byte of its answer, which is cut when the seconds are over.

    While the head of an answer is read nobody looks at the clock: a server may send it byte by byte, or send "100
    Continue" again and again.
    """
    own = _own.line = _Line()
    watch = threading.Timer(min(seconds, threading.TIMEOUT_MAX), own.cut)
    watch.name, watch.daemon = "biocolab-deadline", True
    watch.start()
    try:
        with stopped_by(own.cut):
            yield
    finally:
        watch.cancel()
        watch.join(_MOMENT)
        _own.line = None


class _Told:
    """A connection that tells which socket an answer is waited for on."""

    sock: Any

    def getresponse(self) -> Any:
        if _own.line is not None:
            _own.line.take(self.sock)
        return super().getresponse()  # type: ignore[misc] # of the connection beside it


class _HTTPConnection(_Told, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_Told, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class Adapter(HTTPAdapter):
    """requests' adapter over such connections, with larger blocks: uploads are read 16 kB at a time otherwise."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See requests."""
        super().init_poolmanager(*args, **kwargs, blocksize=256 * 1024)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """See requests; SOCKS has connections of its own, which are left as they are."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager
