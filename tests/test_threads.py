"""Shares are the whole, in order, and even."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor import threads
from biocolab_accessor.threads import shares


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
