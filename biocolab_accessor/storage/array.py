"""Array: numbers of any shape in one dataset, deflated on several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from biocolab_accessor.storage.deflate import GZIP, deflate_shuffled
from biocolab_accessor.threads import THREADS
from biocolab_accessor.waits import each

__all__ = ["write_array"]

_CHUNK_BYTES = 1 << 20
_WORTH_IT = 4096
_MOST_WAITING = 8 * THREADS


def write_array(group: h5py.Group, name: str, values: NDArray[Any]) -> bool:
    """Write an array in the encoding of anndata, by gzip and byte shuffle.

    HDF5 itself would deflate one chunk after another with zlib, which takes longer for the columns of obs than ISA-L
    does for the matrix.

    Parameters
    ----------
    group, name
        Where it goes.
    values
        (n, ...) of any dtype.

    Returns
    -------
    bool
        False where that does not pay or the dtype is none of numbers; nothing is written then.
    """
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8 or values.nbytes < _WORTH_IT:
        return False
    rows = min(len(values), max(1, _CHUNK_BYTES // (values.nbytes // len(values))))
    dataset = group.create_dataset(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(rows, *values.shape[1:]),
        shuffle=values.dtype.itemsize > 1,
        **GZIP,
    )
    dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    elsewhere = (0,) * (values.ndim - 1)

    def deflated(start: int) -> bytes:
        part = values[start : start + rows]
        if len(part) < rows:  # a chunk of HDF5 is always whole
            whole = np.zeros((rows, *part.shape[1:]), part.dtype)
            whole[: len(part)] = part
            part = whole
        return deflate_shuffled(np.ascontiguousarray(part).reshape(-1))

    starts = range(0, len(values), rows)
    if len(starts) == 1:
        dataset.id.write_direct_chunk((0, *elsewhere), deflated(0))
        return True
    with ThreadPoolExecutor(THREADS, "biocolab-deflate") as pool:
        for first in range(0, len(starts), _MOST_WAITING):
            some = starts[first : first + _MOST_WAITING]
            for start, content in zip(some, each(pool, deflated, some), strict=True):
                dataset.id.write_direct_chunk((start, *elsewhere), content)
    return True
