"""Pipeline: from submitted files to a processed study, with scanpy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.sandbox.cells import ProcessingError, join_batches, keep_cells, lognorm
from biocolab_accessor.sandbox.store.study_folder import StudyFolder
from biocolab_accessor.sandbox.work.fuzzy_graph import FuzzyGraph
from biocolab_accessor.sandbox.work.readers import read_batch
from biocolab_accessor.sandbox.work.spatial import SPATIAL, UNREAD, read_spatial

__all__ = ["process"]

Say = Callable[[str], object]

_MOST_GENES = 2000
_MOST_COMPONENTS = 50
_NEIGHBORS = 15
# Values that are looked at as a dense array, 100 MB of float32.
_MOST_DENSE = 25_000_000
# CPU seconds for the layout of mouse neurons in a process where nothing is compiled yet (2 cores, igraph 1.0,
# umap-learn 0.5.12): igraph 4, 8 and 15 for 2,000, 10,000 and 20,000 cells; umap-learn 11, 20 and 19, and 2, 10 and 10
# when it is compiled.
_COMPILED_FROM = 20_000


def process(job: Mapping[str, Any], say: Say) -> None:
    """Read, filter, analyse and store a submission.

    Parameters
    ----------
    job
        ``study_type``, ``normalize``, ``skip_dimred``, ``filters``, ``batches`` (each with a ``name`` and ``files``),
        and ``target``, the folder to be made.
    say
        Takes the lines of the task's log.

    Raises
    ------
    ProcessingError
        The submission cannot be processed.
    """
    batches = []
    for batch in job["batches"]:
        say(f"Reading batch: {batch['name']}")
        files = {part: Path(path) for part, path in batch["files"].items()}
        if job["study_type"] in SPATIAL:
            cells = read_spatial(batch["name"], job["study_type"], files, say)
        else:
            cells = read_batch(batch["name"], job["study_type"], files, normalize=job["normalize"], say=say)
        batches.append((batch["name"], cells))
    if job["study_type"] in UNREAD:
        say("The files were taken, and the study has no cells: their format is not one that the sandbox reads")
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
        msg = f"no cell is left of {n_obs} cells x {n_vars} genes after filtering with {bounds}"
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
        embeddings, clusters = _analyse(cells.matrix if normalized is None else normalized, say)
    StudyFolder.write(Path(job["target"]), cells, normalized, embeddings, clusters)
    say("Study was successfully submitted")
    say("DONE !!!")


def _analyse(matrix: sparse.csr_matrix, say: Say) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Coordinates and clusters; what the data are too small for is left out, with a line saying so."""
    import scanpy
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")  # what scanpy warns of is not for the submitter, and the log is the task's
    n_obs = matrix.shape[0]
    adata = ad.AnnData(matrix)
    say("Selecting highly variable genes")
    adata = adata[:, _variable_genes(adata, say)].copy()
    n_comps = min(_MOST_COMPONENTS, min(adata.shape) - 1)
    if n_obs < 4 or n_comps < 2:
        say(f"Skipping PCA, kNN and embeddings: {n_obs} cells x {adata.n_vars} variable genes are too few")
        return {}, {}
    say("Running PCA")
    # Many steps on small arrays: with several threads each takes eight times as long, for all that they wait.
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
    # Its threads wait for each other at every step: where others run beside them, ten times as long as one takes alone.
    with threadpool_limits(1, user_api="openmp"):
        scanpy.tl.tsne(adata, use_rep="X_pca", perplexity=min(30.0, (n_obs - 1) / 3), random_state=0)
    embeddings["t-SNE"] = adata.obsm["X_tsne"]
    return embeddings, clusters


def _variable_genes(adata: ad.AnnData, say: Say) -> NDArray[np.bool_]:
    import scanpy

    if adata.n_vars <= _MOST_GENES or (adata.X.nnz and adata.X.data.min() < 0):
        return np.ones(adata.n_vars, bool)
    # Of dense arrays scanpy takes the variance with NumPy; for sparse ones it compiles first, for two or three seconds.
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
