"""Crew: threads for requests that are sent side by side, and are given up together."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from biocolab_accessor.waits import ended

__all__ = ["Crew", "given_up", "pause", "stopped_by"]

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")
_SECONDS_TO_END = 1.0


class _Own(threading.local):
    """Which crew this thread is of."""

    crew: Crew | None = None


_own = _Own()


class Crew:
    """Threads that do what they are asked to while the block lasts.

    At its end they have ended. Where an exception ends it, nobody waits for what they do: requests that are under way
    are cut off, and what has not begun never does. A thread that cannot be stopped is left behind after a second, and
    keeps no interpreter from ending.

    Parameters
    ----------
    most
        Number of threads at the most.
    name
        Of the threads.

    Examples
    --------
    >>> from biocolab_accessor.waits import result
    >>> with Crew(2, "sums") as crew:
    ...     sums = [crew.ask(sum, some) for some in ([1, 2], [3, 4])]
    ...     [result(each) for each in sums]
    [3, 7]
    """

    # A ThreadPoolExecutor waits for its threads, at the end of its block and once more at that of the interpreter.
    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._asked: list[Future[Any]] = []
        self._threads: list[threading.Thread] = []
        self._stops: list[Callable[[], object]] = []
        self._given_up = False
        # A crew that one of a crew's threads has is given up with it.
        self._within = stopped_by(self._give_up)

    def __enter__(self) -> Crew:
        self._within.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._give_up()
        self._within.__exit__(None, None, None)
        self._waiting.put(None)
        end = time.monotonic() + _SECONDS_TO_END
        for thread in self._threads:
            ended(thread, math.inf if kind is None else max(0.0, end - time.monotonic()))

    def ask(
        self, function: Callable[_Given, _Result], *arguments: _Given.args, **named: _Given.kwargs
    ) -> Future[_Result]:
        """Have a function called in one of the threads; the future has what it gives, or raises."""
        future: Future[_Result] = Future()
        with self._lock:
            if self._given_up:
                future.cancel()
                return future
            self._asked.append(future)
            self._waiting.put(lambda: _settle(future, function, *arguments, **named))
            if len(self._threads) < self._most:
                name = f"{self._name}_{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)
        return future

    def _work(self) -> None:
        _own.crew = self
        while call := self._waiting.get():
            call()
            del call
        self._waiting.put(None)  # for the next thread

    def _give_up(self) -> None:
        # Under the lock, so that nothing is stopped whose block has ended.
        with self._lock:
            self._given_up = True
            for stop in self._stops:
                stop()
            asked = list(self._asked)
        for future in asked:
            future.cancel()


def _settle(
    future: Future[_Result],
    function: Callable[_Given, _Result],
    /,
    *arguments: _Given.args,
    **named: _Given.kwargs,
) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function(*arguments, **named))
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)
    finally:
        del future  # its error has this frame


def given_up() -> bool:
    """Whether nobody waits any more for what this thread does."""
    return _own.crew is not None and _own.crew._given_up


@contextmanager
def stopped_by(stop: Callable[[], object]) -> Iterator[None]:
    """Have something called, from another thread, as soon as nobody waits any more for what the block does.

    Parameters
    ----------
    stop
        Must not wait, nor raise. In a thread that is of no crew it is never called.
    """
    crew = _own.crew
    if crew is None:
        yield
        return
    with crew._lock:
        crew._stops.append(stop)
        if crew._given_up:
            stop()
    try:
        yield
    finally:
        with crew._lock:
            crew._stops.remove(stop)


def pause(seconds: float) -> None:
    """Sleep, but not on when nobody waits any more for what this thread does."""
    if _own.crew is None:
        time.sleep(seconds)
        return
    over = threading.Event()
    with stopped_by(over.set):
        over.wait(seconds)
