"""Files that are sent with sendfile arrive whole, and their connections stay usable."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anndata as ad
import numpy as np
import pytest
import requests
from starlette.types import Receive, Scope, Send

import biocolab_accessor as bc
from biocolab_accessor.sandbox.faults import limits
from biocolab_accessor.sandbox.public_studies import DATABASE_ID
from biocolab_accessor.sandbox.server import Sandbox, ServerThread, listen
from tests.patience import PATIENCE, until


@pytest.fixture(scope="module")
def large() -> Iterator[Sandbox]:
    """A sandbox with a matrix that is larger than the buffer of a socket."""
    counts = np.random.default_rng(0).integers(1, 9, (2000, 2000)).astype(np.float32)
    with bc.sandbox() as server:
        server.add_study("LARGE", ad.AnnData(counts))
        yield server


def asked(server: Sandbox, session: requests.Session, route: str, **options: object) -> requests.Response:
    headers = {"btr-api-token": server.token, **options.pop("headers", {})}  # type: ignore[dict-item]
    url = f"{server.url}/v1/study/{route}"
    return session.post(url, json=body(server), headers=headers, timeout=PATIENCE, **options)


def body(server: Sandbox) -> dict[str, object]:
    return {"database": DATABASE_ID, "species": "human", "version": 1, "study_idx": uuid_of(server), "unit": "raw"}


def uuid_of(server: Sandbox) -> str:
    [uuid] = [record.uuid for record in server._state.catalog.studies() if record.hash_id == "LARGE"]
    return uuid


def matrix_of(server: Sandbox) -> bytes:
    return (server.path / "studies" / uuid_of(server) / "raw.h5").read_bytes()


def test_a_large_file_arrives_whole_and_the_connection_stays_usable(large: Sandbox) -> None:
    with requests.Session() as session:
        for _ in range(3):
            answer = asked(large, session, "get_matrix")
            assert answer.content == matrix_of(large)
            assert answer.headers["content-length"] == str(len(answer.content))
            assert asked(large, session, "get_features").json() == [str(n) for n in range(2000)]
        [pool] = session.adapters["http://"].poolmanager.pools._container.values()
        assert pool.num_connections == 1
    record = large.requests.of("v1/study/get_matrix")[-1]
    assert (record.status, record.sent) == (200, len(matrix_of(large)))


def test_a_range_of_a_large_file_is_that_range(large: Sandbox) -> None:
    with requests.Session() as session:
        answer = asked(large, session, "get_matrix", headers={"range": "bytes=1000-1999"})
    assert (answer.status_code, answer.content) == (206, matrix_of(large)[1000:2000])


def test_a_client_that_disconnects_is_recorded_and_affects_no_other_client(
    large: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    large.requests.clear()
    wanted = json.dumps(body(large))
    head = f"btr-api-token: {large.token}\r\ncontent-type: application/json\r\ncontent-length: {len(wanted)}"
    port = int(large.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(f"POST /v1/study/get_matrix HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n{wanted}".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    size = len(matrix_of(large))
    until(lambda: large.requests.of("v1/study/get_matrix"))
    [record] = large.requests.of("v1/study/get_matrix")
    assert 0 < record.sent < size
    with requests.Session() as session:
        assert len(asked(large, session, "get_matrix").content) == size
    time.sleep(0.1)  # the server would report an error after it recorded the request
    assert caplog.records == []


def test_a_client_that_does_not_read_a_file_is_disconnected(
    large: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "_UNREAD_SECONDS", 0.2)
    large.requests.clear()
    wanted = json.dumps(body(large))
    head = f"btr-api-token: {large.token}\r\nhost: localhost\r\ncontent-length: {len(wanted)}"
    port = int(large.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(f"POST /v1/study/get_matrix HTTP/1.1\r\n{head}\r\n\r\n{wanted}".encode())
        until(lambda: large.requests.of("v1/study/get_matrix"))
    [record] = large.requests.of("v1/study/get_matrix")
    assert record.sent < len(matrix_of(large))
    assert caplog.records == []


def test_a_client_that_does_not_read_another_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the kernel's buffers nor the server's can hold 100 MB."""
    monkeypatch.setattr(limits, "_UNREAD_SECONDS", 0.2)
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100000000")]})
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
            sent.append(scope["state"]["transport"].get_write_buffer_size())

    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving = ServerThread(app, limits.Protocol, listener)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            until(lambda: serving._server.server_state.connections)
            until(lambda: not serving._server.server_state.connections)
    finally:
        serving.stop()
    assert max(sent) < 10_000_000


def test_a_dry_run_that_reads_only_the_size_prints_nothing(
    large: Sandbox, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    study = bc.study("LARGE")
    for _ in range(3):
        assert study.to_anndata(dry_run=True).n_bytes > 16_000_000
    time.sleep(0.1)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
    assert capfd.readouterr().err == ""


def test_many_large_files_at_the_same_time_arrive_whole(large: Sandbox) -> None:
    def one(_: int) -> bool:
        with requests.Session() as session:
            return asked(large, session, "get_matrix").content == matrix_of(large)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(one, range(12)))


def test_files_that_are_asked_for_at_once_come_whole_one_after_another(
    large: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("plot.js", "style.css", "api.js")
    contents = [requests.get(f"{large.url}/page/{name}", timeout=PATIENCE).content for name in names]
    ask = "".join(f"GET /page/{name} HTTP/1.1\r\nhost: localhost\r\n\r\n" for name in names)
    port = int(large.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(ask.encode())
        answers = connection.makefile("rb")
        for content in contents:
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            while (line := answers.readline()) != b"\r\n":
                assert line
            assert answers.read(len(content)) == content
    assert caplog.records == []
