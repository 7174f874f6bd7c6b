"""Given: the names that an argument gives, as a list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.naming import quoted

__all__ = ["given_names"]


def given_names(given: Any, what: str) -> list[str]:
    """Names that an argument gives, in their order; one text is one name.

    Parameters
    ----------
    given
        A text, or several in anything of one dimension.
    what
        The argument, for the message.

    Raises
    ------
    InvalidArgument
        It is a table, whose columns Python would take for the names, or something in it is no text.

    Examples
    --------
    >>> given_names("CD3D", "genes"), given_names(("CD3D", "CD3E"), "genes")
    (['CD3D'], ['CD3D', 'CD3E'])
    """
    if isinstance(given, str):
        return [str(given)]
    remedy = "give a name, or a list of names"
    if isinstance(given, bytes) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) != 1:
        msg = f"{what} is of type {type(given).__name__}: {remedy}"
        raise InvalidArgument(msg)
    names = list(given)
    if wrong := [name for name in names if not isinstance(name, str)]:
        msg = f"{what} contains {quoted(wrong[0]):.80}, which is not a string: {remedy}"
        raise InvalidArgument(msg)
    return [str(name) for name in names]  # NumPy's own texts are not to be seen in var_names
