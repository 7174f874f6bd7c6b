"""Limits: slow, endless or too many requests cost the sandbox little, and other clients are answered."""

from __future__ import annotations

import json
import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

import biocolab_accessor as bc
from biocolab_accessor.sandbox import requests as body
from biocolab_accessor.sandbox import requests as refusal
from biocolab_accessor.sandbox.faults import limits
from biocolab_accessor.sandbox.requests import HTTPError, json_object
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE, until
from tests.sandbox.wire import Wire

API = "/t2d_index_tool/api/v1/"
_HALF = b"POST /signin HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def own() -> Iterator[Sandbox]:
    """A sandbox for one test, because its connections are counted."""
    with bc.sandbox(control=True) as running:
        yield running


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox with room for four connections, each of which may be closed at once."""
    monkeypatch.setattr(limits, "_MOST_CONNECTIONS", 4)
    monkeypatch.setattr(limits, "_GRACE", 0.0)
    monkeypatch.setattr(limits, "_LAST_WORDS", 0.05)


def connected(server: Sandbox, said: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), PATIENCE)
    connection.sendall(said)
    return connection


def heard(connection: socket.socket) -> bytes:
    """Everything that the server sends until it closes the connection."""
    answer = b""
    with suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


def drip(connection: socket.socket, *, until_end_of: bytes = b"\0") -> bytes:
    """The answer to a client that sends a byte at a time and never finishes."""
    over, answer = Event(), b""

    def send() -> None:
        with suppress(OSError):
            while not over.wait(0.02):
                connection.sendall(b"x")

    thread = Thread(target=send)
    thread.start()
    try:
        with suppress(ConnectionError):
            while not answer.endswith(until_end_of) and (piece := connection.recv(1 << 16)):
                answer += piece
    finally:
        over.set()
        thread.join()
    return answer


def connections(server: Sandbox) -> int:
    return len(server._serving._server.server_state.connections)


class TestRequestHead:
    def test_a_head_that_arrives_byte_by_byte_is_cut_off(self, own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "_HEAD_SECONDS", 0.2)
        with connected(own, _HALF) as half:
            answer = drip(half)
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"] == (
            "the head of the request did not arrive within 0.2 s"
        )

    @pytest.mark.parametrize("said", [b"", b"\r\n"])
    def test_a_connection_without_a_request_is_closed(
        self, own: Sandbox, monkeypatch: pytest.MonkeyPatch, said: bytes
    ) -> None:
        monkeypatch.setattr(limits, "_HEAD_SECONDS", 0.2)
        with connected(own, said) as silent:
            assert (b" 200 " in heard(silent)) is False

    def test_the_next_request_of_a_connection_has_its_own_time(
        self, own: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "_HEAD_SECONDS", 0.2)
        with connected(own, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + _HALF) as both:
            answer = drip(both)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"HTTP/1.1 408 Request Timeout\r\n" in answer

    @pytest.mark.parametrize("line", [b"x: y\r\n", b"y" * 1000])
    def test_an_endless_head_is_refused(self, own: Sandbox, monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
        monkeypatch.setattr(limits, "_LONGEST_HEAD", 10_000)
        with connected(own, _HALF + b"z: ") as endless:
            for _ in range(5):
                with suppress(ConnectionError):
                    endless.sendall(line * (20_000 // len(line) // 5 + 1))
            answer = heard(endless)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
        assert Wire(own).post("test_connection").status_code == 200

    def test_a_head_of_usual_length_is_accepted(self, own: Sandbox) -> None:
        headers = {f"x-{number}": "y" * 500 for number in range(50)}
        assert Wire(own).post("test_connection", headers=headers).status_code == 200


class TestRequestBody:
    def test_a_body_that_arrives_byte_by_byte_is_refused(self, own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(body, "_SILENCE", 0.2)
        head = f"POST {API}test_connection HTTP/1.1\r\nHost: localhost\r\nbioturing-api-token: {own.token}\r\n"
        with connected(own, f"{head}Content-Length: 100000\r\n\r\n".encode()) as slow:
            assert b"HTTP/1.1 408 Request Timeout\r\n" in (answer := drip(slow, until_end_of=b"}"))
        assert b"bytes of the body arrived in 0.2 s" in answer

    def test_a_form_that_arrives_byte_by_byte_is_refused(self, own: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(body, "_FORM_SECONDS", 0.2)
        with connected(own, _HALF + b"Content-Length: 1000\r\n\r\n") as slow:
            answer = drip(slow, until_end_of=b"}")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the form did not arrive in time" in answer

    def test_a_slow_rest_of_a_body_after_the_answer_is_cut_off(
        self, own: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "_HEAD_SECONDS", 0.2)
        head = f"POST {API}test_connection HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
        with connected(own, head.encode()) as slow:
            answer = drip(slow)
        assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")

    def test_a_body_announced_as_too_long_is_refused_before_it_arrives(self, own: Sandbox) -> None:
        head = f"POST {API}test_connection HTTP/1.1\r\nHost: localhost\r\nbioturing-api-token: {own.token}\r\n"
        for length in (42_000_000, 9**30):
            with connected(own, f"{head}Content-Length: {length}\r\n\r\n".encode()) as large:
                answer = large.recv(4096)
            assert answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 ")), length
        assert own.requests.of("test_connection")[-1].received == 0


@pytest.mark.usefixtures("few")
class TestNumberOfConnections:
    def test_incomplete_requests_make_room_for_complete_ones(self, own: Sandbox) -> None:
        with ExitStack() as stack:
            halves = [stack.enter_context(connected(own, _HALF)) for _ in range(60)]
            until(lambda: connections(own) <= 6)
            for _ in range(5):
                assert requests.get(own.url, timeout=PATIENCE).status_code == 200
            answers = [heard(half) for half in halves[:50]]
        assert all(answer == b"" or answer.startswith(b"HTTP/1.1 503 ") for answer in answers)
        assert sum(b"the sandbox has 4 connections already: try again in a moment" in answer for answer in answers) > 9

    def test_a_connection_is_asked_to_retry_if_all_others_are_busy(self, own: Sandbox) -> None:
        fault = own.faults.add("test_connection", kind="hang", seconds=PATIENCE)
        head = f"POST {API}test_connection HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        with ExitStack() as stack:
            until(lambda: connections(own) == 0)
            for _ in range(4):
                stack.enter_context(connected(own, head.encode()))
            until(lambda: fault.hits == 4)
            answer = Wire(own).post("get_user_groups")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["detail"] == "the sandbox has 4 connections already: try again in a moment"
        own.faults.clear()
        until(lambda: connections(own) < 4)
        assert Wire(own).post("get_user_groups").status_code == 200

    def test_idle_connections_make_room(self, own: Sandbox) -> None:
        with ExitStack() as stack:
            sessions = [stack.enter_context(requests.Session()) for _ in range(12)]
            for _ in range(2):
                statuses = [session.get(own.url, timeout=PATIENCE).status_code for session in sessions]
                assert statuses == [200] * 12
            assert connections(own) <= 6


def _pipelined(server: Sandbox, number: int, padding: int) -> list[bytes]:
    """Status lines of the answers to requests without a token that are sent at once."""
    one = (
        f"POST {API}test_connection HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {'x' * padding}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    with connected(server) as connection:

        def send() -> None:
            with suppress(OSError):
                connection.sendall(number * one.encode())

        sender = Thread(target=send)
        sender.start()
        answer = b""
        with suppress(ConnectionError):
            while answer.count(b"HTTP/1.1") < number and (piece := connection.recv(1 << 16)):
                answer += piece
        sender.join()
    return [line for line in answer.split(b"\r\n") if b"HTTP/1.1" in line]


def test_requests_that_wait_for_the_one_before_are_not_read_into_memory(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    begin = limits.Protocol.on_message_begin
    monkeypatch.setattr(
        limits.Protocol, "on_message_begin", lambda self: (waiting.append(len(self.pipeline)), begin(self))[1]
    )
    answers = _pipelined(own, 300, 8000)
    assert [b" 401 " in line for line in answers] == [True] * 300
    assert max(waiting) <= (256 << 10) // 8000 + 1  # those of one read of a socket


def test_a_connection_with_thousands_of_requests_at_once_is_closed(own: Sandbox) -> None:
    answers = _pipelined(own, 3000, 0)
    assert len(answers) < 3000
    assert b" 400 " in answers[-1]
    assert len(_pipelined(own, 50, 0)) == 50


@pytest.mark.parametrize(("files", "most"), [(None, 256), (1 << 20, 256), (1024, 256), (256, 64), (8, 4)])
def test_connections_use_a_share_of_the_open_file_limit(
    monkeypatch: pytest.MonkeyPatch, files: int | None, most: int
) -> None:
    monkeypatch.setattr(limits, "most_open_files", lambda: files)
    assert limits.most_connections() == most


class TestJson:
    @pytest.mark.parametrize(
        ("raw", "status", "says"),
        [
            (b'{"a": [' + b"[]," * 150_000 + b"[]]}", 413, "the body contains more than 100,000 objects"),
            (b'{"a": [' + b"{}," * 150_000 + b"{}]}", 413, "the body contains more than 100,000 objects"),
            (b"{" + b'"a":1,' * 150_000 + b'"b":1}', 413, "the body contains more than 100,000 objects"),
            (b'{"a": [' + b"[" * 65 + b"]" * 65 + b"]}", 422, "nested more than 64 levels deep"),
            (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, 422, "nested more than 64 levels deep"),
            (b"[" * 90_000, 422, "nested more than 64 levels deep"),
            (b'{"a": ["\\\\", [' + b"[]," * 150_000 + b'"\\""]]}', 413, "the body contains more than 100,000 objects"),
            (b'{"a": ["\\\\\\"", "[", [' + b"[]," * 150_000 + b'""]]}', 413, "more than 100,000 objects"),
        ],
        ids=["lists", "objects", "keys", "deep lists", "deep objects", "open lists", "escapes", "more escapes"],
    )
    def test_json_that_would_need_much_memory_is_refused_before_parsing(
        self, monkeypatch: pytest.MonkeyPatch, raw: bytes, status: int, says: str
    ) -> None:
        def loads(*_: object) -> None:
            raise AssertionError

        monkeypatch.setattr(refusal.json, "loads", loads)
        with pytest.raises(HTTPError, match=says) as refused:
            json_object(raw, "the body")
        assert refused.value.status == status

    def test_json_with_too_many_values_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(refusal, "_MOST_VALUES", 1000)
        monkeypatch.setattr(refusal, "_MOST", {(b",",): 1000})
        assert len(json_object(json.dumps({"a": [0] * 1000}).encode(), "the body")["a"]) == 1000
        with pytest.raises(HTTPError, match="the body contains more than 1,000 values"):
            json_object(json.dumps({"a": [0] * 2000}).encode(), "the body")

    def test_a_long_body_that_does_not_fit_into_memory_is_refused_before_parsing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(refusal, "_LONGEST_JSON", 1000)
        raw = json.dumps({"metadata_dct": {"barcodes": [f"cell {n}" for n in range(1000)]}}).encode()
        needed = 2 * len(raw) + 80 * 999
        with bc.settings.override(memory_budget=needed):
            assert len(json_object(raw, "the body")["metadata_dct"]["barcodes"]) == 1000
        with (
            bc.settings.override(memory_budget=needed - 1),
            pytest.raises(HTTPError, match=r"the body needs about 0\.1 MB.*send fewer columns or cells") as refused,
        ):
            json_object(raw, "the body")
        assert refused.value.status == 413

    @pytest.mark.parametrize("value", [0.123456789, "a label of a cell"])
    def test_parsing_metadata_needs_no_more_memory_than_is_checked(
        self, monkeypatch: pytest.MonkeyPatch, value: object
    ) -> None:
        monkeypatch.setattr(refusal, "_LONGEST_JSON", 1000)
        raw = bytearray(json.dumps({"barcodes": [f"cell {n}" for n in range(20_000)], "a": [value] * 20_000}).encode())
        checked: list[int] = []
        monkeypatch.setattr(refusal, "expect_room", lambda needed, *_, **__: checked.append(needed))
        tracemalloc.start()
        try:
            held = len(raw)
            json_object(raw, "the body")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert 0.4 * checked[0] < peak + held < checked[0]

    def test_json_with_punctuation_in_strings_is_parsed(self) -> None:
        wanted = {"a": "[" * 200_000, "b\\": ['{"', "\\", '"', "", ",,", "[]"] * 10, "c": {":": [[[[1, 2.5, None]]]]}}
        assert json_object(json.dumps(wanted).encode(), "the body") == wanted
        assert json_object(json.dumps(wanted, indent=2).encode(), "the body") == wanted

    @settings(max_examples=50)
    @given(
        st.dictionaries(
            st.text(),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{},:é\n'),
                lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=5),
            ),
        )
    )
    def test_json_of_any_shape_is_parsed_unchanged(self, wanted: dict[str, object]) -> None:
        raw = json.dumps(wanted, ensure_ascii=False).encode("utf-8", "surrogatepass")
        try:
            raw.decode()
        except UnicodeDecodeError:
            return
        assert json_object(raw, "the body") == wanted

    def test_json_of_a_study_with_many_cells_is_accepted(self) -> None:
        cells = 100_000
        columns = {"barcodes": [f"ACGTACGTACGTACGT-{n}" for n in range(cells)], "score": [0.5] * cells}
        given_columns = json.dumps({"metadata_dct": columns}).encode()
        assert json_object(given_columns, "the body") == {"metadata_dct": columns}

    def test_json_with_metadata_may_be_longer_than_other_json(
        self, own: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(body, "_LONGEST_JSON", 1000)
        long = {"study_id": "none", "metadata_dct": {"barcodes": ["x" * 2000]}}
        assert Wire(own).post("submit_metadata_dataframe", long).status_code == 404
        assert Wire(own).post("study/get_metadata", long).status_code == 413
        faults = requests.post(
            f"{own.url}/_sandbox/faults",
            json={"route": "*", "kind": "x" * 2000},
            headers={"bioturing-api-token": own.token},
            timeout=PATIENCE,
        )
        assert faults.status_code == 413


def test_long_bodies_are_read_one_at_a_time_and_short_ones_at_once(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "_LONGEST_JSON", 10_000)
    reading, most, go_on = [], [], Event()

    def slow(raw: bytes, what: str) -> dict[str, object]:
        reading.append(len(raw))
        most.append(sorted(reading))
        assert len(raw) < 10_000 or go_on.wait(PATIENCE)
        reading.remove(len(raw))
        return json_object(raw, what)

    monkeypatch.setattr(body, "json_object", slow)
    wire = Wire(own)
    answers: list[int] = []

    def post(length: int) -> None:
        answers.append(wire.post("submit_metadata_dataframe", {"study_id": "x" * length}).status_code)

    threads = [Thread(target=post, args=(length,)) for length in (20_000, 30_000, 40_000)]
    for thread in threads:
        thread.start()
    until(lambda: len(most) == 1)
    post(10)
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == [422 if length > 100 else 404 for length in (10, 20_000, 30_000, 40_000)]
    assert max(len([length for length in each if length > 10_000]) for each in most) == 1


def test_a_long_body_that_arrives_slowly_does_not_keep_others_waiting(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "_LONGEST_JSON", 10_000)
    head = f"POST {API}submit_metadata_dataframe HTTP/1.1\r\nHost: 127.0.0.1\r\nbioturing-api-token: {own.token}\r\n"
    with connected(own, f"{head}Content-Length: 20000\r\n\r\n".encode() + b" " * 100):
        until(lambda: any(own._state.uploads._folder.glob("*.part")))
        session = requests.Session()
        answer = session.post(
            own.private_host + "api/v1/submit_metadata_dataframe",
            json={"study_id": "x" * 20_000},
            headers={"bioturing-api-token": own.token},
            timeout=5,
        )
    assert answer.status_code == 422
    until(lambda: not any(own._state.uploads._folder.glob("*.part")))  # also of the client that went away
