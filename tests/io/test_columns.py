"""Every column is written unchanged, written with a reported change, or refused with a fix."""

import datetime as dt
import decimal

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.io.columns import batches_of, judge, labels_of, plain_verdict


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 2], np.int8),
        np.array([1, 2], np.uint64),
        np.array([1.5, np.nan], np.float32),
        np.array([np.inf, 2.0]),
        np.array([True, False]),
        pd.Categorical(["b", "a"], pd.Index(["z", "b", "a"], dtype=object), ordered=True),
        pd.Categorical([1, None], [2, 1]),
        pd.Categorical([None, None]),
    ],
)
def test_a_column_that_h5ad_can_store_is_unchanged(values):
    column = pd.Series(values)
    verdict = judge(column)
    assert verdict.column is not None
    pd.testing.assert_series_equal(verdict.column, column)
    assert verdict.change == ""


@pytest.mark.parametrize(
    "values",
    [
        ["c10", "c2", None, "c2"],
        pd.array(["c10", "c2", None, "c2"], "string"),
        pd.Series(["c10", "c2", np.nan, "c2"], dtype=object),
    ],
)
def test_text_becomes_categories_in_natural_order(values):
    verdict = judge(pd.Series(values))
    assert verdict.column.cat.categories.tolist() == ["c2", "c10"]
    assert verdict.column.cat.categories.dtype == object
    assert verdict.column.tolist()[:2] == ["c10", "c2"]
    assert verdict.column.isna().tolist() == [False, False, True, False]
    assert verdict.change == ""


@pytest.mark.parametrize("text", ["²", "1²3", "٣", "", " ", "é", "a/b"])
def test_odd_text_is_sorted_and_kept(text):
    assert set(judge(pd.Series([text, "2", "10"])).column) == {text, "2", "10"}


def test_categories_of_string_dtype_become_plain_and_keep_order():
    column = pd.Series(["b", "a"], dtype="string").astype(pd.CategoricalDtype(pd.array(["b", "a"], "string"), True))
    got = judge(column).column
    assert got.cat.categories.dtype == object
    assert (got.cat.categories.tolist(), got.cat.ordered, got.tolist()) == (["b", "a"], True, ["b", "a"])


@pytest.mark.parametrize(
    ("values", "expected", "dtype"),
    [
        (pd.array([1, 2], "Int8"), [1, 2], "int8"),
        (pd.array([1.5, 2], "Float32"), [1.5, 2], "float32"),
        (pd.array([True, False], "boolean"), [True, False], "bool"),
        (pd.Series([1, 2], dtype=object), [1, 2], "int64"),
        (pd.Series([2**63, 2], dtype=object), [2**63, 2], "uint64"),
        (pd.Series([1, 2.5], dtype=object), [1, 2.5], "float64"),
        (pd.Series([True, False], dtype=object), [True, False], "bool"),
        (np.array([1, 2], np.float16), [1, 2], "float32"),
    ],
)
def test_the_same_values_in_a_numpy_dtype_are_not_reported_as_changed(values, expected, dtype):
    verdict = judge(pd.Series(values))
    assert (verdict.column.tolist(), str(verdict.column.dtype), verdict.change) == (expected, dtype, "")


@pytest.mark.parametrize(
    ("values", "expected", "change"),
    [
        (pd.array([2**60, None], "Int64"), [2.0**60, np.nan], "whole numbers with 1 missing"),
        (pd.Series([2**70, -1], dtype=object), [2.0**70, -1.0], "whole numbers beyond 64 bits: sent as floats"),
        ([None, None], [np.nan, np.nan], "only missing values: sent as NaN"),
        (pd.array([1, None], "Int64"), [1, np.nan], "whole numbers with 1 missing: sent as floats with NaN"),
        (pd.array([1.5, None], "Float64"), [1.5, np.nan], ""),
        (pd.Series([1, None], dtype=object), [1, np.nan], "whole numbers with 1 missing: sent as floats with NaN"),
        ([True, None], ["True", np.nan], "booleans with 1 missing: sent as labels 'True' and 'False'"),
        (pd.array([None, False], "boolean"), [np.nan, "False"], "booleans with 1 missing: sent as labels 'True' and"),
        (pd.arrays.SparseArray([0, 3]), [0, 3], "sparse column made dense"),
        (np.array([1, 2], np.longdouble), [1, 2], f"{np.dtype(np.longdouble)}: sent as float64"),
    ],
)
def test_a_changed_column_is_reported(values, expected, change):
    verdict = judge(pd.Series(values))
    assert verdict.change.startswith(change) if change else verdict.change == ""
    assert [None if pd.isna(value) else value for value in verdict.column] == [
        None if pd.isna(value) else value for value in expected
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([1, "a", 2], "mixed types that h5ad cannot hold (int 2, str 1)"),
        ([True, 1], "mixed types that h5ad cannot hold (bool 1, int 1)"),
        ([[1], [2]], "values that h5ad cannot hold (list 2)"),
        ([{"a": 1}, None], "values that h5ad cannot hold (dict 1)"),
        ([b"a", b"b"], "values that h5ad cannot hold (bytes 2)"),
        (pd.to_datetime(["2020-01-01", None]), "holds datetime64["),
        (pd.to_datetime(["2020-01-01"]).tz_localize("UTC"), ", UTC], which h5ad cannot hold"),
        (pd.to_timedelta([1, 2], "s"), "holds timedelta64["),
        (pd.period_range("2020", periods=2, freq="M"), "holds period[M]"),
        (pd.cut([1, 2, 3], 2), "has categories that h5ad cannot hold (intervals, as from pd.cut)"),
        (pd.interval_range(0, 2), "holds interval[int64, right]"),
        (pd.Categorical([1, "a"], [1, "a"]), "has categories that h5ad cannot hold (mixed types"),
        (pd.Categorical(pd.to_datetime(["2020-01-01"])), "has categories that h5ad cannot hold (holds datetime64"),
        ([dt.date(2020, 1, 1), dt.date(2021, 1, 1)], "values that h5ad cannot hold (date 2)"),
        (np.array([1j, 2]), "holds complex128, which h5ad cannot hold"),
        (["a\0b", "c"], "1 texts hold a NUL or half of a surrogate pair"),
        (pd.Series(["\ud800", "c"], dtype=object), "1 texts hold a NUL or half of a surrogate pair"),
        ([2**70 + 1, 1], "whole numbers such as 1,180,591,620,717,411,303,425, which no float holds exactly"),
        (pd.Series([10**5000, 1.5], dtype=object), "whole numbers such as int, which no float holds exactly"),
        (pd.Series([-(2**53) - 1, 1.5], dtype=object), "which no float holds exactly"),
        (pd.array([2**60 + 1, None], "Int64"), "whole numbers such as 1,152,921,504,606,846,977, which no float"),
    ],
)
def test_a_column_that_h5ad_cannot_hold_is_reported_with_examples_and_a_fix(values, problem):
    column = pd.Series(values, name="x")
    verdict = plain_verdict(column)
    assert verdict.column is None
    assert problem in verdict.problem
    assert verdict.examples
    assert "adata.obs['x']" in verdict.fix


@pytest.mark.parametrize(
    ("values", "problem", "fix", "examples", "count"),
    [
        (
            pd.period_range("2020", periods=3, freq="M"),
            "holds period[M], which h5ad cannot hold",
            "Convert it: adata.var['x'] = adata.var['x'].astype(str)",
            ("0: Period('2020-01', 'M')", "1: Period('2020-02', 'M')"),
            3,
        ),
        (
            np.array([1j, 2, 3]),
            "holds complex128, which h5ad cannot hold",
            "Convert it: adata.var['x'] = adata.var['x'].astype(str)",
            ("0: 1j", "1: (2+0j)"),
            3,
        ),
        (
            pd.cut([1, 2, 3, 9], 4),
            "has categories that h5ad cannot hold (intervals, as from pd.cut)",
            "Convert it: adata.var['x'] = adata.var['x'].astype(str)",
            ("0: Interval(0.992, 3.0, closed='right')", "1: Interval(3.0, 5.0, closed='right')"),
            4,
        ),
        (
            pd.Categorical(pd.period_range("2020", periods=2, freq="M")),
            "has categories that h5ad cannot hold (holds period[M], which h5ad cannot hold)",
            "Convert it: adata.var['x'] = adata.var['x'].astype(str)",
            ("0: Period('2020-01', 'M')", "1: Period('2020-02', 'M')"),
            2,
        ),
        (
            pd.Categorical([None, None], pd.PeriodIndex([], freq="M")),
            "has categories that h5ad cannot hold (period[M])",
            "Convert it: adata.var['x'] = adata.var['x'].map(str, na_action='ignore')",
            ("0: NaT", "1: NaT"),
            0,
        ),
        (
            ["a\0b", "c", "\ud800", "d\0", "e\0"],
            "4 texts hold a NUL or half of a surrogate pair",
            "Replace them in adata.var['x']",
            ("'a\\x00b'", "'d\\x00'", "'e\\x00'"),
            4,
        ),
        (
            [1, "a", 2.5, None, b"b", (1,)],
            "mixed types that h5ad cannot hold (int 1, str 1, float 1, bytes 1, tuple 1)",
            "Convert it: adata.var['x'] = adata.var['x'].map(str, na_action='ignore')",
            ("0: 1", "1: 'a'", "2: 2.5"),
            5,
        ),
        (
            pd.array([2**60 + 1, None, 5, 2**60 + 3], "Int64"),
            "whole numbers such as 1,152,921,504,606,846,979, which no float holds exactly",
            "Convert it: adata.var['x'] = adata.var['x'].map(str, na_action='ignore')",
            ("0: 1,152,921,504,606,846,977", "1: <NA>"),
            1,
        ),
    ],
)
def test_a_refusal_says_why_where_and_what_to_do(values, problem, fix, examples, count):
    # Text as objects: pandas 3 infers a string dtype, which rejects lone surrogates.
    dtype = object if isinstance(values, list) else None
    verdict = plain_verdict(pd.Series(values, name="x", dtype=dtype), "var")
    assert verdict.column is None
    assert (verdict.problem, verdict.fix, verdict.examples, verdict.count) == (problem, fix, examples, count)


@pytest.mark.parametrize(
    ("values", "change", "count"),
    [
        ([None, None, None], "only missing values: sent as NaN", 3),
        ([True, None, None], "booleans with 2 missing: sent as labels 'True' and 'False'", 2),
        (pd.array([1, None, None], "Int64"), "whole numbers with 2 missing: sent as floats with NaN", 2),
        (pd.Series([2**70, -1], dtype=object), "whole numbers beyond 64 bits: sent as floats", 1),
        (pd.arrays.SparseArray([0, 3, 0]), "sparse column made dense", 1),
        (np.array([1, 2, 3], np.longdouble), f"{np.dtype(np.longdouble)}: sent as float64", 3),
    ],
)
def test_a_change_says_how_many_values_it_concerns(values, change, count):
    verdict = judge(pd.Series(values))
    assert (verdict.change, verdict.count, verdict.problem) == (change, count, "")


@pytest.mark.parametrize(
    "values",
    [
        ["b", None],
        [None, None],
        [True, None],
        [True, False],
        [1, None],
        [1, 2],
        pd.array([1, 2], "Int64"),
        pd.Categorical(pd.array(["b", "a"], "string")),
        pd.arrays.SparseArray([0, 3]),
        np.array([1, 2], np.float16),
    ],
)
def test_the_rows_keep_their_names(values):
    column = pd.Series(values, index=["CELL1", "CELL2"], dtype=None if hasattr(values, "dtype") else object)
    assert judge(column).column.index.tolist() == ["CELL1", "CELL2"]


def test_the_proposed_fix_works():
    for values in ([1, "a"], pd.to_datetime(["2020-01-01"]), pd.cut([1, 2], 2), [[1], {}]):
        assert judge(pd.Series(values).astype(str)).column is not None


def test_the_first_row_of_each_type_is_shown():
    column = pd.Series([1, 2, "late"], index=["c1", "c2", "c3"])
    assert judge(column).examples == ("c1: 1", "c3: 'late'")


def test_a_value_that_cannot_be_shown_is_named_by_its_type():
    class Shy:
        def __repr__(self):
            raise RuntimeError

    assert judge(pd.Series([Shy(), "a"])).examples == ("0: Shy", "1: 'a'")
    assert judge(pd.Series([1, "a" * 100])).examples[1] == "1: '" + "a" * 56 + "..."
    assert judge(pd.Series([1, "a" * 58])).examples[1] == "1: '" + "a" * 58 + "'"
    assert judge(pd.Series([1, "a" * 59])).examples[1] == "1: '" + "a" * 56 + "..."
    assert judge(pd.Series([1_000, "é"])).examples == ("0: 1,000", "1: '\\xe9'")


def test_a_missing_time_among_text_is_missing():
    verdict = judge(pd.Series(["b", pd.NaT, "a"], dtype=object))
    assert (verdict.column.tolist(), verdict.change) == (["b", np.nan, "a"], "")
    assert verdict.column.cat.categories.tolist() == ["a", "b"]


def test_objects_that_are_floats_or_missing_become_floats():
    for values in ([1.5, 2.5], [1.5, None], [None, None]):
        assert judge(pd.Series(values, dtype=object)).column.dtype == np.float64


def test_the_fix_for_a_sparse_column_names_it():
    verdict = plain_verdict(pd.Series(pd.arrays.SparseArray([1j, 0]), name="x"), "var")
    assert (verdict.column, verdict.problem) == (None, "holds complex128, which h5ad cannot hold")
    assert verdict.fix == "Convert it: adata.var['x'] = adata.var['x'].astype(str)"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([b"\xff", b"a"], ["b'\\xff'", "b'a'"]),
        ([1.5, np.nan], ["1.5", "nan"]),
        (pd.Categorical(["x", None]), ["x", "nan"]),
        ([True, 2], ["True", "2"]),
        (["x", None], ["x", "nan"]),
        (["x", pd.NaT], ["x", "nan"]),
        (pd.array(["x", None], "string"), ["x", "nan"]),
        (pd.array([True, None], "boolean"), ["True", "nan"]),
        ([b"\xff", None], ["b'\\xff'", "nan"]),
    ],
)
def test_labels_are_the_values_as_text_with_the_same_index(values, texts):
    column = pd.Series(values, index=["c7", "c2"])
    labels = labels_of(column)
    assert labels.tolist() == texts
    assert labels.index.tolist() == ["c7", "c2"]


def test_booleans_have_both_labels_and_false_comes_first():
    for values in ([True, None], [None, False], [True, False, None]):
        assert judge(pd.Series(values)).column.cat.categories.tolist() == ["False", "True"]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([-(2**63), 2**63 - 1], "int64"),
        ([0, 2**64 - 1], "uint64"),
        ([0, 2**63], "uint64"),
        ([-1, 2**63], "float64"),
        ([0, 2**64], "float64"),
    ],
)
def test_integers_get_the_first_dtype_that_holds_them_all(values, dtype):
    found = judge(pd.Series(values, dtype=object)).column
    assert (found.dtype, found.tolist()) == (np.dtype(dtype), values)


def test_arrow_decimals_are_sent_as_text_and_missing_arrow_numbers_become_nan():
    pa = pytest.importorskip("pyarrow")
    column = pd.Series([decimal.Decimal("1.5")], dtype=pd.ArrowDtype(pa.decimal128(3, 1)), name="x")
    verdict = judge(column)
    assert (verdict.column.tolist(), verdict.change) == (["1.5"], "values (Decimal 1): sent as text")
    assert "dtypes={'x': adata.obs['x'].dtype}" in verdict.fix
    found = judge(pd.Series([3, None], dtype="int64[pyarrow]")).column
    assert (found.dtype, found[0], found.isna().tolist()) == (np.dtype(float), 3.0, [False, True])


def test_the_column_itself_is_never_changed():
    column = pd.Series(["b", None, "a"], name="x", dtype=object)
    before = column.copy(deep=True)
    judge(column)
    pd.testing.assert_series_equal(column, before)
    assert column.dtype == object


@pytest.mark.parametrize("dtype", ["string[pyarrow]", "int64[pyarrow]", "bool[pyarrow]", "large_string[pyarrow]"])
def test_arrow_columns_become_numpy_columns(dtype):
    pytest.importorskip("pyarrow")
    values = {"int": [3, 4], "boo": [True, False]}.get(dtype[:3], ["a", "b"])
    assert judge(pd.Series(values, dtype=dtype)).column.tolist() == values


def test_sparse_columns_are_written_dense():
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.eye(3, format="csr"))
    assert judge(frame[0]).column.tolist() == [1, 0, 0]


def test_the_proposed_conversion_keeps_missing_values():
    adata = ad.AnnData(np.eye(3, dtype=np.float32), obs=pd.DataFrame({"x": [[31], "unknown", None]}, index=list("abc")))
    (found,) = bc.check(adata).warnings
    exec(found.fix.removeprefix("Convert it: "), {"adata": adata})
    assert not bc.check(adata).warnings
    assert adata.obs["x"].tolist()[:2] == ["[31]", "unknown"]
    assert adata.obs["x"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("values", "texts", "change", "fix"),
    [
        (
            np.array(["2020-01-02T03:04:05", "NaT"], "M8[s]"),
            ["2020-01-02T03:04:05", None],
            "datetime64[s]: sent as text in ISO 8601",
            "To restore it: again.biocolab.pull_metadata(['x'], overwrite=True, dtypes={'x': 'datetime64[s]'})",
        ),
        (
            pd.cut([1, 2, 3], 2),
            ["(0.998, 2.0]", "(0.998, 2.0]", "(2.0, 3.0]"],
            "intervals, as from pd.cut: sent as text",
            "To restore it: again.biocolab.pull_metadata(['x'], overwrite=True, dtypes={'x': adata.obs['x'].dtype})",
        ),
        (
            pd.Series([1, "1", None, 2.5], dtype=object),
            ["1", "1", None, "2.5"],
            "mixed types (int 1, str 1, float 1): sent as text; 1 label stands for values that differ, such as '1' for "
            "int and str",
            "It stays text when the study is fetched",
        ),
        (
            pd.Series([dt.date(2020, 1, 1), dt.date(2021, 1, 1)], dtype=object),
            ["2020-01-01", "2021-01-01"],
            "values (date 2): sent as text",
            "To restore it: again.biocolab.pull_metadata(['x'], overwrite=True, dtypes={'x': 'datetime64[s]'})",
        ),
        (
            pd.array([2**53 + 1, None], "Int64"),
            ["9007199254740993", None],
            "values (int 1): sent as text",
            "To restore it: again.biocolab.pull_metadata(['x'], overwrite=True, dtypes={'x': 'Int64'})",
        ),
    ],
)
def test_a_column_sent_as_text_comes_with_the_line_that_restores_it(values, texts, change, fix):
    verdict = judge(pd.Series(values, name="x"))
    assert [None if pd.isna(value) else value for value in verdict.column] == texts
    assert (verdict.change, verdict.fix, verdict.as_text, verdict.problem) == (change, fix, True, "")
    assert verdict.count == sum(text is not None for text in texts)
    assert judge(pd.Series(values, name="x"), "var").fix == ""


@pytest.mark.parametrize(
    "values",
    [
        [[1], [2]], [{"a": 1}, None], [{1}, {2}], [(1, 2), "x"], [np.ones(2), 1], [object(), "a"], [b"\xff", b"a"],
        ["a\0b", "c"], ["\ud800", "c"], ["a\0b", 1], [10**5000, 1.5],
    ],
)  # fmt: skip
def test_a_column_that_text_cannot_represent_is_omitted_with_examples_and_a_fix(values):
    column = pd.Series(values, name="x", dtype=object)
    verdict = judge(column)
    assert (verdict.column, verdict.as_text) == (None, False)
    assert verdict.problem == plain_verdict(column).problem != ""
    assert verdict.examples
    assert "adata.obs['x']" in verdict.fix


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (pd.to_datetime(["2020-01-01 10:30", None]), ["2020-01-01T10:30:00", "nan"]),
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), ["2020-01-01", "2020-01-02"]),
        (pd.to_timedelta([90, 1], "s"), ["PT1M30S", "PT1S"]),
        (pd.period_range("2020", periods=2, freq="Q"), ["2020Q1", "2020Q2"]),
        ([dt.datetime(2020, 1, 1, 1), "x"], ["2020-01-01T01:00:00", "x"]),
        (pd.Categorical(pd.to_datetime(["2020-01-01"])), ["2020-01-01"]),
    ],
)
def test_batches_have_the_names_that_are_submitted(values, labels):
    column = pd.Series(values)
    assert labels_of(column).tolist() == labels
    sent = judge(column).column
    assert [str(label) for label in sent.astype(object).fillna("nan")] == labels


def test_batches_come_in_the_order_of_the_categories_without_unused_ones() -> None:
    labels, order = batches_of(pd.Series(pd.Categorical(["b", "a"], ["b", "unused", "a"])))
    assert (labels.tolist(), order) == (["b", "a"], ["b", "a"])
