"""``mdata.biocolab``: registered with mudata, which is never imported for it."""

from __future__ import annotations

import subprocess
import sys

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, UnknownStudy
from biocolab_accessor.sandbox.server import Sandbox

mudata = pytest.importorskip("mudata")


@pytest.fixture
def mdata(counts: ad.AnnData) -> object:
    other = ad.AnnData(np.full((60, 3), np.nan, np.float32), obs=counts.obs[[]])
    other.var_names = ["CD3", "CD4", "CD8"]
    made = mudata.MuData({"rna": counts, "prot": other})
    bc.accessor(made)  # registers mdata.biocolab
    return made


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


def test_an_unknown_modality_has_near_names(mdata: object) -> None:
    with pytest.raises(InvalidArgument, match=r"no modality 'rnaa' \(did you mean 'rna'\?\); it has 'rna', 'prot'"):
        mdata.biocolab.submit(modality="rnaa")


def test_a_view_is_not_changed_and_the_accessor_says_what_it_has(mdata: object) -> None:
    assert repr(mdata.biocolab) == "mdata.biocolab: check, submit(modality='rna'), pull_metadata"
    with pytest.raises(InvalidArgument, match=r"a view of a MuData cannot be changed: call .copy\(\) first"):
        mdata[:3].biocolab.pull_metadata("phase")


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("import sys, biocolab_accessor; print('mudata' in sys.modules)", "False"),
        ("import mudata, biocolab_accessor; print('biocolab' in vars(mudata.MuData))", "True"),
    ],
)
def test_mudata_is_registered_with_only_if_it_is_imported(code: str, printed: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [printed]
