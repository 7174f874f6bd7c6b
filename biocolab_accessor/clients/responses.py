"""Responses: check what a server answered before it is used."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.errors import BiocolabError, InvalidResponse, NotFound, ServerError, TransportError, Unauthorized
from biocolab_accessor.io.memory import expect_room
from biocolab_accessor.messages import quoted

_LONGEST_DETAIL = 1000
_MOST_DIGITS = 18
_ROUTE = re.compile(r"/v1/[a-z_/]+$")
_NOT_BLANK = re.compile(rb"\S")
_FOUR_BYTES = re.compile(rb"[\xf0-\xf4]")
_NOT_STORABLE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")

# Bytes of memory for each JSON value, by the character that marks it; a hostile answer takes 30 times its text.
_COSTS = ((b"{", 240), (b"[", 96), (b",", 80), (b":", 64))

# Objects of a server that are identified by an id.
_OBJECTS = ("database", "embedding", "file", "folder", "group", "study_hash", "study", "task")
_IDS = frozenset(("id", "uuid", *(f"{name}_id" for name in _OBJECTS)))
_SMALL = 1024 * 1024
_ADVICE = "ask for fewer genes or fields"


class _Implausible(ValueError):
    """JSON that can be parsed, but cannot be meant that way."""


class Envelope(dict[str, Any]):
    """An answer that raises InvalidResponse for a missing key, also in code of the official client."""

    def __init__(self, url: str, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self._url = url

    def __missing__(self, key: str) -> Any:
        msg = f"{self._url}: the answer lacks {quoted(key)}"
        raise InvalidResponse(msg)


def decode_json(url: str, content: bytearray, content_type: str) -> Any:
    """Decode the JSON of an answer; web pages, strings that no file can hold and oversized values raise."""
    # Broken or empty JSON is retried: another attempt may bring all of it. `content` is emptied, so that the text is
    # not in memory twice while it is parsed.
    if not _NOT_BLANK.search(content):
        raise Retriable(InvalidResponse(f"{url}: the answer is empty"))
    size = len(content)
    if size > _SMALL:
        # The text together with the bytes that it is decoded from, then together with its values.
        width = 1 if content.isascii() else 4 if _FOUR_BYTES.search(content) else 2
        values = size + sum(content.count(sign) * cost for sign, cost in _COSTS)
        expect_room(width * size + values, url, _ADVICE, held=size)
    start, not_storable = bytes(content[:2000]), _NOT_STORABLE.search(content) is not None
    expect_no_page(url, start)
    try:
        text = content.decode("utf-8-sig")
        content.clear()
        answer = json.loads(text, object_pairs_hook=_expect_plausible)
    except _Implausible as error:
        msg = f"{url}: {error}"
        raise InvalidResponse(msg) from None
    except (ValueError, RecursionError) as error:
        begins = start[:80].decode("utf-8", "replace")
        if "html" in content_type.lower():
            raise _web_page(url, begins) from None
        broken = InvalidResponse(f"{url}: the answer is not JSON ({error}); it begins {quoted(begins)}")
        raise Retriable(broken) from None
    if not_storable:
        _expect_text(url, answer)
    return answer


def _expect_plausible(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of JSON; a repeated key or an id of NaN raises, since readers disagree on what it means."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        msg = f"an object in the answer has the key {quoted(twice[:80])} twice"
        raise _Implausible(msg)
    for key in _IDS & made.keys():
        if isinstance(made[key], float) and not math.isfinite(made[key]):
            msg = f"{key} in the answer is {made[key]}, not a string or an integer"
            raise _Implausible(msg)
    return made


def decode_unquoted(url: str, content: bytearray, content_type: str) -> Any:
    """Decode an answer that may hold tokens: an error neither quotes it nor keeps it in its variables."""
    with suppress(Retriable, BiocolabError):
        return decode_json(url, content, content_type)
    content.clear()
    msg = f"{url}: the answer is not JSON; it is not quoted here, because it may contain tokens"
    raise Retriable(InvalidResponse(msg))


def expect_no_page(url: str, start: bytes) -> None:
    """Raise InvalidResponse for a web page in place of data, and name the page by its title."""
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise _web_page(url, start.decode("utf-8", "replace"))


def expect_no_message(url: str, content: bytes) -> None:
    """Raise for a short JSON object in place of a file: ServerError if it says why, else InvalidResponse."""
    if not content.startswith(b"{"):
        return
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return
    unwrap(url, answer)
    msg = f"{url}: expected a file, got {_short(answer)}"
    raise InvalidResponse(msg)


def expect_whole_file(url: str, head: bytes, taken: int) -> None:
    """Raise Retriable for an HDF5 file that ends before the end that its own header (64 bytes) names."""
    if not head.startswith(b"\x89HDF\r\n\x1a\n") or len(head) < 64:
        return
    # Sizes and positions of superblocks 0 to 3, for the 8-byte addresses that all writers use.
    version = head[8]
    width, position = (head[13], 40) if version < 2 else (head[9], 28)
    end = int.from_bytes(head[position : position + 8], "little")
    if version <= 3 and width == 8 and taken < end:
        raise Retriable(InvalidResponse(f"{url}: the HDF5 file ends after {taken:,} of its {end:,} bytes"))


def http_error(url: str, status: int, content: bytes, reason: str | None, token_origin: str) -> ServerError:
    """Build the error for an answer with a status of 400 or more."""
    named = _detail(content)
    detail = named or (reason or _phrase(status)) + _page_title(content.decode("utf-8", "replace"))
    detail = detail if len(detail) <= _LONGEST_DETAIL else detail[:_LONGEST_DETAIL] + " …"
    text = f"{url}: HTTP {status}: {detail}"
    if status in (401, 403):
        advice = "Create another token" if status == 401 else "It does not allow this, or has expired: create another"
        text += f" (token from {token_origin}). {advice} in the server's user settings"
        return Unauthorized(text, status=status, detail=detail, line=_line_of_new_token(url, token_origin))
    if status == 404:
        if _is_of_route(url, named):
            example = "https://company/t2d_index_tool/" if "/api/v1/" in url else "https://api.bioturing.com/"
            text += f". The host must be the address of the API, such as {example}"
        return NotFound(text, status=status, detail=detail)
    if status == 413:
        text += ". The request is too large for the server or a proxy: use a smaller chunk_size"
    return ServerError(text, status=status, detail=detail)


def _line_of_new_token(url: str, token_origin: str) -> str:
    """The line that asks for another token without showing it."""
    found = re.search(r"(bioflex|public|private)_token", token_origin)
    name = found.group() if found else "private_token"
    host = f"private_host={url.partition('api/v1/')[0]!r}, " if name == "private_token" else ""
    return f"from getpass import getpass; bc.connect({host}{name}=getpass('token: '))"


def _is_of_route(url: str, named: str) -> bool:
    """Whether a 404 is about the route itself, and not about an object that the route was asked for."""
    about_no_object = named.casefold() in ("", "not found") or named.startswith("there is no such route")
    return about_no_object and _ROUTE.search(url) is not None


def unwrap(url: str, answer: Any) -> dict[str, Any]:
    """Check the envelope of BBrowserX and Talk2Data, ``{status: 200, …}``, and return it with an integer status."""
    if not isinstance(answer, Mapping) or not answer:
        msg = f"{url}: expected an object with a status, got {_short(answer)}"
        raise InvalidResponse(msg)
    if "status" not in answer and "detail" not in answer:
        msg = f"{url}: the answer has no status: {_short(answer)}"
        raise InvalidResponse(msg)
    status = answer.get("status", 500)
    if isinstance(status, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", status):
        status = int(status)
    if status != 200 or isinstance(status, bool):
        detail = next((str(answer[k]) for k in ("message", "detail", "traceback") if answer.get(k)), _short(answer))
        msg = f"{url}: the server refused (status {status}): {detail[:_LONGEST_DETAIL]}"
        number = status if isinstance(status, int) else None
        kind = {401: Unauthorized, 403: Unauthorized, 404: NotFound}.get(number or 0, ServerError)
        raise kind(msg, status=number, detail=detail)
    return Envelope(url, {**answer, "status": 200})


def announced_length(url: str, headers: Mapping[str, str]) -> int | None:
    """Return the ``Content-Length`` of an answer, or None if it is missing or not a number."""
    announced = headers.get("Content-Length", "").strip()
    if not announced.isdecimal():
        return None
    if len(announced) > _MOST_DIGITS:
        msg = f"{url}: the answer announces a length of {len(announced):,} digits"
        raise InvalidResponse(msg)
    return int(announced)


def expect_exact_length(url: str, taken: int, announced: int | None) -> None:
    """Raise Retriable for an answer that is empty, or shorter or longer than announced."""
    if taken == 0:
        raise Retriable(TransportError(f"{url}: the answer is empty"))
    if announced is not None and taken != announced:
        raise Retriable(TransportError(f"{url}: received {taken:,} of the {announced:,} announced bytes"))


def _web_page(url: str, start: str) -> InvalidResponse:
    return InvalidResponse(
        f"{url}: the answer is a web page{_page_title(start)}, not data: "
        "a login page or a proxy is in between, or the host is wrong"
    )


def _page_title(page: str) -> str:
    title = re.search(r"<title[^>]*>([^<]{1,200})", page, re.IGNORECASE)
    return f" titled {quoted(title.group(1).strip())}" if title else ""


def _expect_text(url: str, answer: Any) -> None:
    """Raise for strings that no file can hold: half of a surrogate pair, or a NUL character."""
    waiting = [answer]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and ("\0" in value or not value.isascii()):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                msg = f"{url}: a string in the answer contains half of a surrogate pair"
                raise InvalidResponse(msg) from error
            if "\0" in value:
                msg = f"{url}: a string in the answer contains a NUL character"
                raise InvalidResponse(msg)


def _detail(content: bytes) -> str:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    if isinstance(answer, Mapping):
        detail = next((answer[k] for k in ("detail", "message") if answer.get(k)), "")
        return detail if isinstance(detail, str) else json.dumps(detail)
    return json.dumps(answer) if answer else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "refused"


def _short(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= 80 else text[:80] + " …"
