"""Concurrency: cancellable threads for requests, threads for arrays, uninterruptible work, and waits that Ctrl-C ends.

Python raises KeyboardInterrupt only in the main thread, and between any two bytecodes: also inside a callback of C code
such as HDF5, which may not survive that. So such code runs in another thread (`uninterruptible`), while the main thread
makes its input and waits for it in short pieces, where Ctrl-C takes effect at once.
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

from biocolab_accessor.messages import Place, calling_place, started_at

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Given = ParamSpec("_Given")

_PIECE = 0.1  # seconds between two looks at whether a wait is over
_SECONDS_TO_END = 1.0


def until(over: Callable[[float], object], seconds: float = math.inf) -> bool:
    """Wait until `over(seconds)`, such as Event.wait, returns true or the time is up; return whether it did."""
    end = time.monotonic() + seconds
    while not over(max(0.0, min(_PIECE, end - time.monotonic()))):
        if time.monotonic() >= end:
            return False
    return True


def result(future: Future[_Result]) -> _Result:
    """Wait for the result of a future; raises the error of the future."""
    try:
        while not future.done():
            with suppress(TimeoutError, CancelledError):
                future.exception(_PIECE)
        return future.result(0)
    finally:
        del future  # an error references its frames, which must not reference the error


def first_error(futures: Sequence[Future[Any]]) -> None:
    """Wait until all futures have a result, or raise the first error."""
    left = list(futures)
    while left:
        wait(left, _PIECE, FIRST_EXCEPTION)
        for future in [future for future in left if future.done()]:
            future.result()
            left.remove(future)


def each(pool: Executor, call: Callable[..., _Result], *items: Iterable[Any]) -> list[_Result]:
    """Like Executor.map, but after an error the remaining calls are cancelled."""
    futures = [pool.submit(call, *arguments) for arguments in zip(*items, strict=True)]
    try:
        return [result(future) for future in futures]
    finally:
        for future in futures:
            future.cancel()
        del futures


def ended(thread: threading.Thread, seconds: float = math.inf) -> bool:
    """Wait for a thread to end; return whether it did."""

    def over(piece: float) -> bool:
        thread.join(piece)
        return not thread.is_alive()

    return until(over, seconds)


def taken(queue: SimpleQueue[_Item]) -> _Item:
    """Wait for the next item of a queue."""
    while True:
        try:
            return queue.get(timeout=_PIECE)
        except Empty:
            continue


THREADS = min(4, os.cpu_count() or 1)
"""For work in C that releases the GIL; more threads would only wait for memory."""


def shares(indptr: NDArray[Any]) -> list[tuple[int, int]]:
    """Consecutive ranges of compressed rows, one for each thread, with about the same number of values."""
    # indptr: (n_rows + 1,), from 0.
    inner = np.searchsorted(indptr, np.linspace(0, int(indptr[-1]), THREADS + 1)[1:-1])
    return list(pairwise([0, *map(int, inner), len(indptr) - 1]))


def in_order(
    call: Callable[[_Item], _Result], items: Iterable[_Item], name: str, at_once: int
) -> Generator[_Result, None, None]:
    """Results of a function in the order of its items, computed in `at_once` threads."""
    # The caller's thread takes the items, one more than there are threads, so that memory stays bounded.
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


class _Own(threading.local):
    """The CancellableThreads that this thread belongs to."""

    threads: CancellableThreads | None = None


_own = _Own()


class CancellableThreads:
    """Threads that end with the block; after an error, running requests are cut and the rest is cancelled."""

    # Not a ThreadPoolExecutor, which waits for its threads at the end of the block and when the interpreter exits.
    # Here a thread that cannot be stopped is abandoned after a second, and does not keep the interpreter alive.
    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._lock = threading.Lock()
        self._waiting: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._asked: list[Future[Any]] = []
        self._threads: list[threading.Thread] = []
        self._stops: list[Callable[[], object]] = []
        self._cancelled = False
        # Threads that a cancelled thread has started are cancelled with it.
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
        """Call a function in one of the threads, like Executor.submit."""
        future: Future[_Result] = Future()
        place = calling_place()
        with self._lock:
            if self._cancelled:
                future.cancel()
                return future
            self._asked.append(future)
            self._waiting.put(lambda: _settle(future, place, lambda: function(*arguments, **named)))
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
        # Under the lock, so that nothing is stopped after its block has ended.
        with self._lock:
            self._cancelled = True
            for stop in self._stops:
                stop()
            asked = list(self._asked)
        for future in asked:
            future.cancel()


def in_background(work: Callable[[], object], name: str) -> Callable[[], None]:
    """Call a function in a thread of its own, and return a function that cancels it, which takes a second at most."""
    threads = CancellableThreads(1, name)
    threads.submit(work)
    threads._waiting.put(None)

    def cancel() -> None:
        threads._cancel()
        for thread in threads._threads:
            ended(thread, _SECONDS_TO_END)

    return cancel


def request_threads(name: str, most: int | None = None) -> CancellableThreads:
    """Threads for the requests of one call: at most ``bc.settings.max_requests``, or fewer if ``most`` is less."""
    from biocolab_accessor.config import settings  # takes a moment, and may find the environment at fault

    limit = settings.max_requests
    return CancellableThreads(limit if most is None else min(most, limit), name)


def _settle(future: Future[_Result], place: Place | None, call: Callable[[], _Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        with started_at(place):
            found = call()
        future.set_result(found)
    except BaseException as error:  # noqa: BLE001 - raised again by Future.result
        future.set_exception(error)
    finally:
        del future  # its error references this frame


def is_cancelled() -> bool:
    """Whether the CancellableThreads of this thread were cancelled."""
    return _own.threads is not None and _own.threads._cancelled


@contextmanager
def on_cancel(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` from another thread as soon as the threads of this block are cancelled."""
    # `stop` must neither wait nor raise. It is never called in a thread outside CancellableThreads.
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
    """Sleep, but stop sleeping when the thread is cancelled."""
    if _own.threads is None:
        time.sleep(seconds)
        return
    over = threading.Event()
    with on_cancel(over.set):
        over.wait(seconds)


_END: Any = object()

# No futures, conditions or events: they take their locks in Python code, and Ctrl-C right after that leaves them locked
# forever. SimpleQueue is written in C and has no such moment.


class _Outcome(Generic[_Result]):
    """The value or the error of a call."""

    def __init__(self) -> None:
        self.over = False
        self._value: _Result | None = None
        self._error: BaseException | None = None

    def of(self, call: Callable[[], _Result], caught: type[BaseException]) -> None:
        """Call and store the value or the error; errors of other types are raised here."""
        try:
            self._value = call()
        except caught as error:
            self._error = error
        self.over = True

    def fail(self, error: BaseException) -> None:
        """Store an error without a call."""
        self._error, self.over = error, True

    def take(self) -> _Result:
        """Return the value or raise the error, and drop both: an error references its frames."""
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
        """Drop the value and the error."""
        self._value, self._error = None, None


class Caller:
    """The waiting thread, as the work sees it."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.gone = False

    def check(self) -> None:
        """Raise CancelledError if the waiting thread has gone; to be called between two steps."""
        if self.gone:
            raise CancelledError

    def iterate(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items, each made by the waiting thread."""
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
            self.check()
            with suppress(Empty):
                answered.get(timeout=_PIECE)
        return outcome.take()


def uninterruptible(work: Callable[[Caller], _Result]) -> _Result:
    """Run `work` in a thread that Ctrl-C cannot interrupt, and wait for it."""
    # When this returns or raises, the work has ended, or will never begin.
    caller, outcome = Caller(), _Outcome[_Result]()
    turn: SimpleQueue[None] = SimpleQueue()
    turn.put(None)  # whichever thread takes it decides whether the work begins
    thread = Thread(target=_run, args=(turn, outcome, work, caller), name="biocolab-uninterruptible", daemon=False)
    try:
        start_new_thread(_start, (thread, outcome, caller))
        while (call := taken(caller.asked)) is not None:
            call()
            del call
        if thread.ident is not None:  # it was started
            ended(thread)
        return outcome.take()
    finally:
        caller.gone = True
        if not _is_taken(turn):
            while not outcome.over:
                with suppress(Empty):
                    caller.asked.get(timeout=_PIECE)
        outcome.drop()


def _start(thread: Thread, outcome: _Outcome[Any], caller: Caller) -> None:
    """Start the thread from a thread that Ctrl-C does not reach, since Thread.start waits for a Python lock."""
    try:
        thread.start()
    except Exception as error:  # noqa: BLE001 - such as no more threads; raised in the waiting thread
        outcome.fail(error)
        caller.asked.put(None)


def _run(turn: SimpleQueue[None], outcome: _Outcome[Any], work: Callable[[Caller], Any], caller: Caller) -> None:
    if _is_taken(turn):
        outcome.of(lambda: work(caller), BaseException)
        caller.asked.put(None)


def _is_taken(turn: SimpleQueue[None]) -> bool:
    """Take the turn, if it is still available."""
    try:
        turn.get_nowait()
    except Empty:
        return False
    return True
