from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.sync.dtypes import restore, take

LABELS = pd.Series(pd.Categorical(["b", None, "a"], categories=["a", "b", "unused"]))
TRUTHS = pd.Series(pd.Categorical(["True", "False"]))


class TestTake:
    def test_complete_columns_keep_their_dtype(self) -> None:
        for column in (LABELS, pd.Series([1, 2, 3], dtype="int32"), pd.Series([True, False, True])):
            pd.testing.assert_series_equal(take(column, np.array([2, 0])), column.iloc[[2, 0]].reset_index(drop=True))

    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            (LABELS, pd.Series(pd.Categorical([None, "b"], categories=["a", "b", "unused"]))),
            (pd.Series([1, 2]), pd.Series([np.nan, 1.0])),
            (pd.Series([2**53 + 1, 2]), pd.Series([None, 2**53 + 1], dtype="Int64")),
            (pd.Series([-(2**63), 2]), pd.Series([None, -(2**63)], dtype="Int64")),
            (pd.Series([2**64 - 1], dtype="uint64"), pd.Series([None, 2**64 - 1], dtype="UInt64")),
            (pd.Series([2**53 + 1, None], dtype="Int64"), pd.Series([None, 2**53 + 1], dtype="Int64")),
            (pd.Series([0.5], dtype="float32"), pd.Series([np.nan, 0.5], dtype="float32")),
            (pd.Series([True]), pd.Series([None, True], dtype="boolean")),
        ],
    )
    def test_missing_cells_change_no_other_value(self, column: pd.Series, expected: pd.Series) -> None:
        before = column.copy()
        pd.testing.assert_series_equal(take(column, np.array([-1, 0])), expected)
        pd.testing.assert_series_equal(column, before)


class TestRestore:
    @pytest.mark.parametrize(
        ("came", "expected"),
        [
            (LABELS, pd.Series(["b", np.nan, "a"], dtype=object)),
            (LABELS, pd.Series(["b", None, "a"], dtype="string")),
            (LABELS, pd.Series(pd.Categorical(["b", None, "a"], categories=["c", "b", "a"], ordered=True))),
            (LABELS, pd.Series(pd.Categorical(["b", None, "a"], categories=["unused", "b", "a"]))),
            (TRUTHS, pd.Series([True, False])),
            (TRUTHS, pd.Series([True, False], dtype="boolean")),
            (TRUTHS, pd.Series(pd.Categorical([True, False]))),
            (pd.Series([1, 0]), pd.Series([True, False])),
            (pd.Series([True, False]), pd.Series([True, False], dtype="boolean")),
            (pd.Series([1.0, 2.0]), pd.Series([1, 2], dtype="int8")),
            (pd.Series([1.0, np.nan]), pd.Series([1, None], dtype="Int16")),
            (pd.Series([0.5, np.nan]), pd.Series([0.5, np.nan], dtype="float32")),
            (pd.Series([1, 2]), pd.Series([1.0, 2.0])),
            (pd.Series([2**64 - 1], dtype="uint64"), pd.Series([2**64 - 1], dtype="UInt64")),
            (pd.Series([2.0**63, 0]), pd.Series([2**63, 0], dtype="uint64")),
            (pd.Series([2**63], dtype="uint64"), pd.Series([2.0**63])),
            (pd.Series([2**53 + 1, None], dtype="Int64"), pd.Series([2**53 + 1, None], dtype="UInt64")),
            (pd.Series([-(2**63)]), pd.Series([-(2.0**63)], dtype="float32")),
            (pd.Series([1, 2]), pd.Series(pd.Categorical(["1", "2"], categories=["2", "1"]))),
            (pd.Series([1.0, np.nan]), pd.Series(pd.Categorical([1, None], categories=[1, 2]))),
            (pd.Series([np.nan, np.nan]), pd.Series([np.nan, np.nan], dtype=object)),
            (pd.Series([np.nan]), pd.Series(pd.Categorical([None], categories=["a"]))),
            (pd.Series(pd.Categorical(["(0, 5]"])), pd.Series(pd.cut([1], [0, 5, 10]))),
        ],
    )
    def test_values_get_the_dtype_that_they_had(self, came: pd.Series, expected: pd.Series) -> None:
        pd.testing.assert_series_equal(restore(came, expected.dtype), expected)

    @pytest.mark.parametrize(
        ("came", "dtype", "said"),
        [
            (pd.Series([0.1]), "float32", "1 values would change in float32, such as 0.1"),
            (pd.Series([2**53 + 1]), "float64", "would change"),
            (pd.Series([-1, 300]), "uint8", "uint8"),
            (pd.Series([0.5]), "int64", "int64"),
            (pd.Series([1.0, np.nan]), "int32", r"1 cells have no value, which int32 cannot hold: give 'Int32'"),
            (pd.Series([1.0, np.nan]), "uint8", "give 'UInt8'"),
            (pd.Series([2, 0]), "bool", "neither 0 nor 1"),
            (pd.Series(pd.Categorical(["True", None])), "bool", "give 'boolean'"),
            (pd.Series(pd.Categorical(["yes"])), "bool", "'yes' are neither"),
            (LABELS, "float64", "labels, not numbers"),
            (LABELS, pd.CategoricalDtype(["a"]), "'b' are not among its categories"),
            (pd.Series([1, 2]), "object", "cannot become object"),
            (pd.Series([1, 2]), "string", "cannot become string"),
            (LABELS, "datetime64[ns]", "cannot be converted to datetime64"),
            (LABELS, "nonsense", "'nonsense' is not a dtype"),
            (pd.Series([0.5, 1.0]), "Int64", "1 values would change in Int64, such as 0.5"),
            # All of these are the same after a cast there and back, which wraps or has no end.
            (pd.Series([-1, 1]), "uint64", "1 values would change in uint64, such as -1"),
            (pd.Series([2**63 + 5], dtype="uint64"), "int64", "would change in int64, such as 9223372036854775813"),
            (
                pd.Series([2**64 - 1], dtype="uint64"),
                "float64",
                "would change in float64, such as 18446744073709551615",
            ),
            (pd.Series([2**63 - 1]), "float64", "would change in float64, such as 9223372036854775807"),
            (pd.Series([2.0**64]), "uint64", "would change in uint64"),
            (pd.Series([2.0**63]), "int64", "would change in int64"),
            (pd.Series([2**64 - 1], dtype="uint64"), "Int64", "would change in Int64"),
            (pd.Series([-1]), "UInt64", "would change in UInt64"),
            (pd.Series([2**53 + 1]), "Float64", "would change in Float64"),
            (pd.Series([2**53 + 1, None], dtype="Int64"), "float64", "would change in float64"),
            (pd.Series([1e300]), "float32", "would change in float32"),
            (pd.Series([np.inf]), "int64", "would change in int64"),
        ],
    )
    def test_a_dtype_that_would_change_a_value_is_refused(self, came: pd.Series, dtype: object, said: str) -> None:
        with pytest.raises(InvalidColumn, match=said):
            restore(came, dtype)


@pytest.mark.parametrize("dtype", ["uint64", "int64", "Int64", "int32"])
@pytest.mark.parametrize("missing", [False, True])
def test_large_integers_of_bioflex_are_refused_because_they_were_rounded(dtype: str, missing: bool) -> None:
    """6,238,072,747,940,578,789 arrives as 6,238,072,623,117,369,344, which every integer dtype holds exactly."""
    came = pd.Series([1, 2**24, 2**30] + [np.nan] * missing, dtype="float32")
    with pytest.raises(InvalidColumn) as caught:
        restore(came, "Int64" if missing else dtype)
    assert "BioFlex sends float32, which rounds whole numbers from 16,777,216 on: 2 values" in str(caught.value)
    assert "Pull it from BBrowserX or Talk2Data, or submit ids as text" in str(caught.value)


def test_integers_that_float32_holds_are_restored_and_large_ones_of_other_servers_too() -> None:
    assert restore(pd.Series([-(2**24) + 1, 2**24 - 1], dtype="float32"), "int64").tolist() == [-16777215, 16777215]
    assert restore(pd.Series([2.0**53, 1.0]), "int64").tolist() == [2**53, 1]


def test_a_category_without_categories_takes_those_that_came() -> None:
    found = restore(LABELS, pd.CategoricalDtype(ordered=True))
    assert found.dtype == pd.CategoricalDtype(["a", "b", "unused"], ordered=True)
    assert found.isna().tolist() == [False, True, False]
    assert found.dropna().tolist() == ["b", "a"]
