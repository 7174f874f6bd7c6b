"""Union: the metadata of several studies becomes one object that any file can store."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.studies.fetch import var_of
from biocolab_accessor.studies.union import union


def part(genes: Sequence[str] = "AB", obsm: dict[str, Any] | None = None, **columns: Any) -> ad.AnnData:
    """Three cells, as fetched from a study."""
    obs = pd.DataFrame(columns, index=["C0", "C1", "C2"])
    # Each gene has a value of its own, by which it is known in what is joined.
    x = np.tile(np.arange(1, len(genes) + 1, dtype=np.float32), (3, 1))
    adata = ad.AnnData(x, obs=obs, var=var_of(list(genes)), uns={"biocolab": {"study_id": "S"}})
    for key, array in (obsm or {}).items():
        adata.obsm[key] = array
    return adata


def kept(joined: ad.AnnData, path: Path) -> ad.AnnData:
    """The object after a write and a read."""
    joined.write_h5ad(path)
    return ad.read_h5ad(path)


class TestColumns:
    def test_of_labels_here_and_numbers_there_are_labels_and_warned_of(self, tmp_path: Path) -> None:
        numbers, labels = np.array([1, 2.5, np.nan], np.float32), pd.Categorical(["T", "B", "T"])
        with pytest.warns(UserWarning, match="'leiden' have different types"):
            joined = union([part(leiden=numbers), part(leiden=labels)], ["one", "two"], "inner", "study")
        back = kept(joined, tmp_path / "joined.h5ad").obs["leiden"]
        assert isinstance(back.dtype, pd.CategoricalDtype)
        assert back.astype(object).where(back.notna(), None).tolist() == ["1", "2.5", None, "T", "B", "T"]

    def test_without_values_in_a_study_are_what_they_are_in_the_others(self, tmp_path: Path) -> None:
        nothing = np.full(3, np.nan)
        first = part(label=nothing, flag=nothing, number=nothing)
        second = part(label=pd.Categorical(["T", "B", "T"]), flag=[True, False, True], number=[1.0, 2.0, 3.0])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            back = kept(union([first, second], ["one", "two"], "inner", "study"), tmp_path / "joined.h5ad").obs
        assert back["label"].isna().tolist() == [True] * 3 + [False] * 3
        assert back["label"].tolist()[3:] == ["T", "B", "T"]
        assert back["flag"].dtype == "boolean"
        assert back["flag"].tolist() == [pd.NA] * 3 + [True, False, True]
        assert back["number"].dtype == np.float64

    def test_of_bools_that_a_study_lacks_are_missing_in_its_cells(self, tmp_path: Path) -> None:
        joined = union([part(flag=[True, False, True]), part()], ["one", "two"], "outer", "study")
        assert kept(joined, tmp_path / "joined.h5ad").obs["flag"].tolist() == [True, False, True] + [pd.NA] * 3

    @pytest.mark.parametrize("others", [{}, {"big": np.full(3, np.nan)}], ids=["lacking", "without values"])
    def test_of_whole_numbers_that_floats_cannot_tell_apart_stay_exact(self, others: dict, tmp_path: Path) -> None:
        joined = union([part(big=[2**53 + 1, 2, 3]), part(**others)], ["one", "two"], "outer", "study")
        assert kept(joined, tmp_path / "joined.h5ad").obs["big"].tolist() == [2**53 + 1, 2, 3] + [pd.NA] * 3

    @pytest.mark.parametrize(
        ("one", "two", "dtype"),
        [
            (np.array([2**53 + 1, 0, -1]), np.array([2**63 - 1, 2, 3]), "int64"),
            (np.array([2**53 + 1, 0, 1]), np.array([2**64 - 1, 2**63, 3], np.uint64), "uint64"),
            (np.array([7, 0, 1]), np.array([2**64 - 1, 2**63, 3], np.uint64), "uint64"),
            (pd.array([2**64 - 1, None, 1], "UInt64"), np.array([7, 0, 1]), "UInt64"),
            (pd.array([2**53 + 1, None, -1], "Int64"), np.array([7, 0, 1]), "Int64"),
            (np.array([np.nan] * 3), np.array([2**64 - 1, 2**63, 3], np.uint64), "UInt64"),
        ],
    )
    def test_of_whole_numbers_in_several_dtypes_keep_each(self, one: Any, two: Any, dtype: str, tmp_path: Path) -> None:
        joined = union([part(n=one), part(n=two)], ["one", "two"], "inner", "study")
        back = kept(joined, tmp_path / "joined.h5ad").obs["n"]
        assert back.dtype == dtype
        expected = [*pd.Series(one).tolist(), *pd.Series(two).tolist()]
        assert [None if pd.isna(v) else v for v in back] == [None if pd.isna(v) else v for v in expected]

    @pytest.mark.parametrize(
        ("one", "two", "labels"),
        [
            (np.array([-1, 0, 1]), np.array([2**64 - 1, 2, 3], np.uint64), ["-1", "0", "1", str(2**64 - 1), "2", "3"]),
            (np.array([2**53 + 1, 0, 1]), np.array([0.5, 2.0, 3.5]), [str(2**53 + 1), "0", "1", "0.5", "2", "3.5"]),
        ],
    )
    def test_of_numbers_that_no_dtype_holds_are_labels_and_warned_of(self, one: Any, two: Any, labels: list) -> None:
        with pytest.warns(UserWarning, match="'n' have numbers that no single dtype can hold exactly"):
            joined = union([part(n=one), part(n=two)], ["one", "two"], "inner", "study")
        assert joined.obs["n"].tolist() == labels

    def test_of_small_whole_numbers_are_the_floats_that_they_would_be(self) -> None:
        joined = union([part(small=[1, 2, 3]), part()], ["one", "two"], "outer", "study")
        assert joined.obs["small"].dtype == np.float64

    def test_of_truth_here_and_numbers_there_are_labels_and_warned_of(self) -> None:
        parts = [part(flag=[True, False, True]), part(flag=[1, 2, 3]), part(flag=[0.5, 1.0, np.nan])]
        with pytest.warns(UserWarning, match="'flag' have different types"):
            joined = union(parts, ["one", "two", "three"], "inner", "study")
        labels = joined.obs["flag"].astype(object)
        assert labels.where(labels.notna(), None).tolist() == ["True", "False", "True", *"123", "0.5", "1", None]

    def test_after_one_that_not_all_have_are_evened_as_well(self) -> None:
        parts = [part(some=[1, 2, 3], label=[1, 2, 3]), part(label=pd.Categorical(["T", "B", "T"]))]
        with pytest.warns(UserWarning, match="'label' have different types"):
            joined = union(parts, ["one", "two"], "inner", "study")
        assert list(joined.obs) == ["label", "study"]
        assert joined.obs["label"].tolist() == ["1", "2", "3", "T", "B", "T"]

    def test_that_are_not_in_the_result_are_not_warned_of(self) -> None:
        parts = [part(x=[1.0, 2.0, 3.0]), part(x=pd.Categorical(["a"] * 3)), part()]
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            assert list(union(parts, ["one", "two", "three"], "inner", "study").obs) == ["study"]


def test_cells_without_an_embedding_have_nan_coordinates() -> None:
    first = part(obsm={"X_umap": np.ones((3, 2), np.float32)})
    second = part(obsm={"X_pca": np.ones((3, 3), np.float32), "X_umap": np.full((3, 2), 2, np.float32)})
    joined = union([first, second], ["one", "two"], "outer", "study")
    np.testing.assert_array_equal(joined.obsm["X_umap"], [[1, 1]] * 3 + [[2, 2]] * 3)
    np.testing.assert_array_equal(joined.obsm["X_pca"], [[np.nan] * 3] * 3 + [[1] * 3] * 3)


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_embeddings_with_different_dimensions_are_left_out(join: str) -> None:
    plane, space = np.ones((3, 2), np.float32), np.ones((3, 3), np.float32)
    parts = [part(obsm={"X_umap": plane, "X_own": plane}), part(obsm={"X_umap": space, "X_own": plane})]
    with pytest.warns(UserWarning, match="embeddings 'X_umap' were left out because their dimensions differ"):
        joined = union(parts, ["one", "two"], join, "study")
    assert list(joined.obsm) == ["X_own"]


def test_studies_without_common_genes_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"no gene in common \('one' has 'A', 'B'; 'two' has 'C', 'D'\)"):
        union([part("AB"), part("CD")], ["one", "two"], "inner", "study")
    assert union([part("AB"), part("CD")], ["one", "two"], "outer", "study").n_vars == 4


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_a_repeated_feature_never_replaces_a_feature_of_another_study(join: str) -> None:
    first, second = part(["TBCE", "TBCE", "X"]), part(["TBCE-1", "TBCE", "X"])
    assert list(first.var_names) == ["TBCE", "TBCE-1", "X"]
    joined = union([first, second], ["one", "two"], join, "study").to_df()
    assert joined.loc["C0-one", "TBCE"] == 1
    assert joined.loc["C0-two", "TBCE"] == 2
    if join == "inner":
        assert list(joined) == ["TBCE", "X"]
    else:
        assert joined.loc[["C0-one", "C0-two"], "TBCE-1"].tolist() == [0, 1]
        assert joined.loc[["C0-one", "C0-two"], "TBCE-2"].tolist() == [2, 0]


def test_cell_names_are_unique_even_if_names_of_cells_and_studies_collide() -> None:
    first, second = part(), part()
    first.obs_names = ["A-x", "B", "C"]
    second.obs_names = ["A", "B", "C"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        joined = union([first, second], ["y", "x-y"], "inner", "study")
    assert list(joined.obs_names) == ["A-x-y", "B-y", "C-y", "A-x-y-1", "B-x-y", "C-x-y"]
    assert joined.obs["study"].tolist() == ["y"] * 3 + ["x-y"] * 3


def test_provenance_is_stored_for_each_study() -> None:
    parts = [part(), part()]
    parts[1].uns["biocolab"] = {"study_id": "T"}
    joined = union(parts, ["one", "lab/two"], "inner", "study")
    assert joined.uns["biocolab"] == {"studies": {"one": {"study_id": "S"}, "lab%2Ftwo~biocolab": {"study_id": "T"}}}
    assert joined.obs["study"].tolist() == ["one"] * 3 + ["lab/two"] * 3
    assert joined.obs_names.tolist() == [f"C{i}-{name}" for name in ("one", "lab/two") for i in range(3)]


def test_an_embedding_that_some_cells_lack_stays_float32() -> None:
    joined = union([part(obsm={"X_pca": np.ones((3, 1), np.float32)}), part()], ["one", "two"], "outer", "study")
    assert joined.obsm["X_pca"].shape == (6, 1)
    assert joined.obsm["X_pca"].dtype == np.float32


def test_features_have_the_servers_names_even_if_they_are_repeated() -> None:
    for join in ("inner", "outer"):
        joined = union([part("ABA"), part("ABAC")], ["one", "two"], join, "study")
        assert dict(joined.var["feature"]) == {name: name[0] for name in joined.var_names}
        assert len(joined.var_names) == len(set(joined.var_names)) == (3 if join == "inner" else 4)
