"""Accessors: ``adata.biocolab``, ``df.biocolab`` and ``mdata.biocolab``, each a class that holds the object."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import pandas as pd
from anndata import AnnData, register_anndata_namespace

from biocolab_accessor.accessors.anndata import AnnDataAccessor
from biocolab_accessor.accessors.dataframe import DataFrameAccessor
from biocolab_accessor.errors import public

__all__ = ["AnnDataAccessor", "DataFrameAccessor", "accessor"]


@public
def accessor(adata: AnnData) -> AnnDataAccessor:
    """The same as ``adata.biocolab``, for editors and type checkers that do not see the attribute.

    Parameters
    ----------
    adata
        The object: an AnnData, or a MuData.

    Examples
    --------
    >>> import scanpy as sc, biocolab_accessor as bc
    >>> bc.accessor(sc.datasets.pbmc68k_reduced()).check().ok
    True
    """
    if "mudata" in sys.modules and isinstance(adata, sys.modules["mudata"].MuData):
        return adata.biocolab  # type: ignore[no-any-return]
    return AnnDataAccessor(adata)


class _Uncached:
    """Create the accessor at each access."""

    # anndata and pandas store the accessor on the object that it refers to: a cycle that only the garbage collector
    # ends. Twelve AnnData of 200 MB in a loop then peak at seven times the memory, and the accessor is pickled too.

    def __init__(self, accessor: type) -> None:
        self._accessor = accessor

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self._accessor if instance is None else self._accessor(instance)


def _register() -> None:
    """Register with the official functions, which check name and signature, then replace their caching."""
    if "biocolab" not in vars(AnnData):  # a second import of this module must not warn about itself
        register_anndata_namespace("biocolab")(AnnDataAccessor)
        pd.api.extensions.register_dataframe_accessor("biocolab")(DataFrameAccessor)
    AnnData.biocolab = _Uncached(AnnDataAccessor)
    pd.DataFrame.biocolab = _Uncached(DataFrameAccessor)  # type: ignore[attr-defined]


def _register_mudata() -> None:
    """The same for MuData, if mudata is installed; next to anndata it takes milliseconds to import."""
    from mudata import MuData, register_mudata_namespace

    from biocolab_accessor.accessors.mudata import MuDataAccessor

    if "biocolab" not in vars(MuData):
        register_mudata_namespace("biocolab")(MuDataAccessor)
    MuData.biocolab = _Uncached(MuDataAccessor)


_register()
with suppress(ImportError, AttributeError):  # mudata is not installed, or is too old for this anndata
    _register_mudata()
