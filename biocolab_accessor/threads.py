"""Threads: how many of them, an even share of a matrix for each, and work that Ctrl-C must not break into."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from itertools import pairwise
from threading import Event, Thread
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["THREADS", "aside", "shares"]

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


def aside(work: Callable[[Event], _Result]) -> _Result:
    """Do something in a thread of its own, which no KeyboardInterrupt breaks into, and wait for it.

    Python raises it in the main thread only, between any two steps: also within what C code has called back, which may
    not survive that.

    Parameters
    ----------
    work
        Gets an event that is set when it shall stop, since nobody waits for its result any more.

    Examples
    --------
    >>> aside(lambda stop: stop.is_set())
    False
    """
    stop = Event()
    future: Future[_Result] = Future()
    thread = Thread(target=_done, args=(future, work, stop), name="biocolab-aside")
    try:
        thread.start()
        return future.result()
    finally:
        stop.set()
        if not future.cancel():  # it has begun, also where Ctrl-C came while the thread was started
            wait([future])
            thread.join()
        del future  # an error holds its frames, which must not hold the error


def _done(future: Future[_Result], work: Callable[[Event], _Result], stop: Event) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(work(stop))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)
            del future, work
