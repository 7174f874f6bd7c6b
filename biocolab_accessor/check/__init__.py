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
) -> Report:
    """Find everything that stands in the way of a submission, at once; nothing is sent and nothing is changed.

    Parameters
    ----------
    adata_or_path
        An AnnData, or the path of an h5ad file, which is read piece by piece.
    input_matrix_type
        ``"auto"``, ``"raw"`` or ``"normalized"``, as for ``submit``.
    batch_key
        Column of obs that will be the batches.
    species
        ``"human"``, ``"mouse"``, … as it will be submitted, to be compared with the names of the genes.

    Returns
    -------
    Report
        All findings; ``report.ok`` is False if one of them is an error.

    Raises
    ------
    InvalidFile
        The path is not an h5ad file.
    InvalidArgument
        ``input_matrix_type`` is something else.

    Examples
    --------
    >>> import anndata as ad, numpy as np, biocolab_accessor as bc
    >>> adata = ad.AnnData(np.array([[1, 0], [np.nan, 2]], dtype="float32"))
    >>> report = bc.check(adata)
    >>> report.ok, report.errors[0].code, report.errors[0].path
    (False, 'BC302', 'X')
    """
    from biocolab_accessor.check.run import run_rules

    return run_rules(adata_or_path, input_matrix_type=input_matrix_type, batch_key=batch_key, species=species)
