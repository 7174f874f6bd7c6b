"""Name list: names of tens of thousands of genes as one text, so that each question about them is asked once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["NameList"]

_PADDING = 8


class NameList:
    """Names, those of them that are text, and these one below the other.

    A call for each of 64,000 names takes longer than all that is asked of them.

    Parameters
    ----------
    names
        Of features.
    """

    def __init__(self, names: Iterable[Any]) -> None:
        self.every: list[Any] = names.tolist() if isinstance(names, pd.Index) else list(names)
        texts = self.every
        try:
            joined = "\n".join(texts)
        except TypeError:
            texts = [name for name in texts if isinstance(name, str)]
            joined = "\n".join(texts)
        if joined.count("\n") >= max(1, len(texts)):
            texts = [name.replace("\n", " ") for name in texts]  # what would break a line
            joined = "\n".join(texts)
        self.texts: list[str] = texts
        self.lines = f"\n{joined}\n"

    @property
    def is_text(self) -> bool:
        """Whether every name is text of one line."""
        return self.texts is self.every

    def letter(self, place: int) -> NDArray[np.uint8]:
        """The byte at a place of each text, in UTF-8; from the end of a text on it is one of what follows."""
        letters: NDArray[np.uint8] = self._encoded[self._starts + place]
        return letters

    def those(self, chosen: NDArray[np.bool_]) -> str:
        """Some of the texts as lines."""
        return "\n".join(["", *(self.texts[place] for place in np.flatnonzero(chosen).tolist()), ""])

    @cached_property
    def _encoded(self) -> NDArray[np.uint8]:
        return np.frombuffer(f"{self.lines}{' ' * _PADDING}".encode("utf-8", "replace"), np.uint8)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        ends = np.flatnonzero(self._encoded == ord("\n"))
        starts: NDArray[np.intp] = ends[: len(self.texts)] + 1
        return starts
