"""Correction: whether a matrix has less than another one since counts were taken away, as those of ambient RNA are."""

from __future__ import annotations

from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.blocks import Rows, Slot, source_of
from biocolab_accessor.check.comparison import Remains, columns_in, gene_names, side_by_side, whole_numbers
from biocolab_accessor.check.margins import Filled

__all__ = ["is_plausible", "kept_share", "scattered"]

# Tools that round or assign reads in another way leave a few values larger than they were.
_MOST_EXCESS = 0.05
# That by chance nothing is left of so many counts is less likely than this.
_UNLIKELY = 1e-9
# Ambient RNA is about as much in an empty droplet as in one with a cell. Where more than half is gone it was not that.
_LEAST_KEPT = 0.5
_TOLERANCE, _MOST_UNLIKE, _MOST_CELLS_REMOVED = 1.5, 0.05, 0.95
# So many genes of which nothing is left are not a few.
_MOST_GENES = 0.2
# Of cells and genes that would lack so many values by chance, next to none lacks none.
_EXPECTED, _NEARLY_ALL = 10.0, 0.95
_KINDS = ("feature_types", "feature_type", "modality", "genome", "genomes")


def kept_share(adata: AnnData, taken: tuple[Slot, Filled], other: tuple[Slot, Filled]) -> float | None:
    """The share of another slot's counts that the one taken has, where the others were removed or not drawn.

    CellBender, SoupX and DecontX take counts away, downsampling draws some of them, and only some of a gene's counts
    are spliced. Nothing may be left of a few cells and genes. Cells or genes that were never put in look otherwise:
    the other slot has as many counts of them as of any.

    Parameters
    ----------
    adata
        The object.
    taken, other
        Two slots of counts, with their cells and genes that have some.

    Returns
    -------
    float or None
        None where that does not account for what is lacking.
    """
    where = columns_in(adata, taken[0], other[0])
    places: Rows = np.arange(len(taken[1].genes)) if where is None else where
    there = places >= 0
    known = np.zeros(len(other[1].genes), bool)
    known[places[there]] = True
    if np.any(other[1].genes & ~known):
        return None  # these genes are not there at all
    full = np.zeros(len(known), bool)
    full[places[there]] = taken[1].genes[there]
    if _lacks_a_kind(adata, other[0], full, other[1].genes):
        return None
    n_cells, own, others, excess = len(taken[1].cells), 0.0, 0.0, 0.0
    cells, genes = np.zeros(n_cells), np.zeros(len(known))
    lost_cells, lost_genes = np.zeros(n_cells), np.zeros(len(known))
    start = 0
    for small, large in side_by_side(source_of(adata, taken[0]), source_of(adata, other[0])):
        small, large = whole_numbers(small), whole_numbers(large)
        filled = taken[1].cells[start : start + small.shape[0]]
        both = slice(start, start + small.shape[0])
        excess += float(np.sum(small[:, ~there].data))
        part = small[:, there] - large[:, places[there]]
        excess += float(np.sum(part.data[part.data > 0]))
        own += float(np.sum(small.data))
        of_full = large @ full.astype(np.float64)
        others += float(np.sum(of_full[filled]))
        cells[both] = np.where(filled, of_full - np.asarray(small.sum(axis=1)).ravel(), 0)
        lost_cells[both] = np.where(filled, 0, of_full)
        of_genes = filled.astype(np.float64) @ large
        genes += np.where(full, of_genes, 0)
        genes[places[there]] -= np.asarray(small.sum(axis=0)).ravel()[there]
        lost_genes += np.where(full, 0, of_genes)
        start += small.shape[0]
    if not own or excess > _MOST_EXCESS * own:
        return None
    remains = Remains(own, others, cells[taken[1].cells], genes[full], lost_cells, lost_genes)
    return own / others if is_plausible(remains) else None


def scattered(adata: AnnData, taken: tuple[Slot, Filled], other: Slot) -> float | None:
    """The share of another slot's values that the one taken has, where those that lack are spread over all.

    Parameters
    ----------
    adata
        The object.
    taken, other
        Two slots of which the other one has all counts of the one taken, and more.

    Returns
    -------
    float or None
        None where cells or genes lack values and others lack none: then the values of a part were never put in.
    """
    filled, where = taken[1], columns_in(adata, taken[0], other)
    there = np.ones(len(filled.genes), bool) if where is None else where >= 0
    own, full = (np.zeros(len(filled.cells)), np.zeros(len(there))), (np.zeros(len(filled.cells)), np.zeros(len(there)))
    start = 0
    for small, large in side_by_side(source_of(adata, taken[0]), source_of(adata, other)):
        if where is not None:
            if np.any(large[:, ~np.isin(np.arange(large.shape[1]), where)].data):
                return None  # these genes are not there at all
            large = large[:, where[there]]
        rows = slice(start, start + small.shape[0])
        for (cells, genes), block, columns in ((own, small, slice(None)), (full, large, there)):
            present = (block != 0).astype(np.float64)
            cells[rows] += present @ np.ones(present.shape[1])
            genes[columns] += filled.cells[rows].astype(np.float64) @ present
        start += small.shape[0]
    kept = filled.cells, filled.genes
    share = float(own[1].sum() / full[1][kept[1]].sum())
    for mine, theirs, present in zip(own, full, kept, strict=True):
        sure = present & ((1 - share) * theirs >= _EXPECTED)
        if not sure.any() or np.count_nonzero(mine[sure] < theirs[sure]) < _NEARLY_ALL * np.count_nonzero(sure):
            return None
    lost_cells, lost_genes = (theirs[~present] for theirs, present in zip(full, kept, strict=True))
    less_in_cells, less_in_genes = (
        theirs[present] - mine[present] for mine, theirs, present in zip(own, full, kept, strict=True)
    )
    remains = Remains(share, 1.0, less_in_cells, less_in_genes, lost_cells, lost_genes)
    return share if not (lost_cells.any() or lost_genes.any()) or is_plausible(remains) else None


def is_plausible(remains: Remains) -> bool:
    """Whether what is gone elsewhere accounts for cells and genes of which nothing is left."""
    share = remains.own / remains.others if remains.others else 1.0
    if not 0 < share < 1:
        return False
    by_chance = np.log(_UNLIKELY) / np.log1p(-share)
    from_genes = max(by_chance, _TOLERANCE * float(remains.genes.max(initial=0)))
    if np.any(remains.lost_genes > from_genes):
        return False
    if np.count_nonzero(remains.lost_genes > by_chance) > max(1.0, _MOST_GENES * len(remains.genes)):
        return False
    from_cells = by_chance
    if share >= _LEAST_KEPT:
        from_cells = max(by_chance, _TOLERANCE * float(np.quantile(remains.cells, _MOST_CELLS_REMOVED)))
    lost = remains.lost_cells[remains.lost_cells > 0]
    return bool(np.count_nonzero(lost > from_cells) <= _MOST_UNLIKE * len(lost))


def _lacks_a_kind(adata: AnnData, slot: Slot, full: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether the features of one kind or genome are lacking, all of them, and those of another are there."""
    var: Any = adata.raw.var if slot.kind == "raw.X" else adata.var
    for name in _KINDS:
        if name not in var.columns or len(gene_names(adata, slot)) != len(full):
            continue
        kinds = var[name].astype(str).to_numpy()
        if any(np.any(other & (kinds == kind)) and not np.any(full & (kinds == kind)) for kind in np.unique(kinds)):
            return True
    return False
