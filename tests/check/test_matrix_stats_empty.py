"""Empty cells and genes are counted in any kind of matrix, whatever its stored zeros and signs."""

import anndata as ad
import h5py
import numpy as np
import pytest
from anndata.io import sparse_dataset, write_elem
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from biocolab_accessor import concurrency
from biocolab_accessor.check import matrix_stats
from biocolab_accessor.check.matrix_stats import filled_of
from biocolab_accessor.io import matrix_blocks
from biocolab_accessor.io.matrix_blocks import Slot, Source, source_of

matrices = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    elements=st.sampled_from([0, 0, 0, 1]),
)


def expected(dense):
    return int((dense == 0).all(axis=1).sum()), int((dense == 0).all(axis=0).sum())


@settings(max_examples=60)
@given(matrices, st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix]))
def test_empty_cells_and_genes_are_counted_in_every_kind_of_matrix(dense, make):
    assert filled_of(Source(make(dense)), int(np.count_nonzero(dense))).empty == expected(dense)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix])
def test_a_stored_zero_is_not_a_value_and_opposite_values_do_not_cancel(make):
    matrix = make(np.array([[1.0, 0, 0], [2, 0, -2], [0, 0, 2]]))
    matrix.data[matrix.data == 1] = 0
    assert filled_of(Source(matrix), 3).empty == (1, 1)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_the_least_number_of_a_dtype_is_a_value(make, dtype):
    dense = np.array([[np.iinfo(dtype).min, 0], [0, 0]], dtype)
    assert filled_of(Source(make(dense)), 1).empty == (1, 1)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_files_and_views_are_counted(tmp_path, make):
    dense = np.diag([1.0, 0, 2, 3])
    with h5py.File(tmp_path / "m.h5", "w") as file:
        write_elem(file, "m", make(dense))
        stored = file["m"] if make is np.asarray else sparse_dataset(file["m"])
        assert filled_of(Source(stored), 3).empty == (1, 1)
        assert filled_of(Source(stored, np.array([1, 3]), np.array([3])), 1).empty == (1, 0)
    view = ad.AnnData(make(dense))[[0, 1], :3]
    assert filled_of(source_of(view, Slot("X")), 1).empty == (1, 2)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_a_file_is_read_until_every_gene_was_seen(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(matrix_stats, "_INDICES_AT_ONCE", at_once)
    for dense in (np.diag([1.0, 0, 2, 3]), np.array([[1.0, 2, 3, 4], [0, 0, 0, 0]]), np.array([[0.0, 0, 0, 5]])):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            write_elem(file, "m", sparse.csr_matrix(dense))
            assert filled_of(Source(sparse_dataset(file["m"])), np.count_nonzero(dense)).empty == expected(dense)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix])
def test_genes_after_the_first_values_are_seen_too(monkeypatch, make):
    monkeypatch.setattr(matrix_stats, "_FIRST_VALUES", 2)
    dense = np.array([[1.0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 3]])
    assert filled_of(Source(make(dense)), 3).empty == (0, 1)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32])
def test_opposite_values_do_not_cancel_in_any_dtype(dtype):
    dense = np.array([[1, -1, 0], [-1, 1, 0], [0, 0, 0]], dtype)
    for make in (np.asarray, sparse.csr_matrix, sparse.csc_matrix):
        assert filled_of(Source(make(dense)), 4).empty == (1, 1)


def test_stored_zeros_are_seen_where_fewer_values_are_named_than_stored():
    matrix = sparse.csr_matrix(np.array([[1.0, 2, 0], [3, 0, 0]]))
    matrix.data[2] = 0
    assert filled_of(Source(matrix), 2).empty == (1, 1)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.coo_matrix])
def test_pieces_are_counted_together(monkeypatch, kind):
    monkeypatch.setattr(matrix_blocks, "_BLOCK_BYTES", 16)
    monkeypatch.setattr(matrix_blocks, "_DENSE_BYTES", 16)
    dense = np.zeros((9, 4), np.float32)
    dense[1, 0], dense[6, 2] = 3, 1
    matrix = kind(dense)
    if kind is sparse.csr_matrix:
        matrix.data[1] = 0  # a stored zero, so that the values have to be read
        dense[6, 2] = 0
    assert filled_of(Source(matrix), int(np.count_nonzero(dense))).empty == expected(dense)


def test_cells_and_genes_of_all_pieces_are_counted(monkeypatch):
    monkeypatch.setattr(matrix_blocks, "_BLOCK_BYTES", 16)
    dense = np.zeros((12, 30), np.float32)
    for cell in (0, 1, 4, 5, 9):
        dense[cell, 2 * cell : 2 * cell + 6] = 1
    matrix = sparse.csr_matrix(dense)
    matrix.data[:3] = 0  # stored zeros, so that the values have to be read
    dense[0, :3] = 0
    assert len(list(matrix_blocks.row_pieces(Source(matrix)))) > 3
    assert filled_of(Source(matrix), np.count_nonzero(dense)).empty == expected(dense) == (7, 10)


@settings(max_examples=60)
@given(matrices, st.integers(1, 4))
def test_a_large_matrix_is_measured_on_threads_and_gives_the_same(dense, n_threads):
    matrix = sparse.csr_matrix(dense)
    before = [array.copy() for array in (matrix.data, matrix.indices, matrix.indptr)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_stats, "_WORTH_THREADS", 0)
        patch.setattr(matrix_stats, "_FIRST_VALUES", 0)
        patch.setattr(concurrency, "THREADS", n_threads)
        assert filled_of(Source(matrix), int(np.count_nonzero(dense))).empty == expected(dense)
    for array, old in zip((matrix.data, matrix.indices, matrix.indptr), before, strict=True):
        np.testing.assert_array_equal(array, old)
