"""Escaped names: a fetched study has the original names in every form, and its files have escaped ones."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import CheckFailed, InvalidArgument
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies.conversion import obsm_keys
from biocolab_accessor.studies.study import Study

COLUMN, KEY = "donor/age", "X_umap/3d"
SAFE_COLUMN, SAFE_KEY = "donor%2Fage~biocolab", "X_umap%2F3d~biocolab"


@pytest.fixture
def study(counts: ad.AnnData, server: Sandbox) -> Study:
    counts.obs[COLUMN] = np.arange(60)
    counts.obsm[KEY] = np.arange(180, dtype=np.float32).reshape(60, 3)
    with pytest.warns(UserWarning, match=r"BC1(05|09)"):
        return counts.biocolab.submit(skip_dimred=True).study()


def assert_own_names(adata: ad.AnnData) -> None:
    assert adata.obs[COLUMN].tolist() == list(range(60))
    assert SAFE_COLUMN not in adata.obs
    assert {"X_own", KEY} <= set(adata.obsm)
    assert SAFE_KEY not in adata.obsm
    assert np.asarray(adata.obsm[KEY])[-1].tolist() == [177, 178, 179]


def test_studies_in_memory_have_the_original_names_and_accept_them(study: Study) -> None:
    assert_own_names(study.to_anndata())
    assert COLUMN in study.fields
    assert list(study.to_anndata(fields=COLUMN).obs.columns) == [COLUMN]
    assert study.metadata([COLUMN, "good"]).columns.tolist() == [COLUMN, "good"]
    assert study.metadata([]).shape == (60, 0)


def test_a_file_of_a_study_has_escaped_names(study: Study, tmp_path: Path) -> None:
    adata = ad.read_h5ad(study.to_h5ad(tmp_path / "a.h5ad"))
    assert SAFE_COLUMN in adata.obs
    assert SAFE_KEY in adata.obsm


def test_backed_and_lazy_studies_have_the_original_names(study: Study, tmp_path: Path) -> None:
    backed = study.to_anndata(backed=tmp_path / "b.h5ad")
    try:
        assert_own_names(backed)
        assert backed.isbacked
    finally:
        backed.file.close()
    pytest.importorskip("dask")
    assert_own_names(study.lazy(tmp_path / "c.h5ad"))


def test_a_collection_has_the_original_names_and_its_store_escaped_ones(study: Study, tmp_path: Path) -> None:
    pytest.importorskip("dask")
    collection = bc.collection([study.id], source="bbrowserx")
    assert COLUMN in collection.to_anndata().obs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Zarr announces its next format
        store = ad.read_zarr(collection.to_zarr(tmp_path / "z.zarr"))
    assert SAFE_COLUMN in store.obs
    assert SAFE_KEY in store.obsm


def test_a_fetched_object_can_be_submitted_again(study: Study, server: Sandbox) -> None:
    adata = study.to_anndata()
    with pytest.warns(UserWarning, match="BC109"):
        again = adata.biocolab.submit(skip_dimred=True).study().to_anndata()
    assert_own_names(again)


def test_the_provenance_lists_original_names(study: Study, tmp_path: Path) -> None:
    renamed = {"obs": {SAFE_COLUMN: COLUMN}, "obsm": {SAFE_KEY: KEY}}
    adata = study.to_anndata()
    assert adata.uns["biocolab"]["renamed"] == renamed
    assert adata.uns["biocolab"]["embeddings"] == {"X_own": "X_own"}
    assert study.to_anndata(fields=["good"], obsm=False).uns["biocolab"].keys() & {"renamed", "embeddings"} == set()
    # In a file that was written with bounded memory, and in one of the object itself, once its names can be written.
    assert ad.read_h5ad(study.to_h5ad(tmp_path / "a.h5ad")).uns["biocolab"]["renamed"] == renamed
    bare = ad.AnnData(obs=adata.obs[["good"]], uns=adata.uns)
    bare.write_h5ad(tmp_path / "b.h5ad")
    assert ad.read_h5ad(tmp_path / "b.h5ad").uns["biocolab"]["renamed"] == renamed


def test_provenance_of_names_that_no_file_can_hold_can_be_written(
    counts: ad.AnnData, server: Sandbox, tmp_path: Path
) -> None:
    hostile = ["a\0b", "\ud800", "", " ", ".", "a/b", "barcodes"]
    counts.obs.columns = counts.obs.columns.astype(object)  # pandas' own text has no place for half a surrogate pair
    for number, name in enumerate(hostile):
        counts.obs[name] = number
        counts.obsm._data[name] = np.full((60, 2), number, np.float32)
    with pytest.warns(UserWarning, match="BC1"):
        adata = counts.biocolab.submit(skip_dimred=True).study().to_anndata()
    assert [adata.obs[name].iloc[0] for name in hostile] == list(range(7))
    assert [adata.obsm[name][0, 0] for name in hostile] == list(range(7))
    renamed = adata.uns["biocolab"]["renamed"]
    assert list(renamed["obs"].values()) == ["a\\x00b", "\\ud800", *hostile[2:]]
    assert renamed["obs"] == renamed["obsm"]
    bare = ad.AnnData(obs=adata.obs[["good"]], uns=adata.uns)
    bare.write_h5ad(tmp_path / "a.h5ad")
    assert ad.read_h5ad(tmp_path / "a.h5ad").uns["biocolab"]["renamed"] == renamed


def test_a_submission_plan_announces_escaped_names(counts: ad.AnnData) -> None:
    counts.obs[COLUMN] = 1
    counts.obsm[KEY] = np.ones((60, 3))
    counts.obsm["markers"] = pd.DataFrame({"CD3/CD28": range(60)}, index=counts.obs_names)
    counts.obsm["UMAP"] = np.ones((60, 2))
    changes = "\n".join(counts.biocolab.submit(dry_run=True).changes)
    assert (
        f"obs['{COLUMN}']: the name contains a '/', which separates groups in HDF5: sent as '{SAFE_COLUMN}'" in changes
    )
    assert f"obsm['{KEY}']: the name contains a '/', which separates groups in HDF5: sent as '{SAFE_KEY}'" in changes
    assert "obsm['markers']['CD3/CD28']: sent as 'CD3%2FCD28~biocolab'" in changes
    assert "obsm['UMAP']: the name is reserved for an embedding that the servers compute: sent as 'UMAP~biocolab'" in (
        changes
    )


def test_every_key_of_obsm_is_back_as_it_was_beside_what_the_server_computes(
    counts: ad.AnnData, server: Sandbox, tmp_path: Path
) -> None:
    keys = ["spatial", "X_spatial", "umap", "UMAP", "X_umap", "tsne", "X_pca", "PCA", "My map", "protein", "X_a.b-c"]
    del counts.obsm["X_own"]
    for number, key in enumerate(keys):
        counts.obsm[key] = np.full((60, 2), number, np.float32)
    with pytest.warns(UserWarning, match="BC105"):
        study = counts.biocolab.submit().study()
    back = study.to_anndata()
    assert {key: back.obsm[key][0, 0] for key in keys} == {key: number for number, key in enumerate(keys)}
    computed = {"X_pca_2": "PCA", "X_umap_2": "UMAP", "X_tsne": "t-SNE"}
    assert set(back.obsm) == {*keys, *computed}
    embeddings = back.uns["biocolab"]["embeddings"]
    assert {key: embeddings[key] for key in computed} == computed
    assert back.uns["biocolab"]["renamed"]["obsm"] == {
        "umap~biocolab": "umap", "UMAP~biocolab": "UMAP", "tsne~biocolab": "tsne", "PCA~biocolab": "PCA",
    }  # fmt: skip
    assert back.biocolab.pull_embeddings(["spatial", "UMAP"], overwrite=True).written == (
        "obsm['spatial']", "obsm['UMAP']",
    )  # fmt: skip
    assert back.obsm["UMAP"][0, 0] == keys.index("UMAP")
    backed = study.to_anndata(backed=tmp_path / "b.h5ad")
    try:
        assert {key: backed.obsm[key][0, 0] for key in keys} == {key: number for number, key in enumerate(keys)}
    finally:
        backed.file.close()
    assert study.plot(basis="spatial").axes[0].get_xlabel() == "spatial1"


@pytest.mark.parametrize("key", ["spatial", "X_spatial"])
def test_coordinates_of_spots_are_back_under_the_key_that_they_were_sent_under(
    counts: ad.AnnData, server: Sandbox, key: str
) -> None:
    places = np.arange(120, dtype=np.float32).reshape(60, 2)
    counts.obsm[key] = places
    back = counts.biocolab.submit(skip_dimred=True).study().to_anndata()
    assert set(back.obsm) == {"X_own", key}
    np.testing.assert_array_equal(back.obsm[key], places)


def test_foreign_embeddings_keep_their_names_where_files_can_hold_them() -> None:
    assert obsm_keys([SAFE_KEY, "My map", "X_a", "a%2Fb", "x~biocolab", "a/b", ""]) == {
        SAFE_KEY: KEY, "My map": "My map", "X_a": "X_a", "a%2Fb": "a%2Fb", "x~biocolab": "X_x_biocolab",
        "a/b": "X_a_b", "": "X_embedding",
    }  # fmt: skip


def test_strict_refuses_what_has_warnings_before_anything_is_sent(counts: ad.AnnData, server: Sandbox) -> None:
    counts.obs[COLUMN] = 1
    before = len(server.requests)
    with pytest.raises(CheckFailed, match=r"check='strict' treats as errors[\s\S]*BC109"):
        counts.biocolab.submit(check="strict")
    with pytest.raises(InvalidArgument, match="give 'default' or 'strict'"):
        counts.biocolab.submit(check="off")
    assert len(server.requests) == before
    del counts.obs[COLUMN]
    assert counts.biocolab.submit(check="strict", dry_run=True).report.warnings == ()
