"""Entry: the arrays of one answer in a folder of the cache, mapped into memory and not read.

They lie in one file: what is mapped holds it open, and a process may have a few hundred files open, on some systems.

What lies on a disk is not believed: files that were written shortly before the power went may be there in full length
and hold zeros, and others may have been changed since. To read all of them would cost every fetch; instead the sums of
all arrays are kept, and looked at where the file is not, to the nanosecond, the one that was looked at last, and once
after each start of the machine.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from biocolab_accessor.platforms import replace, sync

__all__ = ["ENTRY", "FILE", "Arrays", "Kept", "describe", "file_sum", "kept_file", "mapped", "touch", "write"]

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

ENTRY = "entry.json"
"""The file that says what an entry holds; there is no entry without it."""
FILE = "content"
"""The file of an entry that is one."""
_ARRAYS = "arrays.bin"
_PIECE = 1 << 24
_ALIGNED = 64
# What is smaller is read, and its file closed again.
_MAPPED = 1 << 16


class Kept(dict[str, NDArray[Any]]):
    """Arrays of an entry.

    Attributes
    ----------
    proven
        Whether they are known to be what was written, without having been read now.
    """

    proven = False


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


def describe(
    folder: Path,
    key: Mapping[str, Any],
    described: Mapping[str, Any],
    *,
    seen: list[int] | None = None,
    file: int | None = None,
) -> None:
    """Make a folder an entry: dtype, length, place and sum of each array, sure since this start of the machine.

    Parameters
    ----------
    folder, key
        The entry.
    described
        What is said of each array.
    seen
        The file as it was before its sum was taken; None where it has just been written.
    file
        Sum of the file of an entry that is one.
    """
    part = folder / f"{uuid.uuid4().hex}.json"
    seen = seen or _seen(folder / (_ARRAYS if file is None else FILE))
    said = {"key": key, "arrays": described, "start": _start(), "seen": seen, "file": file}
    part.write_text(json.dumps({**said, "sum": _sum(said)}, sort_keys=True), encoding="utf-8")
    replace(part, folder / ENTRY)


def mapped(folder: Path) -> Kept | None:
    """The arrays of an entry; None where there is no whole one. What is written into them changes no file."""
    try:
        entry, seen = _said(folder), _seen(folder / _ARRAYS)
        octets = _octets(folder / _ARRAYS)
        arrays = Kept()
        for name, (dtype, length, start, _) in entry["arrays"].items():
            arrays[name] = octets[start : start + length * np.dtype(dtype).itemsize].view(dtype)
            if len(arrays[name]) != length:
                _damaged(folder)
                return None
        arrays.proven = _is_proven(entry, seen)
        if arrays.proven:
            return arrays
        if any(isal_zlib.crc32(arrays[name].view(np.uint8)) != entry["arrays"][name][3] for name in arrays):
            _damaged(folder)
            return None
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, RecursionError):
        _damaged(folder)
        return None
    _mark(folder, entry, seen)
    return arrays


def kept_file(folder: Path) -> Path | None:
    """The file of an entry; None where it is not there, or not as it was written."""
    path = folder / FILE
    try:
        entry, seen = _said(folder), _seen(path)
        if not _is_proven(entry, seen):
            if file_sum(path) != entry["file"]:
                _damaged(folder)
                return None
            _mark(folder, entry, seen)
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        _damaged(folder)
        return None
    return path


def file_sum(path: Path) -> int:
    """The sum of a whole file."""
    found = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found = isal_zlib.crc32(piece, found)
    return found


def _said(folder: Path) -> dict[str, Any]:
    """What an entry says of itself; ValueError where that was changed. Older versions gave it no sum."""
    said: dict[str, Any] = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
    if "sum" in said and said.pop("sum") != _sum(said):
        msg = "changed"
        raise ValueError(msg)
    return said


def _sum(said: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())


def _seen(path: Path) -> list[int]:
    """What changes with a file; the last of it cannot be set back, where the system keeps it."""
    info = path.stat()
    return [info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]


def _is_proven(entry: Mapping[str, Any], seen: list[int]) -> bool:
    return bool(entry["start"] == _start() and entry.get("seen") == seen)


def _mark(folder: Path, entry: Mapping[str, Any], seen: list[int]) -> None:
    try:
        describe(folder, entry["key"], entry["arrays"], seen=seen, file=entry.get("file"))
    except OSError as error:  # another user's, or removed meanwhile
        logger.debug("not marked as looked at: %s", error)


def _damaged(folder: Path) -> None:
    logger.warning("the entry %s of the cache is damaged or was changed: it is fetched again", folder.name)
    with suppress(OSError):
        (folder / ENTRY).unlink()


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
