"""Transport: cancellable connections, and what it means that one of them failed."""

from __future__ import annotations

import email.utils
import socket
import ssl as tls
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy

from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.concurrency import on_cancel
from biocolab_accessor.config import settings
from biocolab_accessor.errors import TimedOut, TransportError
from biocolab_accessor.security.redaction import without_frames
from biocolab_accessor.security.urls import is_loopback, origin, without_user

__all__ = ["Adapter", "Probe", "Session", "innermost", "line", "probe", "proxy_for", "transport_failure"]

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
        with on_cancel(own.cut):
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


def innermost(error: BaseException) -> str:
    """The line that helps, without a proxy's password: requests and urllib3 wrap it up to four times."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return without_user(str(error), in_text=True) or type(error).__name__


def transport_failure(what: str, error: Exception, silence: float, header: str) -> Retriable:
    """The error of an attempt that got no whole answer, with the token taken out of everything the cause holds on to.

    Parameters
    ----------
    what
        The request, for the message.
    error
        Of requests, urllib3 or the socket.
    silence
        Seconds after which nothing more was waited for.
    header
        Name of the token's header.
    """
    without_frames(error, header)
    text = innermost(error)
    if isinstance(error, requests.exceptions.SSLError | tls.SSLError):
        failure = TransportError(
            f"{what}: the certificate was not accepted: {text}. "
            "For a server with its own authority give ssl='/path/to/ca.pem'"
        )
    elif isinstance(error, requests.exceptions.ConnectTimeout):
        failure = TimedOut(f"{what}: no connection within {settings.connect_timeout:g} s (bc.settings.connect_timeout)")
    elif isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.ReadTimeoutError | TimeoutError):
        failure = TimedOut(f"{what}: no answer within {silence:g} s (bc.settings.read_timeout)")
    elif isinstance(error, requests.exceptions.ProxyError):
        failure = TransportError(f"{what}: the proxy of the environment did not pass it on: {text}")
    elif isinstance(error, requests.exceptions.ConnectionError):
        failure = TransportError(f"{what}: no connection: {text}. Is the server up, and the host right?")
    else:
        failure = TransportError(f"{what}: the answer broke off: {text}")
    failure.__cause__ = error
    never_arrived = "NewConnectionError" in repr(error) or isinstance(error, requests.exceptions.ConnectTimeout)
    return Retriable(failure, never_arrived=never_arrived)


Failure = Literal["", "name", "refused", "silence", "certificate", "proxy", "other"]


@dataclass(frozen=True)
class Probe:
    """What one request without a token showed.

    Attributes
    ----------
    failure
        Empty where an answer came, whatever it said. ``"name"``: no such host name; ``"refused"``: no connection;
        ``"silence"``: none in time; ``"certificate"``, ``"proxy"``, ``"other"``.
    detail
        The innermost reason.
    seconds
        Until the answer's headers, or the failure.
    skew
        Seconds that the server's clock is ahead of this one (its header ``Date`` has whole seconds); None where it
        does not say.
    certificate_days
        Days that the server's certificate is still good for; None over plain http, and where the server closed the
        connection at once.
    """

    failure: Failure
    detail: str
    seconds: float
    skew: float | None = None
    certificate_days: float | None = None


def probe(host: str, *, ssl: bool | str | Path = True, timeout: float = 10.0) -> Probe:
    """Ask a server for its first page, without a token.

    Parameters
    ----------
    host
        Base address.
    ssl
        As for :class:`~biocolab_accessor.clients.http.HttpClient`.
    timeout
        Seconds for the connection, and as many for the answer.
    """
    start = time.monotonic()
    with Session() as session:
        session.trust_env = not is_loopback(origin(host)[1])
        session.auth = _no_auth
        verify = str(ssl) if isinstance(ssl, Path) else ssl
        try:
            response = session.get(host, timeout=timeout, stream=True, allow_redirects=False, verify=verify)
        except (requests.RequestException, OSError) as error:
            return Probe(_kind(error), innermost(error), time.monotonic() - start)
        with response:
            seconds = time.monotonic() - start
            return Probe("", "", seconds, _skew(response, seconds), _certificate_days(response))


def proxy_for(host: str) -> str:
    """The proxy that requests to a host go through, without its password; empty where there is none."""
    if is_loopback(origin(host)[1]):
        return ""
    return without_user(select_proxy(host, get_environ_proxies(host)) or "").replace("****@", "")


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps ~/.netrc out, as the session that sends tokens does."""
    return request


def _kind(error: Exception) -> Failure:
    text = repr(error)
    if isinstance(error, requests.exceptions.SSLError | tls.SSLError):
        return "certificate"
    if isinstance(error, requests.exceptions.ProxyError):
        return "proxy"
    if isinstance(error, requests.exceptions.Timeout):
        return "silence"
    if "NameResolutionError" in text or "gaierror" in text:
        return "name"
    return "refused" if "NewConnectionError" in text else "other"


def _skew(response: requests.Response, seconds: float) -> float | None:
    try:
        said = email.utils.parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
    return said + 0.5 - (time.time() - seconds / 2)


def _certificate_days(response: requests.Response) -> float | None:
    connection: Any = getattr(response.raw, "connection", None)
    certificate: Any = None
    with suppress(AttributeError, ValueError, OSError):
        certificate = connection.sock.getpeercert()
    if not certificate or "notAfter" not in certificate:
        return None
    return (tls.cert_time_to_seconds(certificate["notAfter"]) - time.time()) / 86_400
