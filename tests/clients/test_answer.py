from __future__ import annotations

import json

import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.answer import decode_json, refusal, unwrap
from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.errors import InvalidResponse, NotFound, ServerError, TooLarge, Unauthorized


def test_a_status_may_be_text() -> None:
    assert unwrap("u", {"status": "200", "data": 1}) == {"status": 200, "data": 1}


@pytest.mark.parametrize("answer", [{}, [], None, "x", {"data": 1}])
def test_what_is_no_envelope_is_an_error(answer: object) -> None:
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
def test_the_servers_words_are_kept(answer: dict, kind: type, said: str) -> None:
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
    assert said in str(refusal("u", 400, content, "Bad", "argument"))


def test_a_request_that_is_too_large_comes_with_advice() -> None:
    assert "smaller chunk_size" in str(refusal("u", 413, b"<html>", "Too large", "argument"))


@pytest.mark.parametrize("status", [[200], {"a": 1}, "9" * 6000, "²", 2.5, None])
def test_a_status_that_is_none_is_a_refusal(status: object) -> None:
    with pytest.raises(ServerError, match="refused"):
        unwrap("u", {"status": status})


def test_what_an_envelope_lacks_is_named_to_whoever_looks_for_it() -> None:
    with pytest.raises(InvalidResponse, match=r"u: the answer lacks 'data'"):
        unwrap("u", {"status": 200})["data"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'["a\\u0000b"]', "NUL"),
        (b'{"a": {"\\u0000": 1}}', "NUL"),
        (b'["\\ud800"]', "half a character"),
        (b"<html><title>Sign in</title>", "titled 'Sign in'"),
    ],
)
def test_what_no_file_can_hold_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(InvalidResponse, match=said):
        decode_json("u", content, "application/json")


@pytest.mark.parametrize("content", [b"", b" ", b"{", b"[" * 100_000, b'["\xed\xa0\x80"]', b"1" * 5000, b"\xff\xfe"])
def test_what_may_be_better_next_time_is_tried_again(content: bytes) -> None:
    with pytest.raises(Retriable) as caught:
        decode_json("u", content, "application/json")
    assert isinstance(caught.value.error, InvalidResponse)


def test_texts_of_all_scripts_are_kept() -> None:
    text = ["é", "細胞", "\U0001f9ec", "\\u0000", "\ufeff"]
    assert decode_json("u", json.dumps(text).encode(), "") == text
    assert decode_json("u", b"\xef\xbb\xbf" + json.dumps(text, ensure_ascii=False).encode(), "") == text


def test_json_that_would_not_fit_is_not_parsed() -> None:
    content = b"[" + b"{}," * 1_000_000 + b"{}]"
    with bc.settings.override(memory_budget=50_000_000), pytest.raises(TooLarge, match="fewer genes or fields"):
        decode_json("u", content, "application/json")


def test_the_page_of_a_proxy_is_named_with_its_status() -> None:
    said = str(refusal("u", 502, b"<html><title>nginx is sad</title>", "Bad Gateway", "argument"))
    assert "Bad Gateway titled 'nginx is sad'" in said
