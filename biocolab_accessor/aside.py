"""Aside: work in a thread of its own, which Ctrl-C does not break into.

Python raises KeyboardInterrupt in the main thread only, between any two steps: also within what C code has called back,
which may not survive that. What the work is fed with is made by the thread that waits, where Ctrl-C ends it at once.
"""

from __future__ import annotations

from _thread import start_new_thread
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from biocolab_accessor.waits import ended, taken

__all__ = ["Waiting", "aside"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
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


def aside(work: Callable[[Waiting], _Result]) -> _Result:
    """Do something in a thread of its own, and wait for it.

    Parameters
    ----------
    work
        Gets the thread that waits. It has not begun, or has ended, when this returns or raises.

    Examples
    --------
    >>> aside(lambda waiting: sum(waiting.served([1, 2, 3])))
    6
    """
    waiting, outcome = Waiting(), _Outcome[_Result]()
    turn: SimpleQueue[None] = SimpleQueue()
    turn.put(None)  # who takes it decides whether the work begins
    thread = Thread(target=_run, args=(turn, outcome, work, waiting), name="biocolab-aside", daemon=False)
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
