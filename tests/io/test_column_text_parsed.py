"""Text values: text is parsed exactly, or the dtype is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pytest
from pandas.api.types import pandas_dtype

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.sync.dtypes import restore


def labels(*texts: Any) -> pd.Series:
    return pd.Series(pd.Categorical(texts))


@pytest.mark.parametrize(
    ("texts", "dtype", "expected"),
    [
        (["2020-01-01", None], "datetime64[s]", pd.Series(["2020-01-01", None], dtype="datetime64[s]")),
        (["2020-01-01 10:30"], "datetime64[ns]", pd.Series(["2020-01-01T10:30"], dtype="datetime64[ns]")),
        (["2020-01-01T10:00Z"], "datetime64[ns, UTC]", pd.Series(["2020-01-01T10:00Z"], dtype="datetime64[ns, UTC]")),
        (
            ["2020-01-01T10:00+02:00"],
            "datetime64[us, Asia/Tokyo]",
            pd.Series(pd.DatetimeIndex(["2020-01-01T17:00"]).tz_localize("Asia/Tokyo").as_unit("us")),
        ),
        (
            ["P1DT2H", "-PT0.5S", None],
            "timedelta64[ms]",
            pd.Series(pd.to_timedelta([93_600_000, -500, None], "ms"), dtype="timedelta64[ms]"),
        ),
        (["2020-01", None], "period[M]", pd.Series(pd.PeriodIndex(["2020-01", None], freq="M"))),
        (["(0, 1]"], "interval[int64, right]", pd.Series(pd.interval_range(0, 1))),
        (["(1+2j)"], "complex128", pd.Series([1 + 2j])),
        (["9007199254740993", None], "Int64", pd.Series([2**53 + 1, None], dtype="Int64")),
        (["-9007199254740993", "1"], "int64", pd.Series([-(2**53) - 1, 1])),
        ([None, None], "datetime64[ns]", pd.Series([None, None], dtype="datetime64[ns]")),
        ([None, None], "period[M]", pd.Series([None, None], dtype="period[M]")),
    ],
)
def test_text_becomes_the_values_that_it_represents(texts: list[Any], dtype: str, expected: pd.Series) -> None:
    pd.testing.assert_series_equal(restore(labels(*texts), dtype), expected)


def test_years_that_a_server_parsed_as_numbers_become_periods() -> None:
    expected = pd.Series(pd.PeriodIndex(["2020", "2021"], freq="Y"))
    pd.testing.assert_series_equal(restore(pd.Series([2020, 2021]), expected.dtype), expected)


@pytest.mark.parametrize(
    ("texts", "dtype", "said"),
    [
        (["today", "2020-01-01"], "datetime64[ns]", "'today' are not dates in ISO 8601 without an offset"),
        (["01/02/2020"], "datetime64[ns]", "'01/02/2020' are not dates"),
        (["2020-13-01"], "datetime64[ns]", "'2020-13-01' are not dates"),
        (["2020-01-01T00:00:00.5"], "datetime64[s]", r"1 value would change in datetime64\[s\]"),
        (["20000-01-01"], "datetime64[ns]", r"1 value would change in datetime64\[ns\]"),
        (["2020-01-01T00:00+01:00"], "datetime64[ns]", "without an offset from UTC"),
        (["2020-01-01"], "datetime64[ns, UTC]", "with an offset from UTC"),
        (["1 day"], "timedelta64[ns]", "'1 day' are not durations in ISO 8601"),
        (["PT0.5S"], "timedelta64[s]", "'PT0.5S' are not durations"),
        (["P", "PT"], "timedelta64[s]", "'P', 'PT' are not durations"),
        (["P999999999D"], "timedelta64[ns]", "are not durations"),
        (["2020-01-15"], "period[M]", "'2020-01-15' are not periods of M"),
        (["(0, 1]"], "interval[int64, left]", "are not intervals that are closed 'left'"),
        (["(0.5, 1]"], "interval[int64, right]", "'0.5' are not whole numbers"),
        (["(0, 1]", None], "interval[int64, right]", r"1 cells have no value, which interval\[int64, right\] cannot"),
        (["one"], "complex128", "'one' are not complex numbers"),
        (["0.1j"], "complex64", "1 value would change in complex64"),
        (["9007199254740993"], "int8", "beyond int8"),
        (["9007199254740993", None], "uint64", "1 cells have no value, which uint64 cannot hold: give 'UInt64'"),
        (["09007199254740993"], "int64", "'09007199254740993' are not whole numbers"),
        (["7"], "int64", "labels, not numbers"),
    ],
)
def test_text_that_does_not_represent_a_value_is_refused(texts: list[Any], dtype: str, said: str) -> None:
    with pytest.raises(InvalidColumn, match=said):
        restore(labels(*texts), dtype)


def test_a_label_that_stands_for_two_categories_is_refused() -> None:
    twice = pd.CategoricalDtype(pd.Index([1, "1", "a"], dtype=object))
    with pytest.raises(InvalidColumn, match="'1' stands for several of its categories: 1 and '1'"):
        restore(labels("1", "a"), twice)
    assert restore(labels("a"), twice).tolist() == ["a"]


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("timestamp[ns][pyarrow]", "2020-01-01T10:00:00.000000001", pd.Timestamp("2020-01-01T10:00:00.000000001")),
        ("timestamp[us, tz=UTC][pyarrow]", "2020-01-01T10:00:00+00:00", pd.Timestamp("2020-01-01T10:00", tz="UTC")),
        ("duration[ms][pyarrow]", "P1DT1H", pd.Timedelta(hours=25)),
        ("date32[day][pyarrow]", "2020-01-01", dt.date(2020, 1, 1)),
    ],
)
def test_arrow_times_come_back(dtype: str, text: str, value: Any) -> None:
    pytest.importorskip("pyarrow")
    column = restore(labels(text, None), dtype)
    assert (column.dtype, column[0], column.isna().tolist()) == (pandas_dtype(dtype), value, [False, True])
