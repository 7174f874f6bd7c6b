"""Entry: the arrays of one answer in a folder of the cache, mapped into memory and not read.

They lie in one file: what is mapped holds it open, and a process may have a few hundred files open, on some systems.

Files that were written shortly before the power went may be there in full length and hold zeros. To wait for the disk
would cost every fetch; instead the sums of all arrays are kept, and looked at once after each start of the machine.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from biocolab_accessor.platforms import replace, sync

__all__ = ["ENTRY", "Arrays", "describe", "mapped", "touch", "write"]

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

ENTRY = "entry.json"
"""The file that says what an entry holds; there is no entry without it."""
_ARRAYS = "arrays.bin"
_ALIGNED = 64
# What is smaller is read, and its file closed again.
_MAPPED = 1 << 16


def write(folder: Path, key: Mapping[str, Any], arrays: Arrays) -> None:
    """Write the arrays of a key into a folder that is made for them.

    Parameters
    ----------
    folder
        Not there yet.
    key
        In JSON.
    arrays
        1-D each.
    """
    folder.mkdir(mode=0o700, parents=True)
    described, path = {}, folder / _ARRAYS
    with path.open("wb") as file:
        for name, array in arrays.items():
            octets = np.ascontiguousarray(array).view(np.uint8)
            start = file.seek(-(-file.tell() // _ALIGNED) * _ALIGNED)
            file.write(octets.data)
            described[name] = [array.dtype.str, len(array), start, isal_zlib.crc32(octets)]
    if not _start():
        sync(path)
    describe(folder, key, described)


def describe(folder: Path, key: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Make a folder an entry: dtype, length, place and sum of each array, sure since this start of the machine."""
    part = folder / f"{uuid.uuid4().hex}.json"
    described_as = {"key": key, "arrays": described, "start": _start()}
    part.write_text(json.dumps(described_as, sort_keys=True), encoding="utf-8")
    replace(part, folder / ENTRY)


def mapped(folder: Path) -> Arrays | None:
    """The arrays of an entry; None where there is no whole one. What is written into them changes no file."""
    try:
        entry = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        octets = _octets(folder / _ARRAYS)
        arrays: dict[str, NDArray[Any]] = {}
        for name, (dtype, length, start, _) in entry["arrays"].items():
            arrays[name] = octets[start : start + length * np.dtype(dtype).itemsize].view(dtype)
            if len(arrays[name]) != length:
                return None
        if entry["start"] == _start():
            return arrays
        if any(isal_zlib.crc32(arrays[name].view(np.uint8)) != entry["arrays"][name][3] for name in arrays):
            logger.warning("the entry %s of the cache is damaged, and fetched again", folder.name)
            return None
    except (FileNotFoundError, AttributeError, KeyError, TypeError, ValueError):
        return None
    try:
        describe(folder, entry["key"], entry["arrays"])
    except OSError as error:  # another user's, or removed meanwhile
        logger.debug("not marked as looked at: %s", error)
    return arrays


def _octets(path: Path) -> NDArray[np.uint8]:
    if path.stat().st_size < _MAPPED:
        return np.fromfile(path, np.uint8)
    return np.memmap(path, np.uint8, "c").view(np.ndarray)


def touch(folder: Path) -> None:
    """Mark an entry as used now."""
    try:
        os.utime(folder / ENTRY)
    except OSError as error:
        logger.debug("not marked as used: %s", error)


@lru_cache(maxsize=1)
def _start() -> str:
    """Which start of the machine this is; empty where the system does not say, and files have to be waited for."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
