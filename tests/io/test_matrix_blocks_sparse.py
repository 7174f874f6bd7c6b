"""Matrix blocks: a damaged sparse matrix is refused before SciPy uses it."""

import numpy as np
import pytest
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

from biocolab_accessor.check.matrix_stats import filled_of
from biocolab_accessor.errors import InvalidValues
from biocolab_accessor.io.matrix_blocks import Source, row_blocks, row_pieces, values
from tests.io.test_matrix_blocks import DENSE, stacked


@pytest.mark.parametrize("index", [5, -1])
@pytest.mark.parametrize("axis", ["csr", "csc"])
def test_an_index_outside_of_a_matrix_is_refused_before_scipy_uses_it(index, axis):
    matrix = sparse.random(5, 5, density=0.5, format=axis, random_state=0)
    assert sum(block.nnz for block in row_blocks(Source(matrix))) == matrix.nnz
    matrix.indices[3] = index
    with pytest.raises(InvalidValues) as caught:
        list(row_blocks(Source(matrix)))
    assert str(caught.value).startswith(f"it is sparse and has an index of {index}, outside of 0 to 4")


def test_pointers_that_do_not_fit_are_refused_before_anything_is_read():
    matrix = sparse.random(5, 4, density=0.5, format="csr", random_state=0)
    matrix.indptr = np.append(matrix.indptr[:-1], 99)
    with pytest.raises(InvalidValues, match="its indptr does not rise from 0 to at most 10, the number of values"):
        next(row_pieces(Source(matrix)))
    with pytest.raises(InvalidValues, match="its indptr does not rise"):
        filled_of(Source(matrix), 10)


@pytest.mark.parametrize("axis", ["csr", "csc"])
def test_a_sparse_zarr_matrix_is_read_and_refused_like_one_in_hdf5(axis, tmp_path):
    zarr = pytest.importorskip("zarr")
    store = zarr.open_group(tmp_path / "a.zarr", mode="w")
    write_elem(store, "x", sparse.csr_matrix(DENSE).asformat(axis))
    matrix = sparse_dataset(store["x"])
    np.testing.assert_array_equal(stacked(row_blocks(Source(matrix))), DENSE)
    assert sorted(np.concatenate(list(values(Source(matrix))))) == sorted(DENSE[DENSE != 0])
    nnz = np.count_nonzero(DENSE)
    assert tuple(filled_of(Source(matrix), nnz).empty) == tuple((DENSE == 0).all(axis=n).sum() for n in (1, 0))
    store["x/indices"][3] = 99
    with pytest.raises(InvalidValues, match="an index of 99"):
        list(row_blocks(Source(sparse_dataset(store["x"]))))
