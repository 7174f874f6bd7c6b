from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.io.values import text_index
from biocolab_accessor.studies.conversion import align, categorical, column, unique_names


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, 2], "int64", [1, 2]),
        ([1, None], "float64", [1.0, np.nan]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        ([2**63], "uint64", [2**63]),
        ([1, 2**64 - 1, 2**63 + 1], "uint64", [1, 2**64 - 1, 2**63 + 1]),
        ([2**53 + 1, None, -1], "Int64", [2**53 + 1, np.nan, -1]),
        ([2**64 - 1, None], "UInt64", [2**64 - 1, np.nan]),
        ([2**53 + 1, 0.5], "category", ["9007199254740993", "0.5"]),
        ([-1, 2**64 - 1], "category", ["-1", "18446744073709551615"]),
        ([2**60, 0.5], "float64", [2.0**60, 0.5]),
        ([-1, 2**70], "float64", [-1.0, 2.0**70]),
        ([-0.0, 5e-324], "float64", [-0.0, 5e-324]),
        ([True, False], "bool", [True, False]),
        (["001", "1e5"], "category", ["001", "1e5"]),
        (["a", None], "category", ["a", np.nan]),
        ([True, None], "category", ["True", np.nan]),
        ([1, "a"], "category", ["1", "a"]),
        ([None, None], "float64", [np.nan, np.nan]),
        ([], "float64", []),
    ],
)
def test_the_json_type_determines_the_dtype(values: list, dtype: str, expected: list) -> None:
    found = pd.Series(column(values))
    assert str(found.dtype) == dtype
    assert [None if pd.isna(v) else v for v in found.astype(object)] == [None if pd.isna(v) else v for v in expected]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_are_exact(values: list[float]) -> None:
    assert list(column(values)) == values


def test_clusters_are_in_the_order_in_which_scanpy_has_them() -> None:
    found = column([None, *(str(i) for i in (10, 2, 1, 0, 10))])
    assert list(found.categories) == ["0", "1", "2", "10"]
    assert pd.Series(found).astype(object).fillna("").tolist() == ["", "10", "2", "1", "0", "10"]


def test_a_label_that_occurs_twice_is_one_category() -> None:
    found = categorical(np.array([0, 1, 2, 2], np.uint16), ["a", "b", "a"])
    assert (list(found), list(found.categories)) == (["a", "b", "a", "a"], ["a", "b"])


def test_columns_in_another_order_are_joined_by_barcode() -> None:
    columns = {"Barcodes": ["b", "a"], "x": [2, 1]}
    assert align(columns, ["a", "b"], "x") == {"x": [1, 2]}
    assert align({"x": [1, 2]}, ["a", "b"], "x") == {"x": [1, 2]}


@pytest.mark.parametrize(
    "columns", [{"Barcodes": ["a", "c"], "x": [1, 2]}, {"Barcodes": ["a", "a"], "x": [1, 2]}, {"x": [1]}]
)
def test_columns_about_other_cells_are_refused(columns: dict) -> None:
    with pytest.raises(InvalidResponse):
        align(columns, ["a", "b"], "metadata")


@given(st.lists(st.sampled_from(["a", "a-1", "a-2", "b", ""])))
def test_unique_names_are_unique_and_first_ones_are_kept(names: list[str]) -> None:
    found = unique_names(names)
    assert len(set(found)) == len(found) == len(names)
    for name in set(names):
        assert found[names.index(name)] == name


@pytest.mark.parametrize(
    ("values", "said"), [([[1], 2], "lists or objects"), ([{}], "lists"), ([10**400, 1.5], "float")]
)
def test_lists_and_objects_in_a_column_are_refused(values: list, said: str) -> None:
    with pytest.raises(InvalidResponse, match=said):
        column(values)


@pytest.mark.parametrize("name", ["barcode", "Barcode", "BARCODES"])
def test_the_barcode_column_is_found_in_any_spelling(name: str) -> None:
    assert align({name: ["b", "a"], "x": [2, 1]}, ["a", "b"], "x") == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("name", "other"),
    [("barcodes", "barcode"), ("barcodes", "Barcode"), ("barcodes", "BARCODES"), ("Barcodes", "barcode")],
)
def test_the_barcode_column_with_the_name_from_the_protocol_comes_first(name: str, other: str) -> None:
    for columns in ({other: ["x1", "x2"], name: ["b", "a"]}, {name: ["b", "a"], other: ["x1", "x2"]}):
        assert align({**columns, "n": [1, 2]}, ["a", "b"], "x") == {other: ["x2", "x1"], "n": [2, 1]}


def test_the_error_says_how_the_cells_of_columns_differ() -> None:
    with pytest.raises(InvalidResponse) as caught:
        align({"x": [1], "y": [1]}, ["a", "b"], "metadata of S")
    assert str(caught.value) == "metadata of S: 1 rows for 2 cells"
    with pytest.raises(InvalidResponse) as caught:
        align({"Barcodes": ["a", "c"]}, ["a", "b"], "metadata of S")
    assert str(caught.value) == "metadata of S: its barcodes differ from those of the matrix"


def test_integers_of_up_to_64_bits_stay_exact() -> None:
    ends = [-(2**63), 2**63 - 1]
    found = pd.Series(column(ends))
    assert (str(found.dtype), found.tolist()) == ("int64", ends)
    assert str(pd.Series(column([-(2**63) - 1])).dtype) == "float64"


def test_a_lone_surrogate_is_a_valid_name() -> None:
    assert text_index(["a", "\ud800"]).tolist() == ["a", "\ud800"]


@pytest.mark.parametrize("other", ["barcode", "Barcodes", "BARCODE"])
def test_the_spelling_of_the_protocol_decides_between_two_barcode_columns(other: str) -> None:
    for columns in (
        {other: ["x", "y"], "barcodes": ["b", "a"], "n": [1, 2]},
        {"barcodes": ["b", "a"], other: "xy", "n": [1, 2]},
    ):
        found = align(columns, ["a", "b"], "metadata")
        assert found["n"] == [2, 1]
        assert found[other] == ["y", "x"]
