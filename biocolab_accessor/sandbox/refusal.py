"""Refusals: how a route says no, and how it reads what it is given."""

from __future__ import annotations

import errno
import json
import math
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

__all__ = ["Refusal", "failure", "json_object", "number", "optional_text", "text", "texts"]

_DEEPEST = 64
_MOST_VALUES = 10_000_000
_MOST = {(b",",): _MOST_VALUES, (b"[", b"{", b":"): 100_000}
_NO_ROOM = {getattr(errno, name, -1) for name in ("ENOSPC", "EDQUOT", "EFBIG")}
_NO_SIGNS = bytes(set(range(256)) - set(b'"[]{},:'))
_WITHIN_QUOTES = re.compile(rb'"[^"]*"')


class Refusal(Exception):
    """The answer is an HTTP error with ``{"status": …, "message": …, "detail": …}``.

    Parameters
    ----------
    status
        HTTP status.
    detail
        What, where, and what to do.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail

    def answer(self) -> Response:
        """What the client gets."""
        # Clients read the detail where they look at HTTP's status; those before 1.7.0 look at the envelope only.
        content = {"status": self.status, "message": self.detail, "detail": self.detail}
        headers = {"X-Content-Type-Options": "nosniff"}
        return Response(json.dumps(content).encode(), self.status, headers, media_type="application/json")


def failure(error: Exception) -> Refusal:
    """What a client is told of an error that no route expects: the disk is full, or the sandbox is wrong."""
    full = isinstance(error, OSError) and error.errno in _NO_ROOM
    if full or (isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL):
        return Refusal(507, "the disk of the sandbox is full: make room where its folder is, and try again")
    return Refusal(500, "the sandbox failed; this is a mistake of the sandbox, see its log")


def json_object(raw: bytes | bytearray, what: str) -> dict[str, Any]:
    """A JSON object whose texts are texts.

    Parameters
    ----------
    raw
        The bytes; none are an empty object.
    what
        What they are, for messages: ``"the body"``.

    Raises
    ------
    Refusal
        They are none, or hold more than any request of the protocol.
    """
    _expect_modest(raw, what)
    try:
        value = json.loads(raw or b"{}")
        if b"\\u" in raw:
            # An escape can write half of a surrogate pair, which no file and no database takes.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Refusal(422, f"{what} holds half of a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(422, f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refusal(422, f"{what} must be a JSON object")
    return value


def _expect_modest(raw: bytes | bytearray, what: str) -> None:
    """Count before reading, which makes an object of 50 bytes and more of each value."""
    skeleton = raw
    if b"\\" in raw:
        skeleton = skeleton.replace(b"\\\\", b"").replace(b'\\"', b"")
    # What is within quotes does not count. Most of it goes at once; the rest are strings with signs of JSON in them.
    skeleton = _WITHIN_QUOTES.sub(b"", skeleton.translate(None, _NO_SIGNS).replace(b'""', b""))
    for signs, most in _MOST.items():
        if sum(map(skeleton.count, signs)) > most:
            raise Refusal(413, f"{what} holds more than {most:,} {'values' if most == _MOST_VALUES else 'objects'}")
    brackets = skeleton.translate(None, b",:")
    for _ in range(_DEEPEST):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        raise Refusal(422, f"{what} is not JSON, or nested more than {_DEEPEST} levels deep")


def text(body: Mapping[str, Any], key: str, *, longest: int = 10_000) -> str:
    """A text that must be there."""
    value = body.get(key)
    if not isinstance(value, str) or not value or len(value) > longest:
        detail = f"{key} must be a text of 1 to {longest:,} characters"
        raise Refusal(422, detail)
    return value


def optional_text(body: Mapping[str, Any], key: str) -> str:
    """A text that may be missing, null or empty."""
    return "" if body.get(key) in (None, "") else text(body, key, longest=1_000_000)


def texts(body: Mapping[str, Any], key: str) -> list[str]:
    """A list of texts that may be missing or null."""
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        detail = f"{key} must be a list of texts"
        raise Refusal(422, detail)
    return value


def number(body: Mapping[str, Any], key: str, default: float) -> float:
    """A number that may be missing or null."""
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        detail = f"{key} must be a number"
        raise Refusal(422, detail)
    try:
        found = float(value)
    except OverflowError as error:
        raise Refusal(422, f"{key} is beyond all numbers") from error
    if math.isnan(found):
        raise Refusal(422, f"{key} is NaN")
    return found
