"""Buffer: an answer in memory, once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from biocolab_accessor.storage.budget import expect_room
from biocolab_accessor.storage.pages import empty_pages

__all__ = ["Buffer"]

_SMALL = 1024 * 1024


class Buffer:
    """Takes the pieces of an answer into one array of the announced length.

    The array's pages are only taken by the system as they fill, so that a server that announces more than it sends
    costs nothing. Without an announced length the array doubles as it grows.
    """

    def __init__(self) -> None:
        self._array = np.empty(0, np.uint8)
        self._filled = 0

    def open(self, length: int | None) -> Callable[[memoryview], object]:
        """Start afresh, for a new attempt; gives the function that takes the pieces."""
        self._array = empty_pages(length or 0)
        self._filled = 0
        return self._write

    @property
    def content(self) -> NDArray[np.uint8]:
        """What has arrived, without a copy."""
        return self._array[: self._filled]

    def _write(self, piece: memoryview) -> None:
        end = self._filled + len(piece)
        if end > len(self._array):
            if end > _SMALL:
                expect_room(4 * end, "an answer of unknown length", "ask for genes=, or write it to a file")
            self._array = np.concatenate([self.content, np.empty(max(end, 1024 * 1024), np.uint8)])
        self._array[self._filled : end] = piece
        self._filled = end
