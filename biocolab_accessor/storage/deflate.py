"""Deflate: what HDF5's shuffle and gzip filters would make of a chunk, one plane of bytes at a time.

Shuffle puts the first bytes of all values together, then the second ones, and so on. Of single-cell matrices these
planes are very different: the upper ones of indices and the lower ones of counts are zero throughout, the lowest of
indices is noise. So each plane is deflated the way that pays: zeros from a stock, noise stored as it is, the rest by
ISA-L. The pieces are one zlib stream, which any reader of HDF5 inflates (RFC 1950, RFC 1951).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

__all__ = ["GZIP", "deflate_shuffled"]

GZIP = {"compression": "gzip", "compression_opts": 1}
"""What h5py is told of datasets that are deflated here, or by itself; with shuffle where values have several bytes."""

_ADLER = 65_521
_LONGEST_STORED = 65_535
_TRIAL = 4096
# What a trial piece shrinks by less than this is stored: deflating noise is most of the time that deflating takes.
_PAYS = 0.97
_HEADER, _LAST_BLOCK = b"\x78\x01", b"\x03\x00"


def deflate_shuffled(chunk: NDArray[Any]) -> bytes:
    r"""A zlib stream of the shuffled bytes of a chunk.

    Parameters
    ----------
    chunk
        (n,) values of 1, 2, 4 or 8 bytes, contiguous.

    Examples
    --------
    >>> import zlib
    >>> zlib.decompress(deflate_shuffled(np.array([1, 258], dtype="<u2")))
    b'\x01\x02\x00\x01'
    """
    length = len(chunk)
    words: NDArray[Any] = chunk.view(f"<u{chunk.dtype.itemsize}")
    pieces: list[bytes | memoryview] = [_HEADER]
    check = 1
    for number, used in enumerate(_used_bits(words) if length else ()):
        if not used:
            check = _check_of_zeros(check, length)
            pieces += _zeros(length)
            continue
        # Not by taking every fourth byte: NumPy cuts numbers short with vector instructions, and that it does not.
        plane = (words >> words.dtype.type(8 * number) if number else words).astype(np.uint8)
        check = isal_zlib.adler32(plane, check)
        pieces += _deflated(plane) if _pays(plane) else _stored(plane)
    pieces += [_LAST_BLOCK, check.to_bytes(4, "big")]
    return b"".join(pieces)


def _used_bits(words: NDArray[Any]) -> bytes:
    """For each byte of a value, which of its bits are set anywhere: by one look at whole values."""
    used: np.unsignedinteger[Any] = np.bitwise_or.reduce(words)
    return int(used).to_bytes(words.dtype.itemsize, "little")


def _pays(plane: NDArray[np.uint8]) -> bool:
    start = max(0, (len(plane) - _TRIAL) // 2)
    trial = plane[start : start + _TRIAL]
    return len(isal_zlib.compress(trial, 1)) < _PAYS * len(trial)


def _deflated(plane: NDArray[np.uint8]) -> list[bytes | memoryview]:
    """Blocks that end at a whole byte and look back at nothing before them."""
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
    """Adler-32 after so many zeros, without looking at them."""
    low, high = check & 0xFFFF, check >> 16
    return ((high + length * low) % _ADLER) << 16 | low
