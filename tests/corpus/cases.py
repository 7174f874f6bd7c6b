"""Cases: objects that users of anndata, scanpy and cellxgene could not write, or got back as something else.

Each has what becomes of it: ``exact`` (comes back as it was), ``changed`` (comes back otherwise or not at all, and the
plan says so beforehand) or ``refused`` (with the code of the error in the report). A number is that of the issue or
pull request of scverse/anndata in which people tell of it, or names the project; each was looked up and read.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import inspect
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from tests.builders import set_matrix

N, G = 12, 5
CELLS = [f"c{i}" for i in range(N)]
COUNTS = np.random.default_rng(1).poisson(0.7, (N, G)).astype(np.float32) + np.eye(N, G, dtype=np.float32)
LOG = np.log1p(COUNTS)
LARGE = np.uint64(2**64 - 1) - np.arange(N, dtype=np.uint64)
STRINGS = pd.array(["a", "b"] * 6, "string")
PAIRS = np.arange(2 * N).reshape(N, 2)
DAYS = pd.date_range("2020", periods=N)

Change = Callable[[ad.AnnData], Any]


class Case(NamedTuple):
    name: str
    change: Change
    outcome: str
    code: str = ""
    arguments: dict[str, Any] = {}

    def make(self) -> ad.AnnData:
        adata = ad.AnnData(COUNTS.copy(), pd.DataFrame(index=CELLS), pd.DataFrame(index=list("vwxyz")))
        result = self.change(adata)
        return result if isinstance(result, ad.AnnData) else adata


class Color(enum.Enum):
    RED = 1


def obs(value: Any, name: Any = "x") -> Change:
    """A column set behind anndata's back, which would mend or warn."""

    def change(adata: ad.AnnData) -> None:
        column = pd.Series(value, index=adata.obs_names) if isinstance(value, list) else value
        adata._obs[name] = column

    return change


def objects(*values: Any) -> Change:
    column = np.empty(N, object)
    for i in range(N):
        column[i] = values[i % len(values)]
    # Given the dtype, pandas does not look for days in it.
    return lambda adata: adata._obs.__setitem__("x", pd.Series(column, adata._obs.index, dtype=object))


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def columns(*names: Any) -> Change:
    def change(adata: ad.AnnData) -> None:
        adata._obs = pd.DataFrame({i: range(N) for i in range(len(names))}, index=CELLS)
        adata._obs.columns = pd.Index(list(names), dtype=object, tupleize_cols=False)

    return change


def obs_names(names: Any) -> Change:
    return lambda adata: setattr(adata._obs, "index", pd.Index(names))


def var_names(names: Any) -> Change:
    dtype = getattr(names, "dtype", None)
    return lambda adata: setattr(adata._var, "index", pd.Index(names, dtype=dtype))


def index_name(name: Any) -> Change:
    def change(adata: ad.AnnData) -> None:
        adata._obs["x"] = 1
        adata._obs.index.name = name

    return change


def entry(slot: str, key: Any, value: Any) -> Change:
    return lambda adata: getattr(adata, slot)._data.update({key: value})


def obsm(value: Any, key: Any = "k") -> Change:
    return entry("obsm", key, value)


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns, index=CELLS)


def uns(value: Any) -> Change:
    return lambda adata: adata.uns.__setitem__("k", value)


def x(matrix: Any) -> Change:
    return lambda adata: set_matrix(adata, matrix() if callable(matrix) else matrix)


def _dask(values: np.ndarray) -> Any:
    import dask.array

    return dask.array.from_array(values, chunks=(5, values.shape[1]))


def _duplicated_entries() -> sparse.csr_matrix:
    matrix = sparse.csr_matrix((N, G), dtype=np.float32)
    matrix.data, matrix.indices = np.array([1, 2, 4], np.float32), np.array([3, 3, 0], np.int32)
    matrix.indptr = np.array([0, 3] + [3] * (N - 1), np.int32)
    return matrix


def _stored_zeros() -> sparse.csr_matrix:
    matrix = sparse.csr_matrix(COUNTS)
    matrix.data[::3] = 0
    return matrix


def _wide_indices() -> sparse.csr_matrix:
    matrix = sparse.csr_matrix(COUNTS)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    return matrix


def _read_only() -> np.ndarray:
    matrix = COUNTS.copy()
    matrix.flags.writeable = False
    return matrix


def _raw(adata: ad.AnnData) -> None:
    adata.raw = ad.AnnData(
        np.hstack([COUNTS, COUNTS]), adata.obs, pd.DataFrame({"a/b": 1}, [f"r{i}" for i in range(10)])
    )
    adata.X = LOG


def _layer(adata: ad.AnnData) -> None:
    adata.layers["counts"] = COUNTS
    adata.X = LOG


def _slashes(adata: ad.AnnData) -> None:
    adata._obs.index = [f"{cell}/." for cell in CELLS]
    adata._var.index = [".", "..", "a/b", "HLA/A", "x"]


def _many_labels(adata: ad.AnnData) -> ad.AnnData:
    number = 65_600
    frame = pd.DataFrame({"id": [f"id{i}" for i in range(number)]}, index=[f"c{i}" for i in range(number)])
    return ad.AnnData(sparse.csr_matrix(np.ones((number, 1), np.float32)), frame, pd.DataFrame(index=["g"]))


def _sized(n_obs: int, n_vars: int) -> Change:
    return lambda _: ad.AnnData(np.zeros((n_obs, n_vars), np.float32))


def _labels(adata: ad.AnnData) -> None:
    adata._obs["x"] = pd.Categorical(["a", "b", None] * 4, ["unused", "b", "a"], ordered=True)


OBS = [
    Case("mixed int and text #726", obs([1, "a"] * 6), "changed", "BC208"),
    Case("labels of two batches, text and int #761", obs(["a"] * 6 + [1] * 6), "changed", "BC208"),
    Case("mixed int, text and float", obs([1, "a", 2.5] * 4), "changed", "BC208"),
    Case("text and NaN", obs(["a", np.nan] * 6), "exact"),
    Case("text and None", obs(["a", None] * 6), "exact"),
    Case("text and NA", objects("a", pd.NA), "exact"),
    Case("text and NaT", objects("a", pd.NaT), "exact"),
    Case("all None, as of a column that no cell has #303 of ehrdata", obs([None] * N), "changed", "BC202"),
    Case("all NA", objects(pd.NA), "changed", "BC202"),
    Case("bool and None #1258", obs([True, None, False] * 4), "changed", "BC202"),
    Case("bool and NaN, as after concat #979", obs([True, np.nan, False] * 4), "changed", "BC202"),
    Case("NumPy bool as objects", objects(np.True_, np.False_), "exact"),
    Case("int and bool", objects(1, True), "changed", "BC208"),
    Case("int as objects", objects(3, np.int8(4)), "exact"),
    Case("int and float as objects", objects(3, 0.5), "exact"),
    Case("float as objects #1850", objects(0.1, 0.001), "exact"),
    Case("int and None as objects #1068", objects(3, None), "changed", "BC202"),
    Case("float and None as objects", objects(0.25, None), "exact"),
    Case("int beyond 64 bits, exact as float", objects(2**70), "changed", "BC202"),
    Case("int beyond 64 bits", objects(2**70 + 1), "changed", "BC208"),
    Case("int of 400 digits", objects(10**400), "changed", "BC208"),
    Case("decimals", objects(decimal.Decimal("0.1")), "changed", "BC208"),
    Case("complex objects", objects(1j), "changed", "BC208"),
    Case("complex column", obs(np.full(N, 1j)), "changed", "BC208"),
    Case("datetime64 #1708", obs(DAYS), "changed", "BC208"),
    Case("datetime with zone", obs(pd.date_range("2020", periods=N, tz="UTC")), "changed", "BC208"),
    Case("dates", objects(datetime.date(2020, 1, 1)), "changed", "BC208"),
    Case("timedelta", obs(pd.to_timedelta(range(N), "D")), "changed", "BC208"),
    Case("period", obs(pd.period_range("2020", periods=N)), "changed", "BC208"),
    Case("categories of datetimes", obs(pd.Categorical(DAYS)), "changed", "BC208"),
    Case("intervals as of pd.cut", obs(pd.cut(range(N), 3)), "changed", "BC208"),
    Case("interval column", obs(pd.IntervalIndex.from_breaks(range(N + 1))), "changed", "BC208"),
    Case("times of day", objects(datetime.time(3, 4, 5, 6)), "changed", "BC208"),
    Case("dates with times", objects(datetime.datetime(2020, 2, 29, 1, 2, 3)), "changed", "BC208"),
    Case("dates and NaT", objects(datetime.date(2020, 1, 1), pd.NaT), "changed", "BC208"),
    Case("dates among text", objects(datetime.date(2020, 1, 1), "unknown"), "changed", "BC208"),
    Case("uuids", objects(uuid.UUID(int=5), uuid.UUID(int=6)), "changed", "BC208"),
    Case("fractions", objects(fractions.Fraction(1, 3)), "changed", "BC208"),
    Case("datetime on both sides of a change to summer time",
         obs(pd.date_range("2020-03-28", periods=N, freq="6h", tz="Europe/Berlin")), "changed", "BC208"),
    Case("datetime of seconds", obs(DAYS.as_unit("s")), "changed", "BC208"),
    Case("quantiles as of pd.qcut", obs(pd.qcut(range(N), 4)), "changed", "BC208"),
    Case("months", obs(pd.period_range("2020-01", periods=N, freq="M")), "changed", "BC208"),
    Case("categories of periods", obs(pd.Categorical(pd.period_range("2020", periods=N))), "changed", "BC208"),
    Case("a data frame in each cell", objects(pd.DataFrame({"a": [1]})), "changed", "BC201"),
    Case("lists", objects([1, 2]), "changed", "BC201"),
    Case("tuples", objects((1, 2)), "changed", "BC201"),
    Case("sets", objects({1}), "changed", "BC201"),
    Case("dicts", objects({"a": 1}), "changed", "BC201"),
    Case("arrays", objects(np.ones(2)), "changed", "BC201"),
    Case("paths", objects(Path("a")), "changed", "BC208"),
    Case("enums", objects(Color.RED), "changed", "BC201"),
    Case("bytes", objects(b"a"), "changed", "BC208"),
    Case("NUL in text", obs(["a\0b"] * N), "changed", "BC201"),
    Case("half a surrogate pair", objects("\ud800"), "changed", "BC201"),
    Case("mixed categories", obs(pd.Categorical([1, "a"] * 6)), "changed", "BC208"),
    Case("ordered, unused and missing categories", _labels, "exact"),
    Case("categories of int", obs(pd.Categorical([3, 1, 2] * 4, [3, 2, 1])), "exact"),
    Case("categories of float", obs(pd.Categorical([0.5, 1.5] * 6)), "exact"),
    Case("categories of bool", obs(pd.Categorical([True, False] * 6)), "exact"),
    Case("categories of string dtype #963", obs(pd.Series(STRINGS).astype("category").array), "exact"),
    Case("no category in use", obs(pd.Categorical([None] * N, ["a"])), "exact", "BC209"),
    Case("no categories at all", obs(pd.Categorical([None] * N)), "exact"),
    Case("an empty label", obs(["", "a"] * 6), "exact"),
    Case("001 stays text", obs(["001", "1"] * 6), "exact"),
    Case("words for missing stay text", obs(["nan", "None", "NA"] * 4), "exact"),
    Case("True and False as text", obs(["True", "False"] * 6), "exact"),
    Case("line ends, tabs and quotes", obs(["a\nb", "\t", "\"'"] * 4), "exact"),
    Case("letters of all the world", obs(["β-cell", "細胞", "🧬", "خلية"] * 3), "exact"),
    Case("accents in two spellings", obs(["é", "e\u0301"] * 6), "exact"),
    Case("a very long text", obs(["x" * 100_000, "y"] * 6), "exact"),
    Case("numpy texts", objects(np.str_("a"), np.str_("b")), "exact"),
    Case("string[python] #1571", obs(pd.array(["a", "b"] * 6, "string")), "exact"),
    Case("string[python] with NA #679", obs(pd.array(["a", None] * 6, "string")), "exact"),
    Case("string[pyarrow] #364 of spatialdata-io", obs(pd.array(["a", None] * 6, "string[pyarrow]")), "exact"),
    *(
        [Case("text as pandas 3 has it #2221", obs(pd.array(["a", "b"] * 6, pd.StringDtype(na_value=np.nan))), "exact")]
        if "na_value" in inspect.signature(pd.StringDtype).parameters  # from pandas 2.3 on
        else []
    ),
    Case("arrow int with null", obs(pd.array([1, None] * 6, "int64[pyarrow]")), "changed", "BC202"),
    Case("arrow int", obs(pd.array([1, 2] * 6, "int64[pyarrow]")), "exact"),
    Case("arrow bool", obs(pd.array([True, False] * 6, "bool[pyarrow]")), "exact"),
    Case("arrow dates", obs(pd.array([datetime.date(2020, 1, 1)] * N, "date32[pyarrow]")), "changed", "BC208"),
    Case("arrow timestamps", obs(pd.array(DAYS, "timestamp[ns][pyarrow]")), "changed", "BC208"),
    Case("Int64", obs(pd.array([1, 2] * 6, "Int64")), "exact"),
    Case("Int64 with NA #504", obs(pd.array([1, None] * 6, "Int64")), "changed", "BC202"),
    Case("Int64 that no float holds, with NA", obs(pd.array([2**53 + 1, None] * 6, "Int64")), "changed", "BC208"),
    Case("UInt64 at its end", obs(pd.array([2**64 - 1 - i for i in range(N)], "UInt64")), "exact", "BC210"),
    Case("uint64 at its end", obs(LARGE), "exact", "BC210"),
    Case("uint64 on both sides of 2⁶³", obs(LARGE // (np.arange(N, dtype=np.uint64) % 2 + 1)), "exact", "BC210"),
    Case("hashes #522 of single-cell-curation", obs(pd.util.hash_array(np.arange(N))), "exact", "BC210"),
    Case("uint64 as objects", objects(2**64 - 1, 1, 2**63), "exact", "BC210"),
    Case("arrow uint64", obs(pd.array(LARGE.tolist(), "uint64[pyarrow]")), "exact", "BC210"),
    Case("uint64 for batches", obs(LARGE[:2].tolist() * 6, "b"), "exact", "BC210", {"batch_key": "b"}),
    Case("int64 that no float holds", obs(np.arange(N) + 2**53), "exact", "BC210"),
    Case("int64 that no float32 holds", obs(np.arange(N) - 2**24), "exact"),
    Case("int32 that no float32 holds", obs((np.arange(N) + 2**24).astype(np.int32)), "exact", "BC210"),
    Case("float64 of all digits", obs(np.arange(N) / 3), "exact", "BC209"),
    Case("float64 beyond float32", obs(np.arange(N) * 1e300), "exact", "BC210"),
    Case("subnormal float64", obs(np.arange(N) * 5e-324), "exact", "BC210"),
    Case("subnormal float32", obs(np.arange(N, dtype=np.float32) * np.float32(1e-45)), "exact"),
    Case("zeros below and above", obs(np.array([0.0, -0.0] * 6)), "exact"),
    Case("Float64 of all digits", obs(pd.array(np.arange(N) / 3, "Float64")), "exact", "BC209"),
    Case("long double of all digits", obs(np.arange(N, dtype=np.longdouble) / 3), "changed", "BC202"),
    Case("truth values", obs(np.arange(N) % 3 == 0), "exact", "BC209"),
    Case("categories of uint64", obs(pd.Categorical(LARGE)), "exact", "BC205"),
    Case("Float32 with NA", obs(pd.array([0.5, None] * 6, "Float32")), "exact"),
    Case("boolean #504", obs(pd.array([True, False] * 6, "boolean")), "exact", "BC209"),
    Case("boolean with NA", obs(pd.array([True, None] * 6, "boolean")), "changed", "BC202"),
    Case("sparse column", obs(pd.arrays.SparseArray([0, 1] * 6)), "changed", "BC202"),
    Case("sparse text", obs(pd.arrays.SparseArray(["a", "b"] * 6, fill_value="a")), "changed", "BC202"),
    Case("float16", obs(np.linspace(0, 1, N).astype(np.float16)), "exact"),
    Case("long double", obs(np.linspace(0, 1, N).astype(np.longdouble)), "changed", "BC202"),
    Case("NaN and infinite numbers", obs(np.array([np.nan, np.inf, -np.inf, 0] * 3)), "exact", "BC206"),
    Case("int8 at its ends", obs(np.array([-128, 127] * 6, np.int8)), "exact"),
    Case("int64 at its ends", obs(np.array([-(2**63), 2**63 - 1] * 6)), "exact"),
    Case("big endian numbers", obs(np.arange(N, dtype=">i4")), "exact"),
    Case("more labels than 16 bits number", _many_labels, "exact", "BC203"),
]  # fmt: skip

NAMES = [
    Case("column named by a number", columns(5), "changed", "BC110"),
    Case("columns named by numbers #31", columns(0, 1, 2), "changed", "BC110"),
    Case("column _index", columns("_index"), "changed", "BC109"),
    Case("column __categories", columns("__categories"), "changed", "BC109"),
    Case("column without a name", columns(""), "changed", "BC109"),
    Case("column named by blanks", columns("  "), "changed", "BC109"),
    Case("column with a slash #321", columns("a/b"), "changed", "BC109"),
    Case("columns that nest #1834", columns("a", "a/b", "a/b/c"), "changed", "BC109"),
    Case("column with a slash and the safe name of it", columns("a/b", "a%2Fb~biocolab"), "changed", "BC109"),
    Case("column that begins with a slash", columns("/x"), "changed", "BC109"),
    Case("column dot", columns("."), "changed", "BC109"),
    Case("column dot dot", columns(".."), "changed", "BC109"),
    Case("column with a NUL", columns("a\0b"), "changed", "BC109"),
    Case("column with half a surrogate pair", columns("\udc00"), "changed", "BC109"),
    Case("column barcodes", columns("barcodes"), "changed", "BC106"),
    Case("column Barcode", columns("Barcode"), "changed", "BC106"),
    Case("columns that differ by case", columns("A", "a"), "exact"),
    Case("column with percent and blanks", columns("% mito ", " x"), "exact"),
    Case("columns of one name #884", columns("x", "x"), "refused", "BC104"),
    Case("a number and its text as columns", columns(1, "1"), "refused", "BC104"),
    Case("columns of several levels", columns(("a", "b")), "refused", "BC104"),
    Case("column None", columns(None), "refused", "BC104"),
    Case("column 1.5", columns(1.5), "refused", "BC104"),
    Case("index named as a column", index_name("x"), "changed", "BC108"),
    Case("index named by a number #291", index_name(3), "changed", "BC108"),
    Case("index name with a slash", index_name("a/b"), "changed", "BC108"),
    Case("index named barcodes", index_name("barcodes"), "exact"),
    Case("numbers as barcodes #35", obs_names(range(N)), "changed", "BC107"),
    Case("floats as barcodes", obs_names(np.arange(N) / 2), "changed", "BC107"),
    Case("days as barcodes", obs_names(DAYS), "changed", "BC107"),
    Case("numbers as features", var_names(range(G)), "changed", "BC107"),
    Case("barcodes twice #256 of anndataR", obs_names(["a"] * N), "refused", "BC101"),
    Case("a number and its text as barcodes", obs_names([1, "1", *CELLS[2:]]), "refused", "BC101"),
    Case("features twice #580", var_names(list("vvxyz")), "exact", "BC103"),
    Case("features twice, beside numbered ones #344", var_names(["S", "S", "S-1", "S-1-1", "T"]), "exact", "BC103"),
    Case("missing barcode", obs_names([None, *CELLS[1:]]), "refused", "BC102"),
    Case("empty barcode", obs_names(["", *CELLS[1:]]), "refused", "BC102"),
    Case("NUL in a barcode", obs_names(["a\0", *CELLS[1:]]), "refused", "BC102"),
    Case("half a surrogate pair in a feature", var_names(np.array(["\ud800", *"wxyz"], object)), "refused", "BC102"),
    Case("barcodes of several levels", obs_names([(i, "a") for i in range(N)]), "refused", "BC102"),
    Case("barcodes as categories", lambda a: setattr(a._obs, "index", pd.CategoricalIndex(CELLS)), "exact"),
    Case("barcodes of string dtype", lambda a: setattr(a._obs, "index", pd.Index(CELLS, dtype="string")), "exact"),
    Case("slashes and dots in barcodes and features", _slashes, "exact"),
    Case("letters of all the world in barcodes", obs_names([f"細{i}" for i in range(N)]), "exact"),
    Case("column of var with a slash #2039", lambda a: a._var.__setitem__("LIVE/DEAD", range(G)), "changed", "BC109"),
    Case("mixed column of var", lambda a: a._var.__setitem__("m", [1, "a", 2, "b", 3]), "changed", "BC208"),
]  # fmt: skip

OBSM = [
    Case("obsm key with a slash #321", obsm(LOG[:, :2], "x/y"), "changed", "BC105"),
    Case("obsm key empty", obsm(LOG[:, :2], ""), "changed", "BC105"),
    Case("obsm key dot", obsm(LOG[:, :2], "."), "changed", "BC105"),
    Case("obsm key with a NUL", obsm(LOG[:, :2], "a\0"), "changed", "BC105"),
    Case("obsm key that is an embedding of servers", obsm(LOG[:, :2], "UMAP"), "changed", "BC105"),
    Case("obsm keys of spots", lambda a: a.obsm._data.update({"spatial": LOG, "X_spatial": LOG[:, 1:3]}), "exact"),
    Case("obsm keys that nest", lambda a: a.obsm._data.update({"X_n": LOG, "X_n/y": LOG}), "changed", "BC105"),
    Case("obsm key that is a tuple", obsm(LOG[:, :2], ("a", 1)), "changed", "BC504"),
    Case("obsm of one column #45", obsm(LOG[:, :1]), "exact"),
    Case("obsm float32", obsm(LOG[:, :2]), "exact"),
    Case("obsm float64", obsm(LOG[:, :2].astype(float)), "exact"),
    Case("obsm float64 of all digits", obsm(np.log1p(COUNTS.astype(float))), "exact", "BC313"),
    Case("obsm float64 beyond float32", obsm(COUNTS.astype(float) * 1e300), "exact", "BC309"),
    Case("obsm float64 below float32", obsm(COUNTS.astype(float) * 1e-310), "exact", "BC313"),
    Case("obsm subnormal", obsm(COUNTS * np.float32(1e-45)), "exact"),
    Case("obsm of zeros below and above", obsm(COUNTS * np.float32(-0.0)), "exact"),
    Case("obsm infinite", obsm(np.where(COUNTS > 1, np.inf, COUNTS)), "exact", "BC309"),
    Case("obsm of int8", obsm(np.arange(2 * N, dtype=np.int8).reshape(N, 2) - 9), "exact"),
    Case("obsm of int64 that float32 does not hold", obsm(PAIRS + 2**24), "exact", "BC313"),
    Case("obsm of int64 that no float holds", obsm(PAIRS + 2**53), "exact", "BC313"),
    Case("obsm of int64 at its ends", obsm(np.where(PAIRS % 2, -(2**63), 2**63 - 1)), "exact", "BC313"),
    Case("obsm of uint64 at its end", obsm(np.uint64(2**64 - 1) - PAIRS.astype(np.uint64)), "exact", "BC313"),
    Case("obsm of uint64", obsm(PAIRS.astype(np.uint64)), "exact"),
    Case("obsm of int32 on Dask", lambda a: obsm(_dask((PAIRS + 2**24).astype(np.int32)))(a), "exact", "BC313"),
    Case("obsm float16", obsm(LOG[:, :2].astype(np.float16)), "exact"),
    Case("obsm long double", obsm(LOG[:, :2].astype(np.longdouble)), "changed"),
    Case("obsm of int", obsm(PAIRS), "exact"),
    Case("obsm of bool", obsm(LOG[:, :2] > 0), "changed", "BC506"),
    Case("obsm of bool, one column", obsm(LOG[:, :1] > 0), "changed", "BC506"),
    Case("obsm of bool in Fortran order", obsm(np.asfortranarray(LOG > 0)), "changed", "BC506"),
    Case("obsm of bool on Dask", lambda a: obsm(_dask(LOG > 0))(a), "changed", "BC506"),
    Case("obsm of bool, CSR", obsm(sparse.csr_matrix(LOG > 0)), "exact", "BC505"),
    Case("obsm of bool, a table", obsm(table(a=LOG[:, 0] > 0, b=LOG[:, 1] > 0)), "exact", "BC505"),
    Case("obsm of bool in 3 dimensions", obsm(np.ones((N, 2, 2), bool)), "changed", "BC504"),
    Case("obsm with NaN", obsm(np.full((N, 2), np.nan, np.float32)), "exact", "BC309"),
    Case("obsm in Fortran order", obsm(np.asfortranarray(LOG)), "exact"),
    Case("obsm strided", obsm(LOG[:, ::2]), "exact"),
    Case("obsm CSR #89", obsm(sparse.csr_matrix(LOG)), "exact"),
    Case("obsm CSC", obsm(sparse.csc_matrix(LOG)), "exact"),
    Case("obsm CSR array", obsm(sparse.csr_array(LOG)), "exact"),
    Case("obsm Dask", lambda a: obsm(_dask(LOG))(a), "exact"),
    Case("obsm in 3 dimensions #204 of anndataR", obsm(np.ones((N, 2, 2))), "changed", "BC504"),
    Case("obsm without columns", obsm(np.ones((N, 0))), "changed", "BC504"),
    Case("obsm of text", obsm(np.array([["a"]] * N)), "changed", "BC504"),
    Case("obsm of objects", obsm(np.array([["a"]] * N, object)), "changed", "BC504"),
    Case("obsm complex", obsm(np.full((N, 2), 1j)), "changed", "BC504"),
    Case("obsm structured", obsm(np.zeros((N, 1), [("a", float)])), "changed", "BC504"),
    Case("obsm table", obsm(table(a=range(N), kind=["x", "y"] * 6)), "exact"),
    Case("obsm table of text with None #1146", obsm(table(a=["a", None] * 6)), "exact"),
    Case("obsm table with NA", obsm(table(a=pd.array([1, None] * 6, "Int64"))), "changed"),
    Case("obsm table with a slash", obsm(table(**{"CD3/CD28": range(N)})), "changed"),
    Case("obsm table of mixed", obsm(table(m=[1, "a"] * 6)), "changed", "BC208"),
    Case("obsm table without columns", obsm(table()), "changed", "BC504"),
    Case("obsm of another length", obsm(np.ones((3, 2))), "refused", "BC503"),
    Case("obsm masked", obsm(np.ma.masked_less(LOG[:, :2], 0.5)), "changed", "BC504"),
]  # fmt: skip

X = [
    Case("CSR", x(sparse.csr_matrix(COUNTS)), "exact"),
    Case("CSC", x(sparse.csc_matrix(COUNTS)), "exact"),
    Case("COO as after concat #203", x(sparse.coo_matrix(COUNTS)), "exact"),
    Case("CSR array", x(sparse.csr_array(COUNTS)), "exact"),
    Case("Fortran order", x(np.asfortranarray(COUNTS)), "exact"),
    Case("strided", x(np.repeat(COUNTS, 2, axis=1)[:, ::2]), "exact"),
    Case("reversed", x(COUNTS[::-1]), "exact"),
    Case("read only", x(_read_only), "exact"),
    Case("big endian", x(COUNTS.astype(">f4")), "exact"),
    Case("X of float16", x(COUNTS.astype(np.float16)), "exact"),
    Case("X of bool", x(COUNTS > 0), "exact"),
    Case("uint8", x(COUNTS.astype(np.uint8)), "exact"),
    Case("int64 #42 of TileDB-SOMA", x(COUNTS.astype(np.int64)), "exact"),
    Case("long double counts", x(COUNTS.astype(np.longdouble)), "exact"),
    Case("counts beyond float32", x(COUNTS.astype(np.int64) * (2**24 + 1)), "exact", "BC304"),
    Case("counts with float noise", x(COUNTS.astype(float) + (COUNTS > 0) * 4e-11), "changed", "BC306"),
    Case("entries twice", x(_duplicated_entries), "exact"),
    Case("stored zeros", x(_stored_zeros), "exact"),
    Case("indices of 64 bits #859", x(_wide_indices), "exact"),
    Case("unsorted indices", x(lambda: sparse.csr_matrix(COUNTS)[:, ::-1]), "exact"),
    Case("Dask", x(lambda: _dask(COUNTS)), "exact"),
    Case("log in double precision", x(np.log1p(COUNTS.astype(float))), "exact", "BC313"),
    Case("subnormal values", x(COUNTS * np.float32(1e-42)), "exact"),
    Case("scaled", x(LOG - 0.5), "exact", "BC305"),
    Case("all zero", x(np.zeros((N, G), np.float32)), "exact", "BC307"),
    Case("an empty cell #614 of single-cell-curation", x(COUNTS * (np.arange(N) > 0)[:, None]), "exact", "BC310"),
    Case("complex", x(COUNTS.astype(complex)), "refused", "BC302"),
    Case("objects", x(COUNTS.astype(object)), "refused", "BC302"),
    Case("text", x(COUNTS.astype(str)), "refused", "BC302"),
    Case("NaN", x(np.where(COUNTS > 1, np.nan, COUNTS)), "refused", "BC302"),
    Case("infinite", x(np.where(COUNTS > 1, np.inf, COUNTS)), "refused", "BC302"),
    Case("beyond float32", x(LOG.astype(float) * 1e40), "refused", "BC312"),
    Case("negative counts as raw", x(COUNTS - 2), "refused", "BC303", {"input_matrix_type": "raw"}),
    Case("log as raw #165 of single-cell-curation", x(LOG), "refused", "BC300", {"input_matrix_type": "raw"}),
    Case("X None", x(None), "refused", "BC300"),
    Case("no cells", _sized(0, 3), "refused", "BC301"),
    Case("no genes", _sized(3, 0), "refused", "BC301"),
    Case("another shape", x(np.ones((3, 2), np.float32)), "refused", "BC503"),
    Case("masked", x(np.ma.masked_equal(COUNTS, 1)), "refused", "BC302"),
    Case("counts in a layer", _layer, "changed", "BC501"),
    Case("counts in raw with other genes #50 of TileDB-SOMA", _raw, "changed", "BC109"),
    Case("a view", lambda a: a[[5, 2, 7], ["z", "v"]], "exact"),
    Case("a view of a view", lambda a: a[2:][::2][:, 1:], "exact"),
    Case("transposed", lambda a: ad.AnnData(sparse.csr_matrix(COUNTS)).T, "exact"),
]  # fmt: skip

ELSEWHERE = [
    Case("uns None #787", uns(None), "changed", "BC501"),
    Case("uns key with a slash #2039", lambda a: a.uns.__setitem__("a/b", 1), "changed", "BC502"),
    Case("uns key empty", lambda a: a.uns.__setitem__("", 1), "changed", "BC502"),
    Case("uns key dot", lambda a: a.uns.__setitem__(".", 1), "changed", "BC502"),
    Case("uns key that is a number", lambda a: a.uns.__setitem__(3, 1), "changed", "BC502"),
    Case("uns deep key with a slash #603", uns({"a": {"b/c": 1}}), "changed", "BC502"),
    Case("uns tuple #1247 of squidpy", uns((1, 2)), "changed", "BC502"),
    Case("uns set", uns({1, 2}), "changed", "BC502"),
    Case("uns object", uns(object()), "changed", "BC502"),
    Case("uns random state #1131 of scanpy", uns(np.random.RandomState(0)), "changed", "BC502"),
    Case("uns Series #1429", uns(pd.Series([1])), "changed", "BC502"),
    Case("uns Index #2009", uns({"labels": pd.Index(["a"])}), "changed", "BC502"),
    Case("uns datetime64 #455", uns(np.datetime64("2020")), "changed", "BC502"),
    Case("uns table with numbers as columns #727 of squidpy", uns(pd.DataFrame(np.eye(3))), "changed", "BC502"),
    Case("uns records of NaN #2363", uns(np.rec.fromarrays([_objects([np.nan] * 2)], names="0")), "changed", "BC502"),
    Case("uns DOK, which is a dict", uns(sparse.dok_matrix(np.eye(3))), "changed", "BC502"),
    Case("uns function", uns(len), "changed", "BC502"),
    Case("uns path", uns(Path("a")), "changed", "BC502"),
    Case("uns datetime", uns(datetime.datetime(2020, 1, 1)), "changed", "BC502"),
    Case("uns list of dicts", uns([{"a": 1}]), "changed", "BC502"),
    Case("uns list of mixed", uns([1, "a"]), "changed", "BC502"),
    Case("uns mixed table", uns(pd.DataFrame({"m": [1, "a"]})), "changed", "BC502"),
    Case("uns NUL", uns("a\0b"), "changed", "BC502"),
    Case("uns that holds itself", lambda a: a.uns.__setitem__("k", a.uns), "changed", "BC501"),
    Case("uns AnnData", uns(ad.AnnData(COUNTS)), "changed", "BC501"),
    Case("layer key with a slash #2450", entry("layers", "a/b", LOG), "changed", "BC502"),
    Case("layer with NaN", entry("layers", "n", np.full((N, G), np.nan)), "changed", "BC501"),
    Case("varm key with a slash", entry("varm", "a/b", np.ones((G, 2))), "changed", "BC502"),
    Case("varm without columns", entry("varm", "k", np.ones((G, 0))), "changed", "BC501"),
    Case("obsp key empty", entry("obsp", "", sparse.eye(N).tocsr()), "changed", "BC502"),
    Case("varp of another length", entry("varp", "k", np.ones((3, 3))), "refused", "BC503"),
    Case("layer of another length", entry("layers", "k", np.ones((3, G))), "refused", "BC503"),
    Case("batch column missing in some cells", obs(["a", None] * 6, "b"), "refused", "BC204", {"batch_key": "b"}),
]  # fmt: skip

CASES = [*OBS, *NAMES, *OBSM, *X, *ELSEWHERE]
