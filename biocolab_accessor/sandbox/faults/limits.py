"""Limits: which hosts and origins a sandbox accepts, and how much time and memory a connection may use."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import socket
from collections.abc import Callable, Sized
from http import HTTPStatus
from typing import Any, BinaryIO

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from biocolab_accessor.messages import quoted
from biocolab_accessor.platforms import most_open_files
from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.security.urls import is_loopback

_AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?", re.ASCII)


class OriginMiddleware:
    """Checks the Host and Origin headers of every request before it reaches the app."""

    # A browser lets a page connect to a server that has the page's own name. If an attacker's name resolves to this
    # machine (DNS rebinding), the Host header has that name; a request from a page of another site has it as Origin.
    # Accepted are the host that the sandbox listens on, localhost, and the loopback addresses. If other machines can
    # connect, every IP address is accepted too, because DNS rebinding needs a name.

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._own = host.lower().strip("[]")
        self._local = is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        error = self._error(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await error.answer()(scope, receive, send)

    def _error(self, scope: Scope) -> HTTPError | None:
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            named = quoted(", ".join(hosts)[:100])
            detail = (
                f"the request is for the host {named}, which is not a name of this sandbox: use its url, or start it "
                "with host= (or --host) and that name"
            )
            return HTTPError(403, detail)
        if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins):
            return HTTPError(403, f"the request comes from a page of another site: {quoted(', '.join(origins)[:100])}")
        return None

    def _is_own(self, authority: str) -> bool:
        # The port is ignored, because it differs in a tunnel (ssh -L).
        found = _AUTHORITY.fullmatch(authority)
        name = "" if found is None else found["v6"] or found["name"]
        if is_loopback(name):
            return True
        try:
            return not (self._local or ipaddress.ip_address(name).is_unspecified)
        except ValueError:
            return name != "" and name == self._own


def _values(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1").lower() for name, value in scope["headers"] if name.lower() == wanted]


logger = logging.getLogger("biocolab_accessor.sandbox")

# A client has to read that much of a file, or some of another answer, within the time.
_AT_ONCE = 8 << 20
_UNREAD_SECONDS = 120.0
_MOST_CONNECTIONS = 256

# Connections use at most a quarter of the files that this process may open; it may be a notebook that needs the others.
_SHARE = 4
_HEAD_SECONDS = 10.0
_LONGEST_HEAD = 64 << 10

# The rest of a body after an early answer is read and dropped, so that a client that is still sending gets the answer.
_LEAST_OF_REST = 16 << 10

# Requests of one connection that may wait for the answer to the one before; clients of ours send one at a time.
_MOST_WAITING = 100

# A connection younger than this is not closed in favor of a new one.
_GRACE = 1.0
_LAST_WORDS = 1.0


def most_connections() -> int:
    """The number of connections that are served at the same time."""
    files = most_open_files()
    return _MOST_CONNECTIONS if files is None else max(4, min(_MOST_CONNECTIONS, files // _SHARE))


class _Flow(FlowControl):
    """Reads on only once no request waits: uvicorn does so too early, and a request takes 20 times its bytes."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with limits, and with the transport in each request's scope."""

    # The head of a request must arrive in time; if there are too many connections, one that waits for a head is closed.

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn's own log is printed where nothing else is set up: anyone who connects could fill a notebook with it.
        self.logger = logger
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._waits = True  # for the head of a request
        self._head = self._rest = 0
        self._headers = 0  # bytes since a message began or a body went on: its head, or what stands between its chunks
        self._since = 0.0
        self._body_is_over = True
        self._turned_away = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the transport to the scope of each request."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        # asyncio does this only for sockets created with the protocol's number. Without it the last piece of an answer
        # waits 40 ms until the client acknowledges the one before.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}
        self._expect_head()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._set_timer(None)
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes."""
        if self._turned_away:
            return
        self._rest += len(data)
        self._headers += len(data)
        if self._waits:
            if not self._head:
                self._set_timer(self._end_slow_head, _HEAD_SECONDS)
            self._head += len(data)
        super().data_received(data)
        if self._waits and self._head > _LONGEST_HEAD and not self.transport.is_closing():
            self._refuse(431, f"the head of the request is longer than {_LONGEST_HEAD:,} bytes")
        elif self._headers > _LONGEST_HEAD:
            # Trailers, extensions of a chunk, or the next request's head. The answer under way cannot say so.
            self.transport.close()

    def pause_writing(self) -> None:
        """Wait for the client to read, but not forever."""
        super().pause_writing()
        self._unread = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue after a pause."""
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """Expect a head."""
        self._headers = 0
        if len(self.pipeline) >= _MOST_WAITING:
            msg = "too many requests at once"
            raise ValueError(msg)  # uvicorn answers 400 and closes the connection
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._headers = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Start to answer."""
        self._waits = self._body_is_over = False
        self._set_timer(None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is over."""
        self._body_is_over, self._headers = True, 0
        super().on_message_complete()
        if self.cycle.response_complete:
            self._expect_head()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of this one."""
        super().on_response_complete()
        if self.transport.is_closing() or not self.cycle.response_complete:
            return
        if self._body_is_over:
            self._expect_head()
        else:
            self._waits_for_rest()

    def _expect_head(self) -> None:
        self._waits, self._head, self._since = True, 0, self.loop.time()
        self._set_timer(self._end_slow_head, _HEAD_SECONDS)

    def _end_slow_head(self) -> None:
        if self._head:
            self._refuse(408, f"the head of the request did not arrive within {_HEAD_SECONDS:g} s")
        else:
            self.transport.close()

    def _waits_for_rest(self) -> None:
        self._since, self._rest = self.loop.time(), 0

        def look() -> None:
            if self._rest < _LEAST_OF_REST:
                self.transport.close()
            else:
                self._rest = 0
                self._set_timer(look, _HEAD_SECONDS)

        self._set_timer(look, _HEAD_SECONDS)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> None:
        """Close the connection that has waited longest, or this one, if the number of connections is too large."""
        most = most_connections()
        others: set[Protocol] = self.connections - {self}  # type: ignore[assignment]
        busy, ending = list[Protocol](), list[Protocol]()
        for one in others:
            (ending if one.transport.is_closing() or one._turned_away else busy).append(one)
        # A closing connection with nothing left to send ends in a moment.
        ending = [one for one in ending if one._turned_away or one.transport.get_write_buffer_size()]
        if len(ending) >= most // 2:
            min(ending, key=_by_time).transport.abort()
        if len(busy) < most:
            return
        old = self.loop.time() - _GRACE
        idle = [one for one in busy if one._is_idle() and one._since <= old]
        surplus = min(idle, key=_by_time, default=self)
        surplus._turn_away(f"the sandbox has {most} connections already: try again in a moment")

    def _turn_away(self, detail: str) -> None:
        self._turned_away, self._since = True, self.loop.time()
        if self._waits and (self._head or self.cycle is None):
            self._say(503, detail)
        # Later bytes of the client are read and dropped: unread bytes would make the system reset the connection, and
        # the client would not get the answer.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._set_timer(self.transport.abort, _LAST_WORDS)

    def _refuse(self, status: int, detail: str) -> None:
        self._say(status, detail)
        self.transport.close()

    def _say(self, status: int, detail: str) -> None:
        """Answer without the app."""
        body = json.dumps({"status": status, "message": detail, "detail": detail}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)

    def _set_timer(self, call: Callable[[], object] | None, seconds: float = 0.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if call is None else self.loop.call_later(seconds, call)

    async def send_file(self, file: BinaryIO, count: int, cycle: Any) -> int:
        """Send the first bytes of a file as the next ones of an answer, and return how many the client took."""
        # Python would copy each byte four times. `count` is not the whole length, because the end of an answer goes the
        # usual way; `cycle` is the request that is answered, which is not the newest one if several were sent at once.
        if count and not self.transport.is_closing():
            try:
                for start in range(0, count, _AT_ONCE):
                    async with asyncio.timeout(_UNREAD_SECONDS):
                        await self.loop.sendfile(self.transport, file, start, min(_AT_ONCE, count - start))
            except (ConnectionError, TimeoutError):
                self.transport.abort()
        sent = file.tell()
        cycle.expected_content_length -= sent
        return sent


def _by_time(connection: Protocol) -> float:
    return connection._since
