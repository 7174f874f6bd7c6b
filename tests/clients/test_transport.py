"""A request whose result is no longer wanted is cut, also over TLS, and no other request is."""

from __future__ import annotations

import ssl
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.concurrency import CancellableThreads
from biocolab_accessor.errors import TimedOut, TransportError
from biocolab_accessor.security.redaction import Secret
from tests.patience import PATIENCE

from .conftest import Scripted, answer


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for threads however slowly they end: the machine may be busy."""
    monkeypatch.setattr("biocolab_accessor.concurrency._SECONDS_TO_END", PATIENCE)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("begun", [False, True])
def test_a_stopped_request_does_not_wait_for_a_silent_server(
    scripted: Scripted, certificate: tuple[ssl.SSLContext, Path], tls: bool, begun: bool
) -> None:
    asked, over = threading.Event(), threading.Event()
    let_go: list[bool] = []

    def silent(handler: BaseHTTPRequestHandler) -> None:
        if begun:  # an answer that never continues
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1,")
        asked.set()
        let_go.append(over.wait(PATIENCE))
        handler.close_connection = True

    if tls:
        scripted.speaks_tls(certificate[0])
    scripted.answers(answer(content=[]), silent)
    http = HttpClient(scripted.host, Secret("a-token"), header="h", ssl=certificate[1])
    http.post("x")
    with suppress(InterruptedError), CancellableThreads(1, "biocolab-test") as threads:
        answered = threads.submit(http.post, "x")
        assert asked.wait(PATIENCE)
        time.sleep(0.2 if begun else 0.05)
        raise InterruptedError
    assert let_go == []  # the server is still silent
    assert isinstance(answered.exception(0), TransportError | TimedOut)
    assert len(scripted.requests) == 2  # and it is not sent again
    over.set()
    scripted.answers(answer(content=[2]))
    assert http.post("x") == [2]
    http.close()


def test_a_request_outside_cancellable_threads_is_not_cut(scripted: Scripted) -> None:
    asked, over = threading.Semaphore(0), threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        asked.release()
        over.wait(PATIENCE)
        answer(content=[1])(handler)

    scripted.answers(slow)
    http = HttpClient(scripted.host, Secret("a-token"), header="h")
    with suppress(InterruptedError), CancellableThreads(2, "biocolab-test") as threads:
        threads.submit(http.post, "x")
        others: list[object] = []
        other = threading.Thread(target=lambda: others.append(http.post("y")))
        other.start()
        for _ in "xy":
            assert asked.acquire(timeout=PATIENCE)
        raise InterruptedError
    over.set()
    other.join()
    assert others == [[1]]
    http.close()
