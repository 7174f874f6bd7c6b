"""Places: where in a matrix the first values of some kind are, by the names of their cells and genes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.blocks import Slot, row_blocks, source_of
from biocolab_accessor.naming import quoted

__all__ = ["first_places"]

_MOST = 3


def first_places(adata: AnnData, slot: Slot, wanted: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> tuple[str, ...]:
    """The first three places, cell by cell; reading ends there.

    Parameters
    ----------
    adata, slot
        The matrix, of real numbers.
    wanted
        Says of an array of values which are meant. Zero must not be.

    Examples
    --------
    >>> adata = AnnData(np.array([[1, 0], [np.nan, 2]]))
    >>> first_places(adata, Slot("X"), np.isnan)
    ("cell '1' gene '0'",)
    """
    genes = adata.raw.var_names if slot.kind == "raw.X" else adata.var_names
    places: list[str] = []
    start = 0
    for block in row_blocks(source_of(adata, slot)):
        for position in np.flatnonzero(wanted(block.data))[: _MOST - len(places)]:
            row = int(np.searchsorted(block.indptr, position, side="right")) - 1
            cell, gene = adata.obs_names[start + row], genes[block.indices[position]]
            places.append(f"cell {quoted(cell)} gene {quoted(gene)}")
        if len(places) == _MOST:
            break
        start += block.shape[0]
    return tuple(places)
