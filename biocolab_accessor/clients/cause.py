"""Cause: the innermost reason of a request that failed."""

from __future__ import annotations

from biocolab_accessor.clients.address import without_user

__all__ = ["innermost"]


def innermost(error: BaseException) -> str:
    """The line that helps, without a proxy's password: requests and urllib3 wrap it up to four times."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return without_user(str(error), in_text=True) or type(error).__name__
