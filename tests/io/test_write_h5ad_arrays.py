"""Write h5ad: numbers of any shape equal those written by h5py."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest
from anndata.experimental import read_elem
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biocolab_accessor.io import write_h5ad
from biocolab_accessor.io.write_h5ad import write_array

DTYPES = ["?", "i1", "u1", "i2", "f2", "i4", "u4", "f4", "i8", "u8", "f8", ">f4", ">i8"]


def memory() -> h5py.File:
    return h5py.File("array.h5", "w", driver="core", backing_store=False)


@example(np.ones(5, ">f4"), 16, np.ascontiguousarray)  # a padded last chunk in another byte order
@given(
    st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=9))),
    st.sampled_from([1, 16, 100, 1 << 20]),
    st.sampled_from([np.ascontiguousarray, np.asfortranarray, lambda values: values[::-1]]),
)
def test_any_array_is_read_back_bit_for_bit(values: np.ndarray, n_bytes: int, order: Any) -> None:
    values = order(values)
    with pytest.MonkeyPatch.context() as patch, memory() as file:
        patch.setattr(write_h5ad, "_WORTH_IT", 0)
        patch.setattr(write_h5ad, "_CHUNK_BYTES", n_bytes)
        assert write_array(file, "ours", values)
        dataset = file["ours"]
        assert dataset[...].tobytes() == values.tobytes()
        assert (dataset.dtype, dataset.compression) == (values.dtype, "gzip")
        assert read_elem(dataset).tobytes() == values.tobytes()


def test_a_large_array_has_chunks_of_a_megabyte_and_is_as_small_as_with_gzip() -> None:
    values = np.random.default_rng(0).poisson(1, (70_000, 50)).astype(np.float32)
    with memory() as file:
        assert write_array(file, "ours", values)
        file.create_dataset("gzip", data=values, compression="gzip", compression_opts=1)
        assert file["ours"].chunks == (5242, 50)
        assert file["ours"].id.get_storage_size() < 1.05 * file["gzip"].id.get_storage_size()
        np.testing.assert_array_equal(file["ours"][...], values)


@pytest.mark.parametrize(
    "values",
    [np.zeros(10), np.zeros((0, 5)), np.zeros((2000, 0)), np.zeros(2000, complex), np.full(2000, "a"), np.array(1.0)],
    ids=["small", "no rows", "no columns", "complex", "text", "one number"],
)
def test_an_array_too_small_to_pay_is_not_written(values: np.ndarray) -> None:
    with memory() as file:
        assert not write_array(file, "ours", values)
        assert list(file) == []
