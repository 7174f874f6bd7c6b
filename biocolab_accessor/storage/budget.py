"""Budget: how much memory there is, and refusing what does not fit before it is fetched."""

from __future__ import annotations

from pathlib import Path

import psutil

from biocolab_accessor.config import settings
from biocolab_accessor.errors import TooLarge

__all__ = ["budget", "expect_room"]

# Folder, limit, what is used, and what of that is files which the system drops when it needs room.
_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def budget() -> int:
    """Bytes that one object may take: ``bc.settings.memory_budget``, else what the machine or container has left."""
    if settings.memory_budget:
        return settings.memory_budget
    left = int(psutil.virtual_memory().available)
    for folder, limit, used, cached in _CGROUPS:
        try:
            held = int((folder / used).read_text()) - _statistic(folder / "memory.stat", cached)
            left = min(left, int((folder / limit).read_text()) - held)
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


def _statistic(path: Path, name: str) -> int:
    try:
        return int(dict(line.split() for line in path.read_text().splitlines()).get(name, 0))
    except (OSError, ValueError):
        return 0


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
