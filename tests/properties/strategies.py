"""Strategies: random AnnData of every dtype and form, with names that break files."""

from __future__ import annotations

import os
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from scipy import sparse

from tests.builders import set_matrix

# The quick suite tries a few; python -m tests.stress.properties tries many.
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "6"))
sweep = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

HOSTILE = [
    "", " ", ".", "..", "/", "a/b", "a//b", "_index", "__categories", "barcodes", "Barcode", "a\0", "\ud800",
    "~biocolab", "a%2Fb~biocolab", "%", "%2F", "X", "Batch", "é", "细胞", "🧬", "\n", "nan", "None", "0", "x" * 300,
    "UMAP", "spatial",
]  # fmt: skip
good_names = st.text("abcXYZ019_- .é细", min_size=1, max_size=8).filter(str.strip)
hostile_names = st.sampled_from(HOSTILE) | st.text(max_size=6)
column_names = hostile_names | good_names | st.integers(0, 3)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)

FORMS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "CSR": sparse.csr_matrix,
    "CSC": sparse.csc_matrix,
    "CSR array": sparse.csr_array,
    "CSC array": sparse.csc_array,
    "COO": sparse.coo_matrix,
}
COUNT_DTYPES = [np.float32, np.float64, np.int64, np.int32, np.uint8, np.uint16]


def counts(n_obs: int, n_vars: int) -> st.SearchStrategy[np.ndarray]:
    """At least one nonzero value, so that they are counts and not only zeros."""
    rows = st.lists(st.integers(0, 200), min_size=n_obs * n_vars, max_size=n_obs * n_vars)
    return rows.map(lambda values: np.array([*values[:-1], values[-1] or 1], np.float32).reshape(n_obs, n_vars))


@st.composite
def matrices(draw: st.DrawFn, n_obs: int, n_vars: int, *, sane: bool = True) -> Any:
    """Counts, logarithms, any numbers, and anything else unless it must be sane."""
    kind = draw(st.sampled_from(["counts", "counts", "log", "numbers", "bool", *([] if sane else ["broken"])]))
    values = draw(counts(n_obs, n_vars))
    if kind == "counts":
        values = values.astype(draw(st.sampled_from(COUNT_DTYPES)))
    elif kind == "log":
        values = np.log1p(values.astype(draw(st.sampled_from([np.float32, np.float64]))))
    elif kind == "bool":
        values = values > 100
    else:
        broken = st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1.0])
        numbers = st.floats(-1e30, 1e30, allow_subnormal=True)
        each = st.lists(numbers if sane else numbers | broken, min_size=values.size, max_size=values.size)
        values = np.array(draw(each)).reshape(values.shape)
    form = draw(st.sampled_from(sorted(FORMS)))
    return FORMS[form](values)


def _of(values: st.SearchStrategy[Any], n: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=n, max_size=n)


def columns(n: int, *, sane: bool = True) -> st.SearchStrategy[Any]:
    """A column of obs of any pandas dtype."""
    known = [
        _of(texts, n).map(lambda v: pd.array(v, dtype=object)),
        _of(texts | st.none(), n).map(lambda v: pd.array(v, dtype=object)),
        _of(texts | st.none(), n).map(lambda v: pd.array(v, dtype="string")),
        _of(texts | st.none(), n).map(pd.Categorical),
        _of(st.sampled_from(["b", "a", None]), n).map(lambda v: pd.Categorical(v, ["unused", "b", "a"], ordered=True)),
        _of(st.integers(-5, 5), n).map(pd.Categorical),
        _of(st.integers(-(2**63), 2**63 - 1), n).map(lambda v: np.array(v, np.int64)),
        _of(st.integers(0, 2**64 - 1), n).map(lambda v: np.array(v, np.uint64)),
        _of(st.integers(0, 255), n).map(lambda v: np.array(v, np.uint8)),
        _of(st.floats(width=32), n).map(lambda v: np.array(v, np.float32)),
        _of(st.floats(), n).map(lambda v: np.array(v, np.float64)),
        _of(st.floats(width=16), n).map(lambda v: np.array(v, np.float16)),
        _of(st.booleans(), n).map(lambda v: np.array(v, bool)),
        _of(st.integers(-(2**40), 2**40) | st.none(), n).map(lambda v: pd.array(v, "Int64")),
        _of(st.booleans() | st.none(), n).map(lambda v: pd.array(v, "boolean")),
        _of(st.floats(-1e9, 1e9) | st.none(), n).map(lambda v: pd.array(v, "Float64")),
        _of(st.booleans() | st.none(), n).map(lambda v: pd.array(v, dtype=object)),
        _of(st.integers(0, 1), n).map(lambda v: pd.arrays.SparseArray(v)),
    ]
    broken = [
        _of(st.one_of(texts, st.integers(), st.booleans(), st.none(), st.binary(max_size=2)), n).map(_objects),
        _of(st.tuples(st.integers()), n).map(_objects),
        _of(st.text(max_size=3), n).map(_objects),
        st.just(pd.date_range("2020", periods=n)),
        st.just(pd.cut(np.arange(n), 2)) if n > 1 else st.just(pd.period_range("2020", periods=n)),
    ]
    return st.one_of(known if sane else known + broken)


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@st.composite
def tables(draw: st.DrawFn, n: int, index: list[Any], *, sane: bool = True) -> pd.DataFrame:
    names = draw(st.lists(good_names if sane else column_names, max_size=4, unique_by=lambda name: str(name)))
    frame = pd.DataFrame({i: draw(columns(n, sane=sane)) for i in range(len(names))}, index=range(n))
    frame.index = pd.Index(index, dtype=object)
    frame.columns = pd.Index(names, dtype=object, tupleize_cols=False)
    return frame


@st.composite
def adatas(draw: st.DrawFn, *, sane: bool = False, view: bool = True) -> ad.AnnData:
    """Any AnnData; a sane one contains only data that anndata can write, and that causes no warning."""
    n_obs, n_vars = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    cells = draw(st.lists(good_names, min_size=n_obs, max_size=n_obs, unique=True))
    genes = draw(st.lists(good_names, min_size=n_vars, max_size=n_vars, unique=True))
    adata = ad.AnnData(np.zeros((n_obs, n_vars), np.float32), pd.DataFrame(index=cells), pd.DataFrame(index=genes))
    # Set directly: anndata would convert or refuse some of it.
    set_matrix(adata, draw(matrices(n_obs, n_vars, sane=sane)))
    adata._obs = draw(tables(n_obs, cells, sane=sane))
    adata._var = draw(tables(n_vars, genes, sane=sane))
    keys = draw(st.lists(good_names if sane else hostile_names, max_size=3, unique=True))
    for key in keys:
        adata.obsm._data[key] = draw(embeddings(n_obs, cells, sane=sane))
    if draw(st.booleans()):
        adata.layers._data[draw(st.sampled_from(["counts", "log", "Counts"]))] = draw(matrices(n_obs, n_vars))
    if not sane:
        for key in draw(st.lists(hostile_names, max_size=2, unique=True)):
            adata._uns[key] = draw(st.sampled_from([None, 1, (1,), {1}, {"a/b": [{}]}, object, [1, "a"]]))
        if draw(st.integers(0, 5)) == 0:
            adata._obs.index = pd.Index(
                [draw(hostile_names | st.none() | st.integers(0, 9)) for _ in cells], dtype=object
            )
    if view and draw(st.integers(0, 2)) == 0:
        return adata[draw(st.permutations(range(n_obs)))[: draw(st.integers(1, n_obs))]]
    return adata


@st.composite
def embeddings(draw: st.DrawFn, n_obs: int, cells: list[str], *, sane: bool = True) -> Any:
    kind = draw(st.sampled_from(["dense", "dense", "sparse", "table", *([] if sane else ["deep", "text", "none"])]))
    if kind == "table":
        return pd.DataFrame({"p": draw(columns(n_obs, sane=sane))}, index=range(n_obs)).set_axis(cells)
    if kind == "deep":
        return np.ones((n_obs, 2, 2))
    if kind == "text":
        return np.full((n_obs, 1), "a")
    if kind == "none":
        return np.ones((n_obs, 0))
    values = np.array(draw(_of(st.floats(width=32), n_obs * 2)), np.float32).reshape(n_obs, 2)
    values = values.astype(draw(st.sampled_from([np.float32, np.float64])))
    return sparse.csr_matrix(np.nan_to_num(values)) if kind == "sparse" else values
