"""Arrays: matrices and columns in a server's answer, checked before SciPy sees them."""

from __future__ import annotations

import binascii
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.concurrency import THREADS, each, shares
from biocolab_accessor.errors import BiocolabError, InvalidResponse
from biocolab_accessor.io.compression import can_inflate, filters_of, read_deflated
from biocolab_accessor.io.hdf5_gate import READING, Gate
from biocolab_accessor.io.memory import empty_pages, expect_room
from biocolab_accessor.io.transpose import PEAK, is_canonical
from biocolab_accessor.messages import quoted

_BASE64_PIECE = 1 << 20
_WORTH_THREADS = 1 << 20
_MAX_INT32 = np.iinfo(np.int32).max


def decode_array(text: Any, dtype: str, what: str, *, length: int | None = None) -> NDArray[Any]:
    """Decode a base64 array of raw little-endian bytes to a writable 1-D array."""
    # `dtype` is the one on the wire: "<f4" values, "<u4" indices, "<u8" indptr, "<u2" category codes.
    if not isinstance(text, str):
        msg = f"{what}: expected a base64 string, got {type(text).__name__}"
        raise InvalidResponse(msg)
    try:
        raw = _octets(text)
    except ValueError as error:
        msg = f"{what}: not valid base64: {error}"
        raise InvalidResponse(msg) from error
    size = np.dtype(dtype).itemsize
    if len(raw) % size or (length is not None and len(raw) != length * size):
        wanted = f"{length:,} values" if length is not None else "a whole number of values"
        msg = f"{what}: expected {wanted} of {size} bytes, got {len(raw):,} bytes"
        raise InvalidResponse(msg)
    return raw.view(dtype)


def _octets(text: str) -> NDArray[np.uint8]:
    """Decode base64 piece by piece into one array: decoded at once, it would be in memory three times."""
    octets = empty_pages(max(0, len(text) // 4 * 3 - text[-2:].count("=")))
    filled = 0
    for start in range(0, len(text), _BASE64_PIECE):
        piece = binascii.a2b_base64(text[start : start + _BASE64_PIECE], strict_mode=True)
        # Only the last piece may be padded, and Python accepts more padding than is possible.
        if len(piece) != min(_BASE64_PIECE // 4 * 3, len(octets) - filled):
            msg = "its padding is wrong"
            raise ValueError(msg)
        octets[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    return octets


def csc_from_base64(
    answer: Any, what: str, *, shape: tuple[int | None, int | None] = (None, None)
) -> sparse.csc_matrix:
    """Build the matrix of a ``query_genes`` answer, ``{shape, data, indices, indptr}``."""
    if not isinstance(answer, Mapping) or not {"shape", "data", "indices", "indptr"} <= answer.keys():
        msg = f"{what}: expected an object with shape, data, indices and indptr"
        raise InvalidResponse(msg)
    return csc_from_arrays(
        decode_array(answer["data"], "<f4", f"{what}: data"),
        decode_array(answer["indices"], "<u4", f"{what}: indices"),
        decode_array(answer["indptr"], "<u8", f"{what}: indptr"),
        answer["shape"],
        what,
        expected=shape,
    )


def csc_from_hdf5(content: bytearray | NDArray[np.uint8], what: str) -> sparse.csc_matrix:
    """Build the matrix of a ``get_matrix`` answer: HDF5 with data, indices, indptr and shape at its root."""
    # Contiguous datasets are viewed in place, so that the matrix lives in `content` and needs no second copy.
    view = np.frombuffer(content, np.uint8)
    if view[:8].tobytes() != b"\x89HDF\r\n\x1a\n":
        msg = f"{what}: the answer is not an HDF5 file; it begins {quoted(view[:40].tobytes())}"
        raise InvalidResponse(msg)
    with reading_hdf5(what), h5py.File(_ReadOnlyView(view.data), "r") as file:
        datasets = checked_datasets(file, len(view), what)
        _expect_inflated(datasets.values(), len(view), what)
        arrays = {name: _values(dataset, view) for name, dataset in datasets.items()}
    return csc_from_arrays(arrays["data"], arrays["indices"], arrays["indptr"], arrays["shape"].tolist(), what)


def _expect_inflated(datasets: Collection[h5py.Dataset], held: int, what: str) -> None:
    """Check the memory budget for chunked datasets, in addition to the file: while they are read, then transposed."""
    chunked = [each for each in datasets if each.chunks]
    if not chunked:
        return
    whole = sum(int(each.nbytes) for each in chunked)
    at_work = max(min(THREADS * each.chunks[0] * each.dtype.itemsize, int(each.nbytes)) for each in chunked)
    expect_room(held + max(int(PEAK * whole), whole + at_work), what, "ask for genes=", held=held)


def csc_from_arrays(
    data: NDArray[Any],
    indices: NDArray[Any],
    indptr: NDArray[Any],
    shape: Any,
    what: str,
    *,
    expected: tuple[int | None, int | None] = (None, None),
) -> sparse.csc_matrix:
    """Build a (n_cells, n_genes) float32 CSC matrix after checking everything that SciPy's C code relies on."""
    # A wrong index makes that code write outside its arrays and crashes the whole kernel. Therefore the kind, length,
    # order and range of every array are checked first. Indices are int32 if they fit, viewed and not converted.
    n_obs, n_vars = sizes(shape, what, expected)
    for name, array, kinds in (("data", data, "fiu"), ("indices", indices, "iu"), ("indptr", indptr, "iu")):
        if array.ndim != 1 or array.dtype.kind not in kinds:
            msg = f"{what}: {name} is a {array.ndim}-d array of {array.dtype}"
            raise InvalidResponse(msg)
    expect_pointers(indptr, n_vars, len(data), len(indices), what)
    if len(indices) and (int(indices.max()) >= n_obs or (indices.dtype.kind == "i" and int(indices.min()) < 0)):
        msg = f"{what}: a row index is outside the {n_obs:,} cells"
        raise InvalidResponse(msg)
    if n_obs > len(data):
        # Cells without values need memory once the matrix is cells-major: a false shape must not allocate it.
        expect_room(8 * n_obs, f"{what}: {n_obs:,} cells", "the server's shape cannot be right", believed=False)
    small = max(n_obs, len(data)) <= _MAX_INT32
    # The constructor would copy arrays that are views of a larger one.
    matrix = sparse.csc_matrix((n_obs, n_vars), dtype=np.float32)
    matrix.data = data.astype(np.float32, copy=False)
    matrix.indices, matrix.indptr = _as_index(indices, small=small), _as_index(indptr, small=small)
    if not _is_canonical(matrix):
        matrix.sort_indices()
        if not matrix.has_canonical_format:
            msg = f"{what}: a gene contains the same cell twice"
            raise InvalidResponse(msg)
    return matrix


def expect_pointers(indptr: NDArray[Any], n_vars: int, n_values: int, n_indices: int, what: str) -> None:
    """Raise InvalidResponse for column pointers that do not increase from 0 to the number of values."""
    if len(indptr) != n_vars + 1:
        msg = f"{what}: {n_vars:,} genes need {n_vars + 1:,} column pointers, got {len(indptr):,}"
        raise InvalidResponse(msg)
    if n_values != n_indices:
        msg = f"{what}: {n_values:,} values but {n_indices:,} indices"
        raise InvalidResponse(msg)
    if indptr[0] != 0 or indptr[-1] != n_values or bool(np.any(indptr[1:] < indptr[:-1])):
        msg = f"{what}: the column pointers do not increase from 0 to {n_values:,}"
        raise InvalidResponse(msg)


def _is_canonical(matrix: sparse.csc_matrix) -> bool:
    """Whether the cells of each gene are in order: what SciPy's property calls, on ranges of genes in parallel."""

    def one(first: int, last: int) -> bool:
        own = matrix.indptr[first : last + 1]
        return is_canonical(own, matrix.indices)

    if len(matrix.indices) < _WORTH_THREADS:
        fine = one(0, matrix.shape[1])
    else:
        with ThreadPoolExecutor(THREADS, "biocolab-order") as pool:
            fine = all(each(pool, one, *zip(*shares(matrix.indptr), strict=True)))
    if fine:
        matrix.has_canonical_format = True
    return fine


def strings(answer: Any, what: str) -> list[str]:
    """Check a JSON array of strings, such as barcodes or features."""
    if not isinstance(answer, list) or not set(map(type, answer)) <= {str}:
        msg = f"{what}: expected a list of strings"
        raise InvalidResponse(msg)
    return list(answer)


def sizes(shape: Any, what: str, expected: tuple[int | None, int | None] = (None, None)) -> tuple[int, int]:
    """Return the cells and genes of a shape; raises InvalidResponse for anything but two (or the expected) integers."""
    if not isinstance(shape, Sequence) or len(shape) != 2 or not all(_is_size(n) for n in shape):
        msg = f"{what}: the shape is {quoted(shape)}, not two numbers"
        raise InvalidResponse(msg)
    for n, wanted, axis in zip(shape, expected, ("cells", "genes"), strict=True):
        if wanted is not None and n != wanted:
            msg = f"{what}: the matrix has {n:,} {axis}, expected {wanted:,}"
            raise InvalidResponse(msg)
    return int(shape[0]), int(shape[1])


def _is_size(n: Any) -> bool:
    return isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < 2**48 and n == int(n)


def checked_datasets(file: h5py.File, n_bytes: int, what: str) -> dict[str, h5py.Dataset]:
    """Return the four datasets of a ``get_matrix`` answer, unread, after checking that they are safe to read."""
    # A dataset must be 1-D numbers in this file, not far larger than its stored bytes, and use only filters for which
    # HDF5 does not load a plugin; and no two may overlap.
    gate = Gate(file, what, n_bytes, InvalidResponse, slack=0)
    datasets = {name: _checked(file, name, n_bytes, what, gate) for name in ("data", "indices", "indptr", "shape")}
    if datasets["shape"].size != 2:
        msg = f"{what}: dataset 'shape' contains {datasets['shape'].size:,} numbers, not two"
        raise InvalidResponse(msg)
    # Sorting one array in place must not change another that has been checked already.
    ranges = sorted(
        (dataset.id.get_offset(), dataset.id.get_offset() + int(dataset.nbytes))
        for dataset in datasets.values()
        if dataset.id.get_offset() is not None and dataset.size
    )
    if any(start < end for (_, end), (start, _) in pairwise(ranges)):
        msg = f"{what}: two datasets of the HDF5 file overlap"
        raise InvalidResponse(msg)
    return datasets


@contextmanager
def reading_hdf5(what: str) -> Iterator[None]:
    """Turn everything that HDF5 and h5py raise for a file from a server into InvalidResponse."""
    try:
        yield
    except BiocolabError:
        raise
    except READING as error:
        msg = f"{what}: the HDF5 file cannot be read: {error}"
        raise InvalidResponse(msg) from error


def _checked(file: h5py.File, name: str, n_bytes: int, what: str, gate: Gate) -> h5py.Dataset:
    link = file.get(name, getlink=True)
    dataset = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset):
        msg = f"{what}: the HDF5 file has no dataset {quoted(name)} of its own"
        raise InvalidResponse(msg)
    gate.dataset(dataset.id, name)
    if dataset.dtype.kind not in "fiu" or dataset.ndim != 1:
        msg = f"{what}: dataset {quoted(name)} is {dataset.ndim}-d {dataset.dtype}, not 1-d numbers"
        raise InvalidResponse(msg)
    if filters_of(dataset) and not can_inflate(dataset):
        msg = (
            f"{what}: dataset {quoted(name)} uses the HDF5 filters {filters_of(dataset)}, which are not accepted "
            "from a server; only gzip, shuffle and fletcher32 are"
        )
        raise InvalidResponse(msg)
    return dataset


def _values(dataset: h5py.Dataset, view: NDArray[np.uint8]) -> NDArray[Any]:
    start, dtype = dataset.id.get_offset(), dataset.dtype
    if start is not None and dataset.chunks is None and start + dataset.nbytes <= len(view):
        own: NDArray[Any] = view[start : start + dataset.nbytes].view(dtype)
        return own if own.flags.aligned else own.copy()
    # Data that is neither contiguous nor chunked is in the header of the dataset.
    values: NDArray[Any] = read_deflated(dataset) if can_inflate(dataset) else dataset[()]
    return values


def _as_index(array: NDArray[Any], *, small: bool) -> NDArray[Any]:
    """Unsigned indices as the signed ones that SciPy uses; 4-byte ones are viewed once they are checked."""
    target = np.dtype(np.int32 if small else np.int64)
    if array.dtype.itemsize == target.itemsize and array.dtype.isnative:
        return array.view(target)
    return array.astype(target)


class _ReadOnlyView(io.RawIOBase):
    """A file object over memory, so that h5py reads only its headers and makes no copy (BytesIO would)."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view, self._position = view, 0

    def readinto(self, target: Any) -> int:
        piece = self._view[self._position : self._position + len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position
