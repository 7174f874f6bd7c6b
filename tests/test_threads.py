"""Shares are the whole, in order, and even; what is done aside is done or not, and never half."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import weakref
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor import threads
from biocolab_accessor.threads import aside, shares


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 6))
def test_shares_are_all_rows_in_order_and_none_is_larger_than_even_by_more_than_a_row(
    lengths: list[int], n_threads: int
) -> None:
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "THREADS", n_threads)
        found = shares(indptr)
    assert len(found) == n_threads
    assert found[0][0] == 0
    assert found[-1][1] == len(lengths)
    assert all(end == start for (_, end), (start, _) in pairwise(found))
    most = sum(lengths) / n_threads + max(lengths, default=0)
    assert all(indptr[last] - indptr[first] <= most for first, last in found)


def test_what_is_done_aside_gives_its_result_or_its_error() -> None:
    assert aside(lambda stop: (threading.current_thread() is threading.main_thread(), stop.is_set())) == (False, False)
    with pytest.raises(KeyError, match="missing"):
        aside(lambda stop: {}["missing"])


def test_an_error_aside_lets_go_of_what_it_was_about() -> None:
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)

    def work(stop: threading.Event, thing: Thing = thing) -> None:
        raise ValueError

    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            aside(work)
        del work, thing
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
def test_ctrl_c_breaks_into_the_waiting_and_not_into_the_work() -> None:
    steps: list[str] = []

    def work(stop: threading.Event) -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        assert stop.wait(10)
        steps.append("ended as it wanted to")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            aside(work)
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps == ["ended as it wanted to"]


def test_what_ctrl_c_kept_from_beginning_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(threading.Thread):
        """Ctrl-C comes while its start is waited for."""

        def start(self) -> None:
            late.append(self)
            raise KeyboardInterrupt

    late: list[Late] = []
    done: list[int] = []
    monkeypatch.setattr(threads, "Thread", Late)
    with pytest.raises(KeyboardInterrupt):
        aside(lambda stop: done.append(1))
    threading.Thread.start(late[0])
    late[0].join()
    assert done == []
