"""A server that misbehaves on request, in ways that the sandbox does not."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import biocolab_accessor as bc

Script = Callable[[BaseHTTPRequestHandler], None]


class Scripted(ThreadingHTTPServer):
    """Answers requests with its scripts, one after another; the last one answers all further requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scripts: list[Script] = []
        self.requests: list[dict[str, Any]] = []
        self.host = f"http://127.0.0.1:{self.server_port}/"

    def answers(self, *scripts: Script) -> None:
        self.scripts = list(scripts)

    def speaks_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.host = self.host.replace("http://", "https://")

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up because of the certificate or the answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body that follows its head would wait 40 ms for an acknowledgement
    server: Scripted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
        scripts = self.server.scripts
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        script(self)

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


def answer(
    status: int = 200, content: object = None, *, headers: dict[str, str] | None = None, length: int | None = None
) -> Script:
    """An answer with JSON or bytes, and optionally a false Content-Length."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)
        if length is not None and length != len(body):
            handler.close_connection = True

    return script


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """A misbehaving server, and no pauses between attempts."""
    monkeypatch.setattr("biocolab_accessor.clients.retry._FIRST_DELAY", 0.01)
    with a_scripted_server() as server, bc.settings.override(max_retries=2):
        yield server


@contextmanager
def a_scripted_server() -> Iterator[Scripted]:
    """A running server that misbehaves on request."""
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before an attempt."""
    monkeypatch.setattr("biocolab_accessor.clients.retry._FIRST_DELAY", 0.01)


def parts_of(request: dict[str, Any]) -> tuple[dict[str, Any], str, bytes]:
    """The params, the file name and the bytes of an upload request."""
    boundary = b"--" + request["headers"]["Content-Type"].partition("boundary=")[2].encode()
    _, params, file, _ = request["body"].split(boundary)
    head, _, content = file.partition(b"\r\n\r\n")
    name = head.decode().partition('filename="')[2].partition('"')[0]
    return json.loads(params.partition(b"\r\n\r\n")[2]), name, content[: -len(b"\r\n")]


def lens_server(handler: BaseHTTPRequestHandler) -> None:
    """Answer every request like a Lens server whose tasks succeed at once."""
    answers: dict[str, Any] = {
        "add_file_upload": {"data": [{"id": "file"}]},
        "upload_chunk": {"data": {"output_dir": "/there"}},
        "get_submission_log": {"data": {"status": "SUCCESS", "log": "done\n"}},
        "commit_submission_result": {"study_info": {"uuid": "u"}},
    }
    route = handler.path.rpartition("/")[2]
    answer(content={"status": 200, **answers.get(route, {"data": {"id": "task"}})})(handler)
