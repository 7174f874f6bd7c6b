"""An interrupted download is resumed where it ended, and never joined to another file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.bioflex import Buffer
from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.clients.transport import Download
from biocolab_accessor.errors import InvalidResponse, ServerError, TransportError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.security.redaction import Secret
from tests.patience import until

from .conftest import Script, Scripted, answer

CONTENT = np.random.default_rng(0).bytes(900_000)
OTHER = np.random.default_rng(1).bytes(900_000)


def fetched(scripted: Scripted) -> tuple[bytes, int, list[int | None]]:
    """The content, the final progress, and the announced length of each start."""
    buffer, seen, begun = Buffer(), [0], []

    def open_target(length: int | None) -> Callable[[memoryview], object]:
        begun.append(length)
        return buffer.open(length)

    client = HttpClient(scripted.host, Secret("t"), header="btr-api-token")
    try:
        client.download("POST", "m", {}, open_target=open_target, on_bytes=seen.append)
    finally:
        client.close()
    return buffer.content.tobytes(), sum(seen), begun


def cut(at: int, content: bytes = CONTENT, **headers: str) -> Script:
    """The first bytes of a file whose whole length is announced."""
    return answer(200, content[:at], headers=headers, length=len(content))


def rest(content: bytes = CONTENT, *, stop: int | None = None, shift: int = 0, **headers: str) -> Script:
    """The requested range, or the part of it before ``stop``."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-")) + shift
        said = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}", **headers}
        answer(206, content[start:stop], headers=said, length=len(content) - start)(handler)

    return script


@pytest.mark.parametrize("headers", [{}, {"ETag": '"one"'}, {"ETag": 'W/"weak"'}])
def test_the_rest_of_an_interrupted_answer_is_requested(scripted: Scripted, headers: dict[str, str]) -> None:
    scripted.answers(cut(500_000, **headers), rest(**headers))
    content, shown, begun = fetched(scripted)
    assert content == CONTENT
    assert shown == len(CONTENT)
    assert begun == [len(CONTENT)]
    asked = scripted.requests[1]["headers"]
    # Without an ETag, a longer overlap has to be the same.
    again = 4_096 if headers.get("ETag") == '"one"' else 65_536
    assert asked["Range"] == f"bytes={500_000 - again}-"
    assert asked.get("If-Range") == ('"one"' if headers.get("ETag") == '"one"' else None)


def test_a_download_goes_on_as_long_as_each_attempt_brings_something(scripted: Scripted) -> None:
    stops = range(100_000, 900_000, 100_000)
    scripted.answers(cut(50_000, ETag='"a"'), *(rest(stop=stop, ETag='"a"') for stop in stops), rest(ETag='"a"'))
    content, shown, _ = fetched(scripted)
    assert content == CONTENT
    assert shown == len(CONTENT)
    assert len(scripted.requests) == 10 > bc.settings.max_retries


@pytest.mark.parametrize(
    "second",
    [
        rest(OTHER, ETag='"one"'),  # other bytes under the same name
        rest(ETag='"two"'),
        rest(CONTENT[:-1], ETag='"one"'),
        rest(shift=1, ETag='"one"'),
        answer(206, CONTENT[500_000:], headers={"Content-Range": "bytes nonsense", "ETag": '"one"'}),
        answer(206, CONTENT[500_000:], headers={"ETag": '"one"'}),
        answer(416, b"no such range"),
        answer(400, b"what is a range"),
    ],
    ids=["bytes", "etag", "length", "place", "nonsense", "no place", "416", "400"],
)
def test_a_changed_file_is_fetched_from_its_beginning(scripted: Scripted, second: Script) -> None:
    scripted.answers(cut(500_000, ETag='"one"'), second, answer(200, OTHER, headers={"ETag": '"two"'}))
    content, shown, _ = fetched(scripted)
    assert content == OTHER
    assert shown == len(OTHER)
    assert "Range" not in scripted.requests[2]["headers"]


def test_a_server_without_ranges_sends_the_whole_file_again(scripted: Scripted) -> None:
    scripted.answers(cut(500_000), answer(200, OTHER))
    content, shown, begun = fetched(scripted)
    assert content == OTHER
    assert (shown, len(begun)) == (len(OTHER), 2)


def test_a_range_that_was_not_requested_is_an_error(scripted: Scripted) -> None:
    scripted.answers(answer(206, CONTENT[:10], headers={"Content-Range": "bytes 0-9/10"}))
    with pytest.raises(TransportError, match="a different part"):
        fetched(scripted)


def test_an_answer_longer_than_announced_is_an_error(scripted: Scripted) -> None:
    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + CONTENT)
        handler.close_connection = True

    scripted.answers(script)
    assert fetched(scripted)[0] == CONTENT[:5]


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html><title>Sign in</title>", b"\n  <html><title>Sign in</title>"])
def test_a_login_page_is_named(scripted: Scripted, page: bytes) -> None:
    scripted.answers(answer(200, page))
    with pytest.raises(InvalidResponse, match="web page titled 'Sign in'"):
        fetched(scripted)
    assert len(scripted.requests) == 1


def test_an_error_message_is_not_taken_for_a_file(scripted: Scripted) -> None:
    scripted.answers(answer(200, {"status": 500, "message": "disk full"}))
    with pytest.raises(ServerError, match="disk full"):
        fetched(scripted)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_truncated_hdf5_file_is_fetched_again(scripted: Scripted, tmp_path: Path, libver: str) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5", "w", libver=libver) as file:
        file["data"] = np.arange(1000)
    whole = (tmp_path / "x.h5").read_bytes()
    download = Download("u", lambda length: bytearray().extend, None)
    download.begin(200, {})
    download.take(whole[:-100])
    with pytest.raises(
        Retriable, match=f"u: the HDF5 file ends after {len(whole) - 100:,} of its {len(whole):,} bytes"
    ):
        download.end()
    scripted.answers(answer(200, whole[:-100]), answer(200, whole))
    assert fetched(scripted)[0] == whole


def opened(headers: dict[str, str]) -> int | None:
    """The length that is passed on when an answer with these headers starts."""
    begun: list[int | None] = []

    def open_target(length: int | None) -> Callable[[memoryview], object]:
        begun.append(length)
        return bytearray().extend

    download = Download("u", open_target, None)
    download.begin(200, headers)
    download.take(b"abc")
    (length,) = begun
    return length


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ({"Content-Length": "3"}, 3),
        ({"Content-Length": "3", "Content-Encoding": ""}, 3),
        ({"Content-Length": "3", "Content-Encoding": " Identity "}, 3),
        ({"Content-Length": "2", "Content-Encoding": "gzip"}, None),  # the length before decoding
        ({}, None),
        ({"Content-Length": "-3"}, None),
        ({"Content-Length": "many"}, None),
        ({"Content-Length": "9" * 18}, 10**18 - 1),
    ],
)
def test_the_announced_length_counts_only_without_a_content_encoding(
    headers: dict[str, str], length: int | None
) -> None:
    assert opened(headers) == length


def test_an_answer_longer_than_announced_is_refused_at_the_first_extra_byte() -> None:
    written = bytearray()
    download = Download("u", lambda length: written.extend, None)
    download.begin(200, {"Content-Length": "5"})
    download.take(b"abc")
    download.take(b"de")
    with pytest.raises(Retriable, match="u: received 6 of the 5 announced bytes"):
        download.take(b"f")
    assert written == b"abcde"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "900"}])
def test_an_empty_or_short_answer_is_retriable(headers: dict[str, str]) -> None:
    download = Download("u", lambda length: bytearray().extend, None)
    download.begin(200, headers)
    with pytest.raises(Retriable, match="u: the answer is empty"):
        download.end()
    download.begin(200, {"Content-Length": "900"})
    download.take(b"abc")
    with pytest.raises(Retriable, match="u: received 3 of the 900 announced bytes"):
        download.end()


def test_a_web_page_in_small_pieces_is_recognized() -> None:
    download = Download("u", lambda length: bytearray().extend, None)
    download.begin(200, {})
    download.take(b"\n")
    with pytest.raises(InvalidResponse, match="u: the answer is a web page"):
        download.take(b"<html>")


def test_an_error_message_in_small_pieces_is_recognized_at_the_end() -> None:
    download = Download("u", lambda length: bytearray().extend, None)
    download.begin(200, {})
    for piece in (b'{"status": 500, ', b'"message": ', b'"disk full"}'):
        download.take(piece)
    with pytest.raises(ServerError, match=r"^u: the server refused \(status 500\): disk full"):
        download.end()


def test_only_the_last_bytes_are_kept_for_resuming() -> None:
    download = Download("u", lambda length: bytearray().extend, None)
    download.begin(200, {"Content-Length": str(10**9)})
    for number in range(100):
        download.take(bytes([number]) * 4_096)
    assert b"".join(download._recent) == b"".join(bytes([number]) * 4_096 for number in range(84, 100))


def test_an_empty_complete_or_unmeasured_answer_is_requested_from_its_beginning() -> None:
    for headers, piece in (
        ({"Content-Length": "9"}, b""),
        ({"Content-Length": "3"}, b"abc"),
        ({}, b"abc"),
    ):
        download = Download("u", lambda length: bytearray().extend, None)
        download.begin(200, headers)
        if piece:
            download.take(piece)
        assert (download.headers(), download.ranged) == ({}, False)


def test_discarded_bytes_are_subtracted_from_the_progress_and_requested_again() -> None:
    seen: list[int] = []
    download = Download("u", lambda length: bytearray().extend, seen.append)
    assert (download.headers(), download.ranged, download.resumed_at) == ({}, False, 0)
    download.begin(200, {"Content-Length": "9", "ETag": '"a"'})
    download.take(b"abc")
    download.take(b"def")
    assert download.headers() == {"Range": "bytes=0-", "If-Range": '"a"'}
    assert download.ranged
    download.begin(206, {"Content-Range": " bytes 0-8/9 ", "ETag": '"a"'})
    assert download.resumed_at == 6
    download.take(b"abcd")
    with pytest.raises(Retriable, match="u: the file changed during the download"):
        download.take(b"eXghi")
    assert seen == [3, 3, -6]
    assert (download.headers(), download.ranged, download.resumed_at) == ({}, False, 6)


def test_a_range_with_another_start_or_end_is_refused() -> None:
    for part in ("bytes 0-7/9", "bytes 1-8/9", "bytes 0-8/10", "bytes 0-8/*", "0-8/9"):
        download = Download("u", lambda length: bytearray().extend, None)
        download.begin(200, {"Content-Length": "9"})
        download.take(b"abc")
        assert download.headers() == {"Range": "bytes=0-"}
        with pytest.raises(Retriable, match="u: the server sent a different part than requested"):
            download.begin(206, {"Content-Range": part})
        assert download.headers() == {}


@pytest.mark.parametrize("content", [b"{", b'{"a": 1', b"[1, 2]", b'"text"', b'{"a": 1}' + b" " * 5_000])
def test_a_file_may_start_like_a_message(content: bytes) -> None:
    written = bytearray()
    download = Download("u", lambda length: written.extend, None)
    download.begin(200, {})
    download.take(content)
    download.end()
    assert written == content


@pytest.mark.parametrize("kind", ["reset_midway", "truncate"])
def test_an_interrupted_matrix_from_the_sandbox_is_resumed(server: Sandbox, kind: str, no_waiting: None) -> None:
    study = bc.study("PBMC68k_reduced")
    whole = study.matrix("raw")
    server.requests.clear()
    server.faults.add("v1/study/get_matrix", nth=1, kind=kind)
    try:
        again = study.matrix("raw")
    finally:
        server.faults.clear()
    # Recorded when they end: the interrupted request may be noticed after the resumed one, or after this call.
    until(lambda: len(server.requests.of("v1/study/get_matrix")) == 2)
    first, second = sorted(server.requests.of("v1/study/get_matrix"), key=lambda record: record.status)
    assert (first.status, second.status) == (200, 206)
    assert second.sent < 0.6 * (whole.data.nbytes + whole.indices.nbytes)
    for name in ("data", "indices", "indptr"):
        digests = {hashlib.sha256(getattr(each, name).tobytes()).hexdigest() for each in (whole, again)}
        assert len(digests) == 1
