"""Budget: how much memory there is, and refusing what does not fit before it is fetched."""

from __future__ import annotations

from pathlib import Path

import psutil

from biocolab_accessor.config import settings
from biocolab_accessor.errors import TooLarge

__all__ = ["budget", "expect_room"]

_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def budget() -> int:
    """Bytes that one object may take: ``bc.settings.memory_budget``, else what the machine or container has left."""
    if settings.memory_budget:
        return settings.memory_budget
    left = int(psutil.virtual_memory().available)
    for limit, used in _CGROUPS:
        try:
            left = min(left, int(limit.read_text()) - int(used.read_text()))
        except (OSError, ValueError):  # no such container, or one without a limit
            continue
    return max(left, 0)


def expect_room(needed: int, what: str, alternative: str) -> None:
    """Refuse what does not fit.

    Parameters
    ----------
    needed
        Bytes at the peak.
    what
        What needs them, for the message.
    alternative
        What to do instead.

    Raises
    ------
    TooLarge
        It does not fit into :func:`budget`.
    """
    room = budget()
    if needed > room:
        source = "bc.settings.memory_budget" if settings.memory_budget else "what this machine has left"
        msg = f"{what} needs about {_size(needed)} of memory, {source} is {_size(room)}: {alternative}"
        raise TooLarge(msg)


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
