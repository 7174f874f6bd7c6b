"""Middleware: records every request in the ledger, simulates the faults, and has the routes that control both."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.platforms import linger
from biocolab_accessor.sandbox.faults.faults import Fault, Faults, corrupt
from biocolab_accessor.sandbox.faults.limits import Protocol
from biocolab_accessor.sandbox.requests import HTTPError, Ledger, RequestRecord, json_body, masked_token, route_name

CONTROL = "/_sandbox/"
"""Prefix of the routes that control the sandbox itself, which faults never affect."""

_TOKENS = (b"bioturing-api-token", b"btr-api-token", b"x-user-token")

# The server notices a lost connection in the next iteration of the event loop.
_HEARD = 0.01
_PAGE = b"<!DOCTYPE html><html><head><title>Proxy</title></head><body><h1>Please log in</h1></body></html>"


@dataclass
class _Watched:
    """One request in progress; counts its bytes."""

    receive_from: Receive
    send_to: Send
    status: int | None = None
    received: int = 0
    sent: int = 0
    started: float = field(default_factory=time.perf_counter)

    async def receive(self) -> Message:
        message = await self.receive_from()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.sent += len(message.get("body", b""))
        await self.send_to(message)


@dataclass
class _Collected:
    """An answer that is collected instead of sent."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        self.body += message.get("body", b"")

    def headers_of(self, body: bytes) -> list[tuple[bytes, bytes]]:
        """The headers with the length of another body."""
        kept = [(name, value) for name, value in self.headers if name.lower() != b"content-length"]
        return [*kept, (b"content-length", str(len(body)).encode())]


class FaultMiddleware:
    """The app with a ledger and faults; ``forget`` carries out the faults ``forget_…`` before the request."""

    def __init__(
        self, app: ASGIApp, ledger: Ledger, faults: Faults, forget: Callable[[Fault], None] = lambda fault: None
    ) -> None:
        self._app, self._ledger, self._faults, self._forget = app, ledger, faults, forget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number, route = self._ledger.begin(), route_name(scope["path"])
        transport = scope.get("state", {}).get("transport")
        forgetting, fault = ([], None) if scope["path"].startswith(CONTROL) else self._faults.take(route)
        watched = _Watched(receive, send)
        headers = dict(scope["headers"])
        token = next((headers[name] for name in _TOKENS if name in headers), b"").decode("latin-1")
        written = False

        def write() -> None:
            nonlocal written
            if not written:
                written = True
                seconds = time.perf_counter() - watched.started
                kind = fault.kind if fault else "".join(each.kind for each in forgetting[:1])
                self._ledger.add(
                    RequestRecord(
                        number,
                        scope["method"],
                        route,
                        scope["path"],
                        watched.status,
                        watched.received,
                        watched.sent,
                        seconds,
                        masked_token(token),
                        kind,
                    )
                )

        async def send_and_write(message: Message) -> None:
            if message["type"] == "http.response.pathsend":
                cycle = send.__self__  # type: ignore[attr-defined] # uvicorn's, of this request
                await _send_file(message["path"], transport.get_protocol(), cycle, watched, send_and_write)
                return
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if last:
                # Recorded before the client has the whole answer, so that it finds the request in the ledger then.
                watched.sent += len(message.get("body", b""))
                write()
                await send(message)
            else:
                await watched.send(message)

        for each in forgetting:
            await run_in_threadpool(self._forget, each)
        try:
            if fault is None:
                if transport is not None:
                    scope = {**scope, "extensions": {**scope.get("extensions", {}), "http.response.pathsend": {}}}
                await self._app(scope, watched.receive, send_and_write)
            else:
                await _play(fault, self._app, scope, watched.receive, send_and_write, write)
        except asyncio.CancelledError:
            # The server is closing: reset the connection of a client that still waits.
            await _reset(transport)
        finally:
            write()


async def _send_file(path: str, protocol: Protocol, cycle: Any, watched: _Watched, send: Send) -> None:
    """Send a file as the whole body, its last byte as any other answer's, so that what belongs to an end is done."""
    with open(path, "rb") as file:
        count = max(0, os.fstat(file.fileno()).st_size - 1)
        sent = await protocol.send_file(file, count, cycle)
        watched.sent += sent
        if sent < count:
            # The client disconnected: let the server notice that before it reports an incomplete answer.
            await asyncio.sleep(_HEARD)
            return
        await send({"type": "http.response.body", "body": file.read(1)})


async def _play(
    fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send, write: Callable[[], None]
) -> None:
    options, transport = fault.options, scope.get("state", {}).get("transport")

    async def cut_off() -> None:
        # Recorded first, because the client continues at once, and its next request must come later in the ledger.
        write()
        await _reset(transport)

    if fault.kind == "reset":
        await _drain(receive)
        await cut_off()
        return
    if fault.kind == "hang":
        await _wait(receive, options["seconds"])
        await cut_off()
        return
    if fault.kind == "delay":
        await asyncio.sleep(options["seconds"])
        await app(scope, receive, send)
        return
    instead = _instead(fault)
    if instead is not None:
        await _drain(receive)
        await _answer(send, *instead)
        return
    answer = _Collected()
    await app(scope, receive, answer.send)
    body = bytes(answer.body)
    half = body[: len(body) // 2]
    if fault.kind == "lost_answer":
        await cut_off()
    elif fault.kind == "trickle":
        await _trickle(send, answer, body, options["seconds"], options["pieces"])
    elif fault.kind in ("reset_midway", "truncate"):
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers_of(body)})
        await send({"type": "http.response.body", "body": half, "more_body": True})
        if fault.kind == "reset_midway":
            await asyncio.sleep(0.05)  # so that the first half arrives
            await cut_off()
        elif transport is not None:
            write()
            transport.close()
    elif fault.kind == "truncate_unannounced":
        if transport is not None:
            write()
            transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\n\r\n" + half
            )
            transport.close()
    elif fault.kind == "other_words":
        await _answer(send, *_reworded(answer, body, options))
    elif answer.status == 200:
        changed = corrupt(fault.kind, body, options)
        await _answer(send, answer.status, answer.headers_of(changed), changed)
    else:
        await _answer(send, answer.status, answer.headers, body)


def _instead(fault: Fault) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
    """Status, headers and body of a fault that replaces the answer; None if the app must answer."""
    options: dict[str, Any] = fault.options
    as_json = [(b"content-type", b"application/json")]
    if fault.kind == "status":
        after = options["retry_after"]
        headers = as_json if after is None else [*as_json, (b"retry-after", str(after).encode())]
        return options["status"], headers, json.dumps({"detail": options["detail"]}).encode()
    if fault.kind == "redirect":
        return options["status"], [(b"location", options["location"].encode())], b""
    if fault.kind == "html":
        return options["status"], [(b"content-type", b"text/html")], _PAGE
    if fault.kind in ("detail_in_body", "status_in_body", "empty_object"):
        return 200, as_json, json.dumps(options).encode()  # the options of these kinds are the body
    return (200, as_json, b"") if fault.kind == "empty_body" else None


def _reworded(
    answer: _Collected, body: bytes, options: Mapping[str, Any]
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """An error in the words of another server; an error about the token stays unchanged."""
    if answer.status < 400 or answer.status == 401:
        return answer.status, answer.headers_of(body), body
    status, words = options["status"], options["message"]
    said = {"status": 500, "message": words} if status == 200 else {"detail": words}
    return status, [(b"content-type", b"application/json")], json.dumps(said).encode()


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _trickle(send: Send, answer: _Collected, body: bytes, seconds: float, pieces: int) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers_of(body)})
    step = max(1, -(-len(body) // pieces))
    for start in range(0, len(body), step):
        await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
        await asyncio.sleep(seconds / pieces)
    await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


async def _wait(receive: Receive, seconds: float) -> None:
    """Wait until the client disconnects, but not longer than the given time."""

    async def until_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    with suppress(TimeoutError):
        await asyncio.wait_for(until_gone(), seconds)


async def _reset(transport: asyncio.Transport | None) -> None:
    if transport is None or transport.is_closing():
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # With a linger time of 0 the system sends a reset instead of closing in order.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(0))
    transport.abort()
    # Let the server notice this, so that it does not report a missing answer.
    await asyncio.sleep(_HEARD)


def control_routes(
    faults: Faults,
    ledger: Ledger,
    reset: Callable[[], None],
    cancel: Callable[[str], bool],
    is_owner: Callable[[str], bool],
) -> list[Route]:
    """The routes ``faults``, ``requests``, ``reset`` and ``tasks``; they need the token of the sandbox's first user."""

    async def change_faults(request: Request) -> Response:
        if request.method == "POST":
            body = await json_body(request)
            fault = faults.add(body.pop("route", ""), **body)
            return JSONResponse(_shown(fault), status_code=201)
        if request.method == "DELETE":
            faults.clear()
        return JSONResponse([_shown(fault) for fault in faults])

    async def requests(request: Request) -> Response:
        if request.method == "DELETE":
            ledger.clear()
        return JSONResponse([asdict(record) for record in ledger])

    async def start_afresh(request: Request) -> Response:
        await run_in_threadpool(reset)
        return JSONResponse({})

    async def cancel_task(request: Request) -> Response:
        return JSONResponse({"cancelled": await run_in_threadpool(cancel, request.path_params["task_id"])})

    def guarded(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if not is_owner(request.headers.get("bioturing-api-token", "")):
                return JSONResponse({"detail": "the token is not that of the sandbox's owner"}, status_code=401)
            try:
                return await answer(request)
            except HTTPError as error:
                return error.answer()
            except (InvalidArgument, TypeError, ValueError, AttributeError) as error:
                return JSONResponse({"detail": str(error)}, status_code=422)

        return endpoint

    return [
        Route(CONTROL + "faults", guarded(change_faults), methods=["GET", "POST", "DELETE"]),
        Route(CONTROL + "requests", guarded(requests), methods=["GET", "DELETE"]),
        Route(CONTROL + "reset", guarded(start_afresh), methods=["POST"]),
        Route(CONTROL + "tasks/{task_id}", guarded(cancel_task), methods=["DELETE"]),
    ]


def _shown(fault: Fault) -> dict[str, Any]:
    return {**asdict(fault), "nth": None if fault.nth is None else sorted(fault.nth)}
