"""The first values of a kind are found in any matrix, and named by cell and gene."""

import numpy as np
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from biocolab_accessor.check.rules_matrix import first_places
from biocolab_accessor.io import matrix_blocks
from biocolab_accessor.io.matrix_blocks import Slot


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4)), max_size=6, unique=True),
    st.sampled_from([np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_matrix]),
)
def test_the_first_three_places_are_named_cell_by_cell(places, kind):
    dense = np.ones((9, 5), np.float32)
    for cell, gene in places:
        dense[cell, gene] = np.nan
    adata = AnnData(kind(dense))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_blocks, "_BLOCK_BYTES", 40)
        patch.setattr(matrix_blocks, "_DENSE_BYTES", 40)
        found = first_places(adata, Slot("X"), np.isnan)
    assert found == tuple(f"cell '{cell}' gene '{gene}'" for cell, gene in sorted(places)[:3])


def test_views_and_raw_have_their_own_names():
    adata = AnnData(np.array([[1, 0, 2], [0, -1, 3], [4, 5, -6]], np.float32))
    adata.obs_names, adata.var_names = list("abc"), list("xyz")
    assert first_places(adata[[2, 1], ["z", "y"]], Slot("X"), lambda values: values < 0) == (
        "cell 'c' gene 'z'",
        "cell 'b' gene 'y'",
    )
    adata.raw = adata
    cut = adata[:, ["x"]].copy()
    assert first_places(cut, Slot("raw.X"), lambda values: values < -2) == ("cell 'c' gene 'z'",)
