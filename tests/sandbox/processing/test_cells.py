from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from biocolab_accessor.sandbox.processing.cells import (
    Cells,
    ProcessingError,
    cell_totals,
    join_batches,
    keep_cells,
    lognorm,
)

NONE = {"min_counts": 0.0, "min_genes": 0.0, "max_counts": 1e9, "max_genes": 1e9, "mt_percentage": 1.0}


def cells(matrix: list, features: list[str], prefix: str = "c", **obs: list) -> Cells:
    array = sparse.csr_matrix(np.array(matrix, np.float32))
    n = array.shape[0]
    return Cells(array, [f"{prefix}{i}" for i in range(n)], features, pd.DataFrame(obs, index=range(n)))


def test_bounds_are_inclusive_and_the_mitochondrial_share_is_a_fraction() -> None:
    some = cells([[5, 0, 5], [1, 1, 0], [0, 0, 0], [0, 0, 9]], ["A", "B", "mt-X"])
    assert list(keep_cells(some, NONE)) == [0, 1, 2, 3]
    assert list(keep_cells(some, {**NONE, "min_counts": 2, "max_counts": 9})) == [1, 3]
    assert list(keep_cells(some, {**NONE, "min_genes": 2})) == [0, 1]
    assert list(keep_cells(some, {**NONE, "max_genes": 1})) == [2, 3]
    assert list(keep_cells(some, {**NONE, "mt_percentage": 0.5})) == [0, 1, 2]
    assert list(keep_cells(some, {**NONE, "mt_percentage": 0.0})) == [1, 2]


def test_scaled_values_are_not_filtered_by_unset_bounds() -> None:
    assert list(keep_cells(cells([[-1, -2], [1, 2]], ["A", "B"]), NONE)) == [0, 1]


def test_batches_with_other_genes_are_joined_with_zeros() -> None:
    joined = join_batches(
        [
            ("one", cells([[1, 2]], ["A", "B"], "x", label=["p"])),
            ("two", cells([[3, 4], [5, 6]], ["C", "B"], "y", score=[1.5, 2.5])),
        ]
    )
    assert joined.features == ["A", "B", "C"]
    assert joined.matrix.toarray().tolist() == [[1, 2, 0], [0, 4, 3], [0, 6, 5]]
    assert joined.barcodes == ["x0", "y0", "y1"]
    assert list(joined.obs["Batch"]) == ["one", "two", "two"]
    assert joined.obs["score"].isna().tolist() == [True, False, False]


def test_repeated_barcodes_get_the_batch_as_prefix() -> None:
    joined = join_batches([("one", cells([[1]], ["A"])), ("two", cells([[2]], ["A"]))])
    assert joined.barcodes == ["one_c0", "two_c0"]


def test_repeated_genes_are_kept_if_all_batches_have_the_same() -> None:
    same = join_batches([("one", cells([[1, 2]], ["A", "A"], "x")), ("two", cells([[3, 4]], ["A", "A"], "y"))])
    assert same.matrix.toarray().tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ProcessingError, match="cannot be matched"):
        join_batches([("one", cells([[1, 2]], ["A", "A"])), ("two", cells([[3, 4]], ["A", "B"]))])


def test_empty_cells_stay_zero_when_normalized() -> None:
    result = lognorm(sparse.csr_matrix(np.array([[0, 0], [1, 3]], np.float32))).toarray()
    np.testing.assert_allclose(result, [[0, 0], [np.log1p(2500), np.log1p(7500)]], rtol=1e-6)


def test_totals_are_summed_in_float64() -> None:
    values = np.random.default_rng(0).uniform(0, 5, 2000).astype(np.float32)
    found = cell_totals(sparse.csr_matrix(values[None]))
    assert found.dtype == np.float64
    assert found[0] == pytest.approx(math.fsum(values.tolist()), rel=1e-13)


def test_a_single_batch_stays_unchanged() -> None:
    one = cells([[1, 2]], ["A", "B"])
    assert join_batches([("one", one)]) is one


def test_selected_cells_keep_their_metadata_and_coordinates() -> None:
    some = cells([[1, 0], [0, 2], [3, 3]], ["A", "B"], label=["p", "q", "r"])
    some.obsm["X"] = np.array([[1.0], [2.0], [3.0]])
    taken = some.take(np.array([2, 0]))
    assert taken.matrix.toarray().tolist() == [[3, 3], [1, 0]]
    assert (taken.barcodes, taken.features) == (["c2", "c0"], ["A", "B"])
    assert taken.obs["label"].tolist() == ["r", "p"]
    assert list(taken.obs.index) == [0, 1]
    assert taken.obsm["X"].tolist() == [[3.0], [1.0]]


def test_labels_keep_their_order_and_a_submitted_batch_column_is_kept() -> None:
    first = cells([[1]], ["A"], "x", Batch=["mine"])
    second = cells([[2]], ["A"], "y", Batch=["yours"])
    first.obs["label"] = pd.Categorical(["b"], categories=["b", "a"])
    second.obs["label"] = pd.Categorical(["c"], categories=["a", "c"])
    joined = join_batches([("one", first), ("two", second)])
    assert list(joined.obs["Batch"]) == ["mine", "yours"]
    assert list(joined.obs["label"].cat.categories) == ["b", "a", "c"]
    assert list(joined.obs["label"]) == ["b", "c"]
