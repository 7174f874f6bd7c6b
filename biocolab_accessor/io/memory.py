"""Memory: how much there is, refusing what does not fit, and giving pages back early."""

from __future__ import annotations

import mmap
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from biocolab_accessor.config import settings
from biocolab_accessor.errors import TooLarge

__all__ = ["SharedBudget", "budget", "empty_pages", "expect_room", "instead", "release"]

_CAN_RELEASE = hasattr(mmap.mmap, "madvise") and hasattr(mmap, "MADV_DONTNEED") and hasattr(mmap, "MAP_ANONYMOUS")

_LEAST, _LARGE = 1 << 20, 4 << 20


class _Pages(mmap.mmap):
    """Private memory of our own; what it does not share with a file or a child may be dropped."""


def empty_pages(length: int) -> NDArray[np.uint8]:
    """``length`` bytes of which each page is taken from the system when it is first written to.

    What is small is NumPy's own: the system has not as many pieces of memory for a process as there may be arrays.

    Raises
    ------
    TooLarge
        The system has not as much.
    """
    if length < _LEAST or not _CAN_RELEASE:
        return np.empty(length, np.uint8)
    try:
        pages = _Pages(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:  # what anything else calls a MemoryError
        sizes = f"the system does not give {length:,} bytes of memory"
        msg = f"{sizes}: ask for less at a time"
        raise TooLarge(msg, sizes) from error
    if hasattr(mmap, "MADV_HUGEPAGE") and length >= _LARGE:
        pages.madvise(mmap.MADV_HUGEPAGE)  # as NumPy does: one fault for 2 MB in place of 512
    return np.frombuffer(pages, np.uint8)


def release(array: NDArray[Any]) -> None:
    """Give the memory of an array back, if it lies in :func:`empty_pages`; its values are lost.

    Pages that hold something beside the array stay. Elsewhere than in such memory nothing happens.

    Parameters
    ----------
    array
        Contiguous, and not to be read again.
    """
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if not isinstance(base, _Pages) or not array.nbytes:
        return
    start = array.__array_interface__["data"][0] - np.frombuffer(base, np.uint8).__array_interface__["data"][0]
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    end = start + array.nbytes
    last = end if end == len(base) else end // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        base.madvise(mmap.MADV_DONTNEED, first, last - first)


if sys.platform != "win32":
    import resource

# Folder, limit, what is used, and what of that is files which the system drops when it needs room.
_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def budget() -> int:
    """Bytes that one object may take: ``bc.settings.memory_budget``, else what this process would be given."""
    if settings.memory_budget:
        return settings.memory_budget
    left = int(psutil.virtual_memory().available)
    for folder, limit, used, cached in _CGROUPS:
        try:
            held = int((folder / used).read_text(encoding="ascii")) - _statistic(folder / "memory.stat", cached)
            left = min(left, int((folder / limit).read_text(encoding="ascii")) - held)
        except (OSError, ValueError):  # no such container, or one without a limit
            continue
    return max(min(left, *_left_of_limits()), 0)


def _left_of_limits() -> list[int]:
    """What the limits of this process leave it, as clusters set them with ``ulimit``."""
    if sys.platform == "win32":
        return [sys.maxsize]
    limits = {"vms": resource.getrlimit(resource.RLIMIT_AS)[0], "data": resource.getrlimit(resource.RLIMIT_DATA)[0]}
    left = [sys.maxsize]
    for used, limit in limits.items():
        if limit != resource.RLIM_INFINITY:
            # Not all systems say how much data there is.
            left.append(limit - getattr(psutil.Process().memory_info(), used, 0))
    return left


def expect_room(needed: int, what: str, alternative: str, *, held: int = 0, believed: bool = True) -> None:
    """Refuse what does not fit.

    Parameters
    ----------
    needed
        Bytes at the peak.
    what
        What needs them, for the message.
    alternative
        What to do instead.
    held
        Bytes of those that are taken already, and no longer among what the machine has left.
    believed
        Whether it may be as large as that. What a server made up is not to be asked for in another way.

    Raises
    ------
    TooLarge
        It does not fit into :func:`budget`.
    """
    room, others = budget() + (0 if settings.memory_budget else held), 0
    if sharing := _sharing.get():
        room, others = sharing.granted(needed, room)
    if needed + others > room:
        left = "what this machine has for it" if held or others else "what this machine has left"
        source = "bc.settings.memory_budget" if settings.memory_budget else left
        beside = f" beside {_size(others)} for what is fetched with it" if others else ""
        sizes = f"{what} needs about {_size(needed)} of memory{beside}, {source} is {_size(room)}"
        msg = f"{sizes}: {alternative}"
        raise TooLarge(msg, sizes if believed else "")


class SharedBudget:
    """One budget for what is fetched side by side: each is held against it together with the others.

    On its own each would find the same memory free, and take it.
    """

    def __init__(self) -> None:
        self._room = budget()
        self._lock = threading.Lock()
        self._taken: dict[object, int] = {}

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """In this thread, within the block, :func:`expect_room` knows of the others.

        The function that it gives says how many bytes stay taken after the block. After an error it is none.
        """
        share = _Share(self)
        before = _sharing.set(share)
        try:
            yield share.keep
        finally:
            _sharing.reset(before)
            share.close()


class _Share:
    """What one of those that share a budget takes of it: the most that it has asked for, then what it keeps."""

    def __init__(self, whole: SharedBudget) -> None:
        self._whole, self._kept = whole, 0

    def granted(self, needed: int, left: int) -> tuple[int, int]:
        """The room that there is, and what others take of it; what fits is theirs from then on."""
        whole = self._whole
        with whole._lock:
            others = sum(taken for share, taken in whole._taken.items() if share is not self)
            if needed > left:
                return left, 0
            if needed + others <= whole._room:
                whole._taken[self] = max(needed, whole._taken.get(self, 0))
            return whole._room, others

    def keep(self, n_bytes: int) -> None:
        self._kept = n_bytes

    def close(self) -> None:
        with self._whole._lock:
            self._whole._taken[self] = self._kept


_sharing: ContextVar[_Share | None] = ContextVar("biocolab_sharing", default=None)


@contextmanager
def instead(alternative: str) -> Iterator[None]:
    """What does not fit within the block is refused with what its caller can do instead.

    Parameters
    ----------
    alternative
        As one writes it.

    Raises
    ------
    TooLarge
        It does not fit, or the system has no memory for it.

    Examples
    --------
    >>> with instead("ask for some of it"):
    ...     expect_room(10**18, "all of it", "do without")
    Traceback (most recent call last):
    biocolab_accessor.errors.TooLarge: all of it needs about 1,000,000,000.0 GB of memory, ...: ask for some of it
    """
    try:
        yield
    except TooLarge as error:
        if error.sizes:
            error.args = (f"{error.sizes}: {alternative}",)
        raise
    except MemoryError as error:
        sizes = str(error) or "there is no more memory"
        msg = f"{sizes}: {alternative}"
        raise TooLarge(msg, sizes) from error


def _statistic(path: Path, name: str) -> int:
    try:
        return int(dict(line.split() for line in path.read_text(encoding="ascii").splitlines()).get(name, 0))
    except (OSError, ValueError):
        return 0


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
