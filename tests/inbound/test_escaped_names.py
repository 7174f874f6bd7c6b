"""Names that had to travel under others are back in every form in which a study comes, and safe in every file."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import CheckFailed, InvalidArgument
from biocolab_accessor.inbound.embedding import obsm_keys
from biocolab_accessor.inbound.study import Study
from biocolab_accessor.sandbox.server import Sandbox

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


def test_they_are_back_in_memory_and_can_be_asked_for(study: Study) -> None:
    assert_own_names(study.to_anndata())
    assert COLUMN in study.fields
    assert list(study.to_anndata(fields=COLUMN).obs.columns) == [COLUMN]
    assert study.metadata([COLUMN, "good"]).columns.tolist() == [COLUMN, "good"]
    assert study.metadata([]).shape == (60, 0)


def test_a_file_of_the_study_can_be_read_by_anybody(study: Study, tmp_path: Path) -> None:
    adata = ad.read_h5ad(study.to_h5ad(tmp_path / "a.h5ad"))
    assert SAFE_COLUMN in adata.obs
    assert SAFE_KEY in adata.obsm


def test_they_are_back_in_what_lies_on_disk(study: Study, tmp_path: Path) -> None:
    backed = study.to_anndata(backed=tmp_path / "b.h5ad")
    try:
        assert_own_names(backed)
        assert backed.isbacked
    finally:
        backed.file.close()
    pytest.importorskip("dask")
    assert_own_names(study.lazy(tmp_path / "c.h5ad"))


def test_a_collection_has_them_and_its_store_is_safe(study: Study, tmp_path: Path) -> None:
    pytest.importorskip("dask")
    collection = bc.collection([study.id], source="bbrowserx")
    assert COLUMN in collection.to_anndata().obs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Zarr announces its next format
        store = ad.read_zarr(collection.to_zarr(tmp_path / "z.zarr"))
    assert SAFE_COLUMN in store.obs
    assert SAFE_KEY in store.obsm


def test_what_comes_back_can_be_sent_again(study: Study, server: Sandbox) -> None:
    adata = study.to_anndata()
    with pytest.warns(UserWarning, match="BC109"):
        again = adata.biocolab.submit(skip_dimred=True).study().to_anndata()
    assert_own_names(again)


def test_foreign_embeddings_keep_their_names() -> None:
    assert obsm_keys([SAFE_KEY, "My map", "X_a", "a%2Fb", "x~biocolab"]) == {
        SAFE_KEY: KEY, "My map": "X_my_map", "X_a": "X_a", "a%2Fb": "X_a_2fb", "x~biocolab": "X_x_biocolab",
    }  # fmt: skip


def test_strict_refuses_what_has_warnings_before_anything_is_sent(counts: ad.AnnData, server: Sandbox) -> None:
    counts.obs[COLUMN] = 1
    before = len(server.requests)
    with pytest.raises(CheckFailed, match=r"check='strict' refuses[\s\S]*BC109"):
        counts.biocolab.submit(check="strict")
    with pytest.raises(InvalidArgument, match="give 'default' or 'strict'"):
        counts.biocolab.submit(check="off")
    assert len(server.requests) == before
    del counts.obs[COLUMN]
    assert counts.biocolab.submit(check="strict", dry_run=True).report.warnings == ()
