"""Slot comparison: cells and genes that one matrix of an AnnData lacks and another one has, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.check.matrix_stats import Filled, Margins
from biocolab_accessor.io.matrix_blocks import Rows, Slot, Source, expect_whole, expect_within, row_blocks, source_of
from biocolab_accessor.messages import counted

_MOST_CELLS = 200
_NOISE = 1e-6
_EQUAL_AT_ONCE = 1 << 18


class Conflict(NamedTuple):
    """Another slot has values that the chosen one lacks."""

    slot: Slot  # the other one
    message: str
    number: int  # of cells and genes that are missing
    fix: str


class Kept(NamedTuple):
    """How much of another matrix a matrix has, if correction or downsampling explains what it lacks."""

    share: float
    likely: bool  # chance alone explains the cells and genes that lost everything


class Remains(NamedTuple):
    """How much of another matrix a matrix has kept."""

    own: float  # sums of both matrices, over cells and genes with values in both
    others: float
    cells: NDArray[Any]  # how much less each cell and each gene has
    genes: NDArray[Any]
    lost_cells: NDArray[Any]  # what the other matrix has in cells and genes that are empty
    lost_genes: NDArray[Any]


class Traces(NamedTuple):
    """Values that another matrix, of fractions, has in cells and genes without counts."""

    cells: int
    genes: int  # as far as a sample of cells shows
    # Elsewhere, both matrices have the same zeros: the other one was computed from the missing counts.
    alike: bool
    remains: Remains | None = None  # how many values are missing elsewhere; None if the counts have others


def amount(lacks: Margins) -> str:
    """Numbers of cells and genes in words, such as '25 cells and 1 gene'."""
    return " and ".join(counted(number, noun) for number, noun in zip(lacks, ("cell", "gene"), strict=True) if number)


def gene_names(adata: AnnData, slot: Slot) -> pd.Index:
    """The names of a slot's columns."""
    names: pd.Index = adata.raw.var_names if slot.kind == "raw.X" else adata.var_names
    return names


def same_arrays(one: Source, other: Source) -> bool:
    """Whether two sources are one matrix in memory."""
    first, second = one.matrix, other.matrix
    if one.shape != other.shape or first is second:
        return one.shape == other.shape
    if not (sparse.issparse(first) and sparse.issparse(second) and first.format == second.format in ("csr", "csc")):
        return False
    arrays = [[getattr(matrix, name) for name in ("data", "indices", "indptr")] for matrix in (first, second)]
    return all(
        a.dtype == b.dtype and a.__array_interface__["data"] == b.__array_interface__["data"] and len(a) == len(b)
        for a, b in zip(*arrays, strict=True)
    )


def equal_arrays(one: Source, other: Source) -> bool:
    """Whether two whole matrices in memory hold the same values in the same format, a faster check than a summary."""
    if any(source.rows is not None or source.columns is not None for source in (one, other)):
        return False
    first, second = one.matrix, other.matrix
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        step = max(1, _EQUAL_AT_ONCE // max(1, first.shape[1]))
        return all(np.array_equal(first[i : i + step], second[i : i + step]) for i in range(0, len(first), step))
    if not (sparse.issparse(first) and sparse.issparse(second) and first.format == second.format in ("csr", "csc")):
        return False
    if first.nnz != second.nnz or not np.array_equal(first.indptr, second.indptr):
        return False
    return all(
        np.array_equal(a[i : min(i + _EQUAL_AT_ONCE, first.nnz)], b[i : min(i + _EQUAL_AT_ONCE, first.nnz)])
        for a, b in ((first.data, second.data), (first.indices, second.indices))
        for i in range(0, first.nnz, _EQUAL_AT_ONCE)
    )


def lacking(adata: AnnData, taken: tuple[Slot, Filled], other: tuple[Slot, Filled]) -> Margins:
    """How many cells and genes have values in the other slot, but not in the one taken."""
    where = columns_in(adata, taken[0], other[0])
    genes = other[1].genes.copy()
    if where is None:
        genes &= ~taken[1].genes
    else:
        genes[where[(where >= 0) & taken[1].genes]] = False
    return Margins(int(np.count_nonzero(other[1].cells & ~taken[1].cells)), int(np.count_nonzero(genes)))


def covers(adata: AnnData, other: Slot, taken: Slot) -> bool:
    """Whether the other slot has the same counts everywhere the one taken has counts."""
    where = columns_in(adata, taken, other)
    for small, large in side_by_side(source_of(adata, taken), source_of(adata, other)):
        if where is not None:
            there = where >= 0
            if np.any(small[:, ~there].data):
                return False
            small, large = small[:, there], large[:, where[there]]
        if not _agrees(small, large):
            return False
    return True


def traces(adata: AnnData, taken: Slot, filled: Filled, other: Slot) -> Traces | None:
    """The values that a slot of fractions has in cells and genes without counts.

    None if it has no such values. In scaled data, zeros have values too, so that only genes with values that differ
    count. Only the cells without counts and a sample of the others are read.
    """
    source, where = source_of(adata, other), columns_in(adata, taken, other)
    if source.dtype.kind not in "fiub" or (where is None and _has_nothing_else(source, filled)):
        return None
    genes, alike, remains = np.zeros(len(filled.genes), bool), True, None
    lost = [np.zeros(0)]
    for block in row_blocks(source, np.flatnonzero(~filled.cells)):
        if not _is_plain(block):
            return _traces_of_scaled(source, where, filled)
        lost.append(np.diff(_nonzero(block).indptr))
    cells = int(np.count_nonzero(np.concatenate(lost)))
    rows = np.flatnonzero(filled.cells)
    if len(rows):
        rows = _few(source, rows)
        small, large = (sparse.vstack(list(row_blocks(s, rows)), "csr") for s in (source_of(adata, taken), source))
        if not _is_plain(large):
            return _traces_of_scaled(source, where, filled)
        if where is not None:
            large, small = large[:, where[where >= 0]], small[:, where >= 0]
        has = np.zeros(large.shape[1], bool)
        has[_nonzero(large).indices] = True
        known = np.arange(len(filled.genes)) if where is None else np.flatnonzero(where >= 0)
        genes[known] = has
        genes &= ~filled.genes
        kept = filled.genes[known]
        lost_genes = _per_column(large)[~kept]
        small, large = _nonzero(small[:, kept]), _nonzero(large[:, kept])
        has_zeros = small.nnz < small.shape[0] * small.shape[1]  # without zeros, any two matrices are alike
        alike = has_zeros and _pattern(small) == _pattern(large)
        if 2 * small.nnz > large.nnz and small.astype(bool).multiply(large.astype(bool)).nnz == small.nnz:
            less = np.diff(large.indptr) - np.diff(small.indptr)
            columns = _per_column(large) - _per_column(small)
            remains = Remains(small.nnz, large.nnz, less, columns, np.concatenate(lost), lost_genes)
    found = Traces(cells, int(np.count_nonzero(genes)), alike, remains)
    return found if found.cells or found.genes else None


def _traces_of_scaled(source: Source, where: Rows | None, filled: Filled) -> Traces | None:
    """Genes without counts that scaled data has different values for; those of a gene without counts are all equal."""
    rows = _few(source, np.flatnonzero(filled.cells))
    places = np.arange(len(filled.genes)) if where is None else where
    empty = places[~filled.genes & (places >= 0)]
    if not (len(rows) and len(empty)):
        return None
    values = sparse.vstack(list(row_blocks(source, rows)), "csr")[:, empty].toarray()
    if not np.isfinite(values).all():
        return None
    number = int(np.count_nonzero(np.ptp(values, axis=0) > _NOISE))
    return Traces(0, number, False, None) if number else None


def _few(source: Source, rows: Rows) -> Rows:
    # As few chunks of Dask as possible are computed.
    return rows[:_MOST_CELLS] if hasattr(source.matrix, "compute") else _sampled(rows)


def _has_nothing_else(source: Source, filled: Filled) -> bool:
    """Whether what is stored of a matrix shows already that its empty cells, and those of a sample, have no more."""
    matrix = source.matrix
    in_rows = sparse.issparse(matrix) and matrix.format == "csr" and source.rows is None and source.columns is None
    if not in_rows:
        return False
    expect_whole(matrix)
    if np.any(np.diff(matrix.indptr)[~filled.cells]):
        return False
    rows = _sampled(np.flatnonzero(filled.cells))
    stored = [matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]] for row in rows.tolist()]
    indices = np.concatenate([np.zeros(0, np.intp), *stored])
    expect_within(indices, len(filled.genes))
    return bool(filled.genes[indices].all())


def _sampled(rows: Rows) -> Rows:
    """Some of the rows, from all over the matrix."""
    sampled: Rows = rows[np.unique(np.linspace(0, len(rows) - 1, _MOST_CELLS).astype(int))] if len(rows) else rows
    return sampled


def cells_with_values(adata: AnnData, slots: list[Slot], rows: Rows) -> dict[Slot, int]:
    """How many of the given cells have values in each slot; without scaled data, where zeros have values too."""
    found = {}
    for slot in slots:
        source = source_of(adata, slot)
        if source.dtype.kind not in "fiub" or source.shape[0] != adata.n_obs:
            continue
        number = 0
        for block in row_blocks(source, rows):
            if not _is_plain(block):
                number = 0
                break
            number += int(np.count_nonzero(np.diff(_nonzero(block).indptr)))
        if number:
            found[slot] = number
    return found


def only(slot: Slot, other: Slot) -> str:
    """The line of code that keeps the first of two slots in a copy."""
    if other.kind == "X":
        return "copy = copy.raw.to_adata()" if slot.kind == "raw.X" else f"copy.X = copy.{slot}"
    if slot.kind == "layer" and other == Slot("layer", "counts"):
        return f"copy.layers['counts'] = copy.{slot}"
    return "del copy.raw" if other.kind == "raw.X" else f"del copy.{other}"


def columns_in(adata: AnnData, slot: Slot, other: Slot) -> Rows | None:
    """The positions of the genes of a slot in the other one, -1 if missing; None if both have the same genes."""
    one, two = gene_names(adata, slot), gene_names(adata, other)
    if slot.kind != "raw.X" and other.kind != "raw.X":
        return None
    if one.equals(two):
        return None
    places: Rows = _numbered(two).get_indexer(_numbered(one))
    return places


def _numbered(names: pd.Index) -> pd.Index:
    """Names with a number that makes duplicates unique, in their order."""
    if names.is_unique:
        return pd.MultiIndex.from_arrays([names, np.zeros(len(names), int)])
    return pd.MultiIndex.from_arrays([names, pd.Series(np.zeros(len(names))).groupby(names.to_numpy()).cumcount()])


def side_by_side(one: Source, other: Source) -> Iterator[tuple[sparse.csr_matrix, sparse.csr_matrix]]:
    """The same rows of two matrices, block by block."""
    # Rows of a matrix that is stored by columns, or computed, are expensive: its blocks determine the size.
    turned = isinstance(other.matrix, CSCDataset) or hasattr(other.matrix, "compute")
    lead, follow = (other, one) if turned else (one, other)
    start = 0
    for block in row_blocks(lead):
        done = 0
        for part in row_blocks(follow, np.arange(start, start + block.shape[0])):
            same = block[done : done + part.shape[0]]
            yield (part, same) if turned else (same, part)
            done += part.shape[0]
        start += block.shape[0]


def _agrees(small: sparse.csr_matrix, large: sparse.csr_matrix) -> bool:
    """Whether the large block has the values of the small one, up to float noise."""
    small, large = whole_numbers(small), whole_numbers(large)
    difference = large.multiply(small.astype(bool)) - small
    return not np.any(difference.data)


def whole_numbers(block: sparse.csr_matrix) -> sparse.csr_matrix:
    """Counts without float noise, in a precision that holds their differences."""
    data = np.rint(block.data.astype(np.float64 if block.data.dtype.itemsize <= 8 else np.longdouble))
    return sparse.csr_matrix((data, block.indices, block.indptr), block.shape)


def _nonzero(block: sparse.csr_matrix) -> sparse.csr_matrix:
    if block.data.all():
        return block
    block = block.copy()
    block.eliminate_zeros()
    return block


def _per_column(block: sparse.csr_matrix) -> NDArray[np.intp]:
    """The number of nonzero values in each column."""
    return np.bincount(_nonzero(block).indices, minlength=block.shape[1])


def _pattern(block: sparse.csr_matrix) -> tuple[bytes, bytes]:
    block = _nonzero(block).sorted_indices()
    return np.asarray(block.indptr, np.int64).tobytes(), np.asarray(block.indices, np.int64).tobytes()


def _is_plain(block: sparse.csr_matrix) -> bool:
    return bool(np.isfinite(block.data).all()) and not (len(block.data) and block.data.min() < 0)


# Tools that round, or that assign reads differently, make a few values larger.
_MOST_EXCESS = 0.05

# Below this probability, so many counts were not all lost by chance.
_UNLIKELY = 1e-9

# An empty droplet has about as much ambient RNA as one with a cell. If more than half is gone, it was not ambient RNA.
_LEAST_KEPT = 0.5
_TOLERANCE, _MOST_UNLIKE, _MOST_CELLS_REMOVED = 1.5, 0.05, 0.95

# The largest share of genes that may lose all counts.
_MOST_GENES = 0.2

# If cells and genes are expected to lack this many values by chance, nearly all of them lack some.
_EXPECTED, _NEARLY_ALL = 10.0, 0.95
_KINDS = ("feature_types", "feature_type", "modality", "genome", "genomes")


def kept_share(adata: AnnData, taken: tuple[Slot, Filled], other: tuple[Slot, Filled]) -> Kept | None:
    """The share of the other slot's counts in the one taken, if correction or downsampling explains the difference.

    CellBender, SoupX and DecontX remove counts, downsampling draws some of them, and only some counts of a gene are
    spliced. A few cells and genes may lose all counts. Cells or genes that were never measured look different: the
    other slot has as many counts of them as of any other.
    """
    where = columns_in(adata, taken[0], other[0])
    places: Rows = np.arange(len(taken[1].genes)) if where is None else where
    there = places >= 0
    known = np.zeros(len(other[1].genes), bool)
    known[places[there]] = True
    if np.any(other[1].genes & ~known):
        return None  # some genes are missing altogether
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
    return Kept(own / others, is_likely(remains)) if is_plausible(remains) else None


def scattered(adata: AnnData, taken: tuple[Slot, Filled], other: Slot) -> Kept | None:
    """The share of the other slot's values in the one taken, if the missing ones are spread over all cells and genes.

    The other slot has all counts of the one taken, and more. None if only some cells or genes lack values: then these
    were never copied.
    """
    filled, where = taken[1], columns_in(adata, taken[0], other)
    there = np.ones(len(filled.genes), bool) if where is None else where >= 0
    own, full = (np.zeros(len(filled.cells)), np.zeros(len(there))), (np.zeros(len(filled.cells)), np.zeros(len(there)))
    start = 0
    for small, large in side_by_side(source_of(adata, taken[0]), source_of(adata, other)):
        if where is not None:
            if np.any(large[:, ~np.isin(np.arange(large.shape[1]), where)].data):
                return None  # some genes are missing altogether
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
    if (lost_cells.any() or lost_genes.any()) and not is_plausible(remains):
        return None
    return Kept(share, is_likely(remains))


def is_plausible(remains: Remains) -> bool:
    """Whether the losses elsewhere explain the cells and genes that lost everything."""
    share = remains.own / remains.others if remains.others else 1.0
    if not 0 < share < 1:
        return False
    by_chance = _by_chance(share)
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


def is_likely(remains: Remains) -> bool:
    """Whether chance alone, which removed the same share everywhere, explains what lost everything."""
    most = max(remains.lost_cells.max(initial=0), remains.lost_genes.max(initial=0))
    share = remains.own / remains.others if remains.others else 1.0
    return not most or (0 < share < 1 and bool(most <= _by_chance(share)))


def _by_chance(share: float) -> float:
    """The most values that are all lost by chance where this share of the values was kept."""
    return float(np.log(_UNLIKELY) / np.log1p(-share))


def _lacks_a_kind(adata: AnnData, slot: Slot, full: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether all features of one kind or genome are missing while those of another are present."""
    var: Any = adata.raw.var if slot.kind == "raw.X" else adata.var
    for name in _KINDS:
        if name not in var.columns or len(gene_names(adata, slot)) != len(full):
            continue
        kinds = var[name].astype(str).to_numpy()
        if any(np.any(other & (kinds == kind)) and not np.any(full & (kinds == kind)) for kind in np.unique(kinds)):
            return True
    return False
