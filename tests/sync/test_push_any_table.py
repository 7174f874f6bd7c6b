from __future__ import annotations

import itertools
import string
import warnings
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biocolab_accessor.studies.study import Study

N_CELLS = 12

numbered = itertools.count()

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["001", "1e5", "nan", "NaN", "None", "True", "", " 7", "-0", "é", "日本"]
)


def numbers(dtype: str) -> st.SearchStrategy[np.ndarray]:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        each = st.floats(width=8 * kind.itemsize, allow_nan=False, allow_infinity=False)
    else:
        bounds = np.iinfo(kind)
        each = st.integers(int(bounds.min), int(bounds.max))
    return st.lists(each, min_size=N_CELLS, max_size=N_CELLS).map(lambda values: np.array(values, kind))


def labels(values: list[Any], *, spare: list[Any], ordered: bool) -> pd.Categorical:
    categories = list(dict.fromkeys([*spare, *values]))
    return pd.Categorical(values, categories=categories, ordered=ordered)


def listed(each: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(each, min_size=N_CELLS, max_size=N_CELLS)


columns = st.one_of(
    listed(texts).map(lambda values: np.array(values, object)),
    listed(texts).map(lambda values: pd.array(values, dtype="string")),
    listed(st.booleans()).map(np.array),
    listed(st.booleans()).map(lambda values: pd.array(values, dtype="boolean")),
    *map(numbers, ["int8", "int32", "int64", "uint8", "uint64", "float32", "float64"]),
    numbers("int64").map(lambda values: pd.array(values, dtype="Int64")),
    st.builds(labels, listed(texts), spare=st.lists(texts, max_size=2), ordered=st.booleans()),
    st.builds(labels, listed(st.integers(-5, 5)), spare=st.just([99]), ordered=st.booleans()),
    st.builds(labels, listed(st.booleans()), spare=st.just([]), ordered=st.just(False)),
)

tables = st.dictionaries(
    st.text(string.ascii_letters + "é /.", min_size=1, max_size=8).map(lambda s: f"c{s}"),
    columns,
    min_size=1,
    max_size=4,
)

slow = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slow
@given(data=tables, order=st.permutations(range(N_CELLS)), others=st.permutations(range(N_CELLS)))
def test_a_table_that_was_pushed_and_pulled_is_equal(
    small: Study, data: dict[str, Any], order: list[int], others: list[int]
) -> None:
    barcodes = np.array(small.barcodes(), object)
    table = pd.DataFrame(data, index=barcodes).iloc[order]
    before = table.copy(deep=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pushed = ad.AnnData(obs=table).biocolab.push_metadata(list(table.columns), study=small, overwrite=True)
        back = ad.AnnData(obs=pd.DataFrame(index=barcodes[others]))
        pulled = back.biocolab.pull_metadata(list(table.columns), study=small, dtypes=pushed.dtypes)
    assert pulled.notes == ()
    pd.testing.assert_frame_equal(back.obs.loc[table.index], table)
    pd.testing.assert_frame_equal(table, before)


@slow
@given(data=tables, here=st.sets(st.integers(0, N_CELLS - 1), min_size=1), gaps=st.sets(st.integers(0, N_CELLS - 1)))
def test_a_part_with_gaps_comes_back_equal_or_the_report_says_what_changed(
    small: Study, data: dict[str, Any], here: set[int], gaps: set[int]
) -> None:
    barcodes = np.array(small.barcodes(), object)
    example = next(numbered)  # fields of an earlier one have values in other cells
    table = pd.DataFrame({f"{example}{name}": column for name, column in data.items()}, index=barcodes)
    filled = ~np.isin(np.arange(N_CELLS), list(gaps))
    for name in table:
        if not (isinstance(table[name].dtype, np.dtype) and table[name].dtype.kind in "iub"):
            table[name] = table[name].where(filled)
    table = table.iloc[sorted(here)]
    table = table.loc[:, ~table.isna().all()]
    if table.shape[1] == 0:
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pushed = ad.AnnData(obs=table).biocolab.push_metadata(list(table.columns), study=small, missing="omit")
    changed = [name for name in table if any(f"{name!r} comes back changed" in note for note in pushed.notes)]
    assert len(caught) == len(changed)
    for name in changed:  # the sandbox keeps whole numbers that some cells lack as float64
        assert pd.api.types.is_integer_dtype(table[name].dtype)
        assert (table[name].astype("Float64").abs() >= 2**53).any()
    exact = [name for name in table if name not in changed]
    back = ad.AnnData(obs=table[[]])
    back.biocolab.pull_metadata(exact, study=small, dtypes=pushed.dtypes)
    pd.testing.assert_frame_equal(back.obs, table[exact])
