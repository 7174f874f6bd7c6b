"""Pages: memory that can be given back to the system piece by piece, while the rest is still in use."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocolab_accessor.errors import TooLarge

__all__ = ["empty_pages", "release"]

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
