"""Blocks: reading any matrix of an AnnData a few rows at a time, without copying the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import h5py
import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Slot", "row_blocks", "slots_of", "values"]

_VALUES_AT_ONCE = 1 << 20
_BLOCK_BYTES = 64 << 20
_MOST_ROWS = 8192


class Slot(NamedTuple):
    """A place in an AnnData that holds a matrix, printed as one writes it: ``X``, ``raw.X``, ``layers['counts']``."""

    kind: str
    key: str = ""

    def __str__(self) -> str:
        return f"layers[{self.key!r}]" if self.kind == "layer" else self.kind

    def of(self, adata: AnnData) -> Any:
        """The matrix; of a view this is a copy of its part, see :func:`row_blocks`. None where the slot is empty."""
        if self.kind == "X":
            return adata.X
        if self.kind == "raw.X":
            return None if adata.raw is None else adata.raw.X
        return adata.layers[self.key]

    def shape(self, adata: AnnData) -> tuple[int, int]:
        """Cells and genes, without reading."""
        return adata.n_obs, adata.raw.shape[1] if self.kind == "raw.X" else adata.n_vars


def slots_of(adata: AnnData) -> list[Slot]:
    """The slots that are filled: ``X``, ``raw.X``, then the layers."""
    found = [Slot("X")] if _has_x(adata) else []
    if adata.raw is not None:
        found.append(Slot("raw.X"))
    return found + [Slot("layer", key) for key in adata.layers]


def row_blocks(adata: AnnData, slot: Slot, rows: NDArray[np.intp] | None = None) -> Iterator[sparse.csr_matrix]:
    """A slot's matrix as consecutive blocks of rows in CSR form, each a few tens of megabytes at most.

    In-memory CSR is handed on without a copy; a view is cut block by block from the object it shows, so that it stays
    a view and is never copied whole; backed and Dask matrices are read block by block.

    Parameters
    ----------
    adata
        Any AnnData: in memory, view, backed, Dask.
    slot
        Which matrix.
    rows
        Positions of cells, ascending or not; None means all.
    """
    matrix = slot.of(adata) if slot.kind == "raw.X" or not adata.is_view else None
    n_obs, n_vars = slot.shape(adata)
    count = n_obs if rows is None else len(rows)
    if isinstance(matrix, sparse.csr_matrix | sparse.csr_array) and rows is None:
        yield from _csr_blocks(matrix)
        return
    if matrix is not None and sparse.issparse(matrix) and not isinstance(matrix, sparse.csr_matrix | sparse.csr_array):
        # Rows cannot be cut out of CSC or COO without going through all of it, so it is turned around once.
        matrix = matrix.tocsr()
        if rows is None:
            yield from _csr_blocks(matrix)
            return
    step = min(_MOST_ROWS, max(1, _BLOCK_BYTES // max(1, n_vars * 4)))
    if matrix is not None and (sparse.issparse(matrix) or not isinstance(matrix, np.ndarray)):
        step = max(step, 1024)  # sparse rows are far smaller than dense ones
    for start in range(0, count, step):
        part = slice(start, min(start + step, count)) if rows is None else rows[start : start + step]
        yield _as_csr(_cut(matrix, part) if matrix is not None else slot.of(adata[part]))


def values(adata: AnnData, slot: Slot) -> Iterator[NDArray[Any]]:
    """The stored values of a slot in pieces of about a million, in no order; of dense matrices all values."""
    matrix = slot.of(adata) if slot.kind == "raw.X" or not adata.is_view else None
    if matrix is not None and sparse.issparse(matrix):
        yield from _pieces(matrix.data)
    elif isinstance(matrix, np.ndarray):
        yield from _pieces(matrix.reshape(-1, order="A" if matrix.flags.f_contiguous else "C"))
    elif (stored := _stored_values(matrix)) is not None:
        for start in range(0, stored.shape[0], _VALUES_AT_ONCE):
            yield stored[start : start + _VALUES_AT_ONCE]
    else:
        for block in row_blocks(adata, slot):
            yield from _pieces(block.data)


def _csr_blocks(matrix: Any) -> Iterator[sparse.csr_matrix]:
    """Views of a CSR matrix's own arrays."""
    if matrix.shape[0] == 0:
        return
    width = max(1, matrix.nnz // matrix.shape[0]) * (matrix.data.itemsize + matrix.indices.itemsize)
    step = max(1, _BLOCK_BYTES // width)
    for start in range(0, matrix.shape[0], step):
        stop = min(start + step, matrix.shape[0])
        first, last = matrix.indptr[start], matrix.indptr[stop]
        block = sparse.csr_matrix((stop - start, matrix.shape[1]), dtype=matrix.dtype)
        block.data, block.indices = matrix.data[first:last], matrix.indices[first:last]
        block.indptr = matrix.indptr[start : stop + 1] - first
        if matrix.has_canonical_format:
            block.has_canonical_format = True
        yield block


def _cut(matrix: Any, part: slice | NDArray[np.intp]) -> Any:
    if isinstance(part, slice) or isinstance(matrix, np.ndarray) or sparse.issparse(matrix):
        return matrix[part]
    # HDF5 wants ascending positions without repeats.
    wanted, place = np.unique(part, return_inverse=True)
    return matrix[wanted][place]


def _as_csr(block: Any) -> sparse.csr_matrix:
    if hasattr(block, "compute"):
        block = block.compute()
    if hasattr(block, "to_memory"):
        block = block.to_memory()
    return sparse.csr_matrix(block if sparse.issparse(block) else np.asarray(block))


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(array), _VALUES_AT_ONCE):
        yield array[start : start + _VALUES_AT_ONCE]


def _stored_values(matrix: Any) -> Any:
    """The 1-D array of values behind a sparse matrix on disk, to be read straight through; None for all else."""
    group = getattr(matrix, "group", None)
    stored = group["data"] if isinstance(group, h5py.Group) and "data" in group else None
    return stored


def _has_x(adata: AnnData) -> bool:
    if adata.isbacked:
        return True
    # Asking a view for its X would copy that part, so a single cell of it is asked for.
    one = adata[:1] if adata.is_view and adata.n_obs else adata
    return one.X is not None
