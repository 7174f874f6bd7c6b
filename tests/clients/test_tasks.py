from __future__ import annotations

import threading

import pytest

from biocolab_accessor.clients import tasks
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.tasks import follow_task
from biocolab_accessor.errors import InvalidResponse, TaskFailed, TimedOut
from tests.patience import PATIENCE

from .conftest import Scripted, answer


def state(status: object, log: object = "") -> object:
    return answer(content={"status": 200, "data": {"status": status, "log": log}})


def follow(scripted: Scripted, *scripts: object, timeout: float | None = None) -> list[str]:
    scripted.answers(*scripts)
    lines: list[str] = []
    follow_task(BBrowserXConnector(scripted.host, "t"), "7", lines.append, timeout=timeout)
    return lines


def test_each_line_is_reported_once_and_the_last_even_without_a_line_break(scripted: Scripted) -> None:
    lines = follow(
        scripted,
        state("PENDING"),
        state("RUNNING", "a\nb"),
        state("RUNNING", "a\nb\nc\n"),
        state("SUCCESS", "a\nb\nc\nd"),
    )
    assert lines == ["a", "b", "c", "d"]


def test_a_rotated_log_loses_no_new_line(scripted: Scripted) -> None:
    assert follow(scripted, state("RUNNING", "a\nb\nc\n"), state("SUCCESS", "d\n")) == ["a", "b", "c", "d"]


def test_a_failed_poll_does_not_lose_the_task(scripted: Scripted) -> None:
    assert follow(scripted, state("RUNNING", "a\n"), answer(502, b"<html>"), state("SUCCESS", "a\nb\n")) == ["a", "b"]


@pytest.mark.parametrize("status", ["ERROR", "FAILURE", "REVOKED", "cancelled"])
def test_every_failed_status_is_an_error_with_the_log(scripted: Scripted, status: str) -> None:
    with pytest.raises(TaskFailed, match="out of memory") as caught:
        follow(scripted, state(status, "start\nout of memory\n"))
    assert (caught.value.task_id, caught.value.log) == ("7", "start\nout of memory\n")


def test_an_unknown_status_times_out(scripted: Scripted) -> None:
    with pytest.raises(TimedOut, match=r"still THINKING after 0\.3 s.*wait"):
        follow(scripted, state("THINKING"), timeout=0.3)


def test_another_thread_can_end_the_waiting(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, stopped = threading.Event(), []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waiting.set()
            stopped.append(super().wait(timeout))
            return stopped[-1]

    monkeypatch.setattr(tasks, "_FIRST_PAUSE", PATIENCE)
    scripted.answers(state("THINKING"))
    stop = Stop()
    other = threading.Thread(target=lambda: waiting.wait(PATIENCE) and stop.set())
    other.start()
    with pytest.raises(TimedOut, match="still THINKING"):
        follow_task(BBrowserXConnector(scripted.host, "t"), "7", print, timeout=2 * PATIENCE, stop=stop)
    other.join()
    assert stopped == [True]  # the pause was ended, and no other one started


@pytest.mark.parametrize("data", [None, [], {}, {"status": 5}])
def test_an_answer_without_status_is_an_error(scripted: Scripted, data: object) -> None:
    with pytest.raises(InvalidResponse, match="has no status"):
        follow(scripted, answer(content={"status": 200, "data": data}))


def test_a_missing_log_counts_as_empty(scripted: Scripted) -> None:
    assert follow(scripted, state("SUCCESS", None)) == []


def test_a_bar_is_updated_each_time_the_server_was_polled(scripted: Scripted) -> None:
    scripted.answers(state("RUNNING", "a\n"), state("RUNNING", "a\n"), state("SUCCESS", "a\n"))
    heard: list[str] = []
    connector = BBrowserXConnector(scripted.host, "t")
    follow_task(connector, "7", heard.append, on_poll=lambda state: heard.append("asked"))
    assert heard == ["a", "asked", "asked", "asked"]
