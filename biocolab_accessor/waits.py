"""Waits: waiting in short pieces, since on Windows Ctrl-C does not get through to a thread that waits in one.

Only the main thread gets Ctrl-C. Threads of our own wait as they like; whatever may run in the main thread waits here.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Executor, Future, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

__all__ = ["each", "ended", "first_error", "result", "settled", "taken", "until"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_PIECE = 0.1


def until(over: Callable[[float], object], seconds: float = math.inf) -> bool:
    """Wait until something is over, and say whether it is.

    Parameters
    ----------
    over
        Waits for as many seconds as it is given, and says whether it is over; as :meth:`threading.Event.wait`.
    seconds
        How long at the most.

    Examples
    --------
    >>> until(threading.Event().wait, 0.01)
    False
    """
    end = time.monotonic() + seconds
    while not over(max(0.0, min(_PIECE, end - time.monotonic()))):
        if time.monotonic() >= end:
            return False
    return True


def settled(future: Future[Any]) -> None:
    """Wait until a future has a result or an error, or was cancelled."""
    while not future.done():
        with suppress(TimeoutError, CancelledError):
            future.exception(_PIECE)


def result(future: Future[_Result]) -> _Result:
    """What a future has, once it has it.

    Raises
    ------
    BaseException
        What the future raises.
    """
    settled(future)
    try:
        return future.result(0)
    finally:
        del future  # an error holds its frames, which must not hold the error


def first_error(futures: Sequence[Future[Any]]) -> None:
    """Wait until all futures have a result, or one of them an error, which is raised.

    Raises
    ------
    BaseException
        What one of the futures raises.
    """
    left = list(futures)
    while left:
        wait(left, _PIECE, FIRST_EXCEPTION)
        for future in [future for future in left if future.done()]:
            future.result()
            left.remove(future)


def each(pool: Executor, call: Callable[..., _Result], *items: Iterable[Any]) -> list[_Result]:
    """As :meth:`concurrent.futures.Executor.map`, of which nothing is left to wait for.

    Raises
    ------
    BaseException
        What the first call that fails raises; what has not begun is not called then.
    """
    futures = [pool.submit(call, *arguments) for arguments in zip(*items, strict=True)]
    try:
        return [result(future) for future in futures]
    finally:
        for future in futures:
            future.cancel()
        del futures


def ended(thread: threading.Thread, seconds: float = math.inf) -> bool:
    """Wait for the end of a thread, and say whether it has ended."""

    def over(piece: float) -> bool:
        thread.join(piece)
        return not thread.is_alive()

    return until(over, seconds)


def taken(queue: SimpleQueue[_Item]) -> _Item:
    """The next item of a queue, once there is one."""
    while True:
        try:
            return queue.get(timeout=_PIECE)
        except Empty:
            continue
