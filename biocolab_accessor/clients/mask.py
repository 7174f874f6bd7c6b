"""Mask: the token taken out of errors, whoever put it there, before anybody sees them."""

from __future__ import annotations

from typing import Any, TypeVar

from biocolab_accessor.secret import Secret

__all__ = ["hidden", "masking", "without_frames"]

_Text = TypeVar("_Text", str, bytes, bytearray)
_MASK = "****"
# What is shorter is nobody's token, but may be part of any word.
_SHORTEST = 8


class masking:  # noqa: N801 - a block, as suppress() is one
    """Errors of the block do not quote the token, also where the server's words do.

    Such an error loses the frames that it came through, since their variables have what the server said.

    Parameters
    ----------
    token
        Of the server.
    """

    def __init__(self, token: Secret) -> None:
        self._token = token

    def __enter__(self) -> None:
        pass

    # What contextlib makes of a generator puts the frames back.
    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            _mask(error, self._token.reveal())


def hidden(text: _Text, token: Secret) -> _Text:
    """A text, or its bytes, without the token: the same object where it is not in it."""
    if isinstance(text, str):
        return _without(text, token.reveal())  # type: ignore[no-any-return]
    plain = token.reveal().encode()
    return text.replace(plain, _MASK.encode()) if len(plain) >= _SHORTEST and plain in text else text


def without_frames(error: BaseException, header: str) -> None:
    """Take headers and frames, whose locals hold the token, out of an exception chain; type and text stay.

    Parameters
    ----------
    error
        Of a request.
    header
        Name of the token's header.
    """
    for each in _chain(error):
        each.__traceback__ = None
        request = getattr(each, "request", None)
        if request is not None and header in getattr(request, "headers", {}):
            request.headers[header] = _MASK


def _mask(error: BaseException, text: str) -> None:
    """Put a mask in place of a text in all that an exception chain says."""
    found = False
    for each in _chain(error):
        said = {name: _without(value, text) for name, value in vars(each).items()}
        args = _without(each.args, text)
        if args is not each.args or any(said[name] is not value for name, value in vars(each).items()):
            found = True
            each.args = args
            vars(each).update(said)
    for each in _chain(error) if found else ():
        each.__traceback__ = None
        if each.__suppress_context__:
            each.__context__ = None  # what a parser failed at is among its variables


def _without(value: Any, text: str) -> Any:
    """The same object, or where it is or holds the text, one without it."""
    if len(text) < _SHORTEST:
        return value
    if isinstance(value, str):
        return value.replace(text, _MASK) if text in value else value
    if isinstance(value, list | tuple):
        parts = [_without(part, text) for part in value]
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else type(value)(parts)
    return value


def _chain(error: BaseException) -> list[BaseException]:
    """An error, and those that it came of, is about, or is to be raised as (``Retriable.error``)."""
    chain: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and not any(each is other for other in chain):
            chain.append(each)
            waiting += [each.__cause__, each.__context__, *each.args, *vars(each).values()]
    return chain
