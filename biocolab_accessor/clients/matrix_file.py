"""Matrix file: a matrix answer on disk, read a stripe of genes at a time."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.clients.payload import checked_datasets, csc_from_arrays, expect_pointers, reading_hdf5, sizes
from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.storage.budget import expect_room
from biocolab_accessor.storage.inflate import can_inflate, read_deflated
from biocolab_accessor.storage.stripes import spans

__all__ = ["stripes_of_file"]


def stripes_of_file(path: Path, what: str, most: int) -> Generator[sparse.csc_matrix, None, None]:
    """Consecutive genes of a ``get_matrix`` answer, each stripe checked before SciPy sees it.

    Parameters
    ----------
    path
        The answer, an HDF5 file.
    what
        The request, for messages.
    most
        Non-zeros of a stripe; a single gene may have more.

    Raises
    ------
    InvalidResponse
        Not such a file, or its arrays contradict each other.
    """
    size = path.stat().st_size
    with reading_hdf5(what), h5py.File(path, "r") as file:
        datasets = checked_datasets(file, size, what)
        data, indices = datasets["data"], datasets["indices"]
        n_obs, n_vars = sizes(datasets["shape"][()].tolist(), what)
        expect_room(2 * int(datasets["indptr"].nbytes), what, "the server's shape cannot be right", believed=False)
        pointers = datasets["indptr"][()]
        if pointers.dtype.kind not in "iu":
            msg = f"{what}: indptr is a 1-d array of {pointers.dtype}"
            raise InvalidResponse(msg)
        expect_pointers(pointers, n_vars, len(data), len(indices), what)
        pointers = pointers.astype(np.int64)
        for first, last in spans(pointers, most):
            low, high = int(pointers[first]), int(pointers[last])
            own = pointers[first : last + 1] - low
            yield csc_from_arrays(_part(data, low, high), _part(indices, low, high), own, [n_obs, last - first], what)


def _part(dataset: h5py.Dataset, start: int, stop: int) -> NDArray[Any]:
    part: NDArray[Any] = read_deflated(dataset, start, stop) if can_inflate(dataset) else dataset[start:stop]
    return part
