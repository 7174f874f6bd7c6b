"""Redaction: tokens that do not show themselves, and errors without them.

Verbose tracebacks (``rich`` with ``show_locals``, IPython's ``%xmode Verbose``, pytest) show the variables of every
frame. Code that takes a token as plain text therefore wraps it with :func:`sealed` in its first line, before anything
can fail, and keeps it where no attribute shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from biocolab_accessor.errors import InvalidToken


class _Sealed:
    """A value that was passed as a token, unchecked; false if it is None or empty."""

    __slots__ = ("_is_set", "reveal")

    def __init__(self, value: object) -> None:
        self._is_set = value is not None and not (isinstance(value, str) and not value)
        self.reveal = _keeper(value)

    def __bool__(self) -> bool:
        return self._is_set

    def __repr__(self) -> str:
        return "****"


def sealed(value: Any) -> Any:
    """Wrap a token so that nothing shows it; it is not checked, and this never fails."""
    return value if isinstance(value, Secret | _Sealed) else _Sealed(value)


def _keeper(value: Any) -> Callable[[], Any]:
    return lambda: value


def _problem(held: _Sealed) -> str:
    """Why a value cannot be a token; empty if it can."""
    value = held.reveal()
    if not isinstance(value, str):
        return f"is a {type(value).__name__}, not a string"
    if not value.strip():
        return "is empty"
    if not (value.strip().isascii() and value.strip().isprintable()):
        return "contains characters that an HTTP header cannot carry: copy it again"
    return ""


class Secret:
    """A token that only :meth:`reveal` returns as text.

    ``repr``, ``str`` and formatting show a mask. Pickling and copying raise, so that a token cannot travel with an
    object that holds one.

    Parameters
    ----------
    value
        The token. Surrounding whitespace (such as the trailing newline of a pasted token) is removed.
    origin
        Where it was found, for messages: ``"argument private_token"``, ``"$BIOCOLAB_PRIVATE_TOKEN"``, …

    Raises
    ------
    InvalidToken
        It is not a string, empty, or not printable ASCII.

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
        """The text of the token."""
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

# A shorter text is not a token, but may be part of any word.
_SHORTEST = 8


class redacting:  # noqa: N801 - a block, as suppress() is one
    """A block whose errors do not quote the token, even if they quote a server that does."""

    # Such an error loses the frames that it passed through, since their variables hold what the server sent.

    def __init__(self, token: Secret) -> None:
        self._token = token

    def __enter__(self) -> None:
        pass

    # Not a generator with contextlib, which would restore the frames.
    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            _redact(error, self._token.reveal())


def redacted(text: _Text, token: Secret) -> _Text:
    """Return a text, or bytes, without the token; the same object if it does not contain the token."""
    if isinstance(text, str):
        return _without(text, token.reveal())  # type: ignore[no-any-return]
    plain = token.reveal().encode()
    return text.replace(plain, _MASK.encode()) if len(plain) >= _SHORTEST and plain in text else text


def without_frames(error: BaseException, header: str) -> None:
    """Remove headers and frames, whose variables hold the token, from an exception chain; types and texts stay."""
    for each in _chain(error):
        each.__traceback__ = None
        request = getattr(each, "request", None)
        if request is not None and header in getattr(request, "headers", {}):
            request.headers[header] = _MASK


def _redact(error: BaseException, text: str) -> None:
    """Replace a text by a mask in everything that an exception chain says."""
    found = False
    for each in _chain(error):
        texts = {name: _without(value, text) for name, value in vars(each).items()}
        args = _without(each.args, text)
        if args is not each.args or any(texts[name] is not value for name, value in vars(each).items()):
            found = True
            each.args = args
            vars(each).update(texts)
    for each in _chain(error) if found else ():
        each.__traceback__ = None
        if each.__suppress_context__:
            each.__context__ = None  # its variables hold the text that a parser failed on


def _without(value: Any, text: str) -> Any:
    """Return the same object, or a copy without the text if it contains the text."""
    if len(text) < _SHORTEST:
        return value
    if isinstance(value, str):
        return value.replace(text, _MASK) if text in value else value
    if isinstance(value, list | tuple):
        parts = [_without(part, text) for part in value]
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else type(value)(parts)
    return value


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error with its causes, contexts, arguments and attributes (``Retriable.error``) that are errors."""
    chain: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and not any(each is other for other in chain):
            chain.append(each)
            waiting += [each.__cause__, each.__context__, *each.args, *vars(each).values()]
    return chain
