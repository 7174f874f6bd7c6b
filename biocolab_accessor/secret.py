"""Secret: a token that does not show itself."""

from __future__ import annotations

from biocolab_accessor.errors import InvalidToken

__all__ = ["Secret"]


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

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str = "argument") -> None:
        if not isinstance(value, str):
            msg = f"the token from {origin} is a {type(value).__name__}, not text"
            raise InvalidToken(msg)
        value = value.strip()
        if not value:
            msg = f"the token from {origin} is empty"
            raise InvalidToken(msg)
        if not (value.isascii() and value.isprintable()):
            msg = f"the token from {origin} holds characters that no HTTP header can carry: copy it again"
            raise InvalidToken(msg)
        self._value = value
        self.origin = origin

    def reveal(self) -> str:
        """The token's text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('****')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> tuple[object, ...]:
        msg = "a token is never pickled or copied: let the other process read it from its own environment"
        raise TypeError(msg)
