from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor.io.values import (
    Loss,
    carried,
    changed_beyond_rounding,
    exact_in,
    integers,
    loss,
    numbers,
    numbers_in,
    shared_dtype,
)

DTYPES = ["bool", "int8", "uint8", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64", "longdouble"]
ENDS = [0, 1, -1, 2**11, 2**11 + 1, 2**24, 2**24 + 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1]


def of_dtype(dtype: str) -> st.SearchStrategy[list[Any]]:
    kind = np.dtype(dtype)
    if kind.kind == "b":
        each: st.SearchStrategy[Any] = st.booleans()
    elif kind.kind == "f":
        each = st.floats(width=min(64, 8 * kind.itemsize)) | st.sampled_from([0.0, 1.0, -1.0, 2.0**11])
    else:
        limits = np.iinfo(kind)
        inside = [end for end in ENDS if limits.min <= end <= limits.max]
        each = st.integers(int(limits.min), int(limits.max)) | st.sampled_from(inside)
    return st.lists(each, min_size=1, max_size=6)


@given(st.data())
def test_an_exact_number_is_the_same_in_the_other_dtype(data: st.DataObject) -> None:
    """Compared with fractions, which are exact, and with NumPy's cast of each value."""
    own, other = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(DTYPES))
    values = np.array(data.draw(of_dtype(own)), own)
    found = exact_in(values, other)
    with np.errstate(all="ignore"):
        cast = values.astype(other)
    for value, there, same in zip(values, cast, found, strict=True):
        if np.isnan(float(value)) or np.isinf(float(value)):
            assert same == (np.dtype(other).kind == "f"), (value, other)
        elif same:
            assert np.isfinite(float(there))
            assert _fraction(there) == _fraction(value), (value, other)
        elif np.dtype(other).kind == "f" and np.isfinite(float(there)):
            assert _fraction(there) != _fraction(value), (value, other)
        elif np.dtype(other).kind in "iu":
            limits = np.iinfo(other)
            assert _fraction(value).denominator > 1 or not limits.min <= _fraction(value) <= limits.max


def _fraction(value: Any) -> Fraction:
    if isinstance(value, np.floating):
        return Fraction(*value.as_integer_ratio())
    return Fraction(int(value))


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (np.array([1, 2**24 + 1, 2**24 + 3]), "float32", Loss(2, "16777217 as 16777216")),
        (np.array([2**64 - 1], np.uint64), "float64", Loss(1, "18446744073709551615 as 18446744073709551616")),
        (np.array([0.5, 0.1]), "float32", Loss(1, "0.1 as 0.10000000149011612")),
        (np.array([1e300]), "float32", Loss(1, "1e+300 as inf")),
        (np.array([5e-324]), "float32", Loss(1, "5e-324 as 0.0")),
        (np.array([[0.25, np.nan], [np.inf, -0.0]]), "float32", None),
        (np.array([True, False]), "float32", None),
    ],
)
def test_a_loss_is_counted_and_shown(values: np.ndarray, dtype: str, expected: Loss | None) -> None:
    assert loss(values, dtype) == expected


def test_json_carries_64_bit_integers_and_finite_floats() -> None:
    assert carried(np.array([0, 2**64 - 1], np.uint64), "json").tolist() == [True, True]
    assert carried(np.array([-(2**63)]), "json").tolist() == [True]
    assert carried(np.array([1e308, 5e-324, np.nan, np.inf, -np.inf]), "json").tolist() == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert carried(np.array([2**24 + 1, 2**24]), "float32").tolist() == [False, True]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([1, 2**63], "uint64"), ([-1, 2**63 - 1], "int64"), ([], "int64"), ([-1, 2**63], None), ([2**64], None)],
)
def test_integers_get_the_dtype_that_holds_them(values: list[int], dtype: str | None) -> None:
    found = integers(values)
    assert (None if found is None else (str(found.dtype), found.tolist())) == (
        None if dtype is None else (dtype, values)
    )


def test_a_number_beyond_any_float_is_an_overflow_error() -> None:
    with pytest.raises(OverflowError):
        numbers([10**400, 0.5])


@pytest.mark.parametrize(
    ("columns", "gaps", "expected"),
    [
        ([pd.Series([1]), pd.Series([2**63], dtype="uint64")], False, "uint64"),
        ([pd.Series([1]), pd.Series([2**63], dtype="uint64")], True, "UInt64"),
        ([pd.Series([-1]), pd.Series([2**63], dtype="uint64")], False, None),
        ([pd.Series([2**53 + 1]), pd.Series([1.5])], False, None),
        ([pd.Series([2**53 + 1]), pd.Series([3])], False, ""),
        ([pd.Series([2**53 + 1]), pd.Series([3])], True, "Int64"),
        ([pd.Series([2**53 + 1, None], dtype="Int64"), pd.Series([3])], False, "Int64"),
        ([pd.Series([1]), pd.Series([2], dtype="uint64")], True, ""),
        ([pd.Series([2**53]), pd.Series([1.5])], True, ""),
    ],
)
def test_concatenated_columns_keep_every_value(columns: list[pd.Series], gaps: bool, expected: str | None) -> None:
    assert shared_dtype(columns, gaps=gaps) == expected


def test_integers_and_numbers_out_of_range_change_in_float32_by_more_than_rounding() -> None:
    values = np.array([0.1, 16_777_217.0, 1e300, 1e-300, 0.5, np.nan])
    assert changed_beyond_rounding(values).tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([1, 2**63], "uint64"), ([1, None], "float64"), ([2**53 + 1, None], "Int64"), ([1, 0.5], "float64")],
)
def test_numbers_of_json_get_a_dtype_that_keeps_each(values: list[float | None], dtype: str) -> None:
    found = numbers(values)
    assert found is not None
    assert found.dtype.name == dtype
    assert [None if pd.isna(value) else value for value in found] == values


def test_text_is_a_number_only_if_it_is_written_like_one() -> None:
    assert numbers_in(["1", "0.1", "1e-05"]) == [1, 0.1, 1e-05]
    assert numbers_in(["007", "1"]) is None
    assert numbers_in(["1234567890123456789"]) is None
