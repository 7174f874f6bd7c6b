from __future__ import annotations

import pytest

from biocolab_accessor.clients.answer import refusal, unwrap
from biocolab_accessor.errors import InvalidResponse, NotFound, ServerError, Unauthorized


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
