"""Check: whether an object can be submitted, and which of its matrices holds the counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocolab_accessor.errors import public

if TYPE_CHECKING:
    from anndata import AnnData

    from biocolab_accessor.check.report import Report


@public
def check(
    adata_or_path: AnnData | str | Path,
    *,
    input_matrix_type: Any = "auto",
    batch_key: str | None = None,
    species: str | None = "human",
    min_counts: float | None = None,
    min_genes: float | None = None,
    max_counts: float | None = None,
    max_genes: float | None = None,
    mt_percentage: float | None = None,
) -> Report:
    """Find everything that would block a submission, all at once. Nothing is sent and nothing is changed.

    Parameters
    ----------
    adata_or_path
        An AnnData, or the path of an h5ad file, which is read piece by piece. For a table (``.tsv`` as servers read it,
        with genes in rows), a 10x h5 file or a 10x folder, only the header and the first lines or values are checked.
    input_matrix_type
        ``"auto"``, ``"raw"`` or ``"normalized"``, as for ``submit``.
    batch_key
        Column of obs that holds the batches.
    species
        ``"human"``, ``"mouse"``, … as it will be submitted. It is compared with the gene names; None skips the
        comparison.
    min_counts, min_genes, max_counts, max_genes, mt_percentage
        The filters of the submission. The report then says how many cells they would keep, which takes one more read
        of the matrix. Without filters, this step is skipped.

    Returns
    -------
    Report
        All findings; ``report.ok`` is False if one of them is an error.

    Raises
    ------
    InvalidFile
        The path is not one of these files, or a part of it cannot be read.
    InvalidArgument
        ``input_matrix_type`` or ``species`` is unknown, or a filter is not a number, is negative, is above 100 percent,
        or is a minimum above its maximum.

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
