"""Secret: a token that does not show itself.

Verbose tracebacks (``rich`` with ``show_locals``, IPython's ``%xmode Verbose``, pytest) show the variables of every
frame. So what takes a token as plain text wraps it with :func:`sealed` in its very first line, before anything can
fail, and a token is kept where no attribute shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from biocolab_accessor.errors import InvalidToken

__all__ = ["Secret", "sealed"]


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
