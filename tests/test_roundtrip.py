"""What goes out comes back: the promise that everything else serves."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidValues
from biocolab_accessor.sandbox.public_studies import celltypist_sample, has_celltypist
from biocolab_accessor.sandbox.server import Sandbox

pytestmark = pytest.mark.smoke

Reader = Callable[[str], ad.AnnData]


def dense(matrix: object) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)


def submit(adata: ad.AnnData, **arguments: object) -> ad.AnnData:
    """Out and back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scaled X, repeated features: tested on their own
        submission = adata.biocolab.submit(group="personal", skip_dimred=True, **arguments)
    return submission.study().to_anndata(unit="raw")


def assert_same_obs(sent: pd.DataFrame, back: pd.DataFrame) -> None:
    """Every value is the same; labels and text come back as labels."""
    for name in sent.columns:
        ours, theirs = sent[name], back[name]
        if isinstance(ours.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(ours.dtype):
            assert list(theirs.astype(object)) == [str(value) for value in ours], name
        else:
            np.testing.assert_array_equal(theirs.to_numpy(), ours.to_numpy(), err_msg=name)


CASES = [
    ("anndata-v0.5.0.h5ad", lambda a: (a.X, a.var_names)),
    ("anndata-v0.7.0.h5ad", lambda a: (a.raw.X, a.raw.var_names)),
    ("mouse_neurons_10k_x_1k.h5ad", lambda a: (a.X, a.var_names)),
    ("pbmc_10k_protein_v3.h5ad", lambda a: (a.X, a.var_names)),
]


@pytest.mark.parametrize(("name", "sent_of"), CASES, ids=[name for name, _ in CASES])
def test_real_files_come_back_bit_for_bit(name: str, sent_of: Callable, read_h5ad: Reader, server: Sandbox) -> None:
    adata = read_h5ad(name)
    matrix, features = sent_of(adata)
    back = submit(adata, species="mouse" if "mouse" in name else "human")
    assert back.X.dtype == np.float32
    np.testing.assert_array_equal(dense(back.X), dense(matrix).astype(np.float32))
    assert list(back.obs_names) == list(adata.obs_names)
    assert list(back.var["feature"]) == list(features)
    assert back.var_names.is_unique
    assert_same_obs(adata.obs, back.obs)


def test_pbmc68k_comes_back_bit_for_bit_through_both_protocols(server: Sandbox) -> None:
    adata = sc.datasets.pbmc68k_reduced()
    back = submit(adata, study_id="roundtrip_pbmc68k")
    by_bioflex = bc.study("roundtrip_pbmc68k").to_anndata(unit="raw")
    for other in (back, by_bioflex):
        np.testing.assert_array_equal(dense(other.X), adata.X)
        assert list(other.obs_names) == list(adata.obs_names)
        assert list(other.var["feature"]) == list(adata.var_names)
        assert_same_obs(adata.obs, other.obs)
    np.testing.assert_array_equal(back.obsm["X_umap"], adata.obsm["X_umap"].astype(np.float32))


@pytest.mark.sweeps
@pytest.mark.skipif(not has_celltypist(), reason="CellTypist's sample is not installed (extra demo)")
def test_celltypist_table_comes_back_as_whole_counts(server: Sandbox) -> None:
    table = celltypist_sample()
    before = table.copy()
    submission = table.biocolab.submit(group="personal", skip_dimred=True)
    back = submission.study().to_anndata()
    np.testing.assert_array_equal(dense(back.X), np.rint(table.to_numpy()).astype(np.float32))
    assert list(back.obs_names) == list(table.index)
    assert list(back.var_names) == list(table.columns)
    pd.testing.assert_frame_equal(table, before)


def test_nan_is_refused_with_slot_and_number(read_h5ad: Reader, server: Sandbox) -> None:
    adata = read_h5ad("cellxgene-nan.h5ad")
    with pytest.raises(InvalidValues, match=r"X +2,556 NaN") as caught:
        adata.biocolab.submit()
    assert caught.value.report.errors[0].count == int(np.isnan(adata.X).sum()) == 2556


def test_every_kind_of_column_comes_back(counts: ad.AnnData, server: Sandbox) -> None:
    back = submit(counts)
    assert_same_obs(counts.obs, back.obs)
    assert back.obs["good"].dtype == bool
    assert back.obs["size"].dtype == np.int64
    assert back.obs["score"].dtype == np.float64
    assert list(back.obs["code"])[:2] == ["000", "001"]


def test_filters_remove_exactly_the_right_cells(counts: ad.AnnData, server: Sandbox) -> None:
    totals = np.asarray(counts.X.sum(axis=1)).ravel()
    genes = np.diff(counts.X.indptr)
    mito = np.asarray(counts.X[:, 38:].sum(axis=1)).ravel() / totals
    keep = (totals >= 25) & (totals <= 33) & (genes >= 18) & (genes <= 25) & (mito <= 0.08)
    assert 5 < keep.sum() < 55
    back = submit(counts, min_counts=25, max_counts=33, min_genes=18, max_genes=25, mt_percentage=8)
    assert list(back.obs_names) == list(counts.obs_names[keep])
    np.testing.assert_array_equal(dense(back.X), dense(counts.X[keep]))
    assert list(back.obs["code"]) == list(counts.obs["code"][keep])


def test_batches_become_one_study_with_their_names(counts: ad.AnnData, server: Sandbox) -> None:
    submission = counts.biocolab.submit(batch_key="sample", skip_dimred=True)
    back = submission.study().to_anndata()
    order = np.argsort(counts.obs["sample"].to_numpy(), kind="stable")
    assert list(back.obs_names) == list(counts.obs_names[order])
    np.testing.assert_array_equal(dense(back.X), dense(counts.X[order]))
    assert list(back.obs["Batch"]) == list(counts.obs["sample"].iloc[order])


def test_raw_and_lognorm_are_scanpys(counts: ad.AnnData, server: Sandbox) -> None:
    back = counts.biocolab.submit(skip_dimred=True).study().to_anndata(unit="raw", layers=["lognorm"])
    expected = ad.AnnData(dense(counts.X))  # for a sparse matrix scanpy compiles its sums for seconds
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    np.testing.assert_allclose(dense(back.layers["lognorm"]), expected.X, rtol=1e-6)
    np.testing.assert_array_equal(dense(back.X), dense(counts.X))


def test_whole_processing_gives_clusters_and_embeddings(counts: ad.AnnData, server: Sandbox) -> None:
    submission = counts.biocolab.submit(group="All members", study_id="processed", name="Processed", authors=["A. B."])
    steps = ["Reading batch: processed.h5ad", "Running PCA", "Running kNN", "Running UMAP", "Running t-SNE", "DONE !!!"]
    assert [step for step in steps if step in submission.log] == steps
    back = submission.study().to_anndata()
    assert {"X_own", "X_pca", "X_umap", "X_tsne"} == set(back.obsm)
    assert np.isfinite(back.obsm["X_umap"]).all()
    assert back.obs["Leiden clustering"].dtype.name == "category"


def test_talk2data_takes_submissions_as_well(counts: ad.AnnData, server: Sandbox) -> None:
    submission = counts.biocolab.submit(to="talk2data", study_id="t2d", skip_dimred=True)
    study = bc.study("t2d", source="talk2data")
    assert study.source == submission.study().source == "talk2data"
    np.testing.assert_array_equal(dense(study.to_anndata().X), dense(counts.X))


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_an_object_that_is_read_lazily_goes_out_and_comes_back(
    store: str, counts: ad.AnnData, server: Sandbox, tmp_path: Path
) -> None:
    pytest.importorskip("xarray", reason="xarray is not installed (extra lazy)")
    path = tmp_path / f"counts.{store}"
    getattr(counts, f"write_{store}")(path)
    lazy = ad.experimental.read_lazy(path)
    submission = lazy.biocolab.submit(skip_dimred=True)
    back = submission.study().to_anndata()
    np.testing.assert_array_equal(dense(back.X), dense(counts.X))
    assert_same_obs(counts.obs, back.obs)
    # It is as lazy as before.
    assert type(lazy.X).__module__.startswith("dask")
    assert type(lazy.obs).__name__ == "Dataset2D"
    if store == "h5ad":
        lazy.file.close()
