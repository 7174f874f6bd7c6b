"""Cancellable threads end with their block, and at once after an error."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress

import pytest

import biocolab_accessor as bc
from biocolab_accessor import concurrency as module
from biocolab_accessor.concurrency import CancellableThreads, is_cancelled, on_cancel, pause, request_threads, result
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE, until

_LONG = 30 * PATIENCE


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not abandon a slow thread: its time depends on the machine."""
    monkeypatch.setattr(module, "_SECONDS_TO_END", PATIENCE)


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("biocolab-test")]


def test_results_and_errors_reach_the_caller() -> None:
    with CancellableThreads(2, "biocolab-test") as threads:
        asked = [threads.submit(divmod, n, 2) for n in range(20)]
        broken = threads.submit(divmod, 1, 0)
        assert [each.result() for each in asked] == [divmod(n, 2) for n in range(20)]
        with pytest.raises(ZeroDivisionError):
            broken.result()
        assert len(running()) == 2
    assert running() == []


def test_threads_work_in_parallel() -> None:
    together = threading.Barrier(3)
    with CancellableThreads(3, "biocolab-test") as threads:
        for each in [threads.submit(together.wait, PATIENCE) for _ in range(3)]:
            each.result()


def test_calls_that_no_one_waits_for_are_done_at_the_end_of_the_block() -> None:
    done: list[int] = []
    with CancellableThreads(1, "biocolab-test") as threads:
        for n in range(3):
            threads.submit(done.append, n)
    assert done == [0, 1, 2]


def test_an_error_waits_for_no_call_and_begins_none() -> None:
    begun: list[str] = []
    over: list[bool] = []

    def work(name: str) -> None:
        begun.append(name)
        pause(_LONG)
        over.append(is_cancelled())

    with suppress(KeyboardInterrupt), CancellableThreads(2, "biocolab-test") as threads:
        asked = [threads.submit(work, name) for name in "abcd"]
        until(lambda: len(begun) == 2)
        raise KeyboardInterrupt
    assert begun == ["a", "b"]
    assert over == [True, True]
    assert [each.cancelled() for each in asked] == [False, False, True, True]
    with pytest.raises(CancelledError):
        threads.submit(work, "e").result()
    assert running() == []


def test_threads_that_a_cancelled_thread_began_are_cancelled_with_it() -> None:
    waiting = threading.Event()

    def inner() -> None:
        waiting.set()
        pause(_LONG)

    def outer() -> None:
        with CancellableThreads(2, "biocolab-test-inner") as threads:
            threads.submit(inner).result()
            threads.submit(inner).result()

    with suppress(InterruptedError), CancellableThreads(2, "biocolab-test") as threads:
        asked = threads.submit(outer)
        assert waiting.wait(PATIENCE)
        raise InterruptedError
    assert isinstance(asked.exception(0), CancelledError)
    assert running() == []


def test_nothing_is_stopped_after_its_block() -> None:
    stopped: list[str] = []
    past = threading.Event()

    def work() -> None:
        with on_cancel(lambda: stopped.append("first")):
            pass
        with on_cancel(lambda: stopped.append("second")):
            past.set()
            pause(_LONG)
        with on_cancel(lambda: stopped.append("late")):  # cancelled before it began
            pass

    with suppress(InterruptedError), CancellableThreads(1, "biocolab-test") as threads:
        threads.submit(work)
        assert past.wait(PATIENCE)
        raise InterruptedError
    assert stopped == ["second", "late"]


@pytest.mark.sweeps
def test_a_thread_that_cannot_be_stopped_holds_neither_the_error_nor_the_interpreter() -> None:
    code = (
        "import threading\n"
        "from biocolab_accessor.concurrency import CancellableThreads\n"
        "begun, never = threading.Event(), threading.Event()\n"
        "try:\n"
        "    with CancellableThreads(1, 'x') as threads:\n"
        "        threads.submit(lambda: begun.set() or never.wait())\n"
        "        begun.wait()\n"
        "        raise ValueError\n"
        "except ValueError:\n"
        "    print('left')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "left\n"


def test_a_pause_in_any_other_thread_is_a_pause() -> None:
    start = time.monotonic()
    pause(0.05)
    assert time.monotonic() - start >= 0.05
    assert not is_cancelled()


@pytest.mark.parametrize(("setting", "most", "expected"), [(16, None, 16), (16, 4, 4), (2, 4, 2), (1, 5, 1)])
def test_the_setting_limits_how_many_requests_of_a_call_run_at_the_same_time(
    setting: int, most: int | None, expected: int
) -> None:
    started, release = threading.Semaphore(0), threading.Event()

    def work() -> None:
        started.release()
        release.wait(PATIENCE)

    with bc.settings.override(max_requests=setting), request_threads("limited", most) as threads:
        waiting = [threads.submit(work) for _ in range(expected + 3)]
        running = sum(started.acquire(timeout=PATIENCE) for _ in range(expected))
        assert (running, started.acquire(blocking=False)) == (expected, False)
        release.set()
        assert [result(each) for each in waiting] == [None] * len(waiting)


def test_one_request_at_a_time_fetches_the_same_study(server: Sandbox) -> None:
    with bc.settings.override(max_requests=1):
        slow = bc.study("PBMC68k_reduced").to_anndata(unit="lognorm", cache=False)
    fast = bc.study("PBMC68k_reduced").to_anndata(unit="lognorm", cache=False)
    assert (slow.X != fast.X).nnz == 0
    assert slow.obs.equals(fast.obs)


@pytest.mark.parametrize("wrong", [0, 65, "many"])
def test_a_limit_of_requests_that_is_out_of_range_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match=r"^bc\.settings\.max_requests"):
        bc.settings.max_requests = wrong
