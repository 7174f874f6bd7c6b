"""Is this object fit to be sent, and where are its counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData

    from biocolab_accessor.check.report import Report

__all__ = ["check"]


def check(
    adata_or_path: AnnData | str | Path,
    *,
    input_matrix_type: Any = "auto",
    batch_key: str | None = None,
    species: str | None = None,
    min_counts: float | None = None,
    min_genes: float | None = None,
    max_counts: float | None = None,
    max_genes: float | None = None,
    mt_percentage: float | None = None,
) -> Report:
    """Find everything that stands in the way of a submission, at once; nothing is sent and nothing is changed.

    Parameters
    ----------
    adata_or_path
        An AnnData, or the path of an h5ad file, which is read piece by piece. Of a table (``.tsv``, as servers read it:
        genes in rows), a 10x h5 file and a 10x folder the header and the first lines or values are looked at.
    input_matrix_type
        ``"auto"``, ``"raw"`` or ``"normalized"``, as for ``submit``.
    batch_key
        Column of obs that will be the batches.
    species
        ``"human"``, ``"mouse"``, … as it will be submitted, to be compared with the names of the genes.
    min_counts, min_genes, max_counts, max_genes, mt_percentage
        The filters of the submission; the report then says how many cells they would leave. That reads the matrix once
        more, which is not done where all are None.

    Returns
    -------
    Report
        All findings; ``report.ok`` is False if one of them is an error.

    Raises
    ------
    InvalidFile
        The path is not such a file, or a part of it cannot be read.
    InvalidArgument
        ``input_matrix_type`` or ``species`` is something else, or a filter is no number, negative, above 100 percent,
        or a minimum above its maximum.

    Examples
    --------
    >>> import anndata as ad, numpy as np, biocolab_accessor as bc
    >>> adata = ad.AnnData(np.array([[1, 0], [np.nan, 2]], dtype="float32"))
    >>> report = bc.check(adata)
    >>> report.ok, report.errors[0].code, report.errors[0].path
    (False, 'BC302', 'X')

    >>> adata.X = np.array([[6, 3], [1, 0]], dtype="float32")
    >>> [found.message for found in bc.check(adata, min_genes=2) if found.code == "BC701"]
    ['1 of 2 cells would be kept (50.0 %), measured on X as raw']
    """
    from biocolab_accessor.check.run import run_rules
    from biocolab_accessor.protocol import Filters

    return run_rules(
        adata_or_path,
        input_matrix_type=input_matrix_type,
        batch_key=batch_key,
        species=species,
        filters=Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage),
    )
