"""Pictures of the documentation: made on the sandbox, from real cells that come with scanpy and CellTypist.

``python docs/make_pictures.py`` writes them next to this file; it needs no network, and the extra ``demo``.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib.figure import Figure

import biocolab_accessor as bc
from biocolab_accessor.plotting import expression_dotplot
from biocolab_accessor.sandbox.public_studies import celltypist_sample
from biocolab_accessor.sandbox.server import Sandbox

_FOLDER = Path(__file__).parent
_GENES = ["CD3D", "CD3E", "IL32", "CD8A", "NKG7", "GNLY", "CD79A", "CD79B", "LYZ", "CD14", "FCGR3A", "CST3"]


def filters() -> Figure:
    """Real counts; the sample says nothing of batches, so its thirds stand for three."""
    adata = celltypist_sample().biocolab.to_anndata()
    adata.obs["batch"] = pd.Categorical([f"batch {1 + 3 * i // adata.n_obs}" for i in range(adata.n_obs)])
    preview = adata.biocolab.preview_filters(
        min_counts=1_200, min_genes=500, max_genes=5_000, mt_percentage=15, batch_key="batch"
    )
    return preview.plot()


def annotation(cells: ad.AnnData, server: Sandbox) -> Figure:
    """One half of the cells named after a database of the other half."""
    first = np.random.default_rng(0).permutation(cells.n_obs) < cells.n_obs // 2
    server.add_study("first_half", cells[first].copy(), species="primate", cell_type="bulk_labels")
    rest = cells[~first].copy()
    return rest.biocolab.annotate("louvain", database=bc.database("primate")).plot()


def expression() -> Figure:
    """Where the sandbox's database, which is PBMC 68k, expresses well-known genes."""
    genes = [gene for gene in _GENES if gene in sc.datasets.pbmc68k_reduced().raw.var_names]
    return expression_dotplot(bc.expression_summary(genes))


def embedding(cells: ad.AnnData) -> Figure:
    """A study as the server has it."""
    return cells.biocolab.submit(name="PBMC 68k", skip_dimred=True).study().plot("bulk_labels")


def main() -> None:
    """Make all of them."""
    warnings.simplefilter("ignore")
    whole = sc.datasets.pbmc68k_reduced()
    umap = {"X_umap": whole.obsm["X_umap"]}
    cells = ad.AnnData(whole.raw.X, obs=whole.obs, var=pd.DataFrame(index=whole.raw.var_names), obsm=umap)
    with bc.sandbox() as server, bc.settings.override(progress="off"):
        pictures = {
            "filters_preview": filters(),
            "expression_dotplot": expression(),
            "annotation": annotation(cells, server),
            "embedding": embedding(cells),
        }
    for name, figure in pictures.items():
        figure.savefig(_FOLDER / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main()
