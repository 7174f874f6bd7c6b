from __future__ import annotations

import random
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

from biocolab_accessor.sandbox.processing.pipeline import FuzzyGraph
from tests.warm import start_python


@pytest.fixture(scope="module")
def pbmc() -> ad.AnnData:
    return sc.datasets.pbmc68k_reduced()


def test_connectivities_and_distances_equal_those_of_umap_learn(pbmc: ad.AnnData) -> None:
    graph = FuzzyGraph.of(pbmc.obsm["X_pca"][:, :30], 10)  # as many as scanpy took for its packaged data set
    expected = pbmc.obsp["connectivities"]
    found = graph.connectivities()
    assert found.nnz == expected.nnz == 9992
    assert abs(found - expected).max() < 1e-4
    assert abs(found - found.T).max() == 0
    np.testing.assert_allclose(graph.distances[5], np.sort(pbmc.obsp["distances"][5].data), atol=1e-4)


def test_the_layout_preserves_neighbors_as_well_as_umap_learn(pbmc: ad.AnnData) -> None:
    from sklearn.manifold import trustworthiness

    x = pbmc.obsm["X_pca"]
    layout = FuzzyGraph.of(x, 15).layout(x[:, :2])
    assert layout.dtype == np.float32
    # umap-learn 0.5.12 through scanpy 1.11.5: 0.919
    assert trustworthiness(x, layout, n_neighbors=15) > 0.919
    np.testing.assert_allclose(layout.mean(axis=0), 0, atol=1e-4)


def test_the_layout_is_deterministic_and_keeps_the_users_random_state(pbmc: ad.AnnData) -> None:
    import igraph

    x = pbmc.obsm["X_pca"][:150]
    random.seed(3)
    first = FuzzyGraph.of(x, 15).layout(x[:, :2])
    drawn = random.random()
    np.random.default_rng(4).random()
    second = FuzzyGraph.of(x, 15).layout(x[:, :2])
    np.testing.assert_array_equal(first, second)
    random.seed(3)
    assert random.random() == drawn
    random.seed(5)
    expected = igraph.Graph.Full(4).layout_random().coords
    random.seed(5)
    assert igraph.Graph.Full(4).layout_random().coords == expected  # igraph draws from the module again


@pytest.mark.parametrize("n_obs", [4, 16, 30])
def test_few_cells_do_not_end_up_at_one_point(pbmc: ad.AnnData, n_obs: int) -> None:
    x = pbmc.obsm["X_pca"][:n_obs]
    layout = FuzzyGraph.of(x, min(15, n_obs - 1)).layout(x[:, :2])
    between = np.linalg.norm(layout[:, None] - layout, axis=2)[np.triu_indices(n_obs, 1)]
    assert between.min() > 0.02
    assert between.max() < 50


def test_equal_cells_and_the_nearest_other_cell_have_full_membership() -> None:
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    x[1] = x[0]
    graph = FuzzyGraph.of(x, 15)
    assert graph.indices[0, 0] == 1
    assert graph.distances[0, 0] == 0
    np.testing.assert_array_equal(graph.memberships[0, :2], 1)
    assert graph.memberships[0, 2] < 1
    np.testing.assert_allclose(graph.memberships.sum(axis=1), np.log2(15), atol=1e-4)


@pytest.mark.parametrize("n_equal", [20, 60])
def test_many_equal_cells_get_distinct_positions(n_equal: int) -> None:
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    x[:n_equal] = x[0]
    graph = FuzzyGraph.of(x, 15)
    np.testing.assert_array_equal(graph.memberships[:n_equal], 1)
    layout = graph.layout(x[:, :2])
    assert np.isfinite(layout).all()
    assert len(np.unique(layout, axis=0)) == 60


def test_groups_without_an_edge_between_them_lie_apart() -> None:
    x = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
    x[:40] += 100
    x[40:80, 1] -= 100
    graph = FuzzyGraph.of(x, 15)
    assert graph.connectivities()[:40, 40:].nnz == 0
    layout = graph.layout(x[:, :2])
    groups = layout.reshape(3, 40, 2)
    middles = groups.mean(axis=1)
    widest = np.linalg.norm(groups - middles[:, None], axis=2).max()
    assert min(np.linalg.norm(middles[i] - middles[j]) for i, j in [(0, 1), (0, 2), (1, 2)]) > widest


_SCRIPT = """
import json, sys
import numpy as np
from scipy import sparse
from biocolab_accessor.sandbox.processing import pipeline
matrix = sparse.csr_matrix(np.random.default_rng(0).poisson(0.5, (700, 100)).astype(np.float32))
embeddings, clusters = pipeline._analyze(matrix, lambda line: None)
assert embeddings["UMAP"].shape == (700, 2)
assert len(clusters["Leiden clustering"]) == 700
print(sorted({name.partition(".")[0] for name in sys.modules} & {"umap", "pynndescent", "scanpy"}))
"""


@pytest.mark.sweeps  # a process that computes t-SNE and UMAP
def test_a_process_that_analyzes_700_cells_does_not_import_umap_learn(tmp_path: Path) -> None:
    done = start_python(["-c", _SCRIPT], stderr=sys.__stderr__.fileno())
    said, _ = done.communicate()
    assert done.returncode == 0
    assert said.strip() == "['scanpy']"
