"""Requests: reading what a client sends, and HTTP errors."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from biocolab_accessor.messages import did_you_mean, quoted

__all__ = [
    "LONGEST_FILE",
    "LONGEST_METADATA",
    "HTTPError",
    "LargeFile",
    "form",
    "gene_positions",
    "json_body",
    "json_object",
    "number",
    "optional_text",
    "pieces",
    "text",
    "texts",
]

_DEEPEST = 64

_MOST_VALUES = 10_000_000

_MOST = {(b",",): _MOST_VALUES, (b"[", b"{", b":"): 100_000}

_NO_SIGNS = bytes(set(range(256)) - set(b'"[]{},:'))

_WITHIN_QUOTES = re.compile(rb'"[^"]*"')


class HTTPError(Exception):
    """The answer is an HTTP error with ``{"status": …, "message": …, "detail": …}``."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail

    def answer(self) -> Response:
        """What the client gets."""
        # Clients read the detail where they look at HTTP's status; those before 1.7.0 look at the envelope only.
        content = {"status": self.status, "message": self.detail, "detail": self.detail}
        headers = {"X-Content-Type-Options": "nosniff"}
        return Response(json.dumps(content).encode(), self.status, headers, media_type="application/json")


def json_object(raw: bytes | bytearray, what: str) -> dict[str, Any]:
    """A JSON object whose texts are texts."""
    _expect_modest(raw, what)
    try:
        value = json.loads(raw or b"{}")
        if b"\\u" in raw:
            # An escape can write half of a surrogate pair, which no file and no database takes.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise HTTPError(422, f"{what} holds half of a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise HTTPError(422, f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise HTTPError(422, f"{what} must be a JSON object")
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
            raise HTTPError(413, f"{what} holds more than {most:,} {'values' if most == _MOST_VALUES else 'objects'}")
    brackets = skeleton.translate(None, b",:")
    for _ in range(_DEEPEST):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        raise HTTPError(422, f"{what} is not JSON, or nested more than {_DEEPEST} levels deep")


def text(body: Mapping[str, Any], key: str, *, longest: int = 10_000) -> str:
    """A text that must be there."""
    value = body.get(key)
    if not isinstance(value, str) or not value or len(value) > longest:
        detail = f"{key} must be a text of 1 to {longest:,} characters"
        raise HTTPError(422, detail)
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
        raise HTTPError(422, detail)
    return value


def number(body: Mapping[str, Any], key: str, default: float) -> float:
    """A number that may be missing or null."""
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        detail = f"{key} must be a number"
        raise HTTPError(422, detail)
    try:
        found = float(value)
    except OverflowError as error:
        raise HTTPError(422, f"{key} is beyond all numbers") from error
    if math.isnan(found):
        raise HTTPError(422, f"{key} is NaN")
    return found


LONGEST_FILE = 256 << 30

LONGEST_METADATA = 128 << 20
"""Columns with a value for each cell are by far the longest JSON of the protocol; 1,000,000 barcodes take 20 MB."""

# All other JSON is names: those of 60,000 genes, the longest list, take 1 MB.
_LONGEST_JSON = 8 << 20

_LONGEST_FORM = 10_000

_SILENCE = 60.0

_LEAST = 16 << 10
"""Bytes that have to come within the silence, unless the body ends."""

_FORM_SECONDS = 10.0


async def pieces(request: Request, longest: int) -> AsyncIterator[bytes]:
    """The body piece by piece."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > longest):
        raise _too_long(longest)
    clock = asyncio.get_running_loop().time
    size = fresh = 0
    waited = 0.0
    stream = aiter(request.stream())
    while True:
        start = clock()
        try:
            async with asyncio.timeout(max(0.0, _SILENCE - waited)):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise HTTPError(408, f"only {fresh:,} bytes of the body came in {_SILENCE:g} s") from error
        waited += clock() - start
        size, fresh = size + len(piece), fresh + len(piece)
        if fresh >= _LEAST:
            waited, fresh = 0.0, 0
        if size > longest:
            raise _too_long(longest)
        yield piece


async def json_body(request: Request, longest: int | None = None) -> dict[str, Any]:
    """The body as a JSON object."""
    body = bytearray()
    async for piece in pieces(request, longest or _LONGEST_JSON):
        body += piece
    return await run_in_threadpool(json_object, body, "the body")


async def form(request: Request) -> bytes:
    """The body of a form, which anybody may send."""
    body = b""
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > _LONGEST_FORM:
                    raise HTTPError(413, "the form is too long")
    except TimeoutError as error:
        raise HTTPError(408, "the form did not arrive in time") from error
    return body


def _too_long(longest: int) -> HTTPError:
    return HTTPError(413, f"the body is longer than {longest:,} bytes")


class LargeFile(FileResponse):
    """A file of any size; each piece is one trip to a thread, which 64 kB at a time are too many."""

    chunk_size = 4 << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ranges of a POST too, as a matrix is asked for: Starlette does it for GET only."""
        await super().__call__({**scope, "method": "GET"}, receive, send)


def gene_positions(features: Sequence[str], names: Sequence[str], where: str) -> list[int]:
    """Places of genes; of repeated features the first."""
    place = {feature: i for i, feature in reversed(list(enumerate(features)))}
    missing = [name for name in names if name not in place]
    if missing:
        listed = ", ".join(f"{quoted(name)}{did_you_mean(name, place)}" for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        detail = f"{where} has no gene {listed}{more}"
        raise HTTPError(404, detail)
    return [place[name] for name in names]
