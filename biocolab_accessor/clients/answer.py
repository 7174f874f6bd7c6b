"""Answers: is this what a server of this protocol says, and what does its refusal mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.errors import InvalidResponse, NotFound, ServerError, TransportError, Unauthorized

__all__ = ["decode_json", "expect_exact_length", "refusal", "unwrap"]

_LONGEST_DETAIL = 1000


def decode_json(url: str, content: bytes, content_type: str) -> Any:
    """The JSON of an answer.

    Raises
    ------
    InvalidResponse
        It is empty, a web page (a proxy's or a login's, named by its title), or broken JSON.
    """
    if not content.strip():
        msg = f"{url}: the answer is empty"
        raise InvalidResponse(msg)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        start = content[:2000].decode("utf-8", "replace").strip()
        if "html" in content_type.lower() or start.startswith("<"):
            title = re.search(r"<title[^>]*>([^<]{1,200})", start, re.IGNORECASE)
            named = f" titled {title.group(1).strip()!r}" if title else ""
            msg = (
                f"{url}: the answer is a web page{named}, not data: "
                "a login page or a proxy stands in between, or the host is wrong"
            )
        else:
            msg = f"{url}: the answer is not JSON ({error}); it begins {start[:80]!r}"
        raise InvalidResponse(msg) from None


def refusal(url: str, status: int, content: bytes, reason: str | None, token_origin: str) -> ServerError:
    """The error that an answer with a status of 400 or more stands for.

    Parameters
    ----------
    url, status, content, reason
        The answer.
    token_origin
        Where the token was found, named when it is not accepted.
    """
    detail = _detail(content) or reason or _phrase(status)
    detail = detail if len(detail) <= _LONGEST_DETAIL else detail[:_LONGEST_DETAIL] + " …"
    text = f"{url}: HTTP {status}: {detail}"
    if status in (401, 403):
        text += f". The token from {token_origin} is not accepted: create one in the server's user settings"
        return Unauthorized(text, status=status, detail=detail)
    if status == 404:
        return NotFound(text, status=status, detail=detail)
    if status == 413:
        text += ". The request is too large for the server or a proxy: give a smaller chunk_size"
    return ServerError(text, status=status, detail=detail)


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
    if isinstance(status, str) and status.strip().isdecimal():
        status = int(status)
    if status != 200 or isinstance(status, bool):
        detail = next((str(answer[k]) for k in ("message", "detail", "traceback") if answer.get(k)), _short(answer))
        msg = f"{url}: the server refused (status {status}): {detail[:_LONGEST_DETAIL]}"
        kind = {401: Unauthorized, 403: Unauthorized, 404: NotFound}.get(status, ServerError)
        raise kind(msg, status=status if isinstance(status, int) else None, detail=detail)
    return {**answer, "status": 200}


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
