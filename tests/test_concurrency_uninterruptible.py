"""Concurrency: uninterruptible work is done or not begun, and its input is made by the waiting thread."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from biocolab_accessor import concurrency as module
from biocolab_accessor.concurrency import Caller, uninterruptible
from tests.patience import PATIENCE

MAIN = threading.main_thread()


def here() -> bool:
    return threading.current_thread() is MAIN


def test_the_work_runs_in_another_thread_and_its_items_are_made_in_this_one() -> None:
    def items() -> Iterator[bool]:
        for _ in range(3):
            yield here()

    assert uninterruptible(lambda caller: (here(), list(caller.iterate(items())), list(caller.iterate([])))) == (
        False,
        [True, True, True],
        [],
    )


def test_errors_of_the_work_and_of_its_items_are_raised_here() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("item")

    taken: list[int] = []
    with pytest.raises(KeyError, match="item"):
        uninterruptible(lambda caller: taken.extend(caller.iterate(items())))
    with pytest.raises(ZeroDivisionError):
        uninterruptible(lambda caller: 1 // 0)
    with pytest.raises(TimeoutError):  # from the item, not from waiting for it
        uninterruptible(lambda caller: list(caller.iterate(iter(_late, None))))
    assert taken == [1]


def _late() -> int:
    raise TimeoutError


@pytest.mark.parametrize("by", ["work", "item"])
def test_an_error_does_not_keep_the_work_alive(by: str) -> None:
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)

    def items(thing: Thing) -> Iterator[int]:
        yield 1
        raise ValueError

    def work(caller: Caller, thing: Thing = thing) -> None:
        list(caller.iterate(items(thing)))
        raise ValueError

    def only(caller: Caller, thing: Thing = thing) -> None:
        raise ValueError

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            uninterruptible(work if by == "item" else only)
        del work, only, thing
        assert gone() is None
    finally:
        gc.enable()


def test_an_item_is_released_before_the_next_is_made() -> None:
    class Thing:
        pass

    alive: list[int] = []

    def items() -> Iterator[Thing]:
        made: list[weakref.ref[Thing]] = []
        for _ in range(4):
            alive.append(sum(each() is not None for each in made))
            thing = Thing()
            made.append(weakref.ref(thing))
            yield thing
            del thing

    def work(caller: Caller) -> None:
        for item in caller.iterate(items()):
            del item

    uninterruptible(work)
    assert alive == [0, 0, 0, 0]


def test_ctrl_c_interrupts_the_waiting_and_not_the_work() -> None:
    ended: list[bool] = []

    def work(caller: Caller) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(int(PATIENCE * 100)):
            time.sleep(0.01)
            try:
                caller.check()
            except CancelledError:
                ended.append(here())
                raise

    with pytest.raises(KeyboardInterrupt):
        uninterruptible(work)
    assert ended == [False]


def test_ctrl_c_while_an_item_is_made_ends_it_at_once_and_the_work_soon() -> None:
    def items() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENCE)
        yield 2

    taken: list[int] = []
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        uninterruptible(lambda caller: taken.extend(caller.iterate(items())))
    assert time.monotonic() - start < PATIENCE
    assert taken == [1]


def test_work_that_ctrl_c_prevented_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(threading.Thread):
        """Press Ctrl-C while the main thread waits for the start."""

        def start(self) -> None:
            late.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    late: list[Late] = []
    done: list[int] = []
    monkeypatch.setattr(module, "Thread", Late)
    with pytest.raises(KeyboardInterrupt):
        uninterruptible(lambda caller: done.append(1))
    threading.Thread.start(late[0])
    late[0].join()
    assert done == []


def test_work_whose_thread_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "Thread", Refused)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        uninterruptible(lambda caller: 1)
