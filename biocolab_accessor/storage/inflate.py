"""Inflate: reading a compressed HDF5 dataset on several threads, past HDF5's own one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

__all__ = ["can_inflate", "filters_of", "read_deflated"]

_THREADS = min(4, os.cpu_count() or 1)
_DEFLATE, _SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE


def can_inflate(dataset: h5py.Dataset) -> bool:
    """Whether a dataset is 1-D, in chunks, and filtered by gzip, after shuffle or not."""
    return (
        dataset.ndim == 1 and dataset.chunks is not None and filters_of(dataset) in ([_DEFLATE], [_SHUFFLE, _DEFLATE])
    )


def read_deflated(dataset: h5py.Dataset, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Values of a dataset that :func:`can_inflate` is true of.

    Parameters
    ----------
    dataset
        In an open file.
    start, stop
        Which values; all by default.

    Raises
    ------
    ValueError
        A chunk is missing, damaged, or of another length than the dataset says.
    """
    stop = len(dataset) if stop is None else stop
    values = np.empty(stop - start, dataset.dtype)
    length = dataset.chunks[0]
    shuffled = _SHUFFLE in filters_of(dataset)

    def inflate(first: int, mask: int, raw: bytes) -> None:
        chunk = _chunk(raw, mask, dataset.dtype, length, shuffled=shuffled)
        low, high = max(first, start), min(first + length, stop)
        values[low - start : high - start] = chunk[low - first : high - first]

    with ThreadPoolExecutor(_THREADS, "biocolab-inflate") as pool:
        waiting = []
        for first in range(start // length * length, stop, length):
            try:
                mask, raw = dataset.id.read_direct_chunk((first,))
            except (OSError, RuntimeError, MemoryError) as error:  # the last is how HDF5 says that there is none
                msg = f"dataset {dataset.name!r}: the chunk at {first:,} is not there"
                raise ValueError(msg) from error
            waiting.append(pool.submit(inflate, first, mask, raw))
            if len(waiting) > 4 * _THREADS:
                waiting.pop(0).result()
        for future in waiting:
            future.result()
    return values


def _chunk(raw: bytes, mask: int, dtype: np.dtype[Any], length: int, *, shuffled: bool) -> NDArray[Any]:
    size = length * dtype.itemsize
    # The mask has a bit for each filter, in order, that was left out for this chunk.
    if mask >> shuffled & 1 == 0:
        stream = isal_zlib.decompressobj()
        try:
            raw = stream.decompress(raw, size)
        except isal_zlib.error as error:  # type: ignore[misc] # a variable, for its stubs
            msg = f"a chunk cannot be inflated: {error}"
            raise ValueError(msg) from error
        if not stream.eof and stream.decompress(stream.unconsumed_tail, 1):
            msg = f"a chunk is longer than its {size:,} bytes"
            raise ValueError(msg)
        # After the last byte only the check sum is left; a stream that never ended has not been checked.
        if not stream.eof:
            msg = "a chunk ends too early"
            raise ValueError(msg)
    if len(raw) != size:
        msg = f"a chunk has {len(raw):,} bytes in place of {size:,}"
        raise ValueError(msg)
    octets = np.frombuffer(raw, np.uint8)
    if not shuffled or mask & 1:
        return octets.view(dtype)
    values = np.empty((length, dtype.itemsize), np.uint8)
    for number, plane in enumerate(octets.reshape(dtype.itemsize, length)):
        values[:, number] = plane
    return values.reshape(-1).view(dtype)


def filters_of(dataset: h5py.Dataset) -> list[int]:
    """Numbers of the HDF5 filters of a dataset, in the order in which they were applied."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
