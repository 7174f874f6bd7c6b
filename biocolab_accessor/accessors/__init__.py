"""Accessors: ``adata.biocolab`` and ``df.biocolab``, thin fronts of functions that take the object."""

from __future__ import annotations

from typing import Any

import pandas as pd
from anndata import AnnData, register_anndata_namespace

from biocolab_accessor.accessors.anndata import AnnDataAccessor
from biocolab_accessor.accessors.dataframe import DataFrameAccessor

__all__ = ["AnnDataAccessor", "DataFrameAccessor", "accessor"]


def accessor(adata: AnnData) -> AnnDataAccessor:
    """``adata.biocolab``, by a way that editors and type checkers can follow.

    Parameters
    ----------
    adata
        The object.

    Examples
    --------
    >>> import scanpy as sc, biocolab_accessor as bc
    >>> bc.accessor(sc.datasets.pbmc68k_reduced()).check().ok
    True
    """
    return AnnDataAccessor(adata)


class _Uncached:
    """Makes the accessor anew at each access.

    anndata and pandas keep the accessor on the object, which the accessor refers to: a cycle that only the garbage
    collector ends. Twelve AnnData of 200 MB in a loop then peak at seven times the memory; and what is kept is
    pickled along.
    """

    def __init__(self, accessor: type) -> None:
        self._accessor = accessor

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self._accessor if instance is None else self._accessor(instance)


def _register() -> None:
    """Register through the official functions, which check name and signature, then keep them from caching."""
    if "biocolab" not in vars(AnnData):  # a second import of this module must not warn about itself
        register_anndata_namespace("biocolab")(AnnDataAccessor)
        pd.api.extensions.register_dataframe_accessor("biocolab")(DataFrameAccessor)
    AnnData.biocolab = _Uncached(AnnDataAccessor)
    pd.DataFrame.biocolab = _Uncached(DataFrameAccessor)  # type: ignore[attr-defined]


_register()
