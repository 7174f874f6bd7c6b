"""Data: simulated studies of the size of GSE96583 batch 2, from a seed, kept on disk between runs.

Every molecule falls on a gene and a cell at random, genes with heavy-tailed abundance, cells with log-normal depth; so
counts, sparsity by gene and depth by cell hang together as they do in real data.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

N_OBS, N_VARS, NNZ = 29_065, 64_642, 17_570_739
_SEED = 96_583


def folder() -> Path:
    """Where data are kept: ``BIOCOLAB_BENCHMARK_DATA``, or a folder for temporary files."""
    found = Path(os.environ.get("BIOCOLAB_BENCHMARK_DATA") or Path(tempfile.gettempdir()) / "biocolab-benchmarks")
    found.mkdir(parents=True, exist_ok=True)
    return found


def study(times: int = 1, fields: int = 6, *, one_in: int = 1) -> Path:
    """An h5ad of counts.

    Parameters
    ----------
    times
        How often the cells are repeated, each time with its genes in another order.
    fields
        Columns of obs: numbers and labels in turn.
    one_in
        Keep one cell in so many; for studies that are smaller.
    """
    path = folder() / f"counts-x{times}-{fields}-{one_in}.h5ad"
    if not path.exists():
        rng = np.random.default_rng(_SEED)
        counts = _counts(rng)[::one_in]
        if times > 1:
            orders = [rng.permutation(N_VARS) for _ in range(times - 1)]
            counts = sparse.vstack([counts, *(_permuted(counts, order) for order in orders)], format="csr")
        n_obs = counts.shape[0]
        obs = pd.DataFrame(index=pd.Index([f"{i:012X}-1" for i in range(n_obs)], dtype=object))
        for number in range(fields):
            if number % 2:
                labels = np.array([f"label {i}" for i in range(10)])
                obs[f"field {number}"] = pd.Categorical(labels[rng.integers(0, 10, n_obs)])
            else:
                obs[f"field {number}"] = rng.normal(size=n_obs).astype(np.float32)
        var = pd.DataFrame(index=pd.Index([f"GENE{i:05}" for i in range(N_VARS)], dtype=object))
        part = path.with_suffix(".part")
        ad.AnnData(counts, obs=obs, var=var).write_h5ad(part)
        part.replace(path)
    return path


def panel(n_obs: int = 200_000, n_vars: int = 3_000) -> Path:
    """An h5ad of many cells and few genes, with as many counts as a study of one."""
    path = folder() / f"panel-{n_obs}-{n_vars}.h5ad"
    if not path.exists():
        rng = np.random.default_rng(_SEED)
        share = NNZ / n_obs / n_vars
        blocks = [
            sparse.random(n_obs // 20, n_vars, share, "csr", np.float32, rng, lambda n: 1.0 + rng.poisson(0.7, n))
            for _ in range(20)
        ]
        counts = sparse.vstack(blocks, format="csr", dtype=np.float32)
        obs = pd.DataFrame(index=pd.Index([f"{i:012X}-1" for i in range(counts.shape[0])], dtype=object))
        var = pd.DataFrame(index=pd.Index([f"GENE{i:05}" for i in range(n_vars)], dtype=object))
        part = path.with_suffix(".part")
        ad.AnnData(counts, obs=obs, var=var).write_h5ad(part)
        part.replace(path)
    return path


def tiny() -> ad.AnnData:
    """Counts of a few cells, to do something with once before the clock starts."""
    rng = np.random.default_rng(_SEED)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(1, (30, 20)).astype(np.float32)))
    adata.obs["label"] = pd.Categorical(["a", "b"] * 15)
    return adata


def _counts(rng: np.random.Generator) -> sparse.csr_matrix:
    """Molecules until there are more than ``NNZ`` pairs of cell and gene; the surplus is dropped at random."""
    kept = folder() / "counts.npz"
    if kept.exists():
        return sparse.load_npz(kept)
    genes = np.cumsum(rng.lognormal(0, 2.6, N_VARS))
    cells = np.cumsum(rng.lognormal(0, 0.45, N_OBS))
    keys, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    while len(keys) < NNZ:
        n = 8_000_000
        cell = np.searchsorted(cells, rng.uniform(0, cells[-1], n))
        gene = np.searchsorted(genes, rng.uniform(0, genes[-1], n))
        new, fresh = np.unique(cell * N_VARS + gene, return_counts=True)
        keys, place = np.unique(np.concatenate([keys, new]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, fresh])).astype(np.int64)
    chosen = np.sort(rng.choice(len(keys), NNZ, replace=False))
    keys, counts = keys[chosen], counts[chosen]
    indptr = np.searchsorted(keys, np.arange(N_OBS + 1) * N_VARS)
    matrix = sparse.csr_matrix(
        (counts.astype(np.float32), (keys % N_VARS).astype(np.int32), indptr.astype(np.int32)), shape=(N_OBS, N_VARS)
    )
    sparse.save_npz(kept, matrix, compressed=False)
    return matrix


def _permuted(counts: sparse.csr_matrix, order: np.ndarray) -> sparse.csr_matrix:
    other = counts.copy()
    other.indices = order.astype(np.int32)[counts.indices]
    other.sort_indices()
    return other
