"""Seed: the public studies that every sandbox starts with."""

from __future__ import annotations

from biocolab_accessor.sandbox.cells import Cells
from biocolab_accessor.sandbox.public import list_public
from biocolab_accessor.sandbox.samples import celltypist_sample, has_celltypist, pbmc68k
from biocolab_accessor.sandbox.site import Site
from biocolab_accessor.sandbox.work.readers import cells_of_anndata

__all__ = ["seed"]


def seed(site: Site) -> None:
    """List the studies; their cells are read from the packages when somebody asks for them."""
    list_public(
        site,
        "PBMC68k_reduced",
        _pbmc68k,
        title="Massively parallel digital transcriptional profiling of single cells (PBMC 68k, reduced)",
        authors=("Zheng et al.",),
        reference="https://www.nature.com/articles/ncomms14049",
        cell_type="bulk_labels",
    )
    if has_celltypist():
        list_public(
            site,
            "CellTypist_sample",
            _celltypist,
            title="CellTypist's packaged sample of human immune cells",
            authors=("Domínguez Conde et al.",),
            reference="https://www.science.org/doi/10.1126/science.abl5197",
            cell_type=None,
        )


def _pbmc68k() -> Cells:
    adata = pbmc68k()
    # X is scaled, which no server shows; the log-normalised values are in raw.
    return cells_of_anndata(adata, adata.raw.X, adata.raw.var_names)


def _celltypist() -> Cells:
    from biocolab_accessor.table import to_anndata

    adata = to_anndata(celltypist_sample())
    return cells_of_anndata(adata, adata.X, adata.var_names)
