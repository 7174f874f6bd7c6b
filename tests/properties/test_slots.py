"""If several slots have counts the fullest one is sent, or the report names the conflict."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from biocolab_accessor.errors import CheckFailed
from biocolab_accessor.io.matrix_blocks import filled_slots, source_of
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit.plan import Plan, plan_submission
from biocolab_accessor.submit.submit import to_h5ad
from tests.properties.strategies import COUNT_DTYPES, FORMS, counts, sweep

PLACES = ["X", "raw.X", "counts", "umi", "raw_counts"]


class Held(NamedTuple):
    """An object, and the counts in its slots (genes by name)."""

    adata: ad.AnnData
    slots: dict[str, pd.DataFrame]


@st.composite
def held(draw: st.DrawFn) -> Held:
    """Counts, complete, without some cells, genes or single values, or with other values."""
    n_obs, n_vars = draw(st.integers(2, 6)), draw(st.integers(2, 5))
    full = draw(counts(n_obs, n_vars))
    cells, genes = [f"c{i}" for i in range(n_obs)], [f"G{i}" for i in range(n_vars)]
    n_kept = draw(st.integers(1, n_vars))  # the object may have fewer genes than raw
    names = draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4, unique=True))
    stored: dict[str, Any] = {}
    slots: dict[str, pd.DataFrame] = {}
    for name in names:
        values = full.copy()
        for how in draw(st.lists(st.sampled_from(["cells", "genes", "values", "other"]), max_size=2)):
            if how == "cells":
                values[draw(st.lists(st.integers(0, n_obs - 1), min_size=1, max_size=n_obs))] = 0
            elif how == "genes":
                values[:, draw(st.lists(st.integers(0, n_vars - 1), min_size=1, max_size=n_vars))] = 0
            elif how == "values":
                values[draw(st.integers(0, n_obs - 1)), draw(st.integers(0, n_vars - 1))] = 0
            else:
                values[draw(st.integers(0, n_obs - 1)), draw(st.integers(0, n_vars - 1))] += draw(st.integers(1, 3))
        part = values if name == "raw.X" else values[:, :n_kept]
        slots[name] = pd.DataFrame(part, cells, genes[: part.shape[1]])
        stored[name] = FORMS[draw(st.sampled_from(sorted(set(FORMS) - {"COO"})))](
            part.astype(draw(st.sampled_from([np.float32, *(d for d in COUNT_DTYPES if d != np.uint8)])))
        )
    x = stored.pop("X", None)
    if x is None and draw(st.booleans()):  # the usual logarithm of all counts
        x = np.log1p(full[:, :n_kept])
    obs, var = pd.DataFrame(index=cells), pd.DataFrame(index=genes[:n_kept])
    raw = stored.pop("raw.X", None)
    adata = ad.AnnData(x, obs, var, layers=stored)
    if raw is not None:
        adata.raw = ad.AnnData(raw, obs, pd.DataFrame(index=genes))
    return Held(adata[:, :] if draw(st.booleans()) else adata, slots)


def covers(large: pd.DataFrame, small: pd.DataFrame) -> bool:
    """Whether the first has all counts of the second."""
    if not set(small.columns[(small != 0).any()]) <= set(large.columns):
        return False
    there = large.reindex(columns=small.columns, fill_value=0).to_numpy()
    return bool((there[small.to_numpy() != 0] == small.to_numpy()[small.to_numpy() != 0]).all())


def lacks(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether the first has no values for a cell or gene that the second has values for."""
    cells = (one == 0).all(axis=1) & (other != 0).any(axis=1)
    there = set(one.columns[(one != 0).any()])
    return bool(cells.any()) or not set(other.columns[(other != 0).any()]) <= there


def expect(case: Held, came: pd.DataFrame, plan: Plan) -> None:
    """The result is a slot that no other exceeds, and that lacks no cell or gene of another, or the report says so.

    Flags of zero and one are not taken for counts, and counts may be corrected or downsampled.
    """
    said = "".join(f" {found.message} " for found in plan.report if found.code in ("BC316", "BC317"))
    whole = {name: values for name, values in case.slots.items() if (values != 0).any(axis=None)}
    same = [name for name, values in whole.items() if values.shape == came.shape and values.equals(came)]
    assert same
    for name, values in whole.items():
        if f" {name if name in ('X', 'raw.X') else f'layers[{name!r}]'} " in said:
            continue
        if covers(values, came):
            assert covers(came, values), name
        assert not lacks(came, values), name


def arrived(back: ad.AnnData) -> pd.DataFrame:
    matrix = back.X.toarray() if hasattr(back.X, "toarray") else np.asarray(back.X)
    return pd.DataFrame(matrix.astype(np.float32), list(back.obs_names), list(back.var_names))


def content(adata: ad.AnnData) -> dict[str, Any]:
    """The content that must not change."""
    found: dict[str, Any] = {"view": adata.is_view}
    for slot in filled_slots(adata):
        matrix = source_of(adata, slot).matrix
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        found[str(slot)] = (type(matrix), str(matrix.dtype), np.asarray(dense).tolist())
    return found


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@sweep
@given(held())
def test_the_fullest_slot_is_sent_or_the_object_is_refused_with_both_slots_named(case: Held) -> None:
    before = content(case.adata)
    try:
        plan = plan_submission(case.adata)
    except CheckFailed as error:
        report = error.report
        assert report is not None
        for found in report.errors:
            assert found.code in ("BC300", "BC301", "BC315")
            if found.code == "BC315":
                assert "has values for" in found.message
                assert found.fix
        if not {"BC300", "BC301"} & {found.code for found in report.errors}:
            values = list(case.slots.values())
            log = case.adata.X is not None and "X" not in case.slots
            assert log or any(lacks(one, other) for one in values for other in values)
        return
    finally:
        assert content(case.adata) == before
    if plan.input_matrix_type == "normalized":
        assert all((values == 0).all(axis=None) for values in case.slots.values())
        return
    with tempfile.TemporaryDirectory() as folder:
        back = ad.read_h5ad(to_h5ad(case.adata, Path(folder) / "a.h5ad"))
    raw = back.raw.to_adata()
    expect(case, arrived(raw), plan)
    said = {found.code for found in plan.report}
    if "X" not in case.slots and case.adata.X is not None and (arrived(raw) == 0).all(axis=1).any():
        assert "BC310" in said


@settings(sweep, max_examples=5)
@given(case=held())
def test_the_fullest_slot_arrives_at_a_server(server: Sandbox, case: Held) -> None:
    try:
        plan = plan_submission(case.adata)
        back = case.adata.biocolab.submit(skip_dimred=True).study().to_anndata(obsm=False)
    except CheckFailed:
        return
    if plan.input_matrix_type == "raw":
        expect(case, arrived(back[list(case.adata.obs_names)]), plan)
