"""``mdata.biocolab``: registered where mudata is installed."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from biocolab_accessor import accessors
from biocolab_accessor.accessors import AnnDataAccessor, DataFrameAccessor
from biocolab_accessor.errors import InvalidArgument, UnknownStudy
from biocolab_accessor.sandbox.server import Sandbox

mudata = pytest.importorskip("mudata")


@pytest.fixture
def mdata(counts: ad.AnnData) -> object:
    other = ad.AnnData(np.full((60, 3), np.nan, np.float32), obs=counts.obs[[]])
    other.var_names = ["CD3", "CD4", "CD8"]
    return mudata.MuData({"rna": counts, "prot": other})


def test_every_modality_is_checked(mdata: object) -> None:
    reports = mdata.biocolab.check()
    assert {name: report.ok for name, report in reports.items()} == {"rna": True, "prot": False}


def test_one_modality_is_submitted_and_its_metadata_pulled_into_the_obs_of_all(mdata: object, server: Sandbox) -> None:
    submission = mdata.biocolab.submit(modality="rna", study_id="of_mudata", skip_dimred=True)
    assert submission.study().n_vars == mdata["rna"].n_vars
    before = mdata["rna"].obs.copy()
    report = mdata.biocolab.pull_metadata("label", study=submission, prefix="server ")
    assert (report.matched, report.written) == (60, ("obs['server label']",))
    assert list(mdata.obs["server label"].astype(str)) == list(mdata["rna"].obs["label"].astype(str))
    assert mdata["rna"].obs.equals(before)
    with pytest.raises(InvalidArgument, match="already"):
        mdata.biocolab.pull_metadata("label", study=submission, prefix="server ")
    assert mdata.biocolab.pull_metadata("label").written == ("obs['label']",)  # of the last submission
    with pytest.raises(UnknownStudy, match="does not say which study"):
        mdata.copy().biocolab.pull_metadata("label", prefix="other ")


def test_what_stays_behind_is_in_the_plan_and_in_a_warning(mdata: object, server: Sandbox) -> None:
    mdata.obs["donor"] = "a"
    left = ("mod['prot'] (60 cells x 3 features)", "columns 'donor' of the MuData's obs")
    assert mdata.biocolab.submit(dry_run=True).left_out[-2:] == left
    assert f"left out: columns of var ('id'), {', '.join(left)}\n" in repr(mdata.biocolab.submit(dry_run=True))
    with pytest.warns(
        UserWarning, match=r"only modality 'rna' was sent, without mod\['prot'\] \(60 cells x 3 features\)"
    ):
        mdata.biocolab.submit(skip_dimred=True)


def test_a_mudata_of_one_modality_leaves_nothing_behind(counts: ad.AnnData, server: Sandbox) -> None:
    alone = mudata.MuData({"rna": counts})
    plan = alone.biocolab.submit(dry_run=True)
    assert plan.left_out == counts.biocolab.submit(dry_run=True).left_out


def test_an_unknown_modality_has_near_names(mdata: object) -> None:
    with pytest.raises(InvalidArgument, match=r"no modality 'rnaa' \(did you mean 'rna'\?\); it has 'rna', 'prot'"):
        mdata.biocolab.submit(modality="rnaa")


def test_a_view_is_not_changed_and_the_accessor_says_what_it_has(mdata: object) -> None:
    assert repr(mdata.biocolab) == "mdata.biocolab: check, submit(modality='rna'), pull_metadata"
    with pytest.raises(InvalidArgument, match=r"a view of a MuData cannot be changed: call .copy\(\) first"):
        mdata[:3].biocolab.pull_metadata("phase")


@pytest.mark.sweeps
def test_the_accessor_of_mudata_is_registered_in_whatever_order_they_are_imported() -> None:
    code = "import biocolab_accessor, mudata; print('biocolab' in vars(mudata.MuData))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


@pytest.mark.parametrize("installed", [None, types.ModuleType("mudata")], ids=["absent", "without a registration"])
def test_the_other_accessors_are_registered_without_mudata(
    installed: types.ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mudata", installed)
    for kind in (ad.AnnData, pd.DataFrame):
        monkeypatch.delattr(kind, "biocolab")
    importlib.reload(accessors)
    assert ad.AnnData.biocolab is AnnDataAccessor
    assert pd.DataFrame.biocolab is DataFrameAccessor
