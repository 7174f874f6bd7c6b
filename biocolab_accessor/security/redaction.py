"""Redaction: tokens that do not show themselves, and errors without them.

Verbose tracebacks (``rich`` with ``show_locals``, IPython's ``%xmode Verbose``, pytest) show the variables of every
frame. So what takes a token as plain text wraps it with :func:`sealed` in its very first line, before anything can
fail, and a token is kept where no attribute shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from biocolab_accessor.errors import InvalidToken

__all__ = ["Secret", "hidden", "masking", "sealed", "without_frames"]


class _Sealed:
    """Whatever was given as a token, not looked at yet; false where nothing was given."""

    __slots__ = ("_given", "reveal")

    def __init__(self, value: object) -> None:
        self._given = value is not None and not (isinstance(value, str) and not value)
        self.reveal = _keeper(value)

    def __bool__(self) -> bool:
        return self._given

    def __repr__(self) -> str:
        return "****"


def sealed(value: Any) -> Any:
    """A token as it was given, in a wrapping that shows nothing; it is not checked, and this never fails."""
    return value if isinstance(value, Secret | _Sealed) else _Sealed(value)


def _keeper(value: Any) -> Callable[[], Any]:
    return lambda: value


def _problem(held: _Sealed) -> str:
    """Why a token cannot be one; empty where it can."""
    value = held.reveal()
    if not isinstance(value, str):
        return f"is a {type(value).__name__}, not text"
    if not value.strip():
        return "is empty"
    if not (value.strip().isascii() and value.strip().isprintable()):
        return "holds characters that no HTTP header can carry: copy it again"
    return ""


class Secret:
    """A token whose text is only given out by :meth:`reveal`.

    ``repr``, ``str`` and formatting give a mask, and pickling or copying is refused, so that a token cannot travel with
    an object that happens to hold one.

    Parameters
    ----------
    value
        The token. Surrounding white space (a trailing newline of a pasted token, say) is removed.
    origin
        Where it was found, for messages: ``"argument private_token"``, ``"$BIOCOLAB_PRIVATE_TOKEN"``, …

    Raises
    ------
    InvalidToken
        It is not text, empty, or not printable ASCII.

    Examples
    --------
    >>> Secret("70d2acfda3a54ca6a4390699394f0b21")
    Secret('****')
    """

    __slots__ = ("_keeper", "origin")

    def __init__(self, value: str | _Sealed, origin: str = "argument") -> None:
        value = held = sealed(value)
        if problem := _problem(held):
            msg = f"the token from {origin} {problem}"
            raise InvalidToken(msg)
        self._keeper = _keeper(held.reveal().strip())
        self.origin = origin

    def reveal(self) -> str:
        """The token's text."""
        return str(self._keeper())

    def __repr__(self) -> str:
        return "Secret('****')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self.reveal()

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __reduce__(self) -> tuple[object, ...]:
        msg = "a token is never pickled or copied: let the other process read it from its own environment"
        raise TypeError(msg)


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
