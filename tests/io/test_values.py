from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.io.values import encode, labelled


@pytest.mark.parametrize(
    ("column", "values", "missing"),
    [
        (pd.Series(["001", None, "1e5", "nan"], dtype=object), ["001", "1e5", "nan"], [0, 1, 0, 0]),
        (pd.Series(["a", pd.NA], dtype="string"), ["a"], [0, 1]),
        (pd.Series([np.str_("a"), "b"], dtype=object), ["a", "b"], [0, 0]),
        (pd.Series([True, False]), ["True", "False"], [0, 0]),
        (pd.Series([True, None], dtype="boolean"), ["True"], [0, 1]),
        (pd.Series([2**53 + 1, -1]), [2**53 + 1, -1], [0, 0]),
        (pd.Series([1, None], dtype="Int64"), [1], [0, 1]),
        (pd.Series([1, 255], dtype="uint8"), [1, 255], [0, 0]),
        (pd.Series([2**63, 2**64 - 1], dtype="uint64"), [2**63, 2**64 - 1], [0, 0]),
        (pd.Series([2**64 - 1, None, 1], dtype="UInt64"), [2**64 - 1, 1], [0, 1, 0]),
        (pd.Series([2**64 - 1, 1], dtype="uint64[pyarrow]"), [2**64 - 1, 1], [0, 0]),
        (pd.Series([1.5, 2], dtype="longdouble"), [1.5, 2.0], [0, 0]),
        (pd.Series([-0.0, 5e-324]), [-0.0, 5e-324], [0, 0]),
        (pd.Series([0.1, np.nan, 2.0]), [0.1, 2.0], [0, 1, 0]),
        (pd.Series([0.1], dtype="float32"), [float(np.float32(0.1))], [0]),
        (pd.Series([1.5, None], dtype="Float32"), [1.5], [0, 1]),
        (pd.Series([1, 2], dtype="int64[pyarrow]"), [1, 2], [0, 0]),
        (pd.Series([0, 3], dtype="Sparse[int64]"), [0, 3], [0, 0]),
        (pd.Series(pd.Categorical(["b", None, "a"], categories=["b", "a", "c"])), ["b", "a"], [0, 1, 0]),
        (pd.Series(pd.Categorical([3, 1])), ["3", "1"], [0, 0]),
        (pd.Series(pd.Categorical([True, False])), ["True", "False"], [0, 0]),
        (pd.Series(pd.cut([1, 9], [0, 5, 10])), ["(0, 5]", "(5, 10]"], [0, 0]),
        (pd.Series(pd.Categorical([None, None])), [], [1, 1]),
    ],
)
def test_the_dtype_decides_how_values_are_sent(column: pd.Series, values: list[object], missing: list[int]) -> None:
    found, absent = encode(column)
    assert json.dumps(found) == json.dumps(values)
    np.testing.assert_array_equal(absent, np.array(missing, bool))


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pd.Series([np.inf]), "infinite"),
        (pd.Series([1j]), "complex128"),
        (pd.Series(np.array([1, 2], np.longdouble) / 3), "2 numbers with more digits"),
        (pd.Series(["a", 1], dtype=object), r"holds int: convert it, df\['x'\]"),
        (pd.Series([["a"], None]), r"holds list: convert it, df\['x'\].map\(str, na_action='ignore'\)"),
        (pd.Series([True, None], dtype=object), r"holds bool: convert it, df\['x'\].astype\('boolean'\)"),
        (pd.to_datetime(pd.Series(["2020-01-01"])), "holds Timestamp"),
        (pd.Series(pd.to_timedelta([1])), "holds Timedelta"),
        (pd.Series(["\ud800"], dtype=object), "surrogate pair"),
        (pd.Series(["a", "a\0b"]), r"NUL .* 'a\\x00b'"),
        (pd.Series(pd.Categorical.from_codes([0], pd.Index(["\ud800"], dtype=object))), "surrogate pair"),
        (pd.Series(pd.Categorical(["1", 1], categories=["1", 1])), "same text"),
    ],
)
def test_a_column_that_the_protocol_cannot_carry_is_refused(column: pd.Series, said: str) -> None:
    with pytest.raises(InvalidColumn, match=said) as caught:
        encode(column.rename("x"))
    assert "'x'" in str(caught.value)


def test_labels_outside_of_the_categories_are_missing() -> None:
    assert labelled(["b", None, "a", "c"], ["b", "a"]).codes.tolist() == [0, -1, 1, -1]
