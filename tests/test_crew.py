"""A crew ends with its block, and where nobody waits for it any more, at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress

import pytest

from biocolab_accessor.crew import Crew, given_up, pause, stopped_by


def of_crew() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("biocolab-test")]


def test_results_and_errors_come_to_who_asked() -> None:
    with Crew(2, "biocolab-test") as crew:
        asked = [crew.ask(divmod, n, 2) for n in range(20)]
        broken = crew.ask(divmod, 1, 0)
        assert [each.result() for each in asked] == [divmod(n, 2) for n in range(20)]
        with pytest.raises(ZeroDivisionError):
            broken.result()
        assert len(of_crew()) == 2
    assert of_crew() == []


def test_its_threads_work_side_by_side() -> None:
    together = threading.Barrier(3)
    with Crew(3, "biocolab-test") as crew:
        for each in [crew.ask(together.wait, 5) for _ in range(3)]:
            each.result()


def test_what_is_asked_without_waiting_is_done_at_the_end_of_the_block() -> None:
    done: list[int] = []
    with Crew(1, "biocolab-test") as crew:
        for n in range(3):
            crew.ask(done.append, n)
    assert done == [0, 1, 2]


def test_an_error_waits_for_nothing_and_begins_nothing() -> None:
    begun: list[str] = []
    over: list[bool] = []

    def work(name: str) -> None:
        begun.append(name)
        pause(20)
        over.append(given_up())

    start = time.monotonic()
    with suppress(KeyboardInterrupt), Crew(2, "biocolab-test") as crew:
        asked = [crew.ask(work, name) for name in "abcd"]
        while len(begun) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 1
    assert begun == ["a", "b"]
    assert over == [True, True]
    assert [each.cancelled() for each in asked] == [False, False, True, True]
    with pytest.raises(CancelledError):
        crew.ask(work, "e").result()
    assert of_crew() == []


def test_a_crew_of_a_crews_thread_is_given_up_with_it() -> None:
    waiting = threading.Event()

    def inner() -> None:
        waiting.set()
        pause(20)

    def outer() -> None:
        with Crew(2, "biocolab-test-inner") as crew:
            crew.ask(inner).result()
            crew.ask(inner).result()

    start = time.monotonic()
    with suppress(InterruptedError), Crew(2, "biocolab-test") as crew:
        asked = crew.ask(outer)
        waiting.wait(5)
        raise InterruptedError
    assert time.monotonic() - start < 1
    assert isinstance(asked.exception(1), CancelledError)
    assert of_crew() == []


def test_nothing_is_stopped_after_its_block() -> None:
    stopped: list[str] = []
    past = threading.Event()

    def work() -> None:
        with stopped_by(lambda: stopped.append("first")):
            pass
        with stopped_by(lambda: stopped.append("second")):
            past.set()
            pause(20)
        with stopped_by(lambda: stopped.append("late")):  # given up before it began
            pass

    with suppress(InterruptedError), Crew(1, "biocolab-test") as crew:
        crew.ask(work)
        past.wait(5)
        raise InterruptedError
    assert stopped == ["second", "late"]


def test_a_thread_that_cannot_be_stopped_holds_neither_the_error_nor_the_interpreter() -> None:
    code = (
        "import time\n"
        "from biocolab_accessor.crew import Crew\n"
        "start = time.monotonic()\n"
        "try:\n"
        "    with Crew(1, 'x') as crew:\n"
        "        crew.ask(time.sleep, 60)\n"
        "        time.sleep(0.1)\n"
        "        raise ValueError\n"
        "except ValueError:\n"
        "    print(time.monotonic() - start < 3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=40, check=True)
    assert done.stdout == "True\n"


def test_a_pause_in_any_other_thread_is_a_pause() -> None:
    start = time.monotonic()
    pause(0.05)
    assert time.monotonic() - start >= 0.05
    assert not given_up()
