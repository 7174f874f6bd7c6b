"""Notice: a warning that points to the line of the user's own code which led to it."""

from __future__ import annotations

import inspect
import warnings

from biocolab_accessor.naming import shown

__all__ = ["notice"]

_PACKAGE = __name__.partition(".")[0]


def notice(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of something the user should know, by the line that called the package, however deep this is.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     notice("look out")
    >>> caught[0].category.__name__, str(caught[0].message)
    ('UserWarning', 'look out')
    """
    frame, depth, outermost = inspect.currentframe(), 0, 0
    while frame is not None:
        depth += 1
        # Not the nearest frame of others: a with block of ours has one of contextlib between two of ours.
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE:
            outermost = depth
        frame = frame.f_back
    warnings.warn(shown(message, lines=True), category, stacklevel=outermost + 1)
