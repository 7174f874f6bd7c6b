"""Threads: how many of them, and an even share of a matrix for each."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["THREADS", "shares"]

THREADS = min(4, os.cpu_count() or 1)
"""For work that is done in C beside Python's lock; more of them would wait for memory."""


def shares(indptr: NDArray[Any]) -> list[tuple[int, int]]:
    """Consecutive ranges of compressed rows, one for a thread, with about as many values each.

    Parameters
    ----------
    indptr
        (n + 1,) rising from 0.

    Examples
    --------
    >>> import numpy as np
    >>> sum(last - first for first, last in shares(np.array([0, 2, 2, 7])))
    3
    """
    inner = np.searchsorted(indptr, np.linspace(0, int(indptr[-1]), THREADS + 1)[1:-1])
    return list(pairwise([0, *map(int, inner), len(indptr) - 1]))
