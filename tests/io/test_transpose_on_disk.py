"""Transpose: stripes written to disk by genes are read by cells, exact to the bit."""

from __future__ import annotations

import tempfile

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from biocolab_accessor.io.transpose import Scratch, join_rows, write_stripes

_VALUES = (1.0, 2.0, 65_535.0, 65_536.0, 0.5, -3.0, -0.0, np.nan)


@settings(max_examples=40)
@given(
    n_obs=st.integers(1, 9),
    widths=st.lists(st.sampled_from([1, 2, 5, 65_536, 65_537, 70_000]), max_size=5),
    values=st.lists(st.sampled_from(_VALUES), min_size=1, max_size=8),
    most=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_any_stripes_come_back_as_rows_with_every_bit(
    n_obs: int, widths: list[int], values: list[float], most: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    stripes = []
    for width in widths:
        filled = rng.choice(n_obs * width, min(12, n_obs * width), replace=False)
        places = filled % n_obs, filled // n_obs
        stripe = sparse.csc_matrix((np.ones(len(filled)), places), (n_obs, width), np.float32)
        stripe.data = rng.choice(np.array(values, np.float32), stripe.nnz)
        stripes.append(stripe)
    with tempfile.TemporaryFile(buffering=0) as file:
        kept = Scratch(file)
        blocks = list(join_rows(write_stripes(iter(stripes), n_obs, kept), kept, most))
    plain = sparse.hstack(stripes, "csc").tocsr() if stripes else sparse.csr_matrix((n_obs, 0), dtype=np.float32)
    assert sum(block.shape[0] for block in blocks) == n_obs
    assert all(block.shape[1] == sum(widths) for block in blocks)
    np.testing.assert_array_equal(np.concatenate([np.diff(block.indptr) for block in blocks]), np.diff(plain.indptr))
    np.testing.assert_array_equal(np.concatenate([block.indices for block in blocks]), plain.indices)
    joined = np.concatenate([block.data for block in blocks])
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined.view(np.uint32), plain.data.view(np.uint32))
