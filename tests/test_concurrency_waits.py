"""Concurrency: the main thread waits in short pieces."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from biocolab_accessor.concurrency import each, ended, first_error, result, taken, until

pytest_plugins = ["tests.windows"]
pytestmark = pytest.mark.usefixtures("waits_of_windows")


def later(step: object, *arguments: object) -> threading.Timer:
    timer = threading.Timer(0.25, step, arguments)
    timer.start()
    return timer


def test_a_wait_ends_with_its_event_or_its_timeout() -> None:
    event, pieces = threading.Event(), []
    later(event.set)

    def over(seconds: float) -> bool:
        pieces.append(seconds)
        return event.wait(seconds)

    assert until(over)
    assert max(pieces) <= 0.1
    assert len(pieces) >= 2
    assert not until(threading.Event().wait, 0.15)
    assert until(event.wait, 0)


def test_a_future_gives_its_result_its_error_or_its_cancellation() -> None:
    futures: list[Future[int]] = [Future() for _ in range(3)]
    later(futures[0].set_result, 3)
    assert result(futures[0]) == 3
    later(futures[1].set_exception, TimeoutError("of the work"))
    with pytest.raises(TimeoutError, match="of the work"):
        result(futures[1])
    later(futures[2].cancel)
    with pytest.raises(CancelledError):
        result(futures[2])


def test_a_future_does_not_keep_its_error_alive() -> None:
    class Failed(Exception):
        pass

    def fail() -> None:
        future: Future[int] = Future()
        future.set_exception(Failed())
        gone.append(weakref.ref(future))
        try:
            result(future)
        finally:
            del future

    gone: list[weakref.ref[Future[int]]] = []
    gc.disable()
    try:
        with pytest.raises(Failed):
            fail()
        assert gone[0]() is None
    finally:
        gc.enable()


def test_the_first_error_is_raised_while_others_are_under_way() -> None:
    slow, good, bad = Future[int](), Future[int](), Future[int]()
    good.set_result(1)
    later(bad.set_exception, KeyError("x"))
    with pytest.raises(KeyError):
        first_error([slow, good, bad])
    later(slow.set_result, 2)
    first_error([slow, good])


def test_a_thread_is_waited_for_and_an_item_taken() -> None:
    timer = later(str)
    assert not ended(timer, 0.01)
    assert ended(timer)
    queue: SimpleQueue[str] = SimpleQueue()
    later(queue.put, "x")
    assert taken(queue) == "x"


def test_each_keeps_the_order_and_calls_nothing_more_after_an_error() -> None:
    called, gate = [], threading.Event()

    def invert(value: int, by: int) -> float:
        called.append(value)
        if value == 7:
            gate.wait(10)
        return by / value

    with ThreadPoolExecutor(1) as pool:
        assert each(pool, invert, [1, 2, 4], [4, 4, 4]) == [4, 2, 1]
        with pytest.raises(ZeroDivisionError):
            each(pool, invert, [0, 7, 8, 9], [1, 1, 1, 1])
        gate.set()
    assert called in ([1, 2, 4, 0, 7], [1, 2, 4, 0])
