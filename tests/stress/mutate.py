"""Mutations: answers of a server, made wrong in the ways that broken disks, proxies and enemies have."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from tests.security.url_table import ADDRESSES

__all__ = ["Answer", "mutate"]


@dataclass
class Answer:
    """What goes over the wire.

    Attributes
    ----------
    body, content_type
        As the server made it.
    headers
        Besides Content-Type and Content-Length; one of these names here takes its place.
    endless
        The body is repeated until the client goes away.
    kind
        What was done to it.
    is_word
        A client may believe it: it is whole and valid, or cannot be told from such a one.
    """

    body: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False
    kind: str = "none"
    is_word: bool = True


_DTYPES = {"data": "<f4", "indices": "<u4", "indptr": "<u8", "coord_arr": "<f4"}
_NUMBERS = (-1, 0, 1, 2**31, 2**32, 2**40, 2**63, 10**30, 10**400, 0.5, -0.0, float("nan"), float("inf"))
_ODD = (None, True, "", "x", "\ud800", "a\0b", [], {}, [[]], {"a": 1}, [None], "<b>", "9" * 5000, "../../x")
# Redirects that lead away, or nobody knows where to.
_DOUBTFUL = [
    address.replace("GOODPORT", "9").replace("EVILPORT", "9").replace("GOOD", "127.0.0.1:9").replace("EVIL", "[::1]:9")
    for address, own in ADDRESSES
    if not own and address.isascii() and address.isprintable()
]
_HDF5 = b"\x89HDF"


def mutate(answer: Answer, dice: random.Random) -> Answer:
    """One answer, made wrong in one way."""
    is_file = answer.body.startswith(_HDF5)
    ways: list[Callable[[Answer, random.Random], Answer]] = [_bits, _bits, _length, _transport, _other]
    ways += [_hdf5_bits, _hdf5_bits, _hdf5_made, _hdf5_made, _hdf5_made] if is_file else [_node] * 4 + [_array] * 3
    way = dice.choice(ways)
    return way(answer, dice)


def _bits(answer: Answer, dice: random.Random) -> Answer:
    body = bytearray(answer.body)
    for _ in range(dice.choice((1, 1, 2, 8))):
        place = dice.randrange(len(body))
        body[place] ^= 1 << dice.randrange(8)
    return Answer(bytes(body), answer.content_type, kind="bits")


def _length(answer: Answer, dice: random.Random) -> Answer:
    body, n = answer.body, len(answer.body)
    cut = dice.randrange(n)
    kind = dice.choice(("cut", "cut and said", "more", "more and said", "twice", "said more", "said less", "said huge"))
    bodies = {"cut": body[:cut], "cut and said": body[:cut], "more": body + b"\0" * 9, "more and said": body + b"]" * 9}
    said = {"cut": n, "more": n, "said more": n + 7, "said less": max(1, n - 7), "said huge": 10**17}
    sent = body * 2 if kind == "twice" else bodies.get(kind, body)
    return Answer(sent, answer.content_type, {"Content-Length": str(said.get(kind, len(sent)))}, False, kind, False)


def _transport(answer: Answer, dice: random.Random) -> Answer:
    kinds = ("gzip", "not gzip", "gzip bomb", "endless", "no number", "negative", "range", "many headers", "digits")
    kind = dice.choice((*kinds, "redirect", "redirect"))
    body, type_, headers, endless = answer.body, answer.content_type, {}, False
    if kind == "gzip":
        body, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
    elif kind == "not gzip":
        headers = {"Content-Encoding": "gzip"}
    elif kind == "gzip bomb":
        body, headers = gzip.compress(body[:4] + bytes(700 << 20), 1), {"Content-Encoding": "gzip"}
    elif kind == "endless":
        body, headers, endless = (body[:1] + b" " * 65536), {"Content-Length": ""}, True
    elif kind in ("no number", "negative"):
        headers = {"Content-Length": "many" if kind == "no number" else "-5"}
    elif kind == "digits":
        headers = {"Content-Length": "9" * dice.choice((19, 5_000))}
    elif kind == "redirect":
        headers = {"Location": dice.choice(_DOUBTFUL), ":status": str(dice.choice((301, 302, 303, 307, 308)))}
    elif kind == "range":
        headers = {"Content-Range": f"bytes 5-9/{len(body)}", ":status": "206"}
    else:
        headers = {f"X-{i}": "y" * 900 for i in range(dice.choice((90, 300)))}
    return Answer(body, type_, headers, endless, kind, False)


def _other(answer: Answer, dice: random.Random) -> Answer:
    bodies = {
        "empty": b"",
        "page": b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
        "object": b"{}",
        "list": b"[]",
        "null": b"null",
        "number": b"7",
        "status only": b'{"status": 200}',
        "status list": b'{"status": [200]}',
        "status long": json.dumps({"status": "9" * 6000}).encode(),
        "detail": b'{"detail": {"a": [1, 2]}}',
        "deep lists": b"[" * 200_000,
        "deep objects": b'{"a":' * 100_000,
        "many lists": b"[" + b"[]," * 12_000_000 + b"[]]",
        "many numbers": b'{"status":200,"data":[' + b"0," * 25_000_000 + b"0]}",
        "key twice": b'{"status": 200, "data": [], "status": 200}',
        "id not a number": b'{"status": 200, "data": [{"id": NaN, "uuid": Infinity, "name": "x"}]}',
        "obeyed by a terminal": b'{"status": 500, "message": "\\u001b[2J\\u009b1m\\u202e"}',
        "half a character": b'["\xed\xa0\x80"]',
        "utf-16": '["a"]'.encode("utf-16"),
        "random": dice.randbytes(500),
        "only magic": b"\x89HDF\r\n\x1a\n",
        "magic and noise": b"\x89HDF\r\n\x1a\n" + dice.randbytes(3000),
    }
    kind = dice.choice(list(bodies))
    return Answer(bodies[kind], answer.content_type, kind=kind, is_word=kind in ("list", "object"))


def _node(answer: Answer, dice: random.Random) -> Answer:
    """Some value of the JSON replaced, dropped, doubled or moved."""
    tree = json.loads(answer.body)
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        keys = list(value) if isinstance(value, dict) else range(min(len(value), 4))
        for key in keys:
            places.append((value, key))
            if isinstance(value[key], dict | list):
                waiting.append(value[key])
    if not places:
        return _other(answer, dice)
    parent, key = dice.choice(places)
    kind = dice.choice(("number", "number", "odd", "odd", "gone", "twice", "shuffled", "deep", "many", "long"))
    value = parent[key]
    if kind == "gone":
        del parent[key]
    elif kind == "twice" and isinstance(parent, list):
        parent.insert(0, value)
    elif kind == "shuffled" and isinstance(value, list):
        dice.shuffle(value)
    elif kind == "many":
        parent[key] = [value] * 3 if not isinstance(value, list) else value * 3
    elif kind == "long":
        parent[key] = "y" * 3_000_000
    elif kind == "deep":
        parent[key] = [[[[[[[[{"a": [[[[]]]]}]]]]]]]]
    elif kind == "number":
        parent[key] = dice.choice(_NUMBERS)
    else:
        parent[key] = dice.choice(_ODD)
    return Answer(json.dumps(tree).encode(), answer.content_type, kind=f"value {kind}")


def _array(answer: Answer, dice: random.Random) -> Answer:
    """An array in base64 with other numbers, or more or fewer of them."""
    tree = json.loads(answer.body)
    inner = tree.get("data", tree) if isinstance(tree, dict) else None
    inner = inner if isinstance(inner, dict) else tree
    names = [name for name in (*_DTYPES, "metadata_values") if isinstance(inner, dict) and name in inner]
    names = [name for name in names if isinstance(inner[name], str)]
    if not names:
        return _node(answer, dice)
    name = dice.choice(names)
    dtype = _DTYPES.get(name, "<u2" if "cluster_names" in inner else "<f4")
    values = np.frombuffer(base64.b64decode(inner[name]), dtype).copy()
    kind = dice.choice(("flip", "huge", "shorter", "longer", "reversed", "a byte", "newline", "padding"))
    if kind == "flip" and len(values):
        octets = values.view(np.uint8)
        octets[dice.randrange(len(octets))] ^= 1 << dice.randrange(8)
    elif kind == "huge" and len(values):
        top = np.finfo(dtype).max if values.dtype.kind == "f" else np.iinfo(dtype).max
        values[dice.randrange(len(values))] = top
    elif kind == "shorter":
        values = values[: dice.randrange(len(values) + 1)]
    elif kind == "longer":
        values = np.concatenate([values, values])
    elif kind == "reversed":
        values = values[::-1]
    raw = values.tobytes() + (b"x" if kind == "a byte" else b"")
    text = base64.b64encode(raw).decode()
    inner[name] = text[:8] + "\n" + text[8:] if kind == "newline" else text + "=" if kind == "padding" else text
    return Answer(json.dumps(tree).encode(), answer.content_type, kind=f"array {kind}")


def _hdf5_bits(answer: Answer, dice: random.Random) -> Answer:
    """Bits of the first and last kilobytes, where the structure is."""
    body = bytearray(answer.body)
    low = min(len(body), 4096)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        place = dice.randrange(low) if dice.random() < 0.8 else len(body) - 1 - dice.randrange(low)
        if dice.random() < 0.5:
            body[place] ^= 1 << dice.randrange(8)
        else:
            body[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
    return Answer(bytes(body), answer.content_type, kind="HDF5 bits")


def _hdf5_made(answer: Answer, dice: random.Random) -> Answer:
    """A file that HDF5 itself wrote, and that is a trap."""
    with h5py.File(io.BytesIO(answer.body)) as file:
        arrays = {name: file[name][()] for name in ("data", "indices", "indptr", "shape")}
    target = io.BytesIO()
    traps = _traps(arrays, dice)
    kind = dice.choice(list(traps))
    with h5py.File(target, "w", libver=dice.choice(("earliest", "latest"))) as file:
        for name, array in arrays.items():
            file[name] = array
        traps[kind](file)
    return Answer(target.getvalue(), answer.content_type, kind=f"HDF5 {kind}")


def _traps(arrays: dict[str, np.ndarray], dice: random.Random) -> dict[str, Callable[[h5py.File], None]]:
    name = dice.choice(("data", "indices", "indptr", "shape"))
    n_obs, n_vars = (int(n) for n in arrays["shape"])

    def instead(**options: Any) -> Callable[[h5py.File], None]:
        def write(file: h5py.File) -> None:
            del file[name]
            file.create_dataset(name, **options)

        return write

    def linked(link: Any) -> Callable[[h5py.File], None]:
        def write(file: h5py.File) -> None:
            del file[name]
            file[name] = link

        return write

    def put(target: str, array: Any) -> Callable[[h5py.File], None]:
        def write(file: h5py.File) -> None:
            del file[target]
            file[target] = array

        return write

    def virtual(file: h5py.File) -> None:
        del file[name]
        layout = h5py.VirtualLayout((5,), "u4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (5,))
        file.create_virtual_dataset(name, layout)

    def deep(file: h5py.File) -> None:
        group = file
        for _ in range(3000):
            group = group.create_group("g")
        group["back"] = file["/"]

    def loop(file: h5py.File) -> None:
        del file[name]
        file[name] = h5py.SoftLink("/other")
        file["other"] = h5py.SoftLink(f"/{name}")

    def hard_loop(file: h5py.File) -> None:
        del file[name]
        file[name] = file["/"]

    def types(file: h5py.File) -> None:
        del file[name]
        file[name] = np.dtype("f4")

    def unordered(file: h5py.File) -> None:
        whole = sparse.csc_matrix((arrays["data"], arrays["indices"].astype(int), arrays["indptr"].astype(int)))
        put("indices", np.ascontiguousarray(whole.indices[::-1]).astype("<u4"))(file)

    small = arrays[name]
    every: dict[str, Callable[[h5py.File], None]] = {
        "huge chunks": instead(shape=(10**13,), dtype="f4", chunks=(1000,)),
        "huge contiguous": instead(shape=(10**12,), dtype="f4"),
        "bomb": instead(data=np.zeros(60_000_000, "f8"), compression="gzip", chunks=(10_000_000,)),
        "external link": linked(h5py.ExternalLink("/etc/passwd", "/x")),
        "link to itself": linked(h5py.SoftLink(f"/{name}")),
        "external storage": instead(shape=(4,), dtype="u4", external=[("/etc/passwd", 0, 16)]),
        "virtual": virtual,
        "deep": deep,
        "soft loop": loop,
        "hard loop": hard_loop,
        "a type": types,
        "two dimensions": instead(data=np.zeros((3, 3), "f4")),
        "no dimension": instead(data=np.float32(1)),
        "nothing": instead(data=h5py.Empty("f4")),
        "texts": instead(data=["a", "b"]),
        "bytes": instead(data=np.array([b"x"])),
        "records": instead(data=np.zeros(3, [("a", "f4"), ("b", "i4")])),
        "booleans": instead(data=np.zeros(3, bool)),
        "complex": instead(data=np.zeros(3, "c8")),
        "references": instead(shape=(2,), dtype=h5py.ref_dtype),
        "lists": instead(shape=(2,), dtype=h5py.vlen_dtype("i4")),
        "scale-offset": instead(data=small.astype("i4"), scaleoffset=8),
        "fletcher": instead(data=small, fletcher32=True),
        "lzf": instead(data=small, compression="lzf"),
        "gzip": instead(data=small, compression="gzip", shuffle=True),
        "big end first": instead(data=small.astype(small.dtype.newbyteorder(">"))),
        "doubles": instead(data=small.astype("f8")),
        "halves": instead(data=small.astype("f2")),
        "int8": instead(data=small.astype("i1")),
        "resizable": instead(data=small, maxshape=(None,), chunks=(7,)),
        "empty": instead(data=small[:0]),
        "negative": put("indices", -arrays["indices"].astype("i8") - 1),
        "NaN shape": put("shape", np.array([np.nan, n_vars])),
        "long shape": put("shape", np.arange(50_000_000, dtype="u1")[:9]),
        "three": put("shape", np.array([n_obs, n_vars, 1])),
        "many cells": put("shape", np.array([2**46, n_vars], "u8")),
        "some cells": put("shape", np.array([n_obs + 5, n_vars], "u8")),
        "many genes": put("shape", np.array([n_obs, 2**46], "u8")),
        "falling": put("indptr", arrays["indptr"][::-1].copy()),
        "beyond": put("indptr", arrays["indptr"] + 2**62),
        "below zero": put("indptr", arrays["indptr"].astype("i8") - 3),
        "unordered": unordered,
        "infinite": put("data", np.full(len(arrays["data"]), np.inf, "f4")),
        "twice the same": put("indices", np.zeros(len(arrays["indices"]), "u4")),
    }
    return every
