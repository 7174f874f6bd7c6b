"""Matrix blocks: read any matrix of an AnnData a few rows at a time, without copying all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import h5py
import numpy as np
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import InvalidValues
from biocolab_accessor.io.hdf5_gate import expect_harmless, opened_foreign
from biocolab_accessor.messages import quoted


def expect_whole(matrix: Any) -> None:
    """Refuse a sparse matrix whose pointers do not fit its values: SciPy trusts them, and would crash."""
    # Indices are not read here, see expect_within.
    on_disk = isinstance(matrix, CSRDataset | CSCDataset)
    if not on_disk and not (sparse.issparse(matrix) and matrix.format in ("csr", "csc")):
        return
    names = ("indptr", "indices", "data")
    pointers, indices, data = (matrix.group[name] if on_disk else getattr(matrix, name) for name in names)
    pointers, n_values = pointers[...], min(indices.shape[0], data.shape[0])  # Zarr arrays have no len
    n_lines = matrix.shape[0 if matrix.format == "csr" else 1]
    if not data.dtype.isnative or data.dtype == np.float16:
        msg = f"it is sparse and holds {data.dtype} values, which SciPy cannot read: write it as float32"
    elif pointers.dtype.kind not in "iu" or len(pointers) != n_lines + 1 or pointers[0] != 0:
        lines = "rows" if matrix.format == "csr" else "columns"
        msg = f"its indptr does not fit {n_lines:,} {lines}: it has {len(pointers):,} numbers ({pointers.dtype})"
    elif (pointers[1:] < pointers[:-1]).any() or pointers[-1] > n_values:
        msg = f"its indptr does not rise from 0 to at most {n_values:,}, the number of values"
    else:
        return
    raise InvalidValues(msg)


def expect_within(indices: NDArray[Any], length: int) -> None:
    """Refuse indices of a sparse matrix that are out of range: SciPy would access foreign memory."""
    if not len(indices):
        return
    # As unsigned integers, negative indices are too large: one comparison instead of two.
    if int(indices.view(indices.dtype.str.replace("i", "u")).max()) >= length:
        least = int(indices.min())
        index = least if least < 0 else int(indices.max())
        msg = f"it is sparse and has an index of {index:,}, outside of 0 to {length - 1:,}"
        raise InvalidValues(msg)


_BLOCK_BYTES = 32 << 20

# For dense matrices. While SciPy converts a block to a sparse matrix, each nonzero value takes 24 bytes more.
_DENSE_BYTES = 8 << 20

# Each selection of rows from a CSC matrix scans all of it, so selections are few and large.
_COLUMN_STORED_BYTES = 128 << 20
_VALUES_AT_ONCE = 1 << 20

# On disk, reading a span at once beats reading single rows, unless most of the span is not needed.
_SPAN_FACTOR = 4

Rows = NDArray[np.intp]

# Files that passed the gate, by the file manager of each object.
_passed: WeakKeyDictionary[Any, set[tuple[int, int]]] = WeakKeyDictionary()


class Slot(NamedTuple):
    """A slot of an AnnData that holds a matrix; prints as ``X``, ``raw.X`` or ``layers['counts']``."""

    kind: str
    key: str = ""

    def __str__(self) -> str:
        return f"layers[{quoted(self.key)}]" if self.kind == "layer" else self.kind

    def of(self, adata: AnnData) -> Any:
        """The matrix, or None if the slot is empty; for a view this is a copy of its part, see :func:`row_blocks`."""
        if self.kind == "X":
            return adata.X
        if self.kind == "raw.X":
            return None if adata.raw is None else adata.raw.X
        return adata.layers[self.key]

    def shape(self, adata: AnnData) -> tuple[int, int]:
        """Cells and genes, without reading the matrix."""
        return adata.n_obs, adata.raw.shape[1] if self.kind == "raw.X" else adata.n_vars


class Source(NamedTuple):
    """A matrix (SciPy, NumPy, HDF5, Zarr, Dask or backed), and the selected rows and columns (None means all)."""

    matrix: Any
    rows: Rows | None = None
    columns: Rows | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the selected part."""
        n_rows, n_columns = self.matrix.shape
        return (
            n_rows if self.rows is None else len(self.rows),
            n_columns if self.columns is None else len(self.columns),
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        dtype: np.dtype[Any] = np.dtype(self.matrix.dtype)
        return dtype

    def restricted(self, rows: Rows | None) -> Source:
        """Some rows of this part, by their positions in it."""
        if rows is None:
            return self
        return self._replace(rows=np.asarray(rows) if self.rows is None else self.rows[rows])


def source_of(adata: AnnData, slot: Slot) -> Source:
    """The matrix of a slot; for a view, the matrix of its parent and the rows and columns of the view."""
    # Not view.X, which copies; and a view of a backed object cannot be sliced again. The object itself does not change.
    if not adata.is_view:
        return Source(slot.of(adata))
    if slot.kind == "raw.X" and not adata.isbacked:
        return Source(adata.raw.X)  # anndata itself copied this part when the view was made
    shown = adata._adata_ref
    rows, columns = _positions(adata._oidx, shown.n_obs), _positions(adata._vidx, shown.n_vars)
    return Source(slot.of(shown), rows, None if slot.kind == "raw.X" else columns)


def filled_slots(adata: AnnData) -> list[Slot]:
    """The slots that hold a matrix: ``X``, ``raw.X``, then the layers; nothing is read."""
    shown = adata._adata_ref if adata.is_view else adata
    expect_own_values(shown)
    if shown.isbacked:
        # Some versions of anndata write an X that there is not as a dataset without a shape.
        has_x = "X" in shown.file and getattr(shown.file["X"], "shape", ()) is not None
    else:
        has_x = shown.X is not None
    found = [Slot("X")] if has_x else []
    if adata.raw is not None:
        found.append(Slot("raw.X"))
    # anndata 0.13 lists X among the layers, with None as its key.
    return found + [Slot("layer", key) for key in shown.layers if key is not None]


def expect_own_values(adata: AnnData) -> None:
    """Refuse an object whose matrices are in an unsafe HDF5 file; each file is checked once."""
    shown = adata._adata_ref if adata.is_view else adata
    if shown.isbacked and not shown.file.is_open:
        path = Path(shown.file.filename)
        with opened_foreign(path) as foreign:
            shown.file.open(foreign.path)
            shown.file.filename = path
        mark_as_passed(shown)
    passed = _passed.setdefault(shown.file, set())
    for name, file in _files_of(shown).items():
        if _stamp(file) not in passed:
            expect_harmless(file, name)
            passed.add(_stamp(file))


def mark_as_passed(adata: AnnData) -> None:
    """Remember that the files of an object were checked."""
    _passed.setdefault(adata.file, set()).update(_stamp(file) for file in _files_of(adata).values())


def _files_of(shown: AnnData) -> dict[str, h5py.File]:
    """The HDF5 files of an object by name, without opening anything in them."""
    found = {str(shown.file.filename): shown.file["/"].file} if shown.isbacked else {}
    matrices: list[Any] = []
    for name in ("layers", "obsm"):
        with suppress(ValueError):  # one has too many rows, which the check reports
            held = getattr(shown, name)
            # anndata 0.13 lists X among the layers, with None as its key.
            matrices += [held[key] for key in held if key is not None]
    if not shown.isbacked:
        matrices += [shown.X, None if shown.raw is None else shown.raw.X]
    for matrix in matrices:
        stored = getattr(matrix, "group", matrix)
        if isinstance(stored, h5py.Group | h5py.Dataset) and _stamp(stored.file) not in map(_stamp, found.values()):
            found[str(stored.file.filename)] = stored.file
    return found


def _stamp(file: h5py.File) -> tuple[int, int]:
    """An id of an open file, with its size."""
    return h5py.h5o.get_info(file.id).fileno, file.id.get_filesize()


def row_blocks(source: Source, rows: Rows | None = None) -> Iterator[sparse.csr_matrix]:
    """Consecutive rows in canonical CSR form (sorted, no duplicates), some tens of megabytes at a time."""
    for piece in row_pieces(source.restricted(rows)):
        yield canonical(piece)


def values(source: Source) -> Iterator[NDArray[Any]]:
    """Stored values in pieces of about a million, in any order; all values of dense matrices, zeros included."""
    matrix = source.matrix
    if source.rows is None and source.columns is None:
        on_disk = isinstance(matrix, CSRDataset | CSCDataset)
        stored = matrix.group["data"] if on_disk else _stored_values(matrix)
        if stored is not None:
            # The arrays may be longer than the part in use, also on disk.
            length = min(stored.shape[0], int(matrix.group["indptr"][-1])) if on_disk else stored.shape[0]
            for start in range(0, length, _VALUES_AT_ONCE):
                yield stored[start : min(start + _VALUES_AT_ONCE, length)]
            return
    for piece in row_pieces(source):
        yield from values_of(canonical(piece) if sparse.issparse(piece) else piece)


def values_of(rows: Any) -> Iterator[NDArray[Any]]:
    """Values of some rows (the stored ones of CSR), in pieces of about a million."""
    flat = rows.data if sparse.issparse(rows) else np.asarray(rows).reshape(-1)
    for start in range(0, len(flat), _VALUES_AT_ONCE):
        yield flat[start : start + _VALUES_AT_ONCE]


def may_repeat(source: Source) -> bool:
    """Whether a whole sparse matrix may have duplicate entries, which mean their sum."""
    matrix = source.matrix
    on_disk = isinstance(matrix, CSRDataset | CSCDataset)
    stored = on_disk or (sparse.issparse(matrix) and matrix.format in ("csr", "csc"))
    if not stored or source.rows is not None or source.columns is not None:
        return False
    expect_whole(matrix)
    indptr = np.asarray(matrix.group["indptr"][...] if on_disk else matrix.indptr, np.int64)
    indices = matrix.group["indices"] if on_disk else matrix.indices
    start, most = 0, _BLOCK_BYTES // indices.dtype.itemsize
    while start < len(indptr) - 1:
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + most, side="right")) - 1)
        # A new matrix: SciPy caches the answer on the matrix, where it would outlive a change of the arrays.
        lines = sparse.csr_matrix((stop - start, 1), dtype=np.int8)
        some = indices[int(indptr[start]) : int(indptr[stop])]
        lines.indices = some if some.dtype == np.int32 else some.astype(np.int64, copy=False)
        lines.indptr = (indptr[start : stop + 1] - indptr[start]).astype(lines.indices.dtype)
        if not lines.has_canonical_format:
            return True
        start = stop
    return False


def _stored_values(matrix: Any) -> Any:
    """A 1-D array of all values in memory, without a copy; else None."""
    if sparse.issparse(matrix) and matrix.format in ("csr", "csc"):
        return matrix.data[: matrix.nnz]  # the arrays may be longer than the part in use
    if isinstance(matrix, np.ndarray) and (matrix.flags.c_contiguous or matrix.flags.f_contiguous):
        return matrix.reshape(-1, order="C" if matrix.flags.c_contiguous else "F")
    return None


def canonical(piece: Any) -> sparse.csr_matrix:
    """Rows in canonical CSR form; changes are made in a copy."""
    if not sparse.issparse(piece):
        piece = np.asarray(piece)
        piece = piece.astype(piece.dtype.newbyteorder("="), copy=False)  # SciPy needs the native byte order
    if piece.dtype == np.float16:
        piece = piece.astype(np.float32)  # SciPy does not support float16
    block = piece if isinstance(piece, sparse.csr_matrix) else sparse.csr_matrix(piece)
    if not block.has_canonical_format:
        block = block.copy()
        block.sum_duplicates()
    starts, ends = block.indptr[:-1], block.indptr[1:]
    filled = starts < ends
    # Rows are sorted, so their first and last indices suffice; checking all would cost about as much as writing.
    expect_within(block.indices[np.concatenate([starts[filled], ends[filled] - 1])], block.shape[1])
    return block


def row_pieces(source: Source) -> Iterator[Any]:
    """Consecutive rows as SciPy sparse or NumPy arrays, as stored, some tens of megabytes at a time."""
    matrix, rows, columns = source
    expect_whole(matrix)
    if sparse.issparse(matrix) and matrix.format == "csc":
        expect_within(matrix.indices[: matrix.nnz], matrix.shape[0])  # otherwise missing rows would be skipped silently
    if sparse.issparse(matrix) and matrix.format not in ("csr", "csc", "coo"):
        matrix = matrix.tocsr()  # DIA, BSR, LIL and DOK are rare in an AnnData, and small
    for window in _windows(matrix, rows):
        piece = _take(matrix, window)
        yield piece if columns is None else (piece.tocsr() if sparse.issparse(piece) else piece)[:, columns]


def _windows(matrix: Any, rows: Rows | None) -> Iterator[slice | Rows]:
    """Which rows to read at a time."""
    count = matrix.shape[0] if rows is None else len(rows)
    for start, stop in _bounds(matrix, rows, count):
        if rows is None:
            yield slice(start, stop)
            continue
        wanted = rows[start:stop]
        first, last = int(wanted[0]), int(wanted[-1])
        is_run = last - first + 1 == len(wanted) and bool((np.diff(wanted) == 1).all())
        yield slice(first, last + 1) if is_run else wanted


def _bounds(matrix: Any, rows: Rows | None, count: int) -> Iterator[tuple[int, int]]:
    if not count:
        return
    indptr = _row_pointers(matrix)
    if indptr is not None:
        lengths = np.diff(indptr) if rows is None else indptr[rows + 1] - indptr[rows]
        ends = np.cumsum(lengths, dtype=np.int64)
        most = _BLOCK_BYTES // (np.dtype(matrix.dtype).itemsize + 4)
        start = 0
        while start < count:
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
            yield start, stop
            start = stop
        return
    if hasattr(matrix, "chunks") and hasattr(matrix, "compute"):
        yield from _dask_bounds(matrix, rows, count)
        return
    if sparse.issparse(matrix) or isinstance(matrix, CSCDataset):
        stored = matrix.nnz if sparse.issparse(matrix) else matrix.group["data"].shape[0]
        width = max(1, stored // max(1, matrix.shape[0])) * (np.dtype(matrix.dtype).itemsize + 4)
        step = max(1, _COLUMN_STORED_BYTES // width)
    else:
        step = max(1, _DENSE_BYTES // max(1, matrix.shape[1] * np.dtype(matrix.dtype).itemsize))
    for start in range(0, count, step):
        yield start, min(start + step, count)


def _dask_bounds(matrix: Any, rows: Rows | None, count: int) -> Iterator[tuple[int, int]]:
    """Windows that end at Dask's chunk borders, so that each chunk is computed once."""
    edges = np.cumsum(matrix.chunks[0])
    if rows is None:
        yield from zip([0, *edges[:-1].tolist()], edges.tolist(), strict=True)
        return
    chunk = np.searchsorted(edges, rows, side="right")
    if (np.diff(chunk) >= 0).all():
        cuts = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), count]
    else:
        cuts = [*range(0, count, max(1, int(max(matrix.chunks[0])))), count]
    yield from pairwise(cuts)


def _row_pointers(matrix: Any) -> NDArray[np.int64] | None:
    if isinstance(matrix, CSRDataset):
        return np.asarray(matrix.group["indptr"][...], np.int64)
    if sparse.issparse(matrix) and matrix.format == "csr":
        return np.asarray(matrix.indptr, np.int64)
    return None


def _take(matrix: Any, window: slice | Rows) -> Any:
    """Read rows of a matrix into memory."""
    if sparse.issparse(matrix):
        if matrix.format == "csr" and isinstance(window, slice):
            return _csr_window(matrix, window)
        return _coo_rows(matrix, window) if matrix.format == "coo" else matrix[window]
    if isinstance(matrix, CSCDataset):
        return _rows_of_columns(matrix, window)
    if hasattr(matrix, "compute"):
        if not isinstance(window, slice) and 0 in matrix.chunks[0]:
            # Dask divides by the mean chunk length, which may be 0 if there are empty chunks.
            matrix = matrix.rechunk({0: tuple(length for length in matrix.chunks[0] if length)})
        part = matrix[window].compute()
        return part if sparse.issparse(part) else np.asarray(part)
    if isinstance(matrix, np.ndarray) or isinstance(window, slice):
        return matrix[window]
    # Arrays on disk accept only ascending positions without duplicates.
    wanted, place = np.unique(window, return_inverse=True)
    first, last = int(wanted[0]), int(wanted[-1])
    if last - first < _SPAN_FACTOR * len(wanted):
        return matrix[first : last + 1][window - first]
    return matrix[wanted, :][place]


def _csr_window(matrix: Any, window: slice) -> sparse.csr_matrix:
    """Rows of a CSR matrix, sharing its arrays."""
    first, last = int(matrix.indptr[window.start]), int(matrix.indptr[window.stop])
    # Not with the constructor, which copies arrays that are a small part of a larger one.
    block = sparse.csr_matrix((window.stop - window.start, matrix.shape[1]), dtype=matrix.dtype)
    block.data, block.indices = matrix.data[first:last], matrix.indices[first:last]
    block.indptr = matrix.indptr[window.start : window.stop + 1] - matrix.indptr[window.start]
    return block


def _coo_rows(matrix: Any, window: slice | Rows) -> sparse.csr_matrix:
    wanted = np.arange(window.start, window.stop) if isinstance(window, slice) else window
    distinct, place = np.unique(wanted, return_inverse=True)
    position = np.full(matrix.shape[0], -1, np.int64)
    position[distinct] = np.arange(len(distinct))
    row = position[matrix.row]
    kept = row >= 0
    entries = (matrix.data[kept], (row[kept], matrix.col[kept]))
    # SciPy sums duplicate entries here, which is their meaning.
    return sparse.csr_matrix(entries, shape=(len(distinct), matrix.shape[1]))[place]


def _rows_of_columns(matrix: CSCDataset, window: slice | Rows) -> sparse.csr_matrix:
    """Rows of a CSC matrix on disk, read a stripe of columns at a time."""
    indptr = np.asarray(matrix.group["indptr"][...], np.int64)
    most = _BLOCK_BYTES // (matrix.dtype.itemsize + 4)
    stripes = []
    start, n_columns = 0, matrix.shape[1]
    while start < n_columns:
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + most, side="right")) - 1)
        stripe = matrix[:, start:stop]
        expect_within(stripe.indices, matrix.shape[0])
        stripes.append(sparse.csr_matrix(stripe[window]))
        start = stop
    n_rows = window.stop - window.start if isinstance(window, slice) else len(window)
    return sparse.hstack(stripes, format="csr") if stripes else sparse.csr_matrix((n_rows, 0), dtype=matrix.dtype)


def _positions(index: Any, length: int) -> Rows | None:
    if isinstance(index, slice) and index.indices(length) == (0, length, 1):
        return None
    positions: Rows = np.arange(length)[index]
    return positions
