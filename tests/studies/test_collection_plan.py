"""What a join of studies keeps, said before and after it."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def uneven(server: Sandbox) -> list[str]:
    """Two studies with 4 of 40 genes in common, and one field of their own each."""
    for name, first, field in (("UNEVEN_A", 0, "donor"), ("UNEVEN_B", 18, "grade")):
        adata = ad.AnnData(np.full((5, 22), 2, np.float32))
        adata.var_names = [f"GENE{i}" for i in range(first, first + 22)]
        adata.obs[field], adata.obs["both"] = "x", "y"
        server.add_study(name, adata)
    return ["UNEVEN_A", "UNEVEN_B"]


def test_an_inner_join_that_drops_most_genes_names_the_outer_join(uneven: list[str]) -> None:
    with pytest.warns(UserWarning, match=r"keeps 4 of 40 genes.*'UNEVEN_A' has 22.*join=\"outer\"") as caught:
        joined = bc.collection(uneven).to_anndata()
    assert joined.shape == (10, 4)
    assert {each.filename for each in caught if "inner join" in str(each.message)} == {__file__}


@pytest.mark.parametrize("join", ["inner", "outer"])
def test_a_plan_has_the_shape_of_the_join_and_says_what_it_leaves_out(uneven: list[str], join: str) -> None:
    collection = bc.collection(uneven)
    plan = collection.to_anndata(join, dry_run=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        joined = collection.to_anndata(join)
    assert (plan.n_obs, plan.n_vars) == joined.shape
    assert {*plan.fields, "study"} == set(joined.obs)
    assert plan.n_bytes == sum(each.to_anndata(dry_run=True).n_bytes for each in collection.studies)
    assert plan.memory == 2 * plan.n_bytes
    assert ("36 of 40 genes and fields 'donor', 'grade'" in repr(plan)) is (join == "inner")
    assert "2 studies (&#x27;UNEVEN_A&#x27;, &#x27;UNEVEN_B&#x27;)" in plan._repr_html_()


def test_a_plan_counts_the_cells_of_a_filter(uneven: list[str]) -> None:
    collection = bc.collection(uneven)
    assert collection.to_anndata("outer", obs_filter="donor == 'x'", dry_run=True).n_obs == 5
    whole = collection.to_anndata("outer", dry_run=True)
    assert collection.to_anndata("outer", obs_filter="donor == 'x'", dry_run=True).memory == whole.memory // 2


def test_selected_genes_are_all_there_and_not_warned_of(uneven: list[str]) -> None:
    plan = bc.collection(uneven).to_anndata(genes=["GENE20", "GENE19"], fields=["both"], dry_run=True)
    assert (plan.n_vars, plan.fields, plan.left_out) == (2, ("both",), "")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*inner join", UserWarning)
        assert list(bc.collection(uneven).to_anndata(genes=["GENE20", "GENE19"]).var_names) == ["GENE20", "GENE19"]


def test_a_warning_from_a_thread_shows_the_line_of_the_user(server: Sandbox) -> None:
    halves = ad.AnnData(np.full((3, 3), 0.5, np.float32))
    halves.var_names = ["A", "B", "C"]
    server.add_study("HALVES", halves)
    line = inspect.currentframe().f_lineno + 2  # type: ignore[union-attr]
    with pytest.warns(UserWarning, match="raw values are not integers") as caught:
        bc.collection(["HALVES"]).to_anndata()
    ours = [each for each in caught if "raw values" in str(each.message)]
    assert [(each.filename, each.lineno) for each in ours] == [(__file__, line)]


@pytest.mark.parametrize("fetch", ["to_h5ad", "lazy"])
def test_a_dry_run_of_every_fetch_of_a_study_is_the_same_plan(fetch: str, studies: list[str], tmp_path: Path) -> None:
    study, bc.settings.memory_budget = bc.study(studies[0]), 10**9
    plan = getattr(study, fetch)(tmp_path / "x.h5ad", fields=["batch"], dry_run=True)
    assert plan == study.to_anndata(fields=["batch"], dry_run=True)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_every_fetch_of_a_collection_is_the_same_plan(uneven: list[str], tmp_path: Path) -> None:
    collection, bc.settings.memory_budget = bc.collection(uneven), 10**9
    plan = collection.to_anndata("outer", dry_run=True)
    assert collection.lazy("outer", dry_run=True) == plan
    assert collection.to_zarr(tmp_path / "x.zarr", "outer", dry_run=True) == plan
    assert list(tmp_path.iterdir()) == []
