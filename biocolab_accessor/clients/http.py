"""HTTP: one pooled session for one server, with its token, timeouts and retries."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import requests
import urllib3
from requests.auth import AuthBase

from biocolab_accessor.clients.progress import downloading, progress_bar
from biocolab_accessor.clients.responses import announced_length, decode_json, decode_unquoted, http_error
from biocolab_accessor.clients.retry import RETRIABLE_STATUSES, Deadline, Retriable, retry_after, retrying
from biocolab_accessor.clients.transport import (
    Download,
    FilePart,
    OpenTarget,
    Session,
    cancellable,
    expect_authorities,
    is_refused,
    transport_failure,
    verify_with,
)
from biocolab_accessor.config import settings
from biocolab_accessor.errors import (
    BiocolabError,
    InvalidArgument,
    InvalidResponse,
    RedirectRefused,
    ServerError,
    TimedOut,
    TransportError,
)
from biocolab_accessor.io.hdf5_gate import is_hdf5, opened_foreign
from biocolab_accessor.io.memory import expect_room
from biocolab_accessor.io.safe_files import replacing, target_path
from biocolab_accessor.messages import warn
from biocolab_accessor.security.redaction import Secret, redacted, redacting, without_frames
from biocolab_accessor.security.urls import file_url, is_loopback, origin, redirect_url, route_url, same_origin_url

_Result = TypeVar("_Result")

Look = Callable[[], Any]

# Statuses of servers that do not support ranges, or no longer have a file of this length.
_RANGE_REFUSED = frozenset({400, 405, 412, 416, 422, 501})


_PIECE = 1024 * 1024
_ADVICE = "ask for less at a time"
_MOST_REDIRECTS = 5

_lock = threading.Lock()

_unverified: set[str] = set()


def _renew_lock() -> None:
    """In a forked process, replace the lock: the thread that held it does not exist there."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class _TokenAuth(AuthBase):
    """Puts the token on requests to its own origin; as an auth object it also keeps ~/.netrc out."""

    def __init__(self, host: str, header: str, token: Secret) -> None:
        self._origin, self._header, self._token = origin(host), header, token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if origin(request.url or "") == self._origin:
            request.headers[self._header] = self._token.reveal()
        return request


class HttpClient:
    """Sends requests to one server, with a token header that only the origin of ``host`` gets."""

    # `ssl` is True, "system", the path of a bundle of certificate authorities, or False, which warns once. `quoting` is
    # False for a server that answers with tokens: then no error quotes an answer.

    def __init__(
        self,
        host: str,
        token: Secret,
        *,
        header: str,
        ssl: bool | str | Path = True,
        extra_headers: Mapping[str, str] | None = None,
        quoting: bool = True,
    ) -> None:
        self.host = host
        self.token = token
        self.header = header
        self.ssl = ssl
        self._extra_headers = dict(extra_headers or {})
        self._quoting = quoting
        expect_authorities(ssl)
        if ssl is False and not is_loopback(origin(host)[1]):
            _warn_unverified(host)
        self._session: requests.Session | None = None
        self._pid = 0
        self._answered = False

    def __repr__(self) -> str:
        return f"HttpClient(host={self.host!r})"

    @property
    def session(self) -> requests.Session:
        """The pooled session; a forked process makes a new one, since two processes must not share a socket."""
        with _lock:
            if self._session is None or self._pid != os.getpid():
                self._session, self._pid = self._new_session(), os.getpid()
            return self._session

    def _new_session(self) -> requests.Session:
        session = Session()
        verify_with(session, self.ssl, pool_connections=4, pool_maxsize=32, max_retries=0)
        session.auth = _TokenAuth(self.host, self.header, self.token)
        session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        session.headers.update(self._extra_headers)
        # A token for this machine must never be handed to a proxy that the environment names.
        session.trust_env = not is_loopback(origin(self.host)[1])
        return session

    def close(self) -> None:
        """Close the pooled connections; the next request opens new ones."""
        with _lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def post(
        self,
        route: str,
        body: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
        *,
        idempotent: bool = True,
        look: Look = lambda: None,
    ) -> Any:
        """Post JSON to a route below the host, and return the decoded JSON."""
        # A function as `body` is called for each attempt. `look` is called before a request is sent again that the
        # server may have acted on: it returns the answer if the work is already done, else None.
        headers = {"Content-Type": "application/json"}
        if callable(body):
            make = body
            return self._json(
                "POST", route_url(self.host, route), lambda: _json_bytes(make()), headers, idempotent=idempotent
            )
        data = _json_bytes(body or {})
        return self._json("POST", route_url(self.host, route), lambda: data, headers, idempotent=idempotent, look=look)

    def get(self, route: str) -> Any:
        """Get JSON from a route below the host."""
        return self._json("GET", route_url(self.host, route), lambda: None, {}, idempotent=True)

    def post_file_part(
        self,
        route: str,
        params: Mapping[str, object],
        file_name: str,
        path: Path,
        offset: int,
        length: int,
        on_bytes: Callable[[int], object] | None = None,
        look: Look = lambda: None,
    ) -> Any:
        """Post bytes of a file as multipart; safe to repeat, since the server stores each part under its number."""
        # `on_bytes` gets the bytes handed to the socket, and a negative number when an attempt is thrown away.
        sent = 0

        def count(n: int) -> None:
            nonlocal sent
            sent += n
            if on_bytes:
                on_bytes(n)

        def fresh_body() -> FilePart:
            if sent:
                count(-sent)
            return FilePart(params, file_name, path, offset, length, count)

        return self._json("POST", route_url(self.host, route), fresh_body, {}, idempotent=True, look=look)

    def download(
        self,
        method: str,
        route: str,
        body: Mapping[str, Any] | None,
        *,
        open_target: OpenTarget,
        on_bytes: Callable[[int], object] | None = None,
        elsewhere: bool = False,
    ) -> None:
        """Pass the bytes of an answer on while they arrive; an interrupted answer is resumed if the server allows."""
        # For a GET the route is an address or a path that the server named. `open_target` is called with the announced
        # length (None if unknown) each time the answer starts from its first byte. `elsewhere` allows an address on
        # another server, which does not get the token.
        with redacting(self.token):
            if method == "POST":
                url = route_url(self.host, route)
            else:
                url = file_url(self.host, route) if elsewhere else same_origin_url(self.host, route)
        data = None if method == "GET" else _json_bytes(body or {})
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        deadline = Deadline()
        download = Download(url, open_target, on_bytes)

        def attempt() -> None:
            try:
                with self._answer(method, url, data, {**headers, **download.headers()}, deadline) as response:
                    download.begin(response.status_code, response.headers)
                    for piece in self._pieces(response, url, deadline):
                        download.take(piece)
                    download.end()
            except ServerError as error:
                if not download.ranged or error.status not in _RANGE_REFUSED:
                    raise
                download.forget()
                raise Retriable(error) from error

        while True:
            resumed_at = download.resumed_at
            try:
                return self._retrying(attempt, f"{method} {url}", deadline)
            except TransportError:
                # As long as each attempt brings something, a bad connection is not a reason to give up.
                if download.resumed_at <= resumed_at or not deadline.left():
                    raise

    def announced_length(self, route: str, body: Mapping[str, Any]) -> int | None:
        """Return how long the answer to a POST would be if the server announces it; the answer is not fetched."""
        url = route_url(self.host, route)
        data = _json_bytes(body)
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        deadline = Deadline()

        def attempt() -> int | None:
            with self._answer("POST", url, data, headers, deadline) as response:
                return announced_length(url, response.headers)

        return self._retrying(attempt, f"POST {url}", deadline)

    def _retrying(
        self,
        attempt: Callable[[], _Result],
        what: str,
        deadline: Deadline,
        *,
        idempotent: bool = True,
        look: Callable[[], _Result | None] = lambda: None,
    ) -> _Result:
        def one() -> _Result:
            with redacting(self.token), cancellable(deadline.left()):
                return attempt()

        return retrying(one, what=redacted(what, self.token), idempotent=idempotent, deadline=deadline, look=look)

    def _json(
        self,
        method: str,
        url: str,
        fresh_body: Callable[[], Any],
        headers: Mapping[str, str],
        *,
        idempotent: bool,
        look: Look = lambda: None,
    ) -> Any:
        deadline = Deadline()

        def attempt() -> Any:
            body = fresh_body()
            content_type = {"Content-Type": body.content_type} if isinstance(body, FilePart) else {}
            try:
                with self._answer(method, url, body, {**headers, **content_type}, deadline) as response:
                    announced = announced_length(url, response.headers)
                    content = _whole(self._pieces(response, url, deadline), url, announced)
                    # If a server sends the token back, it must not get into the variables of a traceback.
                    if self._quoting:  # otherwise the answer holds tokens, maybe this one, and is never shown
                        content = redacted(content, self.token)
                    kind = response.headers.get("Content-Type", "")
                    return (decode_json if self._quoting else decode_unquoted)(url, content, kind)
            finally:
                if isinstance(body, FilePart):
                    body.close()

        return self._retrying(attempt, f"{method} {url}", deadline, idempotent=idempotent, look=look)

    def _answer(
        self, method: str, url: str, body: Any, headers: Mapping[str, str], deadline: Deadline
    ) -> requests.Response:
        """Make one attempt, up to the headers of a successful answer; the caller closes it."""
        for _ in range(_MOST_REDIRECTS):
            deadline.check(f"{method} {url}")
            silence = max(0.01, min(settings.read_timeout, deadline.left()))
            try:
                response = self.session.request(
                    method,
                    url,
                    data=body,
                    headers=dict(headers),
                    stream=True,
                    allow_redirects=False,
                    timeout=(settings.connect_timeout, silence),
                    verify=self.session.verify,  # or REQUESTS_CA_BUNDLE would win over the argument
                )
            except requests.RequestException as error:
                what = f"{method} {url}"
                self._expect_time(deadline, what, error)
                failure = transport_failure(what, error, silence, self.header)
                # No program listens on this machine: waiting helps only if one did, and may be starting again.
                if not self._answered and is_refused(error) and is_loopback(origin(url)[1]):
                    failure.error.passing = True
                    raise failure.error from None
                raise failure from None
            except BaseException as error:  # Ctrl-C, or an error of the file being sent
                without_frames(error, self.header)
                raise error
            self._answered = True
            # Once it is sent, no traceback, debugger or log of the answer needs the token.
            response.request.headers[self.header] = "****"
            for name, value in response.headers.items():
                response.headers[name] = redacted(value, self.token)
            if not deadline.left():  # what was cut may look like the end of the head
                response.close()
                deadline.check(f"{method} {url}")
            if response.status_code < 300:
                return response
            with response:
                if response.status_code < 400:
                    url = self._redirected(response, url, method, body)
                    continue
                content = redacted(b"".join(self._pieces(response, url, deadline, most=_PIECE)), self.token)
                content = content if self._quoting else b""
                error_ = http_error(url, response.status_code, content, response.reason, self.token.origin)
                if response.status_code in RETRIABLE_STATUSES:
                    pause = retry_after(response.headers.get("Retry-After"))
                    busy = response.status_code == 429 or (response.status_code == 503 and pause is not None)
                    raise Retriable(error_, retry_after=pause, never_arrived=busy)
                raise error_
        msg = f"{method} {url}: redirected {_MOST_REDIRECTS} times in a row"
        raise RedirectRefused(msg)

    def _expect_time(self, deadline: Deadline, what: str, error: Exception) -> None:
        """Say that the time is over, where that is why the connection was cut."""
        if not deadline.left():
            without_frames(error, self.header)
            try:
                deadline.check(what)
            except TimedOut as late:
                raise late from None

    def _redirected(self, response: requests.Response, url: str, method: str, body: object) -> str:
        target = redirect_url(self.host, url, response.headers.get("Location", ""), response.status_code)
        # 301 to 303 would turn a POST into a GET, and a streamed body cannot be sent again: neither is followed.
        if method == "GET" or (response.status_code in (307, 308) and not isinstance(body, FilePart)):
            return target
        msg = (
            f"{url} redirects (HTTP {response.status_code}) to {target.partition('?')[0]}, which a {method} does not "
            "follow: if this is the server's new address, use it as the host"
        )
        raise RedirectRefused(msg)

    def _pieces(self, response: requests.Response, url: str, deadline: Deadline, most: int | None = None) -> Any:
        """Yield the body in pieces, under the deadline: a server that trickles cannot hold us forever."""
        taken = 0
        try:
            # read1 returns after one read of the socket, so that the deadline is checked in between.
            while piece := response.raw.read1(_PIECE, decode_content=True):
                yield piece
                taken += len(piece)
                deadline.check(url)
                if most is not None and taken >= most:
                    return
            deadline.check(url)  # what was cut may look like the end of the answer
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, BiocolabError):
                raise
            self._expect_time(deadline, url, error)
            raise transport_failure(url, error, settings.read_timeout, self.header) from None


def _json_bytes(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(dict(body), allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # NaN, or a type that JSON does not have
        msg = f"a request cannot be written as JSON: {error}"
        raise InvalidArgument(msg) from error


def _warn_unverified(host: str) -> None:
    """Warn once per host about ssl=False; urllib3 would repeat its own warning."""
    name = origin(host)[1]
    with _lock:
        if host in _unverified:
            return
        _unverified.add(host)
        pattern = f".*host '{re.escape(name)}'"
        warnings.filterwarnings("ignore", pattern, urllib3.exceptions.InsecureRequestWarning)
    warn(
        f"certificates of {host} are not verified (ssl=False): anyone on the network path can read the token. "
        "Use ssl='system' or ssl='/path/to/your-ca.pem' instead."
    )


def _whole(pieces: Iterable[bytes], url: str, announced: int | None) -> bytearray:
    """Join pieces; a server that sends, or announces, more than fits is stopped at the memory budget."""
    content, allowed = bytearray(), _PIECE
    try:
        if announced is not None and announced > allowed:
            expect_room(2 * announced, url, _ADVICE)  # for its bytes and its text
            allowed = announced
        for piece in pieces:
            content += piece
            if len(content) > allowed:
                allowed = 2 * len(content)
                expect_room(allowed, url, _ADVICE, held=len(content))
    except BaseException:
        content.clear()  # an error that is kept keeps this frame too
        raise
    return content


def save(client: HttpClient, link: str, path: str | Path) -> Path:
    """Download a file that the server named; the path has the whole file in the end, or is left unchanged."""
    # A name in the link is never used as a file name here.
    target = target_path(path)
    with replacing(target) as part:
        with part.open("xb") as file, progress_bar(downloading(target.name)) as bar:

            def open_target(length: int | None) -> Callable[[memoryview], object]:
                bar.total = length
                file.seek(0)
                file.truncate()
                return file.write

            client.download("GET", link, None, open_target=open_target, on_bytes=bar.update, elsewhere=True)
            file.flush()
            os.fsync(file.fileno())
        _expect_harmless(part, target)
    return target


def _expect_harmless(part: Path, target: Path) -> None:
    """Refuse an HDF5 file that reaches outside of itself: other programs open it as if the user had written it."""
    if not is_hdf5(part):
        return
    what = f"the file for {target}"
    with opened_foreign(part, what=what, error=InvalidResponse, filters=False) as foreign:
        to_install = foreign.to_install
    if to_install:
        warn(f"{target}: {to_install}")
