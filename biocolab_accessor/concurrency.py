"""Concurrency: cancellable threads for requests, threads for arrays, uninterruptible work, and waits that Ctrl-C ends.

Only the main thread gets Ctrl-C. Threads of our own wait as they like; whatever may run in the main thread waits here.

Python raises KeyboardInterrupt in the main thread only, between any two steps: also within what C code has called back,
which may not survive that. What the work is fed with is made by the thread that waits, where Ctrl-C ends it at once.
"""

from __future__ import annotations

import math
import os
import threading
import time
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import pairwise
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "THREADS",
    "CancellableThreads",
    "Waiting",
    "each",
    "ended",
    "first_error",
    "in_order",
    "is_cancelled",
    "on_cancel",
    "pause",
    "result",
    "settled",
    "shares",
    "taken",
    "uninterruptible",
    "until",
]

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


_Given = ParamSpec("_Given")

_SECONDS_TO_END = 1.0


class _Own(threading.local):
    """Which crew this thread is of."""

    threads: CancellableThreads | None = None


_own = _Own()


class CancellableThreads:
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
    >>> with CancellableThreads(2, "sums") as threads:
    ...     sums = [threads.submit(sum, some) for some in ([1, 2], [3, 4])]
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
        self._cancelled = False
        # A crew that one of a crew's threads has is given up with it.
        self._within = on_cancel(self._cancel)

    def __enter__(self) -> CancellableThreads:
        self._within.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._cancel()
        self._within.__exit__(None, None, None)
        self._waiting.put(None)
        end = time.monotonic() + _SECONDS_TO_END
        for thread in self._threads:
            ended(thread, math.inf if kind is None else max(0.0, end - time.monotonic()))

    def submit(
        self, function: Callable[_Given, _Result], *arguments: _Given.args, **named: _Given.kwargs
    ) -> Future[_Result]:
        """Have a function called in one of the threads; the future has what it gives, or raises."""
        future: Future[_Result] = Future()
        with self._lock:
            if self._cancelled:
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
        _own.threads = self
        while call := self._waiting.get():
            call()
            del call
        self._waiting.put(None)  # for the next thread

    def _cancel(self) -> None:
        # Under the lock, so that nothing is stopped whose block has ended.
        with self._lock:
            self._cancelled = True
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


def is_cancelled() -> bool:
    """Whether nobody waits any more for what this thread does."""
    return _own.threads is not None and _own.threads._cancelled


@contextmanager
def on_cancel(stop: Callable[[], object]) -> Iterator[None]:
    """Have something called, from another thread, as soon as nobody waits any more for what the block does.

    Parameters
    ----------
    stop
        Must not wait, nor raise. In a thread that is of no crew it is never called.
    """
    threads = _own.threads
    if threads is None:
        yield
        return
    with threads._lock:
        threads._stops.append(stop)
        if threads._cancelled:
            stop()
    try:
        yield
    finally:
        with threads._lock:
            threads._stops.remove(stop)


def pause(seconds: float) -> None:
    """Sleep, but not on when nobody waits any more for what this thread does."""
    if _own.threads is None:
        time.sleep(seconds)
        return
    over = threading.Event()
    with on_cancel(over.set):
        over.wait(seconds)


_END: Any = object()

# How soon each side sees what became of the other, in seconds.
_LOOK = 0.1

# No futures, conditions or events: their locks are taken in Python, and Ctrl-C between the taking and the next step of
# the main thread leaves them locked for ever. Queues of C have no such moment.


class _Outcome(Generic[_Result]):
    """What becomes of a call: its value or its error, once it is over."""

    def __init__(self) -> None:
        self.over = False
        self._value: _Result | None = None
        self._error: BaseException | None = None

    def of(self, call: Callable[[], _Result], caught: type[BaseException]) -> None:
        """Call, and keep what comes of it; errors of other kinds are raised here."""
        try:
            self._value = call()
        except caught as error:
            self._error = error
        self.over = True

    def fail(self, error: BaseException) -> None:
        """Keep an error without a call."""
        self._error, self.over = error, True

    def take(self) -> _Result:
        """Give the value or raise the error, and keep neither: an error holds its frames, which must not hold it."""
        value: Any = self._value
        error = self._error
        self.drop()
        if error is not None:
            try:
                raise error
            finally:
                del error
        return value  # type: ignore[no-any-return]

    def drop(self) -> None:
        """Keep nothing."""
        self._value, self._error = None, None


class Waiting:
    """The thread that waits, as the work sees it."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.gone = False

    def expect(self) -> None:
        """To be called between two steps.

        Raises
        ------
        CancelledError
            Nobody waits any more.
        """
        if self.gone:
            raise CancelledError

    def served(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items, each made by the thread that waits.

        Raises
        ------
        CancelledError
            Nobody waits any more.
        """
        iterator = iter(items)
        while (item := self._ask(lambda: next(iterator, _END))) is not _END:
            yield item
            del item  # else it is held while the next is made

    def _ask(self, call: Callable[[], Any]) -> Any:
        outcome: _Outcome[Any] = _Outcome()
        answered: SimpleQueue[None] = SimpleQueue()

        def answer() -> None:
            outcome.of(call, Exception)
            answered.put(None)

        self.asked.put(answer)
        while not outcome.over:
            self.expect()
            with suppress(Empty):
                answered.get(timeout=_LOOK)
        return outcome.take()


def uninterruptible(work: Callable[[Waiting], _Result]) -> _Result:
    """Do something in a thread of its own, and wait for it.

    Parameters
    ----------
    work
        Gets the thread that waits. It has not begun, or has ended, when this returns or raises.

    Examples
    --------
    >>> uninterruptible(lambda waiting: sum(waiting.served([1, 2, 3])))
    6
    """
    waiting, outcome = Waiting(), _Outcome[_Result]()
    turn: SimpleQueue[None] = SimpleQueue()
    turn.put(None)  # who takes it decides whether the work begins
    thread = Thread(target=_run, args=(turn, outcome, work, waiting), name="biocolab-uninterruptible", daemon=False)
    try:
        start_new_thread(_start, (thread, outcome, waiting))
        while (call := taken(waiting.asked)) is not None:
            call()
            del call
        if thread.ident is not None:  # it was started
            ended(thread)
        return outcome.take()
    finally:
        waiting.gone = True
        if not _is_taken(turn):
            while not outcome.over:
                with suppress(Empty):
                    waiting.asked.get(timeout=_LOOK)
        outcome.drop()


def _start(thread: Thread, outcome: _Outcome[Any], waiting: Waiting) -> None:
    """In a thread that Ctrl-C does not reach, since a thread waits for its own start behind a lock of Python."""
    try:
        thread.start()
    except Exception as error:  # noqa: BLE001 - such as of a system that has no more threads; raised by who waits
        outcome.fail(error)
        waiting.asked.put(None)


def _run(turn: SimpleQueue[None], outcome: _Outcome[Any], work: Callable[[Waiting], Any], waiting: Waiting) -> None:
    if _is_taken(turn):
        outcome.of(lambda: work(waiting), BaseException)
        waiting.asked.put(None)


def _is_taken(turn: SimpleQueue[None]) -> bool:
    """Take the turn if it is there."""
    try:
        turn.get_nowait()
    except Empty:
        return False
    return True
