"""Object header: the bytes of an attribute as they are in an HDF5 file, which HDF5 itself gives only once followed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

__all__ = ["attribute_bytes"]

Read = Callable[[int, int], bytes]

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_MOST_BLOCKS, _LARGEST_BLOCK = 10_000, 1 << 26


def attribute_bytes(read: Read, address: int, base: int, name: bytes) -> bytes | None:
    """The values of an attribute; None where they do not lie in the header of its object.

    Parameters
    ----------
    read
        Gives a number of bytes from a place in the file.
    address
        Of the object, after ``base``.
    base
        Where HDF5 begins in the file.
    name
        Of the attribute.

    Raises
    ------
    ValueError
        The header has no end.
    struct.error
        It is cut off.
    """
    for kind, shared, body in _messages(read, address, base):
        if kind != _ATTRIBUTE or shared:
            continue
        version, _, *sizes = struct.unpack_from("<BBHHH", body)
        # Since version 2 nothing is padded, since version 3 the encoding of the name is said.
        lengths = [-(-size // 8) * 8 for size in sizes] if version == 1 else sizes
        start = 9 if version == 3 else 8
        if body[start : start + sizes[0]].rstrip(b"\0") == name:
            return body[start + sum(lengths) :]
    return None


def _messages(read: Read, address: int, base: int) -> Iterator[tuple[int, bool, bytes]]:
    """Kind of each message, whether it lies elsewhere, and its bytes."""
    start = read(32, base + address)
    if start[:4] == b"OHDR":
        flags = start[5]
        at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(start[at : at + width], "little")
        blocks = [(base + address + at + width, size)]
        head, edges = ("<BHBH" if flags & 0x04 else "<BHB"), 4
    else:
        blocks = [(base + address + 16, struct.unpack_from("<I", start, 8)[0])]
        head, edges = "<HHB3x", 0
    for number, (place, size) in enumerate(blocks):
        if number > _MOST_BLOCKS or size > _LARGEST_BLOCK:
            msg = "the header of an object has no end"
            raise ValueError(msg)
        block, at = read(size, place), 0
        while at + struct.calcsize(head) <= len(block):
            kind, length, marks, *_ = struct.unpack_from(head, block, at)
            at += struct.calcsize(head)
            body = block[at : at + length]
            at += length
            if kind == _CONTINUATION:
                offset, length = struct.unpack_from("<QQ", body)
                # The blocks of the newer form begin with four letters and end with a checksum.
                blocks.append((base + offset + edges, length - 2 * edges))
            yield kind, bool(marks & 0x02), body
