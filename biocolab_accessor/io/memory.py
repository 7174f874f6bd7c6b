"""Memory: the available memory, a check before large allocations, and buffers that are released early."""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from biocolab_accessor.config import settings
from biocolab_accessor.errors import TooLarge

_CAN_RELEASE = hasattr(mmap.mmap, "madvise") and hasattr(mmap, "MADV_DONTNEED") and hasattr(mmap, "MAP_ANONYMOUS")
_LEAST, _LARGE = 1 << 20, 4 << 20


class _Pages(mmap.mmap):
    """Private anonymous memory, whose pages can be released."""


def empty_pages(length: int) -> NDArray[np.uint8]:
    """``length`` uninitialized bytes, whose pages can be released; raises TooLarge if the system refuses."""
    # Small arrays come from NumPy: a process can have only a limited number of mappings.
    if length < _LEAST or not _CAN_RELEASE:
        return np.empty(length, np.uint8)
    try:
        pages = _Pages(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:  # mmap raises it in place of a MemoryError
        sizes = f"the system refused to allocate {length:,} bytes"
        msg = f"{sizes}: ask for less at a time"
        raise TooLarge(msg, sizes) from error
    if hasattr(mmap, "MADV_HUGEPAGE") and length >= _LARGE:
        pages.madvise(mmap.MADV_HUGEPAGE)  # as NumPy does: one page fault for 2 MB, not 512
    return np.frombuffer(pages, np.uint8)


def release(array: NDArray[Any]) -> None:
    """Release the memory of a contiguous array in :func:`empty_pages`; its values are lost."""
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if not isinstance(base, _Pages) or not array.nbytes:
        return
    # Whole pages only: their neighbors may hold other data.
    start = array.__array_interface__["data"][0] - np.frombuffer(base, np.uint8).__array_interface__["data"][0]
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    end = start + array.nbytes
    last = end if end == len(base) else end // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        base.madvise(mmap.MADV_DONTNEED, first, last - first)


if sys.platform != "win32":
    import resource

# Folder, limit, usage, and the part of the usage that is cached files, which the system drops when it needs memory.
_CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def budget() -> int:
    """Bytes that one object may take: ``bc.settings.memory_budget``, else the memory available to this process."""
    if settings.memory_budget:
        return settings.memory_budget
    left = int(psutil.virtual_memory().available)
    for folder, limit, used, cached in _CGROUPS:
        try:
            held = int((folder / used).read_text(encoding="ascii")) - _statistic(folder / "memory.stat", cached)
            left = min(left, int((folder / limit).read_text(encoding="ascii")) - held)
        except (OSError, ValueError):  # no such cgroup, or one without a limit
            continue
    return max(min(left, *_left_of_limits()), 0)


def _left_of_limits() -> list[int]:
    """Bytes left by the limits of this process, which clusters set with ``ulimit``."""
    if sys.platform == "win32":
        return [sys.maxsize]
    limits = {"vms": resource.getrlimit(resource.RLIMIT_AS)[0], "data": resource.getrlimit(resource.RLIMIT_DATA)[0]}
    left = [sys.maxsize]
    for used, limit in limits.items():
        if limit != resource.RLIM_INFINITY:
            # Not all systems report the size of the data segment.
            left.append(limit - getattr(psutil.Process().memory_info(), used, 0))
    return left


def expect_room(needed: int, what: str, alternative: str, *, held: int = 0, believed: bool = True) -> None:
    """Raise TooLarge if `needed` bytes at the peak exceed the :func:`budget`."""
    # `held` of the needed bytes are allocated already, so the available memory no longer includes them. If the size is
    # not `believed`, because it comes from a malformed response, requesting less would not help.
    room, others = budget() + (0 if settings.memory_budget else held), 0
    if sharing := _sharing.get():
        room, others = sharing.granted(needed, room)
    if needed + others > room:
        left = "the memory available for it" if held or others else "the available memory"
        source = "bc.settings.memory_budget" if settings.memory_budget else left
        besides = f" besides {_size(others)} for other parts" if others else ""
        sizes = f"{what} needs about {_size(needed)} of memory{besides}, {source} is {_size(room)}"
        msg = f"{sizes}: {alternative}"
        raise TooLarge(msg, sizes if believed else "")


_PACKED: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def expect_room_for_text(path: Path, times: int, alternative: str) -> None:
    """Raise TooLarge if a text file, packed or not, needs so many times its size and has more than fits."""
    opened, size = _PACKED.get(path.suffix.lower()), 0
    if opened is None:
        packed = zipfile.ZipFile(path).infolist() if path.suffix.lower() == ".zip" else []
        expect_room(times * (sum(each.file_size for each in packed) or path.stat().st_size), str(path), alternative)
        return
    with opened(path) as file:
        while piece := file.read(1 << 20):
            size += len(piece)
            expect_room(times * size, str(path), alternative)


class SharedBudget:
    """One budget for parallel fetches: each is checked together with the others."""

    # Checked separately, each fetch would find the same memory available, and take it.
    def __init__(self) -> None:
        self._room = budget()
        self._lock = threading.Lock()
        self._taken: dict[object, int] = {}

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """In this thread and block, :func:`expect_room` includes the other shares; yields `keep(n_bytes)`."""
        # keep(n_bytes) says how many bytes stay allocated after the block; 0 after an error.
        share = _Share(self)
        before = _sharing.set(share)
        try:
            yield share.keep
        finally:
            _sharing.reset(before)
            share.close()


class _Share:
    """The part of a shared budget that one fetch takes: its largest request, then the bytes that it keeps."""

    def __init__(self, whole: SharedBudget) -> None:
        self._whole, self._kept = whole, 0

    def granted(self, needed: int, left: int) -> tuple[int, int]:
        """The room, and the bytes that other shares take; a request that fits is reserved."""
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
    """A TooLarge in the block tells the user this alternative."""
    try:
        yield
    except TooLarge as error:
        if error.sizes:
            error.args = (f"{error.sizes}: {alternative}",)
        raise
    except MemoryError as error:
        sizes = str(error) or "out of memory"
        msg = f"{sizes}: {alternative}"
        raise TooLarge(msg, sizes) from error


def _statistic(path: Path, name: str) -> int:
    try:
        return int(dict(line.split() for line in path.read_text(encoding="ascii").splitlines()).get(name, 0))
    except (OSError, ValueError):
        return 0


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
