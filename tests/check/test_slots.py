"""Entries of obsm that cannot be sent, and entries of uns that h5ad cannot hold, have a reason."""

from collections import OrderedDict
from fractions import Fraction

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from anndata.io import write_elem
from scipy import sparse

from biocolab_accessor.check.slots import is_table, unsendable, unwritable_parts

TABLE = pd.DataFrame({"CD3": [1, 2], "CD4": [0.5, 1]})

MIXED = "mixed types that h5ad cannot hold (int 1, str 1)"
SLASH = "contains a '/', which separates groups in HDF5"


def renamed(*names):
    table = TABLE.copy()
    table.columns = pd.Index(names, dtype=object)
    return table


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("X_pca", np.ones((2, 2)), ""),
        ("X_pca", np.ones((2, 1), bool), ""),
        ("X_pca", sparse.csr_matrix(np.ones((2, 3), np.int8)), ""),
        ("protein", TABLE, ""),
        ("protein", renamed(0, 1), ""),
        (None, np.ones((2, 2)), "its key is a NoneType, not text"),
        ((1, 2), np.ones((2, 2)), "its key is a tuple, not text"),
        ("x", [[1, 2], [3, 4]], "is a list"),
        ("x", np.array([["a"], ["b"]]), "holds <U1 values"),
        ("x", np.ones((2, 2), complex), "holds complex128 values"),
        ("x", np.ma.masked_equal([[1, 2], [3, 4]], 2), "has masked values"),
        ("x", np.ma.masked_equal([[1, 2], [3, 4]], 9), ""),
        ("x", np.ones(2), "has 1 dimensions"),
        ("x", np.ones((2, 2, 2)), "has 3 dimensions"),
        ("x", np.ones((2, 0)), "has no columns"),
        ("x", TABLE[[]], "has no columns"),
        ("x", renamed(None, "b"), "column name None is a NoneType, not text"),
        ("x", renamed("a", 1.5), "column name 1.5 is a float, not text"),
        ("x", renamed(0, "0"), "has columns with the same name"),
        ("x", renamed("a", "a"), "has columns with the same name"),
        ("x", pd.DataFrame({"b": [[1], [2]]}), "column 'b': values that h5ad cannot hold (list 2)"),
        ("x", pd.DataFrame({"a": [1, 2], "b": [[1], [2]]}), ""),
        ("x", pd.DataFrame({"b": [1, "c"]}), ""),
    ],
)  # fmt: skip
def test_an_entry_of_obsm_is_sent_or_has_a_reason(key, value, reason):
    assert unsendable(key, value) == reason


def test_a_table_is_known_in_memory_and_lazily_opened():
    class Stored:
        def to_memory(self):
            return TABLE

    class Lazy(Stored):
        columns = ["a"]

    assert is_table(TABLE)
    assert is_table(Lazy())
    assert unsendable("x", Lazy()) == ""
    assert not is_table(Stored())  # as a sparse matrix of a file is
    assert not is_table(np.rec.array([(1,)], [("columns", int)]))
    assert not is_table(sparse.eye(2))


def nested(depth, value):
    for _ in range(depth):
        value = {"k": value}
    return value


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, []),
        ({"a/b": {1}}, [("uns['a/b']", f"the key {SLASH}"), ("uns['a/b']", "is a set")]),
        ({3: 1, "ok": 2}, [("uns[3]", "the key is a int, not text")]),
        ({"ok": {"é": object()}}, [("uns['ok']['\\xe9']", "is a object")]),
        ([1, 2.5, True], []),
        ([b"a", "b"], [("uns", "is a list of text and other values, which would all become text")]),
        ([b"a", 1], []),
        ([{"a": 1}, {1}, "x"], [("uns", "is a list of dict, set")]),
        ([None], [("uns", "is a list of NoneType")]),
        ([[1], [2]], []),
        ("text", []),
        ("a\0b", [("uns", "holds a NUL")]),
        (np.array([1, "a"], object), [("uns", MIXED)]),
        (np.array([["a", "b"], ["c", "d"]], object), []),
        (pd.DataFrame({"é": [1, "a"], "b": ["x", "y"]}), [("uns['\\xe9']", MIXED)]),
        (pd.Index([1]), [("uns", "is a Index")]),
        (np.datetime64("2020-01-01"), [("uns", "is a datetime64")]),
        (AnnData(np.eye(2)), []),
        (2**64 - 1, []),
        (-(2**63), []),
        (2**64, [("uns", "is a int")]),
        (-(2**63) - 1, [("uns", "is a int")]),
        (np.str_("text"), []),
        (np.array(["a\0b"]), [("uns", "holds a NUL")]),
        ([[1], [2, 3]], [("uns", "is a list of lists of different lengths")]),
        (pd.array([1, 2], "Int64"), []),
        (pd.array(["a", 1], object), [("uns", "is a NumpyExtensionArray")]),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), [("uns", "has columns with the same name")]),
        (pd.DataFrame({"a": [1, 2]}, index=[1, "b"]), [("uns.index", "holds values of mixed types")]),
        ((1,), [("uns", "is a tuple")]),
        (pd.array([1.5, 2.5], "Float64"), [("uns", "holds Float64 values, which anndata does not write")]),
        (pd.DataFrame({"a": pd.array([1.5], "Float64")}),
         [("uns['a']", "holds Float64 values, which anndata does not write")]),
        (pd.DataFrame({"a": pd.array([1], "int64[pyarrow]")}),
         [("uns['a']", "holds int64[pyarrow] values, which anndata does not write")]),
        (pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": [1j, 2], "c": pd.array([True, None], "boolean")}),
         [("uns['b']", "holds complex128, which h5ad cannot hold")]),
        (np.array([1, 2], object), [("uns", "holds objects, not text")]),
        (np.array(["a", None], object), [("uns", "holds objects, some of them missing")]),
        (pd.DataFrame({"a": ["x", None]}, dtype=object), [("uns['a']", "holds objects, some of them missing")]),
        (pd.Categorical([1, 2], pd.Index([1, 2], dtype=object)),
         [("uns", "has categories that are objects, not text")]),
        (pd.Categorical(["a", None]), []),
        (pd.Categorical([None]), []),
        (np.array([], object), []),
        (pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="a")),
         [("uns.index.name", "is also the name of a column, which has other values")]),
        (pd.DataFrame({"a": ["x"]}, index=pd.Index(["x"], name="a")), []),
        (pd.DataFrame({"_index": [1]}),
         [("uns['_index']", "the column name is reserved for the index in h5ad")]),
        ("\ud800", [("uns", "holds half of a surrogate pair")]),
        (Fraction(1, 2), [("uns", "is a Fraction")]),
        ({"a": OrderedDict(b=1)}, [("uns['a']", "is a OrderedDict")]),
        (nested(20, {1}), [("uns" + "['k']" * 20, "is a set")]),
        (nested(21, {1}), []),  # deeper than any real object
    ],
)  # fmt: skip
def test_places_that_h5ad_cannot_hold_are_named_with_the_reason(value, found):
    assert list(unwritable_parts(value, "uns")) == found


@pytest.mark.parametrize("kind", ["array", "column"])
@pytest.mark.parametrize(
    "values",
    [
        pd.array([1, None], "Int64"),
        pd.array([True, None], "boolean"),
        pd.array([1.5, None], "Float64"),
        pd.array(["a", None], "string"),
        pd.array([1, None], "int64[pyarrow]"),
        pd.arrays.SparseArray([0, 1]),
        pd.Categorical(["a", None]),
        pd.Categorical([1.5, 2.5], ordered=True),
        pd.Categorical([1, 2], pd.Index([1, 2], dtype=object)),
        pd.Categorical(pd.array(["a"], "string")),
        np.array([1, 2], object),
        np.array(["a", "b"], object),
        np.array(["a", None], object),
        np.array([True, False], object),
        np.array([None, None], object),
        np.ones(2, np.float16),
        np.array(["2020-01-01"], "datetime64[ns]"),
    ],
    ids=lambda values: f"{values.dtype}",
)
def test_exactly_the_values_that_anndata_does_not_write_are_reported(values, kind):
    value = values if kind == "array" else pd.DataFrame({"a": values})
    with h5py.File.in_memory() as file:
        try:
            write_elem(file, "k", value)
            written = True
        except Exception:  # noqa: BLE001  # of many classes
            written = False
    assert (list(unwritable_parts({"k": value}, "uns")) == []) is written


@pytest.mark.parametrize("dtype", ["string", "string[pyarrow]"])
def test_nullable_strings_are_reported_until_anndata_is_set_to_write_them(dtype):
    values, tabled = pd.array(["a", None], dtype), pd.DataFrame({"a": pd.array(["a", None], dtype)})
    said = "holds string values, which anndata does not write"
    for told, found in ((False, [("uns", said), ("t['a']", said)]), (True, [])):
        with anndata.settings.override(allow_write_nullable_strings=told):
            assert [*unwritable_parts(values, "uns"), *unwritable_parts(tabled, "t")] == found


def test_only_the_beginning_of_a_long_list_is_checked():
    assert list(unwritable_parts([1] * 9_999 + ["a"], "uns")) != []
    assert list(unwritable_parts([1] * 10_000 + ["a"], "uns")) == []
