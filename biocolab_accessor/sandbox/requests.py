"""Requests: reading and checking request bodies, and HTTP errors."""

from __future__ import annotations

import asyncio
import errno
import json
import math
import re
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from biocolab_accessor.errors import TooLarge
from biocolab_accessor.io.memory import expect_room
from biocolab_accessor.messages import did_you_mean, quoted
from biocolab_accessor.sandbox.store.files import private_file

if TYPE_CHECKING:
    import pandas as pd

_DEEPEST = 64
_MOST_VALUES = 10_000_000
_MOST = {(b",",): _MOST_VALUES, (b"[", b"{", b":"): 100_000}
_BYTES_OF_A_VALUE = 80
_NO_ROOM = {getattr(errno, name, -1) for name in ("ENOSPC", "EDQUOT", "EFBIG")}
_NO_SIGNS = bytes(set(range(256)) - set(b'"[]{},:'))
_WITHIN_QUOTES = re.compile(rb'"[^"]*"')


class HTTPError(Exception):
    """An HTTP error, sent as ``{"status": …, "message": …, "detail": …}``."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail

    def answer(self) -> Response:
        """The response that the client gets."""
        # Clients that check the HTTP status read the detail; clients before 1.7.0 check the envelope only.
        content = {"status": self.status, "message": self.detail, "detail": self.detail}
        headers = {"X-Content-Type-Options": "nosniff"}
        return Response(json.dumps(content).encode(), self.status, headers, media_type="application/json")


def failure(error: Exception) -> HTTPError:
    """The response to an error that no route expects: the disk is full, or the sandbox has a bug."""
    full = isinstance(error, OSError) and error.errno in _NO_ROOM
    if full or (isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL):
        return HTTPError(507, "the disk of the sandbox is full: make room in its folder, and try again")
    return HTTPError(500, "the sandbox failed: this is a bug in the sandbox, see its log")


def json_object(raw: bytes | bytearray, what: str) -> dict[str, Any]:
    """Parse a JSON object; no bytes are an empty object, and ``what`` names it in messages."""
    _expect_modest(raw, what)
    if len(raw) > _LONGEST_JSON:
        try:
            # The text besides the bytes that it is decoded from, and its values, each of which is an object.
            needed = (2 if raw.isascii() else 5) * len(raw) + _BYTES_OF_A_VALUE * raw.count(b",")
            expect_room(needed, what, "send fewer columns or cells at a time", held=len(raw))
        except TooLarge as error:
            raise HTTPError(413, str(error)) from error
    escaped = b"\\u" in raw
    try:
        decoded = raw.decode("utf-8-sig")
        if isinstance(raw, bytearray):
            raw.clear()  # a long body is not in memory twice while it is parsed
        value = json.loads(decoded or "{}")
        if escaped:
            # An escape can encode half of a surrogate pair, which files and databases cannot store.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise HTTPError(422, f"{what} contains half of a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise HTTPError(422, f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise HTTPError(422, f"{what} must be a JSON object")
    return value


def _expect_modest(raw: bytes | bytearray, what: str) -> None:
    """Count the values before parsing, which creates an object of 50 bytes or more for each."""
    skeleton = raw
    if b"\\" in raw:
        skeleton = skeleton.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Strings do not count. The first step removes most of them, the second those that contain JSON punctuation.
    skeleton = _WITHIN_QUOTES.sub(b"", skeleton.translate(None, _NO_SIGNS).replace(b'""', b""))
    for signs, most in _MOST.items():
        if sum(map(skeleton.count, signs)) > most:
            raise HTTPError(
                413, f"{what} contains more than {most:,} {'values' if most == _MOST_VALUES else 'objects'}"
            )
    brackets = skeleton.translate(None, b",:")
    for _ in range(_DEEPEST):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        raise HTTPError(422, f"{what} is not JSON, or is nested more than {_DEEPEST} levels deep")


def text(body: Mapping[str, Any], key: str, *, longest: int = 10_000) -> str:
    """A required string."""
    value = body.get(key)
    if not isinstance(value, str) or not value or len(value) > longest:
        detail = f"{key} must be a string of 1 to {longest:,} characters"
        raise HTTPError(422, detail)
    return value


def optional_text(body: Mapping[str, Any], key: str) -> str:
    """A string that may be missing, null or empty."""
    return "" if body.get(key) in (None, "") else text(body, key, longest=1_000_000)


def texts(body: Mapping[str, Any], key: str) -> list[str]:
    """A list of strings that may be missing or null."""
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        detail = f"{key} must be a list of strings"
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
        raise HTTPError(422, f"{key} is too large") from error
    if math.isnan(found):
        raise HTTPError(422, f"{key} is NaN")
    return found


LONGEST_FILE = 256 << 30
LONGEST_METADATA = 128 << 20
"""Metadata columns are by far the longest JSON of the protocol; 1,000,000 barcodes take 20 MB."""

# All other JSON holds names; the longest list, 60,000 genes, takes 1 MB.
_LONGEST_JSON = 8 << 20
_LONGEST_FORM = 10_000
_SILENCE = 60.0
_LEAST = 16 << 10
"""Bytes that must arrive within ``_SILENCE`` seconds, unless the body ends."""

_FORM_SECONDS = 10.0


async def pieces(request: Request, longest: int) -> AsyncIterator[bytes]:
    """The body in pieces, unless it is too long or arrives too slowly."""
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
            raise HTTPError(408, f"only {fresh:,} bytes of the body arrived in {_SILENCE:g} s") from error
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


async def json_body(request: Request) -> dict[str, Any]:
    """The body as a JSON object."""
    body = bytearray()
    async for piece in pieces(request, _LONGEST_JSON):
        body += piece
    return await run_in_threadpool(json_object, body, "the body")


async def save_body(request: Request, longest: int, path: Path) -> None:
    """Write a long body to a file while it arrives."""
    private_file(path)
    with path.open("wb") as file:
        async for piece in pieces(request, longest):
            file.write(piece)


def json_file(path: Path) -> dict[str, Any]:
    """A saved body as a JSON object."""
    return json_object(bytearray(path.read_bytes()), "the body")


async def form(request: Request) -> bytes:
    """The body of a form, which needs no token and is therefore limited in size and time."""
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
    """A file of any size, in large pieces, because each one takes a call in a thread."""

    chunk_size = 4 << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve ranges for POST too, which the matrix route uses; Starlette serves them for GET only."""
        await super().__call__({**scope, "method": "GET"}, receive, send)


def gene_positions(features: Sequence[str], names: Sequence[str], where: str) -> list[int]:
    """Positions of genes among the features; a repeated feature counts at its first position."""
    place = {feature: i for i, feature in reversed(list(enumerate(features)))}
    missing = [name for name in names if name not in place]
    if missing:
        listed = ", ".join(f"{quoted(name)}{did_you_mean(name, place)}" for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        detail = f"{where} has no gene {listed}{more}"
        raise HTTPError(404, detail)
    return [place[name] for name in names]


_MOST_RECORDS, _LONGEST_PATH = 100_000, 1000


@dataclass(frozen=True)
class RequestRecord:
    """One request.

    Attributes
    ----------
    number
        Number from 1, in the order in which the requests arrived.
    method, route
        ``"POST"``, and the route without its server: ``"upload_chunk"``, ``"v1/study/get"``.
    path
        The full path: ``"/t2d_index_tool/api/v1/upload_chunk"``.
    status
        Status of the answer; None if no answer was sent.
    received, sent
        Sizes of the two bodies in bytes.
    seconds
        Time from the first byte to the last.
    token
        Last characters of the token, enough to tell tokens apart; empty if no token was sent.
    fault
        Kind of the simulated fault, or empty.
    """

    number: int
    method: str
    route: str
    path: str
    status: int | None
    received: int
    sent: int
    seconds: float
    token: str
    fault: str


class Ledger(Sequence[RequestRecord]):
    """The latest 100,000 requests, in the order in which they were answered."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=_MOST_RECORDS)
        self._lock = threading.Lock()
        self._begun = 0

    def begin(self) -> int:
        """Return the number of a request that has just arrived."""
        with self._lock:
            self._begun += 1
            return self._begun

    def add(self, record: RequestRecord) -> None:
        """Record a request that was answered."""
        if len(record.path) > _LONGEST_PATH:  # anyone who can connect could fill the memory with long paths
            record = replace(record, path=record.path[:_LONGEST_PATH], route=record.route[:_LONGEST_PATH])
        with self._lock:
            self._records.append(record)

    def of(self, route: str) -> list[RequestRecord]:
        """Return the requests of one route."""
        wanted = route_name(route)
        return [record for record in self._snapshot() if record.route == wanted]

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row for each request."""
        import pandas as pd

        columns = list(RequestRecord.__dataclass_fields__)
        return pd.DataFrame([asdict(record) for record in self._snapshot()], columns=columns)

    def clear(self) -> None:
        """Remove all records."""
        with self._lock:
            self._records.clear()

    def _snapshot(self) -> list[RequestRecord]:
        with self._lock:
            return list(self._records)

    @overload
    def __getitem__(self, index: int) -> RequestRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[RequestRecord]: ...
    def __getitem__(self, index: int | slice) -> RequestRecord | list[RequestRecord]:
        return self._snapshot()[index]

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(self._snapshot())

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Ledger({len(self)} requests)"


def route_name(path: str) -> str:
    """A route without its server: the part after ``api/v1/``, else the path."""
    _, found, name = path.partition("api/v1/")
    return name if found else path.strip("/").removeprefix("t2d_index_tool/") or "/"


def masked_token(token: str) -> str:
    """The end of a token for records: too short to be used, long enough to tell tokens apart."""
    if not token:
        return ""
    return f"…{token[-3:]}" if len(token) >= 12 else "…"
