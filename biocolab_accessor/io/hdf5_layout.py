"""HDF5 layout: attributes, strings and sequences read from the bytes of the file, without HDF5 following pointers."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
from h5py import h5d, h5f, h5fd, h5p, h5s, h5t, h5z
from numpy.typing import NDArray

from biocolab_accessor.io.compression import PIPELINES, plain_chunk

Read = Callable[[int, int], bytes]

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_MOST_BLOCKS, _LARGEST_BLOCK = 10_000, 1 << 26


def attribute_bytes(read: Read, address: int, base: int, name: bytes) -> bytes | None:
    """The values of an attribute; None if they are not in the header of its object."""
    # HDF5 begins at byte `base` of the file; `address` counts from there.
    for kind, shared, body in _messages(read, address, base):
        if kind != _ATTRIBUTE or shared:
            continue
        version, _, *sizes = struct.unpack_from("<BBHHH", body)
        # Version 2 drops the padding, version 3 adds the encoding of the name.
        lengths = [-(-size // 8) * 8 for size in sizes] if version == 1 else sizes
        start = 9 if version == 3 else 8
        if body[start : start + sizes[0]].rstrip(b"\0") == name:
            return body[start + sum(lengths) :]
    return None


def _messages(read: Read, address: int, base: int) -> Iterator[tuple[int, bool, bytes]]:
    """Type of each header message, whether it is stored elsewhere, and its bytes."""
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
                # Blocks of the newer format start with four letters and end with a checksum.
                blocks.append((base + offset + edges, length - 2 * edges))
            yield kind, bool(marks & 0x02), body


_DEEPEST, _MOST_PLACES = 16, 4_096
_PIECE = 1 << 16

# More strings than writers put into a header.
_FEW = 64


class HeapPointers(NamedTuple):
    """Where the values of a type point to the heap."""

    size: int  # bytes of one value in the file
    texts: tuple[tuple[int, int], ...] = ()  # offset of each pointer, and bytes of one unit of its target
    refers: bool = False  # whether it has references or nested pointers, which cannot be checked here


def heap_pointers(kind: h5t.TypeID, address_bytes: int, depth: int = 0) -> HeapPointers:
    """The pointers of a dataset's type; raises ValueError if it is nested too deeply or has too many parts."""
    if depth > _DEEPEST:
        msg = "a datatype is nested too deeply"
        raise ValueError(msg)
    pointer = 8 + address_bytes  # length, address of the heap, index in the heap; in memory its size differs
    group = kind.get_class()
    if group == h5t.REFERENCE:
        return HeapPointers(kind.get_size(), refers=True)
    if group == h5t.STRING and kind.is_variable_str():
        return HeapPointers(pointer, ((0, 1),))
    if group == h5t.VLEN:
        inner = heap_pointers(kind.get_super(), address_bytes, depth + 1)
        return HeapPointers(pointer, ((0, inner.size),), inner.refers or bool(inner.texts))
    if group == h5t.ARRAY:
        inner = heap_pointers(kind.get_super(), address_bytes, depth + 1)
        number = prod(kind.get_array_dims())
        if inner.texts:
            _expect_few(number * len(inner.texts))
        texts = tuple(
            (i * inner.size + at, unit) for i in range(number if inner.texts else 0) for at, unit in inner.texts
        )
        return HeapPointers(number * inner.size, texts, inner.refers)
    if group == h5t.COMPOUND:
        _expect_few(kind.get_nmembers())
        grown, found, refers = 0, [], False
        for member in range(kind.get_nmembers()):
            own = kind.get_member_type(member)
            inner = heap_pointers(own, address_bytes, depth + 1)
            start = kind.get_member_offset(member) + grown
            found += [(start + at, unit) for at, unit in inner.texts]
            refers = refers or inner.refers
            grown += inner.size - own.get_size()
            _expect_few(len(found))
        return HeapPointers(kind.get_size() + grown, tuple(found), refers)
    return HeapPointers(kind.get_size())


def _expect_few(number: int) -> None:
    if number > _MOST_PLACES:
        msg = f"a datatype has {number:,} parts"
        raise ValueError(msg)


def declared_in_heap(
    file: h5f.FileID, dataset: h5d.DatasetID, pointers: HeapPointers, length: int, most: int, memory: Memory
) -> int:
    """Bytes that the pointers of a dataset declare, counted until they exceed ``most``."""
    # Each string has its own, uncompressed place in the heap: together they cannot be larger than the file.
    total = 0
    for values in _pointers(file, dataset, pointers.size, length, memory):
        total += lengths_in(values, pointers)
        if total > most:
            break
    return total


def lengths_in(values: NDArray[np.uint8], pointers: HeapPointers) -> int:
    """Bytes that the pointers in some values declare."""
    total = 0
    for at, unit in pointers.texts:
        lengths = np.ascontiguousarray(values[:, at : at + 4]).view("<u4")
        total += unit * int(lengths.sum(dtype=np.uint64))
    return total


def _pointers(
    file: h5f.FileID, dataset: h5d.DatasetID, size: int, length: int, memory: Memory
) -> Iterator[NDArray[np.uint8]]:
    """Values as stored in the file, some at a time."""
    layout = dataset.get_create_plist().get_layout()
    if layout == h5d.CHUNKED:
        yield from _chunks(dataset, size, memory)
    elif layout == h5d.CONTIGUOUS:
        yield from _stretch(file, dataset, size, length)
    elif length > _FEW:
        msg = f"the header of a dataset has {length:,} strings"
        raise ValueError(msg)


def _stretch(file: h5f.FileID, dataset: h5d.DatasetID, size: int, length: int) -> Iterator[NDArray[np.uint8]]:
    offset = dataset.get_offset()
    if offset is None:
        return
    with reading(file) as read:
        if read is None:
            return
        for start in range(0, length, _PIECE):
            n_bytes = min(_PIECE, length - start) * size
            yield np.frombuffer(read(n_bytes, offset + start * size), np.uint8).reshape(-1, size)


@contextmanager
def reading(file: h5f.FileID) -> Iterator[Callable[[int, int], bytes] | None]:
    """A function that reads bytes of the file; None if the file is open for writing or in memory."""
    # Of a file that is open for writing, the disk may have only a part.
    name = h5f.get_name(file)
    if file.get_intent() != h5f.ACC_RDONLY or not os.path.isfile(name):
        yield None
        return
    if hasattr(os, "pread") and file.get_access_plist().get_driver() == h5fd.SEC2:
        descriptor = file.get_vfd_handle()
        yield lambda n_bytes, offset: os.pread(descriptor, n_bytes, offset)
        return
    with open(name, "rb") as again:

        def read(n_bytes: int, offset: int) -> bytes:
            again.seek(offset)
            return again.read(n_bytes)

        yield read


class Memory:
    """A file in memory, created on demand, in which HDF5 unpacks chunks as opaque values."""

    @cached_property
    def file(self) -> h5f.FileID:
        """The file; its name must be unique among open files."""
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_fapl_core(1 << 16, False)
        return h5f.create(f"biocolab-{os.getpid()}-{id(self)}".encode(), h5f.ACC_TRUNC, fapl=access)


def _chunks(dataset: h5d.DatasetID, size: int, memory: Memory) -> Iterator[NDArray[np.uint8]]:
    made = dataset.get_create_plist()
    chunk = made.get_chunk()
    filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    if not all(map(h5z.filter_avail, filters)):
        return  # they cannot be read
    unpack = _unpacked_here(filters, prod(chunk), size) if filters in PIPELINES else _by_hdf5(made, size, memory)
    shape = dataset.get_space().get_simple_extent_dims()
    for start in product(*(range(0, n, step) for n, step in zip(shape, chunk, strict=True))):
        try:
            mask, raw = dataset.read_direct_chunk(start)
        except (OSError, RuntimeError, MemoryError):  # MemoryError if the chunk does not exist
            continue
        yield unpack(raw, mask)


Unpack = Callable[[bytes, int], NDArray[np.uint8]]


def _unpacked_here(filters: list[int], length: int, size: int) -> Unpack:
    """Not by HDF5, which reads beyond a chunk that is too short."""

    def unpack(raw: bytes, mask: int) -> NDArray[np.uint8]:
        octets, shuffled = plain_chunk(raw, mask, length * size, filters)
        return octets.reshape(size, length).T if shuffled else octets.reshape(length, size)

    return unpack


def _by_hdf5(made: h5p.PropDCID, size: int, memory: Memory) -> Unpack:
    chunk = made.get_chunk()
    plain = h5p.create(h5p.DATASET_CREATE)
    plain.set_chunk(chunk)
    for number in range(made.get_nfilters()):
        plain.set_filter(*made.get_filter(number)[:3])
    kind, space = h5t.create(h5t.OPAQUE, size), h5s.create_simple(chunk)
    copy = h5d.create(memory.file, None, kind, space, plain)
    whole = np.empty(chunk, np.dtype((np.void, size)))

    def unpack(raw: bytes, mask: int) -> NDArray[np.uint8]:
        copy.write_direct_chunk((0,) * len(chunk), raw, mask)
        copy.read(h5s.ALL, h5s.ALL, whole, kind)
        return whole.reshape(-1).view(np.uint8).reshape(-1, size)

    return unpack
