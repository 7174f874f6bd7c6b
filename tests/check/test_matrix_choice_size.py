"""Estimated sizes agree with sums by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from biocolab_accessor.check.matrix_choice import bytes_of, server_bytes, stored_dtype
from biocolab_accessor.check.matrix_stats import describe

OBS = pd.DataFrame({"x": np.arange(10)}, index=pd.RangeIndex(10))
EYE = describe(sparse.csr_matrix(np.eye(10, 7, dtype=np.float32)))


def test_values_with_their_indices_and_tables_and_embeddings_are_counted():
    tables = OBS.memory_usage().sum() + 7 * 8
    assert bytes_of(EYE, OBS, []) == 7 * (4 + 4) + 10 * 4 + tables
    frame = pd.DataFrame({"CD3": np.ones(10)}, index=pd.RangeIndex(10))
    more = [np.ones((10, 2)), frame, sparse.eye(10), np.ones((10, 3), np.float32)]
    in_sparse = 10 * (8 + 4) + 10 * 4
    assert bytes_of(EYE, OBS, more) == bytes_of(EYE, OBS, []) + 160 + frame.memory_usage().sum() + in_sparse + 120
    wide = describe(sparse.csr_matrix(np.eye(10, 7) * 0.1))
    assert bytes_of(wide, OBS, []) == bytes_of(EYE, OBS, []) + 7 * 4


def test_counts_that_float32_holds_are_four_bytes_each_and_larger_ones_eight():
    counts = describe(sparse.csr_matrix(np.eye(10, 7) + 4e-11 * np.eye(10, 7)))
    assert bytes_of(counts, OBS, []) == bytes_of(EYE, OBS, [])
    assert bytes_of(describe(np.eye(10, 7, dtype=bool)), OBS, []) == bytes_of(EYE, OBS, [])
    large = describe(sparse.csr_matrix(np.eye(10, 7) * (2**24 + 1)))
    assert bytes_of(large, OBS, []) == bytes_of(EYE, OBS, []) + 7 * 4


def test_a_server_needs_three_sparse_matrices_and_two_scaled_ones_of_two_thousand_genes():
    assert server_bytes(EYE) == 3 * 7 * 8 + 10 * 2 * 2_000 * 4


@pytest.mark.parametrize(
    ("value", "raw", "dtype"),
    [
        (0.5, False, np.float32),
        (0.1, False, np.float64),
        (1 + 4e-11, True, np.float32),
        (2.0**24, True, np.float32),
        (2.0**24 + 1, True, np.float64),
        (np.int64(2**24 + 1), True, np.int64),
        (np.longdouble(0.1), False, np.float64),
    ],
)
def test_the_stored_dtype_is_float32_where_that_is_exact(value, raw, dtype):
    assert stored_dtype(describe(np.array([[value]])), raw=raw) == dtype
