"""HDF5 gate: refuse HDF5 files that are unsafe to read.

An HDF5 file can refer to other files (links, external storage, virtual datasets), declare far more data than it stores,
and contain itself. The gate checks the header of every object before any values are read.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from h5py import h5a, h5d, h5fd, h5g, h5o, h5r, h5s, h5t, h5z

from biocolab_accessor.errors import BiocolabError, InvalidFile
from biocolab_accessor.io.hdf5_layout import (
    HeapPointers,
    Memory,
    attribute_bytes,
    declared_in_heap,
    heap_pointers,
    lengths_in,
    reading,
)
from biocolab_accessor.messages import quoted
from biocolab_accessor.platforms import opened_regular

READING = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    struct.error,
)
"""Exceptions that HDF5 and h5py raise for a damaged file."""

# More than any single-cell file has, and few enough to be checked within seconds.
_MOST_OBJECTS, _MOST_ATTRIBUTES, _DEEPEST = 100_000, 4_096, 50
_LARGEST_ATTRIBUTE, _FEW_TEXTS, _UNSEEN_TEXTS = 16 << 20, 8, 64

# Bytes that the whole file may declare without storing them, and the largest chunk that may exceed its dataset.
_SLACK = 16 << 20

# Maximum compression ratio of each filter. Zstandard, and filters that contain it, reach 32,768. The format of other
# filters sets no bound; anything beyond this ratio counts as not stored.
_RATIOS = {h5z.FILTER_DEFLATE: 1032, h5z.FILTER_LZF: 264, h5z.FILTER_SHUFFLE: 1, h5z.FILTER_FLETCHER32: 1}
_OTHER_RATIO = 1 << 15

# From https://github.com/HDFGroup/hdf5_plugins, with their usual names.
_FILTERS = {
    4: "szip",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32003: "snappy",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32024: "sz3",
    32026: "blosc2",
}

_IN_HDF5PLUGIN = _FILTERS.keys() - {4, 32000, 32003} | {32018, 32028}  # what it brings as of version 5

_COPY = "Copy it with all its values into one file (h5repack, or read it with the program that wrote it), and use that"


class Foreign(NamedTuple):
    """A file that passed the gate, open for reading."""

    file: h5py.File
    # For libraries that open files themselves: while the file is open, it leads to the same file even if another file
    # has taken its name.
    path: str
    n_bytes: int  # all datasets in memory
    to_install: str  # missing filters; empty if none


def is_hdf5(path: Path) -> bool:
    """Whether a file starts like HDF5; False for a FIFO or device, where reading would block."""
    try:
        with opened_regular(path) as (_, same):
            return bool(h5py.is_hdf5(same))
    except OSError:
        return False


@contextmanager
def opened_foreign(
    path: Path, *, what: str = "", error: type[BiocolabError] = InvalidFile, filters: bool = True
) -> Iterator[Foreign]:
    """Open a file from an untrusted source, after it has passed the gate; raises `error`."""
    what = what or str(path)
    with ExitStack() as held:
        try:
            descriptor, same = held.enter_context(opened_regular(path))
        except OSError as problem:
            msg = f"{what} cannot be opened: {problem.strerror or problem}"
            raise error(msg) from problem
        if not h5py.is_hdf5(same):
            msg = f"{what} cannot be read: it is not an HDF5 file"
            raise error(msg)
        try:
            file = held.enter_context(h5py.File(same, "r"))
        except READING as problem:
            msg = f"{what} is a broken HDF5 file, maybe cut short: {problem}"
            raise error(msg) from problem
        _expect_same(file, descriptor, what, error)
        size = os.fstat(descriptor).st_size
        n_bytes, to_install = expect_harmless(file, what, size=size, error=error, filters=filters)
        yield Foreign(file, same, n_bytes, to_install)


def _expect_same(file: h5py.File, descriptor: int, what: str, error: type[BiocolabError]) -> None:
    """Refuse a file that was replaced by another one of the same name while HDF5 opened it."""
    if not hasattr(os, "pread") or file.id.get_access_plist().get_driver() != h5fd.SEC2:
        return
    if not os.path.samestat(os.fstat(file.id.get_vfd_handle()), os.fstat(descriptor)):
        msg = f"{what} was replaced by another file while it was opened"
        raise error(msg)


def expect_harmless(
    file: h5py.File,
    what: str,
    *,
    size: int | None = None,
    error: type[BiocolabError] = InvalidFile,
    filters: bool = True,
) -> tuple[int, str]:
    """Refuse an open file if reading it could leave the file, never end, or need far more memory than its size."""
    try:
        gate = Gate(file, what, size, error, filters=filters)
        return gate.pass_all(), gate.to_install
    except BiocolabError:
        raise
    except READING as problem:
        msg = f"{what} is a broken HDF5 file: {problem}"
        raise error(msg) from problem


class _Node:
    """An object of a file, and its links."""

    __slots__ = ("children", "n_bytes", "name")

    def __init__(self, name: str) -> None:
        self.name, self.n_bytes = name, 0
        self.children: list[int] = []


class Gate:
    """Checks all objects of one file; see :func:`expect_harmless`."""

    def __init__(
        self,
        file: h5py.File,
        what: str,
        size: int | None,
        error: type[BiocolabError],
        *,
        filters: bool = True,
        slack: int = _SLACK,
    ) -> None:
        self._id, self._what, self._error = file.id, what, error
        self._filters, self._slack = filters, slack
        self._size = file.id.get_filesize() if size is None else size
        self._address_bytes = file.id.get_create_plist().get_sizes()[0]
        self._nodes: dict[int, _Node] = {}
        self._soft: list[tuple[_Node, h5g.GroupID, bytes]] = []
        self._referred: list[tuple[str, h5r.Reference]] = []
        self._missing: dict[str, str] = {}
        self._known = True  # hdf5plugin brings all missing filters
        self._memory = Memory()
        self._links = self._stored = self._unstored = self._in_heap = 0

    def pass_all(self) -> int:
        """Check everything; returns the bytes that reading all datasets would take."""
        root = h5o.open(self._id, b"/")
        self._walk(root)
        # No link leaves the file, so paths can be followed.
        for node, group, name in self._soft:
            self._follow(node, group, name)
        for place, reference in self._referred:
            self._dereference(place, reference)
        if self.to_install and self._filters:
            msg = f"{self._what} cannot be read: {self.to_install}"
            raise self._error(msg)
        return self._unfold(h5o.get_info(root).addr) + self._in_heap

    @property
    def to_install(self) -> str:
        """The missing filters, and what to install."""
        if not self._missing:
            return ""
        needed = ", ".join(f"{what}, for example in {name}" for what, name in self._missing.items())
        advice = (
            "pip install hdf5plugin, and import hdf5plugin before the file is opened"
            if self._known
            else "install the plugin for it, or write the file again with gzip or zstd"
        )
        return f"it is compressed with {needed}, which is not installed: {advice}"

    def dataset(self, dataset: h5d.DatasetID, name: str) -> int:
        """Check one dataset; returns the bytes of its values."""
        made = dataset.get_create_plist()
        layout = made.get_layout()
        # Before its shape is read, which may open the source files of a virtual dataset.
        if layout == h5d.VIRTUAL:
            self._refuse(f"dataset {_shown(name)} is virtual: its values are in another file", _COPY)
        if layout not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED):
            self._refuse(f"dataset {_shown(name)} has an unknown layout", _COPY)
        if layout == h5d.CONTIGUOUS and made.get_external_count():
            self._refuse(f"dataset {_shown(name)} keeps its values in another file (external storage)", _COPY)
        pointers = heap_pointers(dataset.get_type(), self._address_bytes)
        if pointers.refers:
            self._refuse(f"dataset {_shown(name)} holds references or nested sequences, which are not read", _COPY)
        space = dataset.get_space()
        empty = space.get_simple_extent_type() == h5s.NULL
        # Multiplied in Python: the product in HDF5 can overflow.
        length = 0 if empty else prod(space.get_simple_extent_dims())
        n_bytes = length * pointers.size
        codes = self._codes(made, name)
        self._expect_stored(dataset, name, n_bytes, codes)
        if layout == h5d.CHUNKED:
            chunk = prod(made.get_chunk())
            if chunk * pointers.size > max(_SLACK, n_bytes):
                self._refuse(
                    f"dataset {_shown(name)} of {length:,} values is in chunks of {chunk:,}",
                    "Rewrite it in smaller chunks",
                )
        if pointers.texts and length:
            self._in_heap += declared_in_heap(self._id, dataset, pointers, length, self._size, self._memory)
            if self._in_heap > self._size:
                self._refuse(
                    f"the strings of dataset {_shown(name)} declare {self._in_heap:,} bytes, but the file has "
                    f"{self._size:,}",
                    _COPY,
                )
        return n_bytes

    def _refuse(self, fault: str, advice: str) -> None:
        msg = f"{self._what}: {fault}. {advice}"
        raise self._error(msg)

    def _codes(self, made: h5py.h5p.PropDCID, name: str) -> list[int]:
        found = []
        for number in range(made.get_nfilters()):
            code, _, _, label = made.get_filter(number)
            found.append(code)
            if not h5z.filter_avail(code):
                known = _FILTERS.get(code) or "".join(label.decode("utf-8", "replace").split()[:1])
                self._known &= code in _IN_HDF5PLUGIN
                what = f"{quoted(known[:40])[1:-1]} (HDF5 filter {code})".strip()
                self._missing.setdefault(what, quoted(_short(name.lstrip("/")))[1:-1])
        return found

    def _expect_stored(self, dataset: h5d.DatasetID, name: str, n_bytes: int, codes: list[int]) -> None:
        """A small file may declare a huge dataset of fill values, so only stored bytes are trusted."""
        stored = int(dataset.get_storage_size())
        offset = dataset.get_offset()
        # Datasets do not share bytes.
        self._stored += stored
        if self._stored > self._size or (offset is not None and offset + stored > self._size):
            self._refuse(
                f"dataset {_shown(name)} claims {stored:,} bytes, more than the file of {self._size:,} bytes has left",
                "The file is damaged or forged: download or copy it again",
            )
        ratio = max((_RATIOS.get(code, _OTHER_RATIO) for code in codes), default=1)
        self._unstored += max(0, n_bytes - ratio * stored)
        if self._unstored > self._slack:
            self._refuse(
                f"dataset {_shown(name)} declares {n_bytes:,} bytes but stores {stored:,}",
                "Write the values, or leave the dataset out",
            )

    def _walk(self, root: h5g.GroupID) -> None:
        top = self._nodes[h5o.get_info(root).addr] = _Node("/")
        self._attributes(root, top.name)
        waiting = [(root, top)]
        while waiting:
            group, node = waiting.pop()
            for name, kind, address in self._links_of(group):
                shown = f"{node.name.rstrip('/')}/{name.decode('utf-8', 'backslashreplace')}"
                if kind == h5py.h5l.TYPE_SOFT:
                    self._soft.append((node, group, name))
                    continue
                if kind != h5py.h5l.TYPE_HARD:
                    what = "another file" if kind == h5py.h5l.TYPE_EXTERNAL else "an unknown kind of target"
                    self._refuse(f"{_shown(shown)} is a link to {what}", _COPY)
                node.children.append(address)
                if address in self._nodes:
                    continue
                own = self._nodes[address] = _Node(shown)
                opened = h5o.open(group, name)
                if isinstance(opened, h5d.DatasetID):
                    own.n_bytes = self.dataset(opened, shown)
                elif isinstance(opened, h5g.GroupID):
                    waiting.append((opened, own))
                else:
                    heap_pointers(opened, self._address_bytes)
                self._attributes(opened, shown)

    def _links_of(self, group: h5g.GroupID) -> list[tuple[bytes, int, int]]:
        found: list[tuple[bytes, int, int]] = []

        def take(name: bytes, info: h5py.h5l.LinkInfo) -> bool | None:
            found.append((name, info.type, info.u))
            return True if self._links + len(found) > _MOST_OBJECTS else None  # True ends the iteration

        group.links.iterate(take, info=True)
        self._links += len(found)
        if self._links > _MOST_OBJECTS:
            self._refuse(f"it has more than {_MOST_OBJECTS:,} objects", "Remove what you do not need")
        return found

    def _attributes(self, owner: h5py.h5.ObjectID, name: str) -> None:
        number = h5a.get_num_attrs(owner)
        if number > _MOST_ATTRIBUTES:
            self._refuse(f"{_shown(name)} has {number:,} attributes", "Remove what you do not need")
        for index in range(number):
            attribute = h5a.open(owner, index=index)
            kind, space = attribute.get_type(), attribute.get_space()
            empty = space.get_simple_extent_type() == h5s.NULL
            stored = 0 if empty else prod(space.get_simple_extent_dims()) * kind.get_size()
            if stored > min(_LARGEST_ATTRIBUTE, self._size):
                own = attribute.name.decode("utf-8", "backslashreplace")
                self._refuse(f"attribute {_shown(own)} of {_shown(name)} has {stored:,} bytes", "Make it a dataset")
            if kind.get_class() != h5t.REFERENCE:
                pointers = heap_pointers(kind, self._address_bytes)
                if pointers.texts and stored > _FEW_TEXTS * kind.get_size():
                    self._expect_short_texts(owner, name, attribute.name, pointers, stored // kind.get_size())
                continue
            # Old files refer to the categories of a column this way. Readers follow no other references.
            own = f"{name.rstrip('/')}@{attribute.name.decode('utf-8', 'backslashreplace')}"
            if not kind.equal(h5t.STD_REF_OBJ) or stored > 8 * _MOST_ATTRIBUTES:
                self._refuse(f"attribute {_shown(own)} refers to data that is not read", _COPY)
            read = np.empty(attribute.shape, attribute.dtype)
            attribute.read(read)
            self._referred += [(own, reference) for reference in read.reshape(-1) if reference]

    def _expect_short_texts(
        self, owner: h5py.h5.ObjectID, name: str, attribute: bytes, pointers: HeapPointers, length: int
    ) -> None:
        """HDF5 reads an attribute as a whole, with everything that its pointers lead to."""
        own = f"{name.rstrip('/')}@{attribute.decode('utf-8', 'backslashreplace')}"
        with reading(self._id) as read:
            if read is None:
                return
            address, base = h5o.get_info(owner).addr, self._id.get_create_plist().get_userblock()
            values = attribute_bytes(read, address, base, attribute)
        if values is None and length <= _UNSEEN_TEXTS:
            return
        if values is None:
            self._refuse(f"attribute {_shown(own)} has {length:,} strings, which are stored elsewhere", _COPY)
            return
        stored = np.frombuffer(values[: length * pointers.size], np.uint8).reshape(-1, pointers.size)
        self._in_heap += lengths_in(stored, pointers)
        if self._in_heap > self._size:
            self._refuse(
                f"the strings of attribute {_shown(own)} declare {self._in_heap:,} bytes, but the file has "
                f"{self._size:,}",
                _COPY,
            )

    def _dereference(self, name: str, reference: h5r.Reference) -> None:
        """An object that no link leads to was not checked."""
        found = h5r.dereference(reference, self._id)
        if found is None or h5o.get_info(found).addr not in self._nodes:
            self._refuse(f"attribute {_shown(name)} refers to an object that no link leads to", _COPY)

    def _follow(self, node: _Node, group: h5g.GroupID, name: bytes) -> None:
        try:
            address = h5o.get_info(h5o.open(group, name)).addr
        except READING:
            address = None
        if address not in self._nodes:
            shown = f"{node.name.rstrip('/')}/{name.decode('utf-8', 'backslashreplace')}"
            self._refuse(f"link {_shown(shown)} leads nowhere, or into a cycle", "Remove the link")
        node.children.append(address)

    def _unfold(self, root: int) -> int:
        """Bytes of everything below the root, counted once per link; refuses cycles and exponential growth."""
        whole: dict[int, tuple[int, int, int]] = {}
        begun: set[int] = set()
        waiting = [root]
        while waiting:
            address = waiting[-1]
            node = self._nodes[address]
            if address in whole:
                waiting.pop()
                continue
            if address not in begun:
                begun.add(address)
                ahead = [child for child in dict.fromkeys(node.children) if child not in whole]
                circle = next((child for child in ahead if child in begun), None)
                if circle is not None:
                    self._refuse(f"group {_shown(self._nodes[circle].name)} contains itself", "Remove the link")
                waiting += ahead
                continue
            waiting.pop()
            below = [whole[child] for child in node.children]
            objects = 1 + sum(each[0] for each in below)
            depth = 1 + max((each[1] for each in below), default=0)
            if objects > _MOST_OBJECTS:
                fault = (
                    f"group {_shown(node.name)} has more than {_MOST_OBJECTS:,} objects below it, through several links"
                )
                self._refuse(fault, "Remove the links")
            if depth > _DEEPEST:
                self._refuse(f"group {_shown(node.name)} has more than {_DEEPEST} levels", "Nest less deeply")
            whole[address] = objects, depth, node.n_bytes + sum(each[2] for each in below)
        return whole[root][2]


def _shown(name: str) -> str:
    return quoted(_short(name))


def _short(name: str) -> str:
    return name if len(name) <= 100 else f"{name[:60]}…{name[-30:]}"
