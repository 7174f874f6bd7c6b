"""Responses: what a server answered, checked before it is used."""

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

__all__ = [
    "Envelope",
    "announced_length",
    "decode_json",
    "decode_unquoted",
    "expect_exact_length",
    "expect_no_message",
    "expect_no_page",
    "expect_whole_file",
    "refusal",
    "unwrap",
]

_LONGEST_DETAIL = 1000

_MOST_DIGITS = 18

_ROUTE = re.compile(r"/v1/[a-z_/]+$")

_SOMETHING = re.compile(rb"\S")

_WIDE = re.compile(rb"[\xf0-\xf4]")

_NO_TEXT = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")

# Bytes that a JSON value takes in memory, by the character that stands for it; a hostile one is 30 times its text.
_COSTS = ((b"{", 240), (b"[", 96), (b",", 80), (b":", 64))

# What one thing of a server is told from others by.
_NAMED = ("database", "embedding", "file", "folder", "group", "study_hash", "study", "task")

_IDS = frozenset(("id", "uuid", *(f"{name}_id" for name in _NAMED)))

_SMALL = 1024 * 1024

_LESS = "ask for fewer genes or fields"


class _Senseless(ValueError):
    """JSON that can be read, and cannot be meant."""


class Envelope(dict[str, Any]):
    """An answer whose missing parts are an InvalidResponse, also to the official client's code.

    Parameters
    ----------
    url
        Named in the message.
    content
        The answer.
    """

    def __init__(self, url: str, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self._url = url

    def __missing__(self, key: str) -> Any:
        msg = f"{self._url}: the answer lacks {quoted(key)}"
        raise InvalidResponse(msg)


def decode_json(url: str, content: bytearray, content_type: str) -> Any:
    """The JSON of an answer.

    Parameters
    ----------
    url
        Of the answer.
    content
        The answer; empty afterwards, so that its text is not there twice while it is parsed.
    content_type
        What the server calls it.

    Raises
    ------
    Retriable
        It is empty or broken JSON; another attempt may bring the whole.
    InvalidResponse
        It is a web page (a proxy's or a login's, named by its title), or holds what is no text.
    TooLarge
        Its values would not fit into memory.
    """
    if not _SOMETHING.search(content):
        raise Retriable(InvalidResponse(f"{url}: the answer is empty"))
    size = len(content)
    if size > _SMALL:
        # Its text with what it is decoded from, and then with its values.
        width = 1 if content.isascii() else 4 if _WIDE.search(content) else 2
        values = size + sum(content.count(sign) * cost for sign, cost in _COSTS)
        expect_room(width * size + values, url, _LESS, held=size)
    start, no_text = bytes(content[:2000]), _NO_TEXT.search(content) is not None
    expect_no_page(url, start)
    try:
        text = content.decode("utf-8-sig")
        content.clear()
        answer = json.loads(text, object_pairs_hook=_expect_sense)
    except _Senseless as error:
        msg = f"{url}: {error}"
        raise InvalidResponse(msg) from None
    except (ValueError, RecursionError) as error:
        begins = start[:80].decode("utf-8", "replace")
        if "html" in content_type.lower():
            raise _page(url, begins) from None
        broken = InvalidResponse(f"{url}: the answer is not JSON ({error}); it begins {quoted(begins)}")
        raise Retriable(broken) from None
    if no_text:
        _expect_text(url, answer)
    return answer


def _expect_sense(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; refuses one that has a key twice, since readers differ in which they take, or an id of NaN."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        msg = f"an object of the answer has the key {quoted(twice[:80])} twice"
        raise _Senseless(msg)
    for key in _IDS & made.keys():
        if isinstance(made[key], float) and not math.isfinite(made[key]):
            msg = f"an {key} of the answer is {made[key]}, not text or a whole number"
            raise _Senseless(msg)
    return made


def decode_unquoted(url: str, content: bytearray, content_type: str) -> Any:
    """As :func:`decode_json`, for an answer with tokens in it: an error neither quotes it nor has it in its variables.

    Raises
    ------
    Retriable
        It is not JSON.
    """
    with suppress(Retriable, BiocolabError):
        return decode_json(url, content, content_type)
    content.clear()
    msg = f"{url}: the answer is not JSON; it is not quoted here, since it may hold tokens"
    raise Retriable(InvalidResponse(msg))


def expect_no_page(url: str, start: bytes) -> None:
    """Refuse a web page that came in place of data.

    Parameters
    ----------
    url
        Of the answer.
    start
        Its first bytes.

    Raises
    ------
    InvalidResponse
        It is one; it is named by its title.
    """
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        raise _page(url, start.decode("utf-8", "replace"))


def expect_no_message(url: str, content: bytes) -> None:
    """Refuse a short JSON object that came in place of a file.

    Raises
    ------
    ServerError
        It says why the server refused.
    InvalidResponse
        It says anything else.
    """
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
    """Refuse an HDF5 file that ends before the end that it names itself, whatever length was announced.

    Parameters
    ----------
    url
        Of the answer.
    head
        Its first 64 bytes, or more.
    taken
        How many came in all.

    Raises
    ------
    Retriable
        It is cut; another attempt may bring the whole.
    """
    if not head.startswith(b"\x89HDF\r\n\x1a\n") or len(head) < 64:
        return
    # Sizes and places of superblocks 0 to 3, for the 8-byte addresses that everybody writes.
    version = head[8]
    width, place = (head[13], 40) if version < 2 else (head[9], 28)
    end = int.from_bytes(head[place : place + 8], "little")
    if version <= 3 and width == 8 and taken < end:
        raise Retriable(InvalidResponse(f"{url}: the HDF5 file ends after {taken:,} of its {end:,} bytes"))


def refusal(url: str, status: int, content: bytes, reason: str | None, token_origin: str) -> ServerError:
    """The error that an answer with a status of 400 or more stands for.

    Parameters
    ----------
    url, status, content, reason
        The answer.
    token_origin
        Where the token was found, named when it is not accepted.
    """
    named = _detail(content)
    detail = named or (reason or _phrase(status)) + _titled(content.decode("utf-8", "replace"))
    detail = detail if len(detail) <= _LONGEST_DETAIL else detail[:_LONGEST_DETAIL] + " …"
    text = f"{url}: HTTP {status}: {detail}"
    if status in (401, 403):
        will = "will not do" if status == 401 else "does not allow this, or has expired"
        text += f". The token from {token_origin} {will}: create one in the server's user settings"
        return Unauthorized(text, status=status, detail=detail)
    if status == 404:
        if _is_of_route(url, named):
            example = "https://company/t2d_index_tool/" if "/api/v1/" in url else "https://api.bioturing.com/"
            text += f". The host has to be the address of the API, such as {example}"
        return NotFound(text, status=status, detail=detail)
    if status == 413:
        text += ". The request is too large for the server or a proxy: give a smaller chunk_size"
    return ServerError(text, status=status, detail=detail)


def _is_of_route(url: str, named: str) -> bool:
    """Whether a 404 is about the route, and not about something that the route was asked for."""
    about_nothing = named.casefold() in ("", "not found") or named.startswith("there is no such route")
    return about_nothing and _ROUTE.search(url) is not None


def unwrap(url: str, answer: Any) -> dict[str, Any]:
    """Check the envelope of BBrowserX and Talk2Data, ``{status: 200, …}``.

    Returns
    -------
    dict
        The envelope, with ``status`` as int.

    Raises
    ------
    InvalidResponse
        It is not an object, or has neither a status nor a detail.
    ServerError
        Its status is not 200.
    """
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
    """The ``Content-Length`` of an answer; None where it says none that is a number.

    Raises
    ------
    InvalidResponse
        It has so many digits that nothing can be that long.
    """
    announced = headers.get("Content-Length", "").strip()
    if not announced.isdecimal():
        return None
    if len(announced) > _MOST_DIGITS:
        msg = f"{url}: the answer announces its length with {len(announced):,} digits"
        raise InvalidResponse(msg)
    return int(announced)


def expect_exact_length(url: str, taken: int, announced: int | None) -> None:
    """Refuse an answer that is shorter or longer than announced, or empty.

    Raises
    ------
    Retriable
        It is; another attempt may bring the whole.
    """
    if taken == 0:
        raise Retriable(TransportError(f"{url}: the answer is empty"))
    if announced is not None and taken != announced:
        raise Retriable(TransportError(f"{url}: {taken:,} bytes arrived of {announced:,} announced"))


def _page(url: str, start: str) -> InvalidResponse:
    return InvalidResponse(
        f"{url}: the answer is a web page{_titled(start)}, not data: "
        "a login page or a proxy stands in between, or the host is wrong"
    )


def _titled(page: str) -> str:
    title = re.search(r"<title[^>]*>([^<]{1,200})", page, re.IGNORECASE)
    return f" titled {quoted(title.group(1).strip())}" if title else ""


def _expect_text(url: str, answer: Any) -> None:
    """Refuse texts that no file can hold: half a character pair, or a NUL."""
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
                msg = f"{url}: a text of the answer holds half a character"
                raise InvalidResponse(msg) from error
            if "\0" in value:
                msg = f"{url}: a text of the answer holds a NUL"
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
