"""Accessors: ``adata.biocolab`` and ``df.biocolab``, which call functions with the object as first argument."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
from anndata import AnnData, register_anndata_namespace

from biocolab_accessor.accessors.anndata import AnnDataAccessor
from biocolab_accessor.accessors.dataframe import DataFrameAccessor
from biocolab_accessor.public import public

if TYPE_CHECKING:
    from biocolab_accessor.accessors.mudata import MuDataAccessor

__all__ = ["AnnDataAccessor", "DataFrameAccessor", "accessor"]


@public
def accessor(adata: AnnData) -> AnnDataAccessor:
    """The same as ``adata.biocolab``, for editors and type checkers that do not see the attribute.

    Parameters
    ----------
    adata
        The object: an AnnData, or a MuData, for which this also registers ``mdata.biocolab``.

    Examples
    --------
    >>> import scanpy as sc, biocolab_accessor as bc
    >>> bc.accessor(sc.datasets.pbmc68k_reduced()).check().ok
    True
    """
    if "mudata" in sys.modules and isinstance(adata, sys.modules["mudata"].MuData):
        return _register_mudata()(adata)  # type: ignore[return-value]
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


def _register_mudata() -> type[MuDataAccessor]:
    """The same for MuData."""
    from mudata import MuData, register_mudata_namespace

    from biocolab_accessor.accessors.mudata import MuDataAccessor

    if "biocolab" not in vars(MuData):
        register_mudata_namespace("biocolab")(MuDataAccessor)
        MuData.biocolab = _Uncached(MuDataAccessor)
    return MuDataAccessor


_register()
if hasattr(sys.modules.get("mudata"), "register_mudata_namespace"):  # mudata is never imported for this
    _register_mudata()
