from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from biocolab_accessor.sandbox.server import Sandbox


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 2), (5, 4), (16, 40)])
def test_tiny_studies_are_processed_as_far_as_possible(shape: tuple[int, int], server: Sandbox) -> None:
    matrix = np.random.default_rng(1).poisson(3, shape).astype(np.float32) + 1
    submission = ad.AnnData(matrix).biocolab.submit()
    back = submission.study().to_anndata()
    np.testing.assert_array_equal(back.X.toarray(), matrix)
    if min(shape) < 4:
        assert "too few" in submission.log
    else:
        assert {"X_pca", "X_umap", "X_tsne"} <= set(back.obsm)
        assert np.isfinite(back.obsm["X_umap"]).all()


def test_scaled_values_are_processed_unchanged(server: Sandbox) -> None:
    matrix = np.random.default_rng(1).normal(size=(40, 20)).astype(np.float32)
    with pytest.warns(UserWarning, match="scaled"):
        submission = ad.AnnData(matrix).biocolab.submit()
    assert "Normalizing" not in submission.log
    np.testing.assert_array_equal(submission.study().to_anndata().X.toarray(), matrix)


@pytest.mark.sweeps
def test_umap_learn_lays_out_the_cells_of_large_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.manifold import trustworthiness

    from biocolab_accessor.sandbox.processing import pipeline

    monkeypatch.setattr(pipeline, "_COMPILED_FROM", 80)
    rng = np.random.default_rng(1)
    matrix = sparse.csr_matrix(rng.poisson(rng.choice([0.2, 3], (4, 50)).repeat(20, axis=0)).astype(np.float32))
    embeddings, clusters = pipeline._analyze(matrix, lambda line: None)
    assert {name: array.shape for name, array in embeddings.items()} == {
        "PCA": (80, 49),
        "UMAP": (80, 2),
        "t-SNE": (80, 2),
    }
    assert embeddings["UMAP"].dtype == np.float32
    assert trustworthiness(embeddings["PCA"], embeddings["UMAP"], n_neighbors=10) > 0.85
    assert clusters["Leiden clustering"].tolist() == [name for name in "0123" for _ in range(20)]


@pytest.mark.sweeps  # Numba compiles what both need
def test_variable_genes_are_the_same_for_a_dense_and_a_sparse_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    from biocolab_accessor.sandbox.processing import pipeline

    rng = np.random.default_rng(1)
    adata = ad.AnnData(sparse.csr_matrix(np.log1p(rng.poisson(rng.uniform(0, 3, 2500), (60, 2500))).astype(np.float32)))
    dense = pipeline._variable_genes(adata, print)
    monkeypatch.setattr(pipeline, "_MOST_DENSE", 0)
    np.testing.assert_array_equal(dense, pipeline._variable_genes(adata, print))
    assert 2000 <= dense.sum() < 2010  # scanpy includes ties with the last gene
