"""Other packages of the field: what they do to objects of ours, and objects that they make."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidFile, UnknownStudy
from biocolab_accessor.sandbox.server import Sandbox

from .conftest import assert_equal_objects


def through_h5ad(adata: ad.AnnData, folder: Path) -> ad.AnnData:
    adata.write_h5ad(folder / "x.h5ad")
    return ad.read_h5ad(folder / "x.h5ad")


def through_zarr(adata: ad.AnnData, folder: Path) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Writing zarr v2 data", UserWarning)
        adata.write_zarr(folder / "x.zarr")
    return ad.read_zarr(folder / "x.zarr")


def concatenated_with_itself(adata: ad.AnnData, folder: Path) -> ad.AnnData:
    return ad.concat([adata, adata.copy()], uns_merge="same", index_unique="-")


class TestUns:
    """What a fetch leaves in uns stays with the object, whoever else keeps something there."""

    @pytest.fixture
    def fetched(self, server: Sandbox) -> ad.AnnData:
        return bc.study("PBMC68k_reduced").to_anndata(genes=["CD3D", "LYZ"], fields=["bulk_labels"], layers=["lognorm"])

    @pytest.mark.parametrize(
        "through",
        [
            lambda adata, folder: adata.copy(),
            lambda adata, folder: adata[::2, :1].copy(),
            lambda adata, folder: adata.T.copy().T,
            through_h5ad,
            through_zarr,
            concatenated_with_itself,
        ],
        ids=["copy", "view", "transpose", "h5ad", "zarr", "concat"],
    )
    def test_provenance_survives(self, fetched: ad.AnnData, tmp_path: Path, through: Callable) -> None:
        # As scvi-tools does: its own keys beside ours, and columns of obs of its own.
        fetched.uns["_scvi_uuid"], fetched.uns["_scvi_manager_uuid"] = str(uuid4()), str(uuid4())
        fetched.obs["_scvi_batch"] = np.zeros(fetched.n_obs, np.int8)
        after = through(fetched, tmp_path)
        assert after.uns["_scvi_uuid"] == fetched.uns["_scvi_uuid"]
        assert after.biocolab.study.id == "PBMC68k_reduced"
        facts = dict(after.uns["biocolab"])
        assert list(facts.pop("genes")) == ["CD3D", "LYZ"]
        assert facts == {name: value for name, value in fetched.uns["biocolab"].items() if name != "genes"}

    def test_of_two_studies_what_both_say_is_left_and_no_study_is_claimed(self, fetched: ad.AnnData) -> None:
        other = bc.study("CellTypist_sample").to_anndata(genes=["CD3D", "LYZ"], fields=[])
        both = ad.concat([fetched, other], uns_merge="same", index_unique="-")
        assert both.uns["biocolab"]["source"] == "bioflex"
        assert both.uns["biocolab"]["packages"] == fetched.uns["biocolab"]["packages"]
        with pytest.raises(UnknownStudy, match="does not say which study"):
            _ = both.biocolab.study

    def test_keys_of_others_do_not_travel_and_are_said_to_be_left_out(
        self, fetched: ad.AnnData, server: Sandbox
    ) -> None:
        adata = fetched
        adata.uns["_scvi_uuid"] = str(uuid4())
        adata.uns["_scvi"] = {"setup_method_args": {"layer": None}, "registry": object(), 3: "no text"}
        adata.uns["log1p"] = {"base": None}
        adata.obs["_scvi_labels"] = np.arange(adata.n_obs, dtype=np.int64) % 3
        adata.obsm["_scvi_extra_categorical_covs"] = pd.DataFrame(
            {"donor": np.zeros(adata.n_obs, np.int8)}, adata.obs_names
        )
        uns = dict(adata.uns)
        plan = adata.biocolab.submit(dry_run=True)
        assert {"uns['_scvi_uuid']", "uns['_scvi']", "uns['log1p']", "uns['biocolab']"} <= set(plan.left_out)
        back = adata.biocolab.submit(skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(back.obs["_scvi_labels"], adata.obs["_scvi_labels"])
        assert set(back.uns) == {"biocolab"}
        assert adata.uns == uns


class TestMuData:
    """``mdata["rna"].biocolab``: a modality is an AnnData like any other."""

    @pytest.fixture
    def mdata(self, counts: ad.AnnData) -> object:
        mudata = pytest.importorskip("mudata", reason="mudata is not installed")
        protein = ad.AnnData(np.ones((50, 2), np.float32), obs=pd.DataFrame(index=counts.obs_names[10:][::-1]))
        protein.var_names = ["prot:CD3", "prot:CD19"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return mudata.MuData({"rna": counts, "prot": protein})

    def test_a_modality_goes_out_and_comes_back_and_the_rest_stays(self, mdata: object, server: Sandbox) -> None:
        rna, before = mdata["rna"], mdata["rna"].copy()
        assert bc.check(rna).ok
        back = rna.biocolab.submit(skip_dimred=True).study().to_anndata()
        np.testing.assert_array_equal(back.X.toarray(), rna.X.toarray())
        assert list(back.obs_names) == list(rna.obs_names)
        assert list(back.obs["label"].astype(str)) == list(rna.obs["label"].astype(str))
        assert_equal_objects(rna, before)
        assert list(mdata.mod) == ["rna", "prot"]
        assert mdata.shape == (60, 42)

    def test_of_a_view_the_cells_of_the_view_go(self, mdata: object, server: Sandbox) -> None:
        some = mdata[mdata["prot"].obs_names]
        back = some["rna"].biocolab.submit(skip_dimred=True).study().to_anndata()
        assert list(back.obs_names) == list(some["rna"].obs_names)
        assert len(back) == 50
        np.testing.assert_array_equal(back.X.toarray(), some["rna"].X.toarray())

    def test_fields_of_the_study_are_pulled_into_the_modality(self, mdata: object, server: Sandbox) -> None:
        rna = mdata["rna"]
        submission = rna[:40].biocolab.submit(skip_dimred=True)
        report = rna.biocolab.pull_metadata("score", study=submission, prefix="server_")
        assert (report.matched, report.only_here) == (40, 20)
        np.testing.assert_array_equal(rna.obs["server_score"][:40], rna.obs["score"][:40])
        assert rna.obs["server_score"][40:].isna().all()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mdata.update()
            mdata.pull_obs(["server_score"], mods=["rna"])
        assert mdata.obs["rna:server_score"].notna().sum() == 40

    def test_a_file_of_several_modalities_is_named_and_one_of_them_is_read(self, mdata: object, tmp_path: Path) -> None:
        mudata = pytest.importorskip("mudata", reason="mudata is not installed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mudata announces another default
            mdata.write(tmp_path / "x.h5mu")
        with pytest.raises(InvalidFile, match=r"x\.h5mu is an h5mu file .*\('prot', 'rna'\).* mod='prot'\)\.biocolab"):
            bc.check(tmp_path / "x.h5mu")
        assert mudata.read_h5ad(tmp_path / "x.h5mu", mod="rna").biocolab.check().ok
