"""Aside: work in a thread of its own, which Ctrl-C does not break into.

Python raises KeyboardInterrupt in the main thread only, between any two steps: also within what C code has called back,
which may not survive that. What the work is fed with is made by the thread that waits, where Ctrl-C ends it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from biocolab_accessor.waits import ended, result, settled, taken

__all__ = ["Waiting", "aside"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_END: Any = object()
# How soon work that asked for something sees that nobody waits any more, in seconds.
_LOOK = 0.1


class Waiting:
    """The thread that waits, as the work sees it."""

    def __init__(self) -> None:
        self.asked: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
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
        answer: Future[Any] = Future()
        self.asked.put((answer, call))
        try:
            while not answer.done():
                self.expect()
                wait([answer], _LOOK)
            return answer.result()
        finally:
            del answer  # an error holds its frames, which must not hold the error


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
    waiting = Waiting()
    done: Future[_Result] = Future()
    thread = Thread(target=_run, args=(done, work, waiting), name="biocolab-aside")
    try:
        thread.start()
        _serve(waiting)
        ended(thread)
        return result(done)
    finally:
        waiting.gone = True
        if not done.cancel():  # it has begun, also where Ctrl-C came while the thread was started
            settled(done)
        del done  # as above


def _run(done: Future[_Result], work: Callable[[Waiting], _Result], waiting: Waiting) -> None:
    if done.set_running_or_notify_cancel():
        try:
            done.set_result(work(waiting))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)
            del done, work
        waiting.asked.put(None)


def _serve(waiting: Waiting) -> None:
    while (asked := taken(waiting.asked)) is not None:
        answer, call = asked
        try:
            answer.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            answer.set_exception(error)
        del asked, answer, call
