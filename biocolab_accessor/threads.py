"""Threads: how many of them, an even share of a matrix for each, and work in an order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from biocolab_accessor.waits import result

__all__ = ["THREADS", "in_order", "shares"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

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


def in_order(
    call: Callable[[_Item], _Result], items: Iterable[_Item], name: str, at_once: int
) -> Generator[_Result, None, None]:
    """What a function that lets other threads run makes of each item, in threads of their own.

    Parameters
    ----------
    call
        The function.
    items
        Are taken in the caller's thread, one more than are in work, so that memory stays bounded.
    name
        Of the threads.
    at_once
        How many of them.

    Examples
    --------
    >>> list(in_order(abs, [-3, 2, -1], "example", 2))
    [3, 2, 1]
    """
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(at_once, name) as pool:
        try:
            for item in items:
                if len(waiting) == at_once:
                    yield result(waiting.popleft())
                waiting.append(pool.submit(call, item))
                del item  # else it is held while the next is made
            while waiting:
                yield result(waiting.popleft())
        finally:
            for one in waiting:
                one.cancel()
