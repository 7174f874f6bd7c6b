"""Compression: HDF5's shuffle and gzip filters, applied and reversed on several threads.

Shuffle groups the first bytes of all values, then the second bytes, and so on. In single-cell matrices these planes
differ: the upper planes of indices and the lower ones of counts are all zeros, the lowest plane of indices is noise. So
each plane is compressed the way that pays: zeros come from a cache, noise is stored uncompressed, and ISA-L compresses
the rest. Together they are one zlib stream, which any HDF5 reader can decompress (RFC 1950, RFC 1951).

A chunk that does not match its dataset crashes HDF5's filters, and the process with them. Here it is an error.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Literal

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from biocolab_accessor.concurrency import THREADS, result
from biocolab_accessor.io.memory import empty_pages

GZIP = {"compression": "gzip", "compression_opts": 1}
"""Arguments of `create_dataset` for gzip; with shuffle if values have several bytes."""

_ADLER = 65_521
_LONGEST_STORED = 65_535
_TRIAL = 4096

# A plane is stored uncompressed if a sample shrinks by less than this: compressing noise would take most of the time.
_PAYS = 0.97
_HEADER, _LAST_BLOCK = b"\x78\x01", b"\x03\x00"


def deflate_shuffled(chunk: NDArray[Any]) -> bytes:
    """A zlib stream of the shuffled bytes of a contiguous 1-D chunk; values of 1, 2, 4 or 8 bytes."""
    length = len(chunk)
    words: NDArray[Any] = chunk.view(f"<u{chunk.dtype.itemsize}")
    pieces: list[bytes | memoryview] = [_HEADER]
    check = 1
    for number, used in enumerate(_used_bits(words) if length else ()):
        if not used:
            check = _check_of_zeros(check, length)
            pieces += _zeros(length)
            continue
        # Not by strides: NumPy casts with vector instructions, but does not copy every fourth byte with them.
        plane = (words >> words.dtype.type(8 * number) if number else words).astype(np.uint8)
        check = isal_zlib.adler32(plane, check)
        pieces += _deflated(plane) if _pays(plane) else _stored(plane)
    pieces += [_LAST_BLOCK, check.to_bytes(4, "big")]
    return b"".join(pieces)


def _used_bits(words: NDArray[Any]) -> bytes:
    """For each byte of a value, which of its bits are set in any value."""
    used: np.unsignedinteger[Any] = np.bitwise_or.reduce(words)
    return int(used).to_bytes(words.dtype.itemsize, "little")


def _pays(plane: NDArray[np.uint8]) -> bool:
    start = max(0, (len(plane) - _TRIAL) // 2)
    trial = plane[start : start + _TRIAL]
    return len(isal_zlib.compress(trial, 1)) < _PAYS * len(trial)


def _deflated(plane: NDArray[np.uint8]) -> list[bytes | memoryview]:
    """Blocks that end at a byte boundary and do not reference earlier data."""
    stream = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    return [stream.compress(plane), stream.flush(isal_zlib.Z_FULL_FLUSH)]


def _stored(plane: NDArray[np.uint8]) -> list[bytes | memoryview]:
    pieces: list[bytes | memoryview] = []
    for start in range(0, len(plane), _LONGEST_STORED):
        piece = plane[start : start + _LONGEST_STORED]
        length = len(piece)
        pieces += [b"\x00" + length.to_bytes(2, "little") + (length ^ 0xFFFF).to_bytes(2, "little"), piece.data]
    return pieces


@lru_cache(maxsize=16)
def _zeros(length: int) -> tuple[bytes | memoryview, ...]:
    return tuple(_deflated(np.zeros(length, np.uint8)))


def _check_of_zeros(check: int, length: int) -> int:
    """Adler-32 after a number of zeros, without reading them."""
    low, high = check & 0xFFFF, check >> 16
    return ((high + length * low) % _ADLER) << 16 | low


_DEFLATE, _SHUFFLE, _FLETCHER = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
PIPELINES = [[], [_DEFLATE], [_SHUFFLE], [_SHUFFLE, _DEFLATE]]

PIPELINES += [[*pipeline, _FLETCHER] for pipeline in PIPELINES]
"""Filters that can be reversed here."""


def can_inflate(dataset: h5py.Dataset) -> bool:
    """Whether a dataset is 1-D and chunked, with no filters other than shuffle, gzip and a checksum."""
    return dataset.ndim == 1 and dataset.chunks is not None and filters_of(dataset) in PIPELINES


def read_deflated(dataset: h5py.Dataset, start: int = 0, stop: int | None = None) -> NDArray[Any]:
    """Values `start` to `stop` of a dataset for which :func:`can_inflate` is true; ValueError if damaged."""
    stop = len(dataset) if stop is None else stop
    dtype = dataset.dtype
    n_bytes = (stop - start) * dtype.itemsize
    # A whole dataset may be transposed, which releases its memory step by step.
    room = empty_pages(n_bytes) if stop - start == len(dataset) else np.empty(n_bytes, np.uint8)
    values: NDArray[Any] = room.view(dtype)
    length = dataset.chunks[0]
    filters = filters_of(dataset)

    def inflate(first: int, mask: int, raw: bytes) -> None:
        octets, shuffled = plain_chunk(raw, mask, length * dtype.itemsize, filters)
        low, high = max(first, start), min(first + length, stop)
        wanted, own = slice(low - first, high - first), values[low - start : high - start]
        if not shuffled:
            own[:] = octets.view(dtype)[wanted]
            return
        # First bytes of all values, second bytes of all values, …
        places = own.view(np.uint8).reshape(-1, dtype.itemsize)
        for number, plane in enumerate(octets.reshape(dtype.itemsize, length)):
            places[:, number] = plane[wanted]

    with ThreadPoolExecutor(THREADS, "biocolab-inflate") as pool:
        waiting = []
        for first in range(start // length * length, stop, length):
            try:
                mask, raw = dataset.id.read_direct_chunk((first,))
            except (OSError, RuntimeError, MemoryError) as error:  # MemoryError if the chunk does not exist
                msg = f"dataset {dataset.name!r}: the chunk at {first:,} is missing"
                raise ValueError(msg) from error
            waiting.append(pool.submit(inflate, first, mask, raw))
            if len(waiting) > 4 * THREADS:
                result(waiting.pop(0))
        for future in waiting:
            result(future)
    return values


def plain_chunk(raw: bytes, mask: int, size: int, filters: list[int]) -> tuple[NDArray[np.uint8], bool]:
    """The bytes of a chunk, and whether they are shuffled; ValueError if it is damaged or not `size` bytes long."""
    shuffled = False
    for place, number in reversed(list(enumerate(filters))):
        # Each bit of the mask, in the order of the filters, is set if the filter was skipped for this chunk.
        if mask >> place & 1:
            continue
        if number == _FLETCHER:
            raw = _without_checksum(raw)
        elif number == _DEFLATE:
            raw = _inflated(raw, size)
        else:
            shuffled = True
    if len(raw) != size:
        msg = f"a chunk has {len(raw):,} bytes instead of {size:,}"
        raise ValueError(msg)
    return np.frombuffer(raw, np.uint8), shuffled


def _inflated(raw: bytes, size: int) -> bytes:
    stream = isal_zlib.decompressobj()
    try:
        plain: bytes = stream.decompress(raw, size)
        # Only the checksum follows the last byte, and it is verified at the end of the stream.
        longer = not stream.eof and stream.decompress(stream.unconsumed_tail, 1)
    except isal_zlib.error as error:  # type: ignore[misc] # a variable, for its stubs
        msg = f"a chunk cannot be inflated: {error}"
        raise ValueError(msg) from error
    if longer or not stream.eof:
        msg = f"a chunk is longer than its {size:,} bytes" if longer else "a chunk ends too early"
        raise ValueError(msg)
    return plain


def _without_checksum(raw: bytes) -> bytes:
    """The bytes before their Fletcher-32 checksum, which sums big-endian words of two bytes."""
    content, said = raw[:-4], raw[-4:]
    words = np.frombuffer(content + bytes(len(content) % 2), ">u2").astype(np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64) % 65535
    sums = int(words.sum()) % 65535, int((words * weights % 65535).sum()) % 65535
    low, high = (int.from_bytes(half, "little") for half in (said[:2], said[2:]))
    swapped = (int.from_bytes(half, "big") % 65535 for half in (said[:2], said[2:]))
    # Old versions of HDF5 wrote the bytes of each half in the opposite order.
    if len(said) < 4 or sums not in ((low % 65535, high % 65535), tuple(swapped)):
        msg = "the checksum of a chunk is wrong"
        raise ValueError(msg)
    return content


def filters_of(dataset: h5py.Dataset) -> list[int]:
    """Numbers of the HDF5 filters of a dataset, in the order of application."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


Compression = Literal["gzip"] | None
