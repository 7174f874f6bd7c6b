"""Concurrency: shares of rows, and results in order."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor import concurrency
from biocolab_accessor.concurrency import in_order, shares


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 6))
def test_shares_are_all_rows_in_order_and_equal_up_to_one_row(lengths: list[int], n_threads: int) -> None:
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(concurrency, "THREADS", n_threads)
        found = shares(indptr)
    assert len(found) == n_threads
    assert found[0][0] == 0
    assert found[-1][1] == len(lengths)
    assert all(end == start for (_, end), (start, _) in pairwise(found))
    most = sum(lengths) / n_threads + max(lengths, default=0)
    assert all(indptr[last] - indptr[first] <= most for first, last in found)


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 4))
def test_parallel_results_come_in_order_and_few_items_are_taken_ahead(items: list[int], at_once: int) -> None:
    taken, done = [], []

    def given_out() -> object:
        for number, item in enumerate(items):
            taken.append(number)
            yield number, item

    def work(numbered: tuple[int, int]) -> int:
        time.sleep(numbered[1] / 10_000)
        return numbered[0]

    for result in in_order(work, given_out(), "biocolab-test", at_once):
        done.append(result)
        assert len(taken) - len(done) <= at_once
    assert done == list(range(len(items)))


def test_an_error_ends_parallel_work_and_its_threads() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(in_order(work, [1, 0, 2, 3, 4, 5], "biocolab-test", 2))
    assert {1, 0} <= set(begun)
    assert len(begun) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("biocolab-test")]
