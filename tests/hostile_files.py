"""Hostile files: HDF5 that is made to read other files, to hang its reader, or to fill its memory.

Each kind is a function of :data:`KINDS` that changes a good h5ad file in place, or puts something else at its path.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

__all__ = ["KINDS", "SAID", "SECRET", "SPECIAL", "Place", "build", "good_h5ad"]

SECRET = "top secret 5a1e"
"""What lies in the files that hostile ones lead to."""

_GIB = 1 << 30


class Place(NamedTuple):
    """Where a kind is built.

    Attributes
    ----------
    path
        The h5ad, which is good before.
    text, hdf5, fifo
        Files that it has no business with: of text, of HDF5 with ``X``, ``obs`` and ``x``, and one that never answers.
    """

    path: Path
    text: Path
    hdf5: Path
    fifo: Path


Kind = Callable[[Place], None]


def good_h5ad(path: Path) -> ad.AnnData:
    """A small file of counts with all that h5ad has, as the object that it is of."""
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, (20, 12)).astype(np.float32))
    adata = ad.AnnData(counts, layers={"more": counts.copy()}, obsm={"X_own": np.ones((20, 2), np.float32)})
    adata.obs_names = [f"CELL{i}-1" for i in range(20)]
    adata.var_names = [f"GENE{i}" for i in range(12)]
    adata.obs["label"] = pd.Categorical(["a", "b"] * 10)
    adata.uns["own"] = {"x": np.arange(3.0)}
    adata.raw = adata.copy()
    adata.write_h5ad(path)
    return adata


def surroundings(folder: Path) -> Place:
    """The files around; the h5ad is made by :func:`build`."""
    place = Place(*(folder / name for name in ("x.h5ad", "secret.txt", "secret.h5", "fifo")))
    place.text.write_text(f"{SECRET}\n" * 200)
    with h5py.File(place.hdf5, "w") as file:
        file["x"] = np.array([SECRET] * 20, "S20")
        file["X"] = np.full((20, 12), 1234567, np.float32)
        table = file.create_group("obs")
        table.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"})
        table.attrs["column-order"] = np.array([], h5py.string_dtype())
        table["_index"] = [f"{SECRET} {i}" for i in range(20)]
    os.mkfifo(place.fifo)
    return place


def build(kind: str, folder: Path, good: bytes) -> Path:
    """A hostile file in an empty folder, of a good one's bytes."""
    place = surroundings(folder)
    place.path.write_bytes(good)
    KINDS[kind](place)
    return place.path


def _edit(change: Callable[[h5py.File, Place], object], **how: str) -> Kind:
    def kind(place: Place) -> None:
        with h5py.File(place.path, "r+", **how) as file:
            change(file, place)

    return kind


def _replaced(name: str, **made: object) -> Callable[[h5py.File], h5py.Dataset]:
    def put(file: h5py.File) -> h5py.Dataset:
        attributes = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        found = file.create_dataset(name, **made)
        found.attrs.update(attributes)
        return found

    return put


def _external(name: str, dtype: str, length: int, where: str) -> Kind:
    def change(file: h5py.File, place: Place) -> None:
        source = str(getattr(place, where)) if where in Place._fields else where
        _replaced(name, shape=(length,), dtype=dtype, external=[(source, 0, h5py.h5f.UNLIMITED)])(file)

    return _edit(change)


def _link(name: str, link: Callable[[Place], object]) -> Kind:
    def change(file: h5py.File, place: Place) -> None:
        if name in file:
            del file[name]
        file[name] = link(place)

    return _edit(change)


def _virtual(name: str, where: str, key: str, shape: tuple[int, ...], maxshape: tuple[int | None, ...]) -> Kind:
    def change(file: h5py.File, place: Place) -> None:
        source = str(getattr(place, where)) if where in Place._fields else where
        layout = h5py.VirtualLayout(shape, "f4", maxshape=maxshape)
        other = h5py.VirtualSource(source, key, shape, maxshape=maxshape)
        if maxshape == shape:
            layout[...] = other
        else:
            every = (h5py.h5s.UNLIMITED, *shape[1:])
            layout[tuple(slice(0, n) for n in every)] = other[tuple(slice(0, n) for n in every)]
        attributes = {"encoding-type": "array", "encoding-version": "0.2.0"}
        del file[name]
        file.create_virtual_dataset(name, layout, fillvalue=0)
        file[name].attrs.update(attributes)

    return _edit(change)


def _announced(name: str, **made: object) -> Kind:
    return _edit(lambda file, place: _replaced(name, **made)(file))


def _overflow(file: h5py.File, place: Place) -> None:
    """2**64 values, which is 0 for who multiplies as HDF5 does."""
    space = h5py.h5s.create_simple((1 << 32, 1 << 32))
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((1, 1))
    h5py.h5d.create(file["uns/own"].id, b"wide", h5py.h5t.NATIVE_INT8, space, made)


def _one_chunk(file: h5py.File, place: Place) -> None:
    """12 GiB of which one chunk is there, well packed."""
    found = _replaced("X/data", shape=(3 * _GIB,), dtype="f4", chunks=(1 << 20,), compression="gzip")(file)
    found[:5] = 1


def _large_chunk(file: h5py.File, place: Place) -> None:
    """Three values in a chunk of 3 GiB."""
    _replaced("uns/own/x", shape=(3,), maxshape=(None,), dtype="f4", chunks=(3 * _GIB // 4,), compression="gzip")(file)


def _deep(file: h5py.File, place: Place) -> None:
    group = file["uns"]
    for _ in range(3000):
        group = group.create_group("g")


def _doubling(file: h5py.File, place: Place) -> None:
    """Thirty groups, each linked to twice by the one above: a thousand million on the way down."""
    group = file["uns"]
    for _ in range(30):
        below = group.create_group("a")
        group["b"] = below
        group = below
    group["x"] = np.arange(3)


def _many(file: h5py.File, place: Place) -> None:
    group, one = file["uns"], file["uns/own/x"]
    for number in range(100_100):
        h5py.h5o.link(one.id, group.id, b"%d" % number)


def _large_attribute(file: h5py.File, place: Place) -> None:
    file["uns"].create_group("new").attrs["large"] = np.zeros(20 << 20, np.uint8)


def _many_attributes(file: h5py.File, place: Place) -> None:
    group = file["uns"].create_group("new")
    for number in range(4_200):
        group.attrs[f"a{number}"] = 1


def _unknown_filter(file: h5py.File, place: Place) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((3,))
    made.set_filter(444, h5py.h5z.FLAG_OPTIONAL, ())
    kind, space = h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((3,))
    h5py.h5d.create(file["uns/own"].id, b"packed", kind, space, made).write_direct_chunk((0,), b"x" * 12)


def _references(file: h5py.File, place: Place) -> None:
    file["uns/own"].create_dataset("refs", data=[file["X"].ref], dtype=h5py.ref_dtype)


def _unlisted(place: Place) -> None:
    """Categories by a reference, as old files have them, to a dataset that no link leads to."""
    with h5py.File(place.path, "r+") as file:
        del file["obs/label"]
        hidden = file.create_dataset(
            "uns/hidden", shape=(2,), dtype="S16", external=[(str(place.text), 0, h5py.h5f.UNLIMITED)]
        )
        codes = file.create_dataset("obs/label", data=np.array([0, 1] * 10, np.int8))
        codes.attrs["categories"] = hidden.ref
        file["obs"].attrs["encoding-version"] = "0.1.0"
        address, other = (struct.pack("<Q", h5py.h5o.get_info(file[n].id).addr) for n in ("uns/hidden", "uns/own/x"))
    content = place.path.read_bytes()
    # In the entry of a group, zeros follow: it then stands for another object.
    assert content.count(address + bytes(24)) == 1
    place.path.write_bytes(content.replace(address + bytes(24), other + bytes(24)))


def _nested(file: h5py.File, place: Place) -> None:
    inner = h5py.h5t.vlen_create(h5py.h5t.NATIVE_INT32)
    outer = h5py.h5t.vlen_create(inner)
    h5py.h5d.create(file["uns/own"].id, b"nested", outer, h5py.h5s.create_simple((3,)))


def _one_text(compression: str | None) -> Kind:
    """Half a million texts that are all the same megabyte of the heap."""
    number = 500_000

    def kind(place: Place) -> None:
        with h5py.File(place.path, "r+") as file:
            long = file.create_dataset("uns/long", data=["x" * (1 << 20)], dtype=h5py.string_dtype())
            offset = long.id.get_offset()
            file.flush()
            pointer = place.path.read_bytes()[offset : offset + 16]
            whole = {"shape": (number,), "dtype": h5py.string_dtype()}
            if compression:
                made = _replaced("uns/own/x", chunks=(number,), compression=compression, **whole)(file)
                made.id.write_direct_chunk((0,), zlib.compress(pointer * number))
                return
            made = _replaced("uns/own/x", **whole)(file)
            made[-1] = "a"  # which gives it its place
            at = made.id.get_offset()
        with place.path.open("r+b") as raw:
            raw.seek(at)
            raw.write(pointer * number)

    return kind


def _texts_of_attribute(place: Place) -> None:
    """The columns of a table, 3,000 times the same megabyte."""
    number = 3_000
    with h5py.File(place.path, "r+") as file:
        long = file.create_dataset("uns/long", data=["x" * (1 << 20)], dtype=h5py.string_dtype())
        offset = long.id.get_offset()
        del file["obs"].attrs["column-order"]
        file["obs"].attrs["column-order"] = np.array(["mark 7e1"] * number, h5py.string_dtype())
    content = place.path.read_bytes()
    pointer = content[offset : offset + 16]
    # A run of pointers to texts of eight letters.
    where = re.search(rb"(?:\x08\0\0\0.{12}){2900,}", content, re.DOTALL)
    assert where is not None
    place.path.write_bytes(content[: where.start()] + pointer * number + content[where.start() + 16 * number :])


def _shared_bytes(place: Place) -> None:
    """Sixty datasets of a megabyte that all lie in the same place."""
    n_few, n_bytes = 1237, 1 << 20
    with h5py.File(place.path, "r+") as file:
        group = file.create_group("uns/same")
        long = group.create_dataset("long", data=np.ones(n_bytes // 4, np.float32)).id.get_offset()
        few = [group.create_dataset(str(i), data=np.ones(n_few, np.float32)).id.get_offset() for i in range(60)]
    content = place.path.read_bytes().replace(struct.pack("<Q", n_few), struct.pack("<Q", n_bytes // 4))
    for offset in few:
        content = content.replace(struct.pack("<QQ", offset, 4 * n_few), struct.pack("<QQ", long, n_bytes))
    place.path.write_bytes(content)


def _cut(place: Place) -> None:
    content = place.path.read_bytes()
    place.path.write_bytes(content[: len(content) // 2])


def _instead(make: Callable[[Place], object]) -> Kind:
    def kind(place: Place) -> None:
        place.path.unlink()
        make(place)

    return kind


def _socket(place: Place) -> None:
    here = os.getcwd()
    os.chdir(place.path.parent)  # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(place.path.name)
    finally:
        os.chdir(here)


KINDS: dict[str, Kind] = {
    "external storage of the matrix": _external("X/data", "f4", 100, "text"),
    "external storage of the names of cells": _external("obs/_index", "S16", 20, "text"),
    "external storage beside the cells": _external("uns/own/x", "S16", 3, "text"),
    "external storage in the environment": _external("uns/own/x", "S64", 3, "/proc/self/environ"),
    "external storage in a FIFO": _external("X/data", "f4", 100, "fifo"),
    "external link to a matrix": _link("X", lambda p: h5py.ExternalLink(str(p.hdf5), "/X")),
    "external link to a table": _link("obs", lambda p: h5py.ExternalLink(str(p.hdf5), "/obs")),
    "external link beside the cells": _link("uns/own/y", lambda p: h5py.ExternalLink(str(p.hdf5), "/x")),
    "external link to a FIFO": _link("layers/more", lambda p: h5py.ExternalLink(str(p.fifo), "/x")),
    "soft link by an external one": _edit(
        lambda f, p: [
            f["uns"].__setitem__("out", h5py.ExternalLink(str(p.hdf5), "/")),
            f["uns/own"].__setitem__("y", h5py.SoftLink("/uns/out/x")),
        ]
    ),
    "virtual matrix": _virtual("X", "hdf5", "X", (20, 12), (20, 12)),
    "virtual matrix of its own file": _virtual("X", ".", "obsm/X_own", (20, 2), (20, 2)),
    "virtual matrix that grows": _virtual("X", "hdf5", "X", (20, 12), (None, 12)),
    "virtual matrix of nothing": _virtual("X", "/nowhere/x.h5", "X", (20, 12), (20, 12)),
    "virtual matrix of a FIFO": _virtual("X", "fifo", "X", (20, 12), (None, 12)),
    "soft link to nothing": _link("uns/own/y", lambda p: h5py.SoftLink("/nothing/here")),
    "soft links in a circle": _edit(
        lambda f, p: [
            f["uns"].__setitem__("a", h5py.SoftLink("/uns/b")),
            f["uns"].__setitem__("b", h5py.SoftLink("/uns/a")),
        ]
    ),
    "soft link to a group above": _link("uns/own/up", lambda p: h5py.SoftLink("/uns")),
    "group that contains itself": _edit(lambda f, p: f["uns/own"].__setitem__("up", f["uns"])),
    "root that contains itself": _edit(lambda f, p: f["layers"].__setitem__("root", f["/"])),
    "groups that double": _edit(_doubling),
    "groups of three thousand levels": _edit(_deep),
    "a hundred thousand links": _edit(_many),
    "12 GiB of nothing": _announced("uns/own/x", shape=(3 * _GIB,), dtype="f4"),
    "12 GiB of names": _announced("obs/_index", shape=(12 * _GIB // 16,), dtype="S16"),
    "12 GiB with one chunk": _edit(_one_chunk),
    "12 GiB of chunks that are missing": _announced(
        "layers/more/data", shape=(3 * _GIB,), dtype="f4", chunks=(1 << 20,), compression="gzip"
    ),
    "2 to the 64 values": _edit(_overflow),
    "a chunk of 3 GiB": _edit(_large_chunk),
    "a value of 2 GiB": _announced("uns/own/x", shape=(3,), dtype="S2000000000", chunks=(1,), compression="gzip"),
    "an attribute of 20 MiB": _edit(_large_attribute, libver="latest"),
    "four thousand attributes": _edit(_many_attributes, libver="latest"),
    "a filter that nobody has": _edit(_unknown_filter),
    "references": _edit(_references),
    "reference to what is not listed": _unlisted,
    "sequences of sequences": _edit(_nested),
    "texts that are all the same": _one_text(None),
    "texts that are all the same, packed": _one_text("gzip"),
    "columns that are all the same": _texts_of_attribute,
    "datasets in the same place": _shared_bytes,
    "half a file": _cut,
    "a FIFO": _instead(lambda p: os.mkfifo(p.path)),
    "a link to a FIFO": _instead(lambda p: p.path.symlink_to(p.fifo)),
    "a socket": _instead(_socket),
    "a device": _instead(lambda p: p.path.symlink_to("/dev/zero")),
    "a folder": _instead(lambda p: p.path.mkdir()),
}

SPECIAL = ("a FIFO", "a link to a FIFO", "a socket", "a device", "a folder")
"""Kinds that are not regular files."""

SAID = {
    "external storage": "in another file (external storage)",
    "external link": "is a link to another file",
    "soft link by an external one": "'/uns/out' is a link to another file",
    "virtual matrix": "dataset '/X' is virtual",
    "soft link to nothing": "link '/uns/own/y' leads nowhere",
    "soft links in a circle": "link '/uns/a' leads nowhere, or into a cycle",
    "soft link to a group above": "group '/uns' contains itself",
    "group that contains": "group '/uns' contains itself",
    "root that contains": "group '/' contains itself",
    "groups that double": "has more than 100,000 objects below it",
    "groups of three": "has more than 50 levels",
    "a hundred thousand links": "more than 100,000 objects",
    "12 GiB": "declares 12,884,901,888 bytes but stores",
    "2 to the 64": "dataset '/uns/own/wide' declares 18,446,744,073,709,551,616 bytes",
    "a chunk": "'/uns/own/x' of 3 values is in chunks of 805,306,368",
    "a value": "declares 6,000,000,000 bytes but stores 0",
    "an attribute": "attribute 'large' of '/uns/new' has 20,971,520 bytes",
    "four thousand": "'/uns/new' has 4,200 attributes",
    "a filter": "HDF5 filter 444), for example in uns/own/packed, which is not installed: install the plugin for",
    "references": "dataset '/uns/own/refs' holds references",
    "reference to": "attribute '/obs/label@categories' refers to an object that no link leads to",
    "sequences": "dataset '/uns/own/nested' holds references or nested sequences",
    "texts": "the strings of dataset '/uns/own/x' declare",
    "columns that": "the strings of attribute '/obs@column-order' declare",
    "datasets in": "dataset '/uns/same/1' claims 1,048,576 bytes",
    "half": "is a broken HDF5 file, maybe cut short",
}
"""What a refusal says, by how the name of the kind begins."""
