"""Objects as tools leave them: what arrives is what the plan says, cell by cell and gene by gene, by both protocols."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc

N, G = 30, 12
DICE = np.random.default_rng(5)
CELLS = [f"{''.join(DICE.choice(list('ACGT'), 16))}-1" for _ in range(N)]
GENES = ["CD3D", "CD3E", "LYZ", "MS4A1", "NKG7", "GNLY", "ACTB", "GAPDH", "MT-CO1", "CD8A", "CD4", "IL7R"]
MORE = [*GENES, "CST3", "PPBP"]
COUNTS = (DICE.poisson(1.2, (N, len(MORE))) + np.eye(N, len(MORE))).astype(np.float32)
RNA = COUNTS[:, :G]
THINNED = np.minimum(RNA, DICE.binomial(RNA.astype(int), 0.93)).astype(np.float32)


def made(matrix: object, genes: list[str] = GENES) -> ad.AnnData:
    return ad.AnnData(matrix, pd.DataFrame(index=CELLS), pd.DataFrame(index=genes))


def of_scvi() -> ad.AnnData:
    adata = made(sparse.csr_matrix(np.log1p(RNA)))
    adata.layers["counts"] = sparse.csr_matrix(RNA)
    adata.layers["scvi_normalized"] = DICE.random((N, G)).astype(np.float32)
    adata.obs["_scvi_batch"] = np.arange(N, dtype=np.int8) % 3
    return adata


def of_scvelo() -> ad.AnnData:
    adata = made(sparse.csr_matrix(RNA))
    adata.layers["spliced"], adata.layers["unspliced"] = sparse.csr_matrix(THINNED), sparse.csr_matrix(RNA - THINNED)
    adata.layers["velocity"] = np.full((N, G), np.nan)
    return adata


def of_seuratdisk() -> ad.AnnData:
    adata = made(DICE.normal(size=(N, G)).astype(np.float32))
    adata.raw = made(COUNTS, MORE)
    adata.obs["orig.ident"], adata.obs["nCount_RNA"] = 0, COUNTS.sum(axis=1).astype(float)
    return adata


def of_cellxgene() -> ad.AnnData:
    ids = [f"ENSG{i:011}" for i in range(G)]
    adata = made(sparse.csr_matrix(np.log1p(RNA)), ids)
    adata.raw = made(sparse.csr_matrix(RNA), ids)
    adata.obs["development_stage"] = pd.Categorical(["unknown"] * N, categories=["unknown", "adult"])
    return adata


def of_cellbender() -> ad.AnnData:
    adata = made(sparse.csr_matrix(THINNED))
    adata.layers["raw"] = sparse.csr_matrix(RNA)
    adata.obs["cell_probability"] = DICE.random(N).astype(np.float32)
    return adata


def of_soupx() -> ad.AnnData:
    adata = made(sparse.csr_matrix(RNA * np.float32(0.93)))
    adata.layers["counts"] = sparse.csr_matrix(RNA)
    return adata


def of_a_view() -> ad.AnnData:
    adata = made(sparse.csr_matrix(COUNTS), MORE)
    adata.layers["counts"] = adata.X.copy()
    return adata[CELLS, GENES]


def of_dask() -> ad.AnnData:
    return made(da.from_array(RNA, chunks=(7, G)))


def of_unsorted_rows() -> ad.AnnData:
    matrix = sparse.csr_matrix(RNA)
    for row in range(N):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        matrix.indices[part], matrix.data[part] = matrix.indices[part][::-1].copy(), matrix.data[part][::-1].copy()
    matrix.has_sorted_indices = False
    return made(matrix)


def of_repeated_entries() -> ad.AnnData:
    """Half of every count in each of two entries."""
    once = sparse.csr_matrix(RNA * 2)
    order = np.repeat(np.arange(once.nnz), 2)
    return made(sparse.csr_matrix((once.data[order] / 4, once.indices[order], once.indptr * 2), shape=RNA.shape))


TOOLS: dict[str, tuple[Callable[[], ad.AnnData], str, np.ndarray]] = {
    "scvi": (of_scvi, "layers['counts']", RNA),
    "scvelo": (of_scvelo, "X", RNA),
    "SeuratDisk": (of_seuratdisk, "raw.X", COUNTS),
    "cellxgene": (of_cellxgene, "raw.X", RNA),
    "CellBender": (of_cellbender, "X", THINNED),
    "SoupX": (of_soupx, "layers['counts']", RNA),
    "view": (of_a_view, "layers['counts']", RNA),
    "dask": (of_dask, "X", RNA),
    "unsorted": (of_unsorted_rows, "X", RNA),
    "repeated": (of_repeated_entries, "X", RNA),
}


# Each takes a submission and two fetches: plain pytest takes a few, and the sweeps all.
@pytest.mark.parametrize(
    "tool",
    [pytest.param(tool, marks=[pytest.mark.sweeps] if number > 2 else []) for number, tool in enumerate(TOOLS)],
)
def test_what_a_tool_leaves_arrives_as_the_plan_says(tool: str, server: bc.Sandbox) -> None:
    make, slot, expected = TOOLS[tool]
    adata = make()
    plan = adata.biocolab.submit(dry_run=True)
    assert str(plan.slot) == slot
    others = {f"layers[{key!r}]" for key in adata.layers if key is not None} | {"X"} - {slot}
    assert others - {slot} <= set(plan.left_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        study = adata.biocolab.submit(study_id=f"tool_{tool}", skip_dimred=True).study()
    var = adata.raw.var if slot == "raw.X" else adata.var
    for back in (study.to_anndata(unit="raw"), bc.study(study.id).to_anndata(unit="raw")):
        assert (list(back.obs_names), list(back.var_names)) == (CELLS, list(var.index))
        np.testing.assert_array_equal(back.X.toarray(), expected)
        for name in adata.obs:
            assert back.obs[name].tolist() == adata.obs[name].tolist(), name
