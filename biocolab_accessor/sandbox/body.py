"""Body: what comes with a request, as long and as slow as it may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from biocolab_accessor.sandbox.refusal import Refusal, json_object

__all__ = ["LONGEST_FILE", "LONGEST_METADATA", "form", "is_long", "json_body", "pieces"]

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
    """The body piece by piece.

    Raises
    ------
    Refusal
        It is too long, or comes too slowly.
    """
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
            raise Refusal(408, f"only {fresh:,} bytes of the body came in {_SILENCE:g} s") from error
        waited += clock() - start
        size, fresh = size + len(piece), fresh + len(piece)
        if fresh >= _LEAST:
            waited, fresh = 0.0, 0
        if size > longest:
            raise _too_long(longest)
        yield piece


def is_long(request: Request) -> bool:
    """Whether a body is announced to be longer than most JSON may be, or not announced at all."""
    announced = request.headers.get("content-length", "")
    return not announced.isdecimal() or len(announced) > 18 or int(announced) > _LONGEST_JSON


async def json_body(request: Request, longest: int | None = None) -> dict[str, Any]:
    """The body as a JSON object.

    Raises
    ------
    Refusal
        It is none, or too large.
    """
    body = bytearray()
    async for piece in pieces(request, longest or _LONGEST_JSON):
        body += piece
    return await run_in_threadpool(json_object, body, "the body")


async def form(request: Request) -> bytes:
    """The body of a form, which anybody may send.

    Raises
    ------
    Refusal
        It is too long, or comes too slowly.
    """
    body = b""
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > _LONGEST_FORM:
                    raise Refusal(413, "the form is too long")
    except TimeoutError as error:
        raise Refusal(408, "the form did not arrive in time") from error
    return body


def _too_long(longest: int) -> Refusal:
    return Refusal(413, f"the body is longer than {longest:,} bytes")
