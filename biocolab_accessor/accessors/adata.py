"""``adata.biocolab``: all parts of it together."""

from __future__ import annotations

from anndata import AnnData  # at run time: the registration compares the annotation of __init__ with the class itself

from biocolab_accessor.accessors.analysis import Analysis
from biocolab_accessor.accessors.exchange import Exchange
from biocolab_accessor.accessors.sending import Sending

__all__ = ["AnnDataAccessor"]


class AnnDataAccessor(Sending, Exchange, Analysis):
    """What ``adata.biocolab`` offers.

    Parameters
    ----------
    adata
        The object. No method changes it, but those whose purpose that is.

    Examples
    --------
    >>> import anndata as ad, numpy as np, biocolab_accessor
    >>> ad.AnnData(np.eye(3, dtype="float32")).biocolab
    adata.biocolab of 3 cells and 3 genes: annotate, check, ...
    """

    def __init__(self, adata: AnnData) -> None:
        super().__init__(adata)

    def __repr__(self) -> str:
        n_obs, n_vars = self._adata.shape
        methods = ", ".join(name for name in dir(self) if not name.startswith("_"))
        return f"adata.biocolab of {n_obs:,} cells and {n_vars:,} genes: {methods}"
