"""Accessors: ``adata.biocolab``, ``df.biocolab`` and ``mdata.biocolab``, each a class that holds the object."""

from __future__ import annotations

import sys
from collections.abc import Callable
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


def _register(kind: type, official: Callable[[str], Callable[[type], object]], accessor: type) -> None:
    """Register with the official function, which checks name and signature, then replace its caching."""
    if "biocolab" not in vars(kind):  # a second import of this module must not warn about itself
        official("biocolab")(accessor)
    kind.biocolab = _Uncached(accessor)  # type: ignore[attr-defined]


_register(AnnData, register_anndata_namespace, AnnDataAccessor)
_register(pd.DataFrame, pd.api.extensions.register_dataframe_accessor, DataFrameAccessor)
with suppress(ImportError, AttributeError):  # mudata is not installed, or is too old for this anndata
    from mudata import MuData, register_mudata_namespace  # next to anndata it takes milliseconds to import

    from biocolab_accessor.accessors.mudata import MuDataAccessor

    _register(MuData, register_mudata_namespace, MuDataAccessor)
