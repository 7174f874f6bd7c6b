"""What broke other people's submissions is sent exactly, sent with a change that is said, or refused with a reason."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import CheckFailed
from tests.corpus.cases import CASES, NAMES, OBSM, Case
from tests.corpus.compare import assert_names_come_back, assert_unchanged, differences, is_said, snapshot


def test_the_corpus_is_large_and_every_case_has_its_own_name() -> None:
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_nothing_goes_out_wrong(case: Case, tmp_path: Path) -> None:
    adata = case.make()
    before = snapshot(adata)
    report = bc.check(adata, **case.arguments)
    assert report.ok == (case.outcome != "refused")
    assert {case.code} - {""} <= {found.code for found in report}
    repr(report), report._repr_html_().encode(), report.to_frame()
    path = tmp_path / "a.h5ad"
    matrix_type = {key: value for key, value in case.arguments.items() if key != "batch_key"}
    if case.outcome == "refused":
        plan = adata.biocolab.submit(dry_run=True, **case.arguments)
        assert not plan.ok
        assert case.code in repr(plan)
        if "batch_key" not in case.arguments:
            with pytest.raises(CheckFailed, match=case.code):
                adata.biocolab.to_h5ad(path, **matrix_type)
        assert list(tmp_path.iterdir()) == []
        assert_unchanged(adata, before)
        return
    plan = adata.biocolab.submit(dry_run=True)
    repr(plan), plan._repr_html_().encode()
    adata.biocolab.to_h5ad(path)
    assert_unchanged(adata, before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's own, about repeated features
        again = ad.read_h5ad(path)
    different = differences(adata, again, plan)
    said = [*plan.changes, *plan.left_out]
    for place in different:
        assert _is_said(place, said), (place, said)
    assert_names_come_back(adata, again)
    if case.outcome == "exact":
        assert (different, plan.changes, plan.left_out) == ([], (), ())
    else:
        assert different or plan.changes


def _is_said(place: str, said: list[str]) -> bool:
    """Whether a place is among what a plan names; columns that are called by numbers are told of together."""
    if re.fullmatch(r"obs\[\d+\]", place) and any(line.startswith("obs.columns") for line in said):
        return True
    return is_said(place, said)


RENAMED = ("BC105", "BC106", "BC109", "BC110")
# To pandas 3 a column that is named by half a surrogate pair cannot be added.
LEFT = ("var", "surrogate") if pd.__version__ >= "3" else ("var",)
ROUND_TRIPS = [case for case in (*NAMES, *OBSM) if case.code in RENAMED and not any(word in case.name for word in LEFT)]


def test_names_are_undone_by_the_road_back(server: bc.Sandbox) -> None:
    """All names of the corpus in one study, by each way that a study comes back."""
    adata = Case("all", lambda adata: None, "changed").make()
    for case in ROUND_TRIPS:
        other = case.make()
        for position, name in enumerate(other.obs.columns):
            adata._obs[str(name)] = other.obs.iloc[:, position].to_numpy() + position
        for key in other.obsm:
            adata.obsm._data[key] = other.obsm[key]
    with pytest.warns(UserWarning, match="BC10"):
        study = adata.biocolab.submit(skip_dimred=True).study()
    assert set(map(str, adata.obs.columns)) <= set(study.fields)
    back = study.to_anndata()
    for name in adata.obs:
        assert back.obs[name].tolist() == adata.obs[name].tolist(), name
        assert study.metadata(name)[name].tolist() == adata.obs[name].tolist()
    assert set(back.obsm) == set(adata.obsm)
    for key in adata.obsm:
        assert back.obsm[key].tolist() == adata.obsm[key].tolist(), key
