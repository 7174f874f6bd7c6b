"""Transport: cancellable connections, what a failed one means, files sent in parts, and resumed downloads."""

from __future__ import annotations

import email.utils
import io
import json
import re
import socket
import ssl as tls
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy

from biocolab_accessor.clients.responses import (
    announced_length,
    expect_exact_length,
    expect_no_message,
    expect_no_page,
    expect_whole_file,
)
from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.concurrency import on_cancel
from biocolab_accessor.config import settings
from biocolab_accessor.errors import ConfigurationError, InvalidFile, InvalidHost, TimedOut, TransportError
from biocolab_accessor.messages import quoted
from biocolab_accessor.security.redaction import without_frames
from biocolab_accessor.security.urls import is_loopback, origin, without_user

_MOMENT = 1.0
_HEAD = 4096
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Session(requests.Session):
    """A session that does not parse redirects: our own strict parser does."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests would parse the address even if it does not follow it, and fail on a doubtful one."""


class _Cancellable:
    """The socket of a thread's request; cancelling before the socket is known cuts it as soon as it is."""

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
            with suppress(OSError):  # the server closed it first
                # The plain socket is cut, also for TLS, whose own method would drop what a thread still reads with.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Own(threading.local):
    request: _Cancellable | None = None


_own = _Own()


@contextmanager
def cancellable(seconds: float) -> Iterator[None]:
    """One request of this thread, up to the last byte of its answer; cut after `seconds`, or with its thread."""
    own = _own.request = _Cancellable()
    # A timer, because no time-out ends a head that comes byte by byte, or "100 Continue" again and again.
    watch = threading.Timer(min(seconds, threading.TIMEOUT_MAX), own.cut)
    watch.name, watch.daemon = "biocolab-deadline", True
    try:
        watch.start()  # Ctrl-C can arrive while it starts
        with on_cancel(own.cut):
            yield
    finally:
        watch.cancel()
        if watch.ident is not None:
            watch.join(_MOMENT)
        _own.request = None


class _Reporting:
    """A connection that reports which socket waits for an answer."""

    sock: Any

    def getresponse(self) -> Any:
        if _own.request is not None:
            _own.request.take(self.sock)
        return super().getresponse()  # type: ignore[misc] # of the other base class


class _HTTPConnection(_Reporting, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_Reporting, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class Adapter(HTTPAdapter):
    """An adapter with cancellable connections and larger blocks: requests reads uploads 16 kB at a time."""

    # A `context` decides alone which certificates are accepted. Otherwise requests would add its own bundle, or that of
    # REQUESTS_CA_BUNDLE, to the system's store.

    def __init__(self, context: tls.SSLContext | None = None, **options: Any) -> None:
        self._context: dict[str, Any] = {} if context is None else {"ssl_context": context}
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See requests."""
        kwargs |= self._context
        super().init_poolmanager(*args, **kwargs, blocksize=256 * 1024)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """See requests; SOCKS has its own connections, which are left unchanged."""
        socks = proxy.lower().startswith("socks")
        if self._context:
            kwargs |= self._context if socks else {**self._context, "proxy_ssl_context": self._context["ssl_context"]}
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not socks:
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """See requests, which calls it from 2.32 on."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"cert_reqs": "CERT_REQUIRED", **self._context} if self._context else pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """See requests."""
        if self._context:
            conn.cert_reqs, conn.ca_certs, conn.ca_cert_dir = "CERT_REQUIRED", None, None
        else:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]


SYSTEM = "system"
"""The value of ``ssl`` for the certificate store of the system."""


def expect_authorities(ssl: bool | str | Path) -> None:
    """Raise unless the certificate authorities that ``ssl`` names are there."""
    if ssl == SYSTEM:
        _system_context()
    elif isinstance(ssl, str | Path) and not Path(ssl).exists():
        msg = f"ssl={quoted(str(ssl))}: the certificate bundle does not exist (True and 'system' need none)"
        raise InvalidHost(msg)


def _system_context() -> tls.SSLContext:
    """TLS with the certificate store of the system, for one session: nothing is changed for the rest of Python."""
    try:
        import truststore
    except ImportError as error:
        msg = (
            "ssl='system' reads the certificate store of this machine with truststore, which is not installed: "
            "pip install 'biocolab_accessor[system-certificates]'"
        )
        raise ConfigurationError(msg) from error
    context: tls.SSLContext = truststore.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    return context


def verify_with(session: requests.Session, ssl: bool | str | Path, **options: Any) -> None:
    """Give a session our connections, which verify certificates with ``ssl``; options are those of HTTPAdapter."""
    system = ssl == SYSTEM
    adapter = Adapter(_system_context() if system else None, **options)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.verify = system or (str(ssl) if isinstance(ssl, Path) else ssl)


def innermost(error: BaseException) -> str:
    """Return the innermost error text, without a proxy's password: requests and urllib3 wrap it up to four times."""
    error = _cause(error)
    return without_user(str(error), in_text=True) or type(error).__name__


def is_refused(error: BaseException) -> bool:
    """Whether no program listens at the address."""
    return isinstance(_cause(error), ConnectionRefusedError)


def _cause(error: BaseException) -> BaseException:
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def transport_failure(what: str, error: Exception, silence: float, header: str) -> Retriable:
    """Build the error for an attempt without a whole answer, and remove the token from all that its cause holds."""
    # `silence` is the read timeout in seconds, `header` the name of the token's header.
    without_frames(error, header)
    text = innermost(error)
    if isinstance(error, requests.exceptions.SSLError | tls.SSLError):
        failure = TransportError(
            f"{what}: the certificate was not accepted: {text}. "
            "If the server has its own certificate authority, use ssl='system', the certificate store of this machine, "
            "or ssl='/path/to/ca.pem'"
        )
    elif isinstance(error, requests.exceptions.ConnectTimeout):
        failure = TimedOut(f"{what}: no connection within {settings.connect_timeout:g} s (bc.settings.connect_timeout)")
    elif isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.ReadTimeoutError | TimeoutError):
        failure = TimedOut(f"{what}: no answer within {silence:g} s (bc.settings.read_timeout)")
    elif isinstance(error, requests.exceptions.ProxyError):
        failure = TransportError(f"{what}: the proxy from the environment did not forward the request: {text}")
    elif isinstance(error, requests.exceptions.ConnectionError):
        failure = TransportError(f"{what}: no connection: {text}. Is the server running, and is the host correct?")
    else:
        failure = TransportError(f"{what}: the answer was interrupted: {text}")
    failure.cause = error  # not __cause__: a traceback would show four errors of requests and urllib3
    failure.add_note(f"caused by {type(error).__module__}.{type(error).__qualname__}: {text}")
    never_arrived = "NewConnectionError" in repr(error) or isinstance(error, requests.exceptions.ConnectTimeout)
    return Retriable(failure, never_arrived=never_arrived)


# "name": unknown host name; "refused": no connection; "silence": no connection or answer in time.
Failure = Literal["", "name", "refused", "silence", "certificate", "proxy", "other"]


@dataclass(frozen=True)
class Probe:
    """The result of one request without a token; ``failure`` is empty if an answer came, whatever its status."""

    failure: Failure
    detail: str  # the innermost reason
    seconds: float  # until the headers of the answer, or the failure
    skew: float | None = None  # seconds that the server's clock is ahead, to about 0.5 s; None if it sends no Date
    certificate_days: float | None = None  # until it expires; None for http, or if the server closed the connection


def probe(host: str, *, ssl: bool | str | Path = True, timeout: float = 10.0) -> Probe:
    """Request a server's first page without a token; ``timeout`` in seconds counts for connecting and for answering."""
    start = time.monotonic()
    with Session() as session:
        session.trust_env = not is_loopback(origin(host)[1])
        session.auth = _no_auth
        verify_with(session, ssl)
        try:
            response = session.get(host, timeout=timeout, stream=True, allow_redirects=False, verify=session.verify)
        except (requests.RequestException, OSError) as error:
            return Probe(_kind(error), innermost(error), time.monotonic() - start)
        with response:
            seconds = time.monotonic() - start
            return Probe("", "", seconds, _skew(response, seconds), _certificate_days(response))


def proxy_for(host: str) -> str:
    """Return the proxy for requests to a host, without its password; empty if no proxy is used."""
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


class FilePart:
    """A multipart body, ``params`` (JSON, first) and ``file`` (bytes of a file), never whole in memory."""

    # `on_bytes` gets the number of file bytes each time some were handed to the socket.

    def __init__(
        self,
        params: Mapping[str, object],
        file_name: str,
        path: Path,
        offset: int,
        length: int,
        on_bytes: Callable[[int], object] | None = None,
    ) -> None:
        boundary = uuid.uuid4().hex
        name = file_name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{json.dumps(params)}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        )
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = io.BytesIO(head.encode())
        self._tail = io.BytesIO(f"\r\n--{boundary}--\r\n".encode())
        self._file = path.open("rb")
        self._file.seek(offset)
        self._left = length
        self._size = self._head.getbuffer().nbytes + length + self._tail.getbuffer().nbytes
        self._on_bytes = on_bytes

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        # requests streams a body that has __iter__; urllib3 then uses read.
        return iter(lambda: self.read(256 * 1024), b"")

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes of the body; empty at its end."""
        if size is None or size < 0:
            size = self._size
        if piece := self._head.read(size):
            return piece
        if self._left:
            piece = self._file.read(min(size, self._left))
            if not piece:
                # Not an OSError: the transport would take it for its own, and retry.
                msg = f"{self._file.name} became shorter while it was sent: call again to send its current content"
                raise InvalidFile(msg)
            self._left -= len(piece)
            if self._on_bytes:
                self._on_bytes(len(piece))
            return piece
        return self._tail.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


OpenTarget = Callable[[int | None], Callable[[memoryview], object]]
"""Called with the announced length whenever the answer starts from its first byte; returns what takes its pieces."""


class Download:
    """The part of an answer that has arrived, over several attempts."""

    # An interrupted answer is requested from a little before its end. The overlap must be the same, and so must the
    # length and the ETag: a file that has changed is fetched from its beginning, and never joined to the old one.
    # `resumed_at` is the number of bytes when the server last continued an answer; 0 if it never did.

    def __init__(self, url: str, open_target: OpenTarget, on_bytes: Callable[[int], object] | None) -> None:
        self._url, self._open_target = url, open_target
        self._on_bytes = on_bytes or (lambda n: None)
        self._write: Callable[[memoryview], object] | None = None
        self.resumed_at = 0
        self._kept = 0
        self.forget()

    def forget(self) -> None:
        """Drop everything: the next attempt starts with the first byte."""
        if self._kept:
            self._on_bytes(-self._kept)
        self._kept = 0
        self._length: int | None = None
        self._etag = ""
        self._head = b""
        self._recent: deque[bytes] = deque()
        self._recent_bytes = 0
        self._asked_from: int | None = None
        self._overlap = b""

    def headers(self) -> dict[str, str]:
        """Headers of the next attempt: the missing range, if the download can be resumed."""
        self._asked_from, self._overlap = None, b""
        if not self._kept or self._length is None or self._kept >= self._length:
            return {}
        # An ETag shows that the file is the same; without one, a longer overlap has to match.
        recent = b"".join(self._recent)
        self._overlap = recent[-(_HEAD if self._etag else 16 * _HEAD) :]
        self._asked_from = self._kept - len(self._overlap)
        asked = {"Range": f"bytes={self._asked_from}-"}
        return {**asked, "If-Range": self._etag} if self._etag else asked

    @property
    def ranged(self) -> bool:
        """Whether the current attempt requested a range."""
        return self._asked_from is not None

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the headers of an answer, which continues or starts again; another range than requested is Retriable."""
        etag = headers.get("ETag", "")
        etag = etag if etag.startswith('"') else ""  # W/"…" promises the same meaning, not the same bytes
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
            wanted = (self._asked_from, (self._length or 0) - 1, self._length)
            if not self.ranged or found is None or tuple(map(int, found.groups())) != wanted or etag != self._etag:
                self.forget()
                raise Retriable(TransportError(f"{self._url}: the server sent a different part than requested"))
            self.resumed_at = self._kept
            return
        self.forget()
        announced = announced_length(self._url, headers)
        # With an encoding, the announced length is not the decoded one, and a range is useless.
        plain = headers.get("Content-Encoding", "identity").strip().lower() in ("", "identity")
        self._length = announced if plain else None
        self._etag = etag
        self._write = None

    def take(self, piece: bytes) -> None:
        """Take the next bytes; other bytes than last time are Retriable, and a web page raises InvalidResponse."""
        if self._overlap:
            again, piece = piece[: len(self._overlap)], piece[len(self._overlap) :]
            if not self._overlap.startswith(again):
                self.forget()
                raise Retriable(TransportError(f"{self._url}: the file changed during the download"))
            self._overlap = self._overlap[len(again) :]
            if not piece:
                return
        if len(self._head) < _HEAD:
            self._head += piece[: _HEAD - len(self._head)]
            expect_no_page(self._url, self._head)
        if self._write is None:
            self._write = self._open_target(self._length)
        if self._length is not None and self._kept + len(piece) > self._length:
            expect_exact_length(self._url, self._kept + len(piece), self._length)
        self._write(memoryview(piece))
        self._kept += len(piece)
        self._on_bytes(len(piece))
        self._recent.append(piece)
        self._recent_bytes += len(piece)
        while self._recent_bytes - len(self._recent[0]) >= 16 * _HEAD:
            self._recent_bytes -= len(self._recent.popleft())

    def end(self) -> None:
        """Check the whole once the server has sent everything; a missing part is Retriable, a message raises."""
        expect_exact_length(self._url, self._kept, self._length)
        expect_whole_file(self._url, self._head, self._kept)
        if self._kept < _HEAD:
            expect_no_message(self._url, self._head)
