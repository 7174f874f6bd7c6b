from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.http import HttpClient, save
from biocolab_accessor.clients.responses import decode_json, expect_exact_length, expect_no_message, http_error, unwrap
from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.errors import InvalidResponse, NotFound, ServerError, TooLarge, TransportError, Unauthorized
from biocolab_accessor.security.redaction import Secret

from .conftest import Scripted, answer


def test_a_status_may_be_a_string() -> None:
    assert unwrap("u", {"status": "200", "data": 1}) == {"status": 200, "data": 1}


@pytest.mark.parametrize("answer", [{}, [], None, "x", {"data": 1}])
def test_an_answer_without_an_envelope_is_an_error(answer: object) -> None:
    with pytest.raises(InvalidResponse):
        unwrap("u", answer)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ({"status": 500, "message": "quota exceeded"}, ServerError, "quota exceeded"),
        ({"detail": "not so"}, ServerError, "not so"),
        ({"status": 401, "message": "who?"}, Unauthorized, "who"),
        ({"status": 404}, NotFound, "404"),
        ({"status": True}, ServerError, "refused"),
        ({"status": None, "traceback": "T"}, ServerError, "T"),
    ],
)
def test_the_words_of_the_server_are_kept(answer: dict, kind: type, said: str) -> None:
    with pytest.raises(kind, match=said):
        unwrap("u", answer)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"detail": "why"}', "why"),
        (b'{"message": "why"}', "why"),
        (b'{"detail": [{"loc": "x"}]}', '"loc"'),
        (b'["a"]', "a"),
        (b"<html>", "Bad"),
        (b"", "Bad"),
    ],
)
def test_every_kind_of_error_body_is_understood(content: bytes, said: str) -> None:
    assert said in str(http_error("u", 400, content, "Bad", "argument"))


def test_a_request_that_is_too_large_comes_with_advice() -> None:
    assert "smaller chunk_size" in str(http_error("u", 413, b"<html>", "Too large", "argument"))


@pytest.mark.parametrize("status", [[200], {"a": 1}, "9" * 6000, "²", 2.5, None])
def test_an_invalid_status_is_a_server_error(status: object) -> None:
    with pytest.raises(ServerError, match="refused"):
        unwrap("u", {"status": status})


def test_a_missing_key_of_an_envelope_is_named() -> None:
    with pytest.raises(InvalidResponse, match=r"u: the answer lacks 'data'"):
        unwrap("u", {"status": 200})["data"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'["a\\u0000b"]', "NUL"),
        (b'{"a": {"\\u0000": 1}}', "NUL"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b"<html><title>Sign in</title>", "titled 'Sign in'"),
    ],
)
def test_strings_that_no_file_can_hold_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(InvalidResponse, match=said):
        decode_json("u", bytearray(content), "application/json")


@pytest.mark.parametrize("content", [b"", b" ", b"{", b"[" * 100_000, b'["\xed\xa0\x80"]', b"1" * 5000, b"\xff\xfe"])
def test_empty_and_broken_answers_are_retriable(content: bytes) -> None:
    with pytest.raises(Retriable) as caught:
        decode_json("u", bytearray(content), "application/json")
    assert isinstance(caught.value.error, InvalidResponse)


def test_strings_in_all_scripts_are_kept() -> None:
    text = ["é", "細胞", "\U0001f9ec", "\\u0000", "\ufeff"]
    assert decode_json("u", bytearray(json.dumps(text).encode()), "") == text
    assert decode_json("u", bytearray(json.dumps(text, ensure_ascii=False).encode("utf-8-sig")), "") == text


def test_json_that_would_not_fit_is_not_parsed() -> None:
    content = b"[" + b"{}," * 1_000_000 + b"{}]"
    with bc.settings.override(memory_budget=50_000_000), pytest.raises(TooLarge, match="fewer genes or fields"):
        decode_json("u", bytearray(content), "application/json")


@pytest.mark.parametrize(("letter", "width"), [("A", 1), ("é", 2), ("細", 2), ("\U0001f9ec", 4)])
def test_the_memory_budget_covers_what_parsing_needs(letter: str, width: int) -> None:
    text = letter * 1_500_000
    content = json.dumps([text], ensure_ascii=False).encode()
    needed = (width + 1) * len(content) + 96
    with bc.settings.override(memory_budget=needed):
        assert decode_json("u", bytearray(content), "") == [text]
    with bc.settings.override(memory_budget=needed - 1), pytest.raises(TooLarge, match="fewer genes or fields"):
        decode_json("u", bytearray(content), "")


def test_an_answer_is_in_memory_at_most_twice_while_it_is_parsed() -> None:
    tracemalloc.start()
    try:
        content = bytearray(b'{"data": "' + b"A" * 4_000_000 + b'", "indices": "' + b"B" * 4_000_000 + b'"}')
        tracemalloc.reset_peak()
        found = decode_json("u", content, "")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.1 * 8_000_000
    assert found == {"data": "A" * 4_000_000, "indices": "B" * 4_000_000}
    assert content == b""


def test_the_page_of_a_proxy_is_named_with_its_status() -> None:
    said = str(http_error("u", 502, b"<html><title>nginx is sad</title>", "Bad Gateway", "argument"))
    assert "Bad Gateway titled 'nginx is sad'" in said


def test_a_web_page_that_starts_with_text_is_still_a_web_page() -> None:
    with pytest.raises(InvalidResponse, match=r"web page titled 'Log in', not data"):
        decode_json("u", bytearray(b"Please wait <title>Log in</title>"), "text/HTML; charset=utf-8")


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b'{"status": 500, "message": "quota exceeded"}', ServerError, "quota exceeded"),
        (b'{"detail": "no such file"}', ServerError, "no such file"),
        (b'{"status": 200, "data": []}', InvalidResponse, "expected a file, got {'status': 200, 'data': \\[\\]}"),
        (b"{}", InvalidResponse, "expected an object with a status"),
    ],
)
def test_a_message_in_place_of_a_file_is_an_error_that_quotes_it(content: bytes, kind: type, said: str) -> None:
    with pytest.raises(kind, match=said):
        expect_no_message("u", content)


@pytest.mark.parametrize("content", [b"{not json", b"{" * 100_000, b"\x89HDF\r\n\x1a\n", b"gene\tcell\n"])
def test_a_file_that_only_starts_like_a_message_is_a_file(content: bytes) -> None:
    expect_no_message("u", content)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "Create another token in"), (403, "It does not allow this, or has expired: create another in")],
)
def test_an_unknown_token_is_distinguished_from_one_without_permission(status: int, words: str) -> None:
    refused = http_error("u", status, b'{"detail": "no"}', None, "here")
    assert isinstance(refused, Unauthorized)
    assert str(refused).startswith(f"u: HTTP {status}: no (token from here). {words} the server's user settings")


@pytest.mark.parametrize(("status", "words"), [(404, "Not Found"), (599, "refused")])
def test_an_error_without_a_message_gets_the_phrase_of_its_status(status: int, words: str) -> None:
    assert f"HTTP {status}: {words}" in str(http_error("u", status, b"", None, "argument"))


@pytest.mark.parametrize("content", [b"", b"<html><title>nginx</title>", b'{"detail": "Not Found"}'])
def test_an_unknown_route_says_what_the_host_must_be(content: bytes) -> None:
    of_bbrowserx = str(http_error("https://h/api/v1/get_user_groups", 404, content, "Not Found", "argument"))
    assert of_bbrowserx.endswith(". The host must be the address of the API, such as https://company/t2d_index_tool/")
    of_bioflex = str(http_error("https://h/x/v1/database/list", 404, content, "Not Found", "argument"))
    assert of_bioflex.endswith(". The host must be the address of the API, such as https://api.bioturing.com/")


@pytest.mark.parametrize(
    ("url", "content"),
    [
        ("https://h/t2d_index_tool/api/v1/get_submission_log", b'{"detail": "there is no task \'x\'"}'),
        ("https://h/v1/study/get", b'{"message": "no such study"}'),
        ("https://bucket/v1/studies/x.h5ad?signed", b"<Error>NoSuchKey</Error>"),
        ("https://h/downloads/x.h5ad", b""),
    ],
)
def test_another_404_does_not_blame_the_host(url: str, content: bytes) -> None:
    assert "address of the API" not in str(http_error(url, 404, content, "Not Found", "argument"))


@pytest.mark.parametrize(
    ("taken", "announced", "said"),
    [
        (0, None, "empty"),
        (0, 7, "empty"),
        (6, 7, "received 6 of the 7 announced"),
        (8, 7, "received 8 of the 7 announced"),
    ],
)
def test_a_different_length_than_announced_is_retriable(taken: int, announced: int | None, said: str) -> None:
    with pytest.raises(Retriable) as caught:
        expect_exact_length("u", taken, announced)
    assert isinstance(caught.value.error, TransportError)
    assert said in str(caught.value.error)
    expect_exact_length("u", 7, announced or 7)


@pytest.mark.parametrize(
    "content",
    [
        b'{"status": 200, "status": 500}',
        b'{"data": [{"id": "a", "x": 1, "id": "b"}]}',
        b'{"data": {"id": NaN}}',
        b'{"data": [{"id": Infinity}]}',
        b'{"uuid": -Infinity}',
        b'{"study_id": 1e999}',
    ],
)
def test_json_with_a_key_twice_or_an_id_that_is_not_a_number_is_an_invalid_response(content: bytes) -> None:
    with pytest.raises(InvalidResponse, match=r"the key '(id|status)' twice|not a string or an integer"):
        decode_json("u", bytearray(content), "application/json")


def test_a_value_that_is_not_an_id_may_be_nan() -> None:
    answer = decode_json("u", bytearray(b'{"data": {"score": [NaN, 1e999], "mean": NaN, "id": 1.0}}'), "")
    assert str(answer) == "{'data': {'score': [nan, inf], 'mean': nan, 'id': 1.0}}"


@pytest.mark.parametrize("digits", [19, 5_000])
def test_a_length_of_thousands_of_digits_is_an_invalid_response(
    scripted: Scripted, tmp_path: Path, digits: int
) -> None:
    scripted.answers(answer(content={"status": 200}, length="9" * digits))
    http = HttpClient(scripted.host, Secret("a-token-of-mine"), header="x-token")
    for ask in (
        lambda: http.post("x"),
        lambda: http.announced_length("x", {}),
        lambda: save(http, "x", tmp_path / "file"),
    ):
        with pytest.raises(InvalidResponse, match=f"announces a length of {digits:,} digits"):
            ask()
    http.close()
