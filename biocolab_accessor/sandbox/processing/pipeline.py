"""Pipeline: from submitted files to a processed study, with scanpy.

The neighbors and the small UMAP layouts are computed without umap-learn and pynndescent, which give the same result but
compile for about twenty seconds in each process (lmcinnes/pynndescent#111).
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.sandbox.processing.cells import ProcessingError, join_batches, keep_cells, lognorm
from biocolab_accessor.sandbox.processing.readers import read_batch
from biocolab_accessor.sandbox.processing.spatial import SPATIAL, UNREAD, read_spatial
from biocolab_accessor.sandbox.store.study_folder import StudyFolder

_CHUNK = 4096
_STEPS = 64
_TOLERANCE = 1e-5

# Lower bound of a cell's scale, as a share of the mean distance.
_SHORTEST = 1e-3

# python-igraph 1.0 truncates distances to integers, so they are multiplied by this; their unit does not matter.
_UNIT = 1e6
_FARTHEST = 50.0

# In smaller graphs igraph does not let neighbors repel each other, and a few cells end up at the same point.
_FEWEST_VERTICES = 100
_FAR_AWAY = 1e3
_EXTENT, _NOISE = 10.0, 1e-4
_MIN_DIST = 0.5  # as in scanpy
_MOST_EPOCHS, _FEWEST_EPOCHS, _EPOCHS_FOR_ALL = 500, 200, 600_000

# scanpy sets the learning rate of t-SNE to 1000. With scikit-learn's own, which grows with the number of cells
# (Belkina et al., 2019), half of its 1,000 steps come closer to the optimum: the Kullback-Leibler divergence of 300,
# 700 and 3,000 mouse neurons is 1.40, 1.83 and 2.80 in place of 1.80, 1.93 and 2.87.
_TSNE_STEPS = 500


@dataclass(frozen=True)
class FuzzyGraph:
    """The nearest neighbors of each cell: arrays of cells x neighbors, nearest first, without the cell itself."""

    indices: NDArray[np.intp]
    distances: NDArray[np.float64]  # exactly zero for equal cells
    memberships: NDArray[np.float64]  # weights: 1 for the nearest cell that is not equal, less for those farther away

    @classmethod
    def of(cls, coordinates: NDArray[np.floating], n_neighbors: int) -> FuzzyGraph:
        """Find the neighbors; ``n_neighbors`` counts the cell itself, as in scanpy and umap-learn."""
        from sklearn.neighbors import NearestNeighbors

        finder = NearestNeighbors(n_neighbors=n_neighbors - 1, algorithm="brute").fit(coordinates)
        indices = finder.kneighbors(return_distance=False)
        # The search rounds: equal cells may be 1e-6 apart in it, and the order of neighbors determines the weights.
        distances = np.empty(indices.shape)
        for start in range(0, len(indices), _CHUNK):
            here = slice(start, start + _CHUNK)
            between = coordinates[here, None] - coordinates[indices[here]]
            distances[here] = np.sqrt(np.einsum("ijk,ijk->ij", between, between, dtype=np.float64))
        order = np.argsort(distances, axis=1, kind="stable")
        indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
        return cls(indices, distances, _memberships(distances))

    def connectivities(self) -> sparse.csr_matrix:
        """Weights of the edges: the fuzzy union of the memberships in both directions."""
        n_obs, n_neighbors = self.indices.shape
        starts = np.arange(0, n_obs * n_neighbors + 1, n_neighbors)
        directed = sparse.csr_matrix((self.memberships.ravel(), self.indices.ravel(), starts), shape=(n_obs, n_obs))
        directed.sort_indices()
        reverse = directed.T.tocsr()
        union = sparse.csr_matrix(directed + reverse - directed.multiply(reverse))
        union.eliminate_zeros()
        return union

    def layout(self, start: NDArray[np.floating]) -> NDArray[np.float32]:
        """Lay out the cells in two dimensions, deterministically, from the initial positions ``start``."""
        import igraph

        n_obs, n_neighbors = self.indices.shape
        n_vertices = max(n_obs, _FEWEST_VERTICES)
        with np.errstate(divide="ignore"):
            distances = np.minimum(-np.log(self.memberships), _FARTHEST)
        sources = np.repeat(np.arange(n_obs), n_neighbors)
        edges = np.column_stack([sources, self.indices.ravel()])
        graph = igraph.Graph(n=n_vertices, edges=edges.tolist(), directed=True)
        seed = np.full((n_vertices, 2), _FAR_AWAY)
        seed[:n_obs] = _scaled(start)
        igraph.set_random_number_generator(random.Random(0))
        try:
            placed = graph.layout_umap(
                dist=np.rint(distances * _UNIT).ravel().tolist(),
                seed=seed.tolist(),
                min_dist=_MIN_DIST,
                epochs=min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, _EPOCHS_FOR_ALL // n_obs)),
            )
        finally:
            igraph.set_random_number_generator(random)
        found = np.asarray(placed.coords)[:n_obs]
        return np.asarray(found - found.mean(axis=0), np.float32)


def _memberships(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that decay with distance, at a rate for which those of a cell sum up to log2 of their number."""
    # McInnes, Healy and Melville, arXiv:1802.03426, algorithm 3; equal cells are treated as in umap-learn.
    n_obs, n_neighbors = distances.shape
    nearest = np.where(distances > 0, distances, np.inf).min(axis=1)
    nearest[np.isinf(nearest)] = 0
    beyond = np.maximum(distances - nearest[:, None], 0)
    target = np.log2(n_neighbors + 1)
    low, high, scale = np.zeros(n_obs), np.full(n_obs, np.inf), np.ones(n_obs)
    for _ in range(_STEPS):
        total = np.exp(-beyond / scale[:, None]).sum(axis=1)
        wrong = np.abs(total - target) >= _TOLERANCE
        if not wrong.any():
            break
        high = np.where(wrong & (total > target), scale, high)
        low = np.where(wrong & (total <= target), scale, low)
        middle = np.where(np.isinf(high), 2 * scale, (low + np.where(np.isinf(high), 0, high)) / 2)
        scale = np.where(wrong, middle, scale)
    # The mean over a cell and its neighbors, as in umap-learn, where the cell is its own first neighbor.
    share = n_neighbors / (n_neighbors + 1)
    mean = np.where(nearest > 0, distances.mean(axis=1), distances.mean()) * share
    scale = np.maximum(scale, _SHORTEST * mean)
    return np.asarray(np.exp(-beyond / scale[:, None]))


def _scaled(start: NDArray[np.floating]) -> NDArray[np.float64]:
    """Initial positions of the layout: as wide as umap-learn's, with noise so that no two cells coincide."""
    centered = np.asarray(start, np.float64) - start.mean(axis=0)
    widest = np.abs(centered).max()
    noise = np.random.default_rng(0).normal(scale=_NOISE, size=centered.shape)
    return np.asarray(centered * (_EXTENT / widest if widest > 0 else 1) + noise)


Say = Callable[[str], object]

_MOST_GENES = 2000
_MOST_COMPONENTS = 50
_NEIGHBORS = 15

# Largest matrix that is converted to a dense array, 100 MB of float32.
_MOST_DENSE = 25_000_000

# CPU seconds for the layout of mouse neurons in a process where nothing is compiled yet (2 cores, igraph 1.0,
# umap-learn 0.5.12): igraph 4, 8 and 15 for 2,000, 10,000 and 20,000 cells; umap-learn 11, 20 and 19, and 2, 10 and 10
# when it is compiled.
_COMPILED_FROM = 20_000


def process(job: Mapping[str, Any], say: Say) -> None:
    """Read, filter, analyze and store a submission; ``say`` receives the lines of the task's log."""
    batches = []
    for batch in job["batches"]:
        say(f"Reading batch: {batch['name']}")
        files = {part: Path(path) for part, path in batch["files"].items()}
        for path in files.values():
            if os.path.realpath(path) != str(path):  # it was checked when it was submitted, and has waited since
                msg = f"{batch['name']}: {path.name} is now a link to another file: submit that one"
                raise ProcessingError(msg)
        if job["study_type"] in SPATIAL:
            cells = read_spatial(batch["name"], job["study_type"], files, say)
        else:
            cells = read_batch(batch["name"], job["study_type"], files, normalize=job["normalize"], say=say)
        batches.append((batch["name"], cells))
    if job["study_type"] in UNREAD:
        say("The files were accepted, but the study has no cells: the sandbox does not read their format")
        StudyFolder.write(Path(job["target"]), batches[0][1], None, {}, {})
        say("DONE !!!")
        return
    cells = join_batches(batches)
    del batches
    n_obs, n_vars = cells.matrix.shape
    say(f"Preprocessing expression matrix: {n_obs} cells x {n_vars} genes")
    keep = keep_cells(cells, job["filters"])
    say(f"Filtered: {len(keep)} cells remain")
    if not len(keep) or not n_vars:
        bounds = ", ".join(f"{name} {value:g}" for name, value in job["filters"].items())
        msg = f"no cells remain of {n_obs} cells x {n_vars} genes after filtering with {bounds}"
        raise ProcessingError(msg)
    if len(keep) < n_obs:
        cells = cells.take(keep)
    say("Start processing study")
    normalized = None
    if job["normalize"]:
        say("Normalizing expression matrix")
        normalized = lognorm(cells.matrix)
    embeddings: dict[str, NDArray[Any]] = {}
    clusters: dict[str, NDArray[Any]] = {}
    if not job["skip_dimred"]:
        embeddings, clusters = _analyze(cells.matrix if normalized is None else normalized, say)
    StudyFolder.write(Path(job["target"]), cells, normalized, embeddings, clusters)
    say("Study was successfully submitted")
    say("DONE !!!")


def _analyze(matrix: sparse.csr_matrix, say: Say) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Coordinates and clusters; steps that need more cells or genes are skipped, with a line in the log."""
    import scanpy
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")  # scanpy's warnings do not concern the submitter, and the log is the task's
    n_obs = matrix.shape[0]
    adata = ad.AnnData(matrix)
    say("Selecting highly variable genes")
    adata = adata[:, _variable_genes(adata, say)].copy()
    n_comps = min(_MOST_COMPONENTS, min(adata.shape) - 1)
    if n_obs < 4 or n_comps < 2:
        say(f"Skipping PCA, kNN and embeddings: {n_obs} cells x {adata.n_vars} variable genes are too few")
        return {}, {}
    say("Running PCA")
    # Many steps on small arrays: several threads would spend their time waiting and take eight times as long.
    with threadpool_limits(1, user_api="blas"):
        scanpy.pp.pca(adata, n_comps=n_comps)
    embeddings = {"PCA": adata.obsm["X_pca"]}
    say("Running kNN")
    graph = FuzzyGraph.of(adata.obsm["X_pca"], min(_NEIGHBORS, n_obs - 1))
    connectivities = graph.connectivities()
    say("Running Leiden clustering")
    scanpy.tl.leiden(adata, adjacency=connectivities, flavor="igraph", n_iterations=2, directed=False, random_state=0)
    clusters = {"Leiden clustering": adata.obs["leiden"].astype(str).to_numpy(dtype=object)}
    say("Running UMAP")
    if n_obs < _COMPILED_FROM:
        embeddings["UMAP"] = graph.layout(embeddings["PCA"][:, :2])
    else:
        embeddings["UMAP"] = _compiled_layout(adata, connectivities)
    say("Running t-SNE")
    # Its threads wait for each other at every step, which on a busy machine takes ten times as long as one thread.
    with threadpool_limits(1, user_api="openmp"):
        tsne = TSNE(perplexity=min(30.0, (n_obs - 1) / 3), max_iter=_TSNE_STEPS, random_state=0)
        embeddings["t-SNE"] = tsne.fit_transform(adata.obsm["X_pca"])
    return embeddings, clusters


def _variable_genes(adata: ad.AnnData, say: Say) -> NDArray[np.bool_]:
    import scanpy

    if adata.n_vars <= _MOST_GENES or (adata.X.nnz and adata.X.data.min() < 0):
        return np.ones(adata.n_vars, bool)
    # For sparse arrays scanpy compiles its variance for two or three seconds first; for dense ones it uses NumPy.
    small = adata.n_obs * adata.n_vars <= _MOST_DENSE
    judged = ad.AnnData(adata.X.toarray()) if small else adata
    try:
        scanpy.pp.highly_variable_genes(judged, n_top_genes=_MOST_GENES)
    except ValueError as error:
        say(f"Using all genes: {error}")
        return np.ones(adata.n_vars, bool)
    return np.asarray(judged.var["highly_variable"], bool)


def _compiled_layout(adata: ad.AnnData, connectivities: sparse.csr_matrix) -> NDArray[np.float32]:
    """UMAP by umap-learn."""
    import scanpy

    adata.obsp["connectivities"] = connectivities
    params = {"n_neighbors": _NEIGHBORS, "method": "umap", "metric": "euclidean"}
    adata.uns["neighbors"] = {"connectivities_key": "connectivities", "distances_key": "distances", "params": params}
    scanpy.tl.umap(adata, random_state=0)
    return np.asarray(adata.obsm["X_umap"], np.float32)
