"""Cache: arrays and files that never change, kept between sessions and shared by processes.

An entry is a folder named by the hash of its key. All its arrays lie in one file, which is mapped into memory and stays
open: some systems allow a process only a few hundred open files. An entry is written under a lock to a temporary folder
and renamed when it is complete, so that any number of processes see all of it or nothing. Whatever fails on the disk,
the answer is fetched without the cache.

Files on a disk are not trusted: after a power failure a file may have its full length and contain zeros, and other
files may have been modified. Reading everything on each fetch would be slow. Instead checksums are stored, and verified
once after each boot, and whenever inode, size or time of the file differ from those at the last verification.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from filelock import BaseFileLock, FileLock
from filelock import Timeout as LockTimeout
from isal import isal_zlib
from numpy.typing import NDArray

from biocolab_accessor.config import settings
from biocolab_accessor.errors import BiocolabError, public
from biocolab_accessor.messages import warn
from biocolab_accessor.platforms import expect_regular, is_open_elsewhere, open_to_others, private_folder, replace, sync

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
_Made = TypeVar("_Made")

ENTRY = "entry.json"
"""The file that describes an entry; without it the entry does not exist."""

FILE = "content"
"""The file of an entry that holds a file in place of arrays."""

_ARRAYS = "arrays.bin"
_PIECE = 1 << 24
_ALIGNED = 64

# Smaller files are read and closed.
_MAPPED = 1 << 16


class CachedArrays(dict[str, NDArray[Any]]):
    """Arrays of an entry; `verified` if they are known to be as written without having been read now."""

    verified = False


def write(folder: Path, key: Mapping[str, Any], arrays: Arrays) -> None:
    """Write the arrays (1-D each) of a key, which is JSON, into a new folder."""
    folder.mkdir(mode=0o700, parents=True)
    described, path = {}, folder / _ARRAYS
    with path.open("wb") as file:
        for name, array in arrays.items():
            octets = np.ascontiguousarray(array).view(np.uint8)
            start = file.seek(-(-file.tell() // _ALIGNED) * _ALIGNED)
            file.write(octets.data)
            described[name] = [array.dtype.str, len(array), start, isal_zlib.crc32(octets)]
    if not _boot_id():
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
    """Write the description of an entry: dtype, length, offset and checksum of each array."""
    # The entry then counts as verified for this boot. `seen` is the state of the file before its checksum was computed,
    # None if it has just been written. `file` is the checksum of an entry that holds a file.
    part = folder / f"{uuid.uuid4().hex}.json"
    seen = seen or _file_state(folder / (_ARRAYS if file is None else FILE))
    description = {"key": key, "arrays": described, "start": _boot_id(), "seen": seen, "file": file}
    part.write_text(json.dumps({**description, "sum": _sum(description)}, sort_keys=True), encoding="utf-8")
    replace(part, folder / ENTRY)


def mapped(folder: Path) -> CachedArrays | None:
    """The arrays of an entry, mapped copy-on-write; None if there is no intact entry."""
    try:
        entry, seen = _description(folder), _file_state(folder / _ARRAYS)
        octets = _octets(folder / _ARRAYS)
        arrays = CachedArrays()
        for name, (dtype, length, start, _) in entry["arrays"].items():
            arrays[name] = octets[start : start + length * np.dtype(dtype).itemsize].view(dtype)
            if len(arrays[name]) != length:
                _damaged(folder)
                return None
        arrays.verified = _is_verified(entry, seen)
        if arrays.verified:
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
    """The file of an entry; None if it does not exist, or is not as it was written."""
    path = folder / FILE
    try:
        entry, seen = _description(folder), _file_state(path)
        if not _is_verified(entry, seen):
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
    """The checksum of a file."""
    found = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found = isal_zlib.crc32(piece, found)
    return found


def _description(folder: Path) -> dict[str, Any]:
    """The description of an entry; ValueError if it was modified. Older versions have no checksum."""
    expect_regular((folder / ENTRY).stat())
    description: dict[str, Any] = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
    if "sum" in description and description.pop("sum") != _sum(description):
        msg = "changed"
        raise ValueError(msg)
    return description


def _sum(description: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(description, sort_keys=True).encode())


def _file_state(path: Path) -> list[int]:
    """Properties that change with a file; the last one, ctime, cannot be set back."""
    info = path.stat()
    expect_regular(info)  # reading a FIFO may never end
    return [info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]


def _is_verified(entry: Mapping[str, Any], seen: list[int]) -> bool:
    return bool(entry["start"] == _boot_id() and entry.get("seen") == seen)


def _mark(folder: Path, entry: Mapping[str, Any], seen: list[int]) -> None:
    try:
        describe(folder, entry["key"], entry["arrays"], seen=seen, file=entry.get("file"))
    except OSError as error:  # another user owns it, or it was removed meanwhile
        logger.debug("not marked as verified: %s", error)


def _damaged(folder: Path) -> None:
    logger.warning("cache entry %s is damaged or was modified: it is fetched again", folder.name)
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
def _boot_id() -> str:
    """An id of the current boot; empty if the system has none, and then files are synced to disk."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


Key = Mapping[str, Any]

_LAYOUT = "1"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CacheInfo(NamedTuple):
    """Content of the cache.

    Attributes
    ----------
    folder
        Folder of the cache (``bc.settings.cache_dir``).
    entries
        Number of entries.
    n_bytes
        Size of all entries in bytes.
    most
        Maximum size in bytes (``bc.settings.cache_size``). The least recently used entries are removed first, and an
        answer that alone is larger is not cached.
    """

    folder: Path
    entries: int
    n_bytes: int
    most: int


@dataclass
class Entry(Generic[_Made]):
    """The cached value of a key. If it is None, a value that is assigned to it is cached."""

    value: _Made | None = None
    part: Path | None = None  # the folder to write to; None if nothing is to be written


@public
class Cache:
    """Cached answers of BioFlex, by database version; ``bc.cache``.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     adata = bc.study("PBMC68k_reduced").to_anndata()
    >>> bc.cache.info().entries > 0
    True
    >>> bc.cache.clear()
    >>> bc.cache.info().entries
    0
    """

    def __repr__(self) -> str:
        found = self.info()
        return f"Cache({str(found.folder)!r}, {found.entries} entries, {found.n_bytes / 1e6:,.1f} MB)"

    @property
    def folder(self) -> Path:
        """Folder of the entries."""
        return settings.cache_dir / _LAYOUT

    def info(self) -> CacheInfo:
        """Folder, number of entries and size of the cache.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> import biocolab_accessor as bc
        >>> with tempfile.TemporaryDirectory() as folder, bc.settings.override(cache_dir=folder):
        ...     bc.cache.info().entries
        0
        """
        entries = self._entries()
        return CacheInfo(settings.cache_dir, len(entries), sum(size for _, size, _ in entries), settings.cache_size)

    def clear(self) -> None:
        """Remove all entries; arrays that are mapped into memory stay readable.

        If an entry cannot be removed, for example because the folder is read-only, a warning is logged. On Windows an
        entry also stays as long as an object reads from it.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> import biocolab_accessor as bc
        >>> with tempfile.TemporaryDirectory() as folder, bc.settings.override(cache_dir=folder):
        ...     _ = bc.cache.arrays({"name": "ones"}, lambda: {"ones": np.ones(3)})
        ...     bc.cache.clear()
        ...     bc.cache.info().entries
        0
        """
        for _, _, path in self._entries():
            _remove(path)
        self._remove_leftovers()
        for lock in (self.folder / "locks").glob("*.lock"):
            # A process that waits for the lock notices that the file is gone, and creates it again.
            with suppress(OSError, LockTimeout, NotImplementedError), FileLock(lock, timeout=0):
                lock.unlink()

    def arrays(self, key: Key, make: Callable[[], Arrays]) -> Arrays:
        """Arrays of a key: from the cache, or made and cached.

        Parameters
        ----------
        key
            Everything that the arrays depend on, as JSON; never a token.
        make
            Fetches the arrays, 1-D each. It is called once, even if many processes ask at the same time.

        Returns
        -------
        dict
            Arrays from the cache are mapped copy-on-write: they are read from disk on access, and writing to them
            changes neither the file nor the arrays of another process.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> import biocolab_accessor as bc
        >>> with tempfile.TemporaryDirectory() as folder, bc.settings.override(cache_dir=folder):
        ...     first = bc.cache.arrays({"name": "ones"}, lambda: {"ones": np.ones(3)})
        ...     bc.cache.arrays({"name": "ones"}, lambda: {"ones": np.zeros(3)})["ones"].tolist()
        [1.0, 1.0, 1.0]
        """
        load: Callable[[Path], Arrays | None] = mapped
        with self._entry(key, load, dict) as entry:
            if entry.value is None:
                entry.value = make()
            return entry.value

    def file(self, key: Key, write_file: Callable[[Path], object]) -> Path | None:
        """The cached file of a key, written if it does not exist; None if it cannot be cached.

        Parameters
        ----------
        key
            Everything that the file depends on, as JSON; never a token.
        write_file
            Called with the path to write to.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> import biocolab_accessor as bc
        >>> with tempfile.TemporaryDirectory() as folder, bc.settings.override(cache_dir=folder):
        ...     bc.cache.file({"name": "text"}, lambda path: path.write_text("kept")).read_text()
        'kept'
        """
        place = self._place(key) / FILE
        with self._entry(key, kept_file) as entry:
            if entry.value is None:
                if entry.part is None:
                    return None
                try:
                    entry.part.mkdir(mode=0o700)
                    write_file(entry.part / FILE)
                    sync(entry.part / FILE)
                    describe(entry.part, key, {}, file=file_sum(entry.part / FILE))
                    _expect_room(entry.part)
                except OSError as error:
                    if error.errno not in _FULL:  # the fetch may have failed
                        raise
                    logger.warning("not kept in the cache: %s", error)
                    shutil.rmtree(entry.part, ignore_errors=True)
                    return None
        return place if place.is_file() else None

    def forget(self, key: Key, why: object) -> None:
        """Remove an invalid entry.

        Parameters
        ----------
        key
            As for :meth:`arrays`.
        why
            The reason, for the log.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> import biocolab_accessor as bc
        >>> with tempfile.TemporaryDirectory() as folder, bc.settings.override(cache_dir=folder):
        ...     _ = bc.cache.arrays({"name": "ones"}, lambda: {"ones": np.ones(3)})
        ...     bc.cache.forget({"name": "ones"}, "they should be twos")
        ...     bc.cache.info().entries
        0
        """
        place = self._place(key)
        logger.warning("cache entry %s is invalid and is fetched again: %s", place.name, why)
        _remove(place)

    @contextmanager
    def _entry(
        self,
        key: Key,
        load: Callable[[Path], _Made | None],
        arrays_of: Callable[[_Made], Arrays] | None = None,
    ) -> Iterator[Entry[_Made]]:
        """The entry of a key. If it has no value yet, it is locked, and written and published when the block ends."""
        place = self._place(key)
        for folder in (settings.cache_dir, self.folder, place):
            if why := open_to_others(folder):
                _warn_once(why)
                yield Entry()
                return
        if (found := _loaded(load, place)) is not None:
            yield Entry(found)
            return
        lock = self._lock(place)
        if lock is None:
            yield Entry()
            return
        part = self.folder / f"{place.name}.{uuid.uuid4().hex}.part"
        try:
            found = _loaded(load, place)  # another process may have made it meanwhile
            entry = Entry(found, part)
            yield entry
            if found is None and entry.value is not None and arrays_of is not None:
                _write_if_it_fits(part, key, arrays_of(entry.value))
            if part.exists():
                self._publish(part, place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            lock.release()

    def _lock(self, place: Path) -> BaseFileLock | None:
        """The lock of an entry, acquired; None if the cache cannot be used."""
        try:
            private_folder(self.folder / "locks")
            lock = FileLock(self.folder / "locks" / f"{place.name}.lock", timeout=settings.deadline)
            lock.acquire()
        except (OSError, LockTimeout, NotImplementedError) as error:
            _log_once(f"the cache in {settings.cache_dir} cannot be used: {error}. Set bc.settings.cache_dir")
            return None
        return lock

    def _publish(self, part: Path, place: Path) -> None:
        try:
            _remove(place)  # an entry that could not be loaded
            replace(part, place)
        except OSError as error:
            logger.warning("not kept in the cache: %s", error)
        self._evict(place)

    def _evict(self, newest: Path) -> None:
        """Remove the least recently used entries until the rest fits."""
        self._remove_leftovers(newest.name)
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= settings.cache_size:
                return
            if path != newest and _remove(path):
                total -= size

    def _remove_leftovers(self, held: str = "") -> None:
        """Remove leftovers of killed processes; a process at work holds the lock, as this one holds that of `held`."""
        for part in self.folder.glob("*.part"):
            name = part.name.partition(".")[0]
            lock = FileLock(self.folder / "locks" / f"{name}.lock", timeout=0)
            try:
                with nullcontext() if name == held else lock:
                    shutil.rmtree(part, ignore_errors=True)
            except (OSError, LockTimeout, NotImplementedError):
                continue

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Time of last use, size in bytes and path of each entry; the least recently used first."""
        found = []
        for entry in self.folder.glob(f"*/{ENTRY}"):
            if entry.parent.suffix == ".part":
                continue
            try:
                size = sum(file.stat().st_size for file in entry.parent.iterdir())
                found.append((entry.stat().st_mtime, size, entry.parent))
            except OSError:  # another process removed it
                continue
        return sorted(found)

    def _place(self, key: Key) -> Path:
        return self.folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=100)
def _log_once(text: str) -> None:
    """Warn about a folder that cannot be used, once and not for each request."""
    logger.warning("%s", text)


@lru_cache(maxsize=100)
def _warn_once(why: str) -> None:
    warn(f"{why}. The cache is not used, and everything is fetched. Set bc.settings.cache_dir to use another folder")


def _loaded(load: Callable[[Path], _Made | None], place: Path) -> _Made | None:
    try:
        found = load(place)
    except NotADirectoryError:  # there can be no entry; whoever makes one says why not
        return None
    except OSError as error:
        if isinstance(error, BiocolabError):  # raised by a fetch
            raise
        logger.warning("a cache entry cannot be read: %s", error)
        return None
    if found is not None:
        touch(place)
    return found


def _write_if_it_fits(part: Path, key: Key, arrays: Arrays) -> None:
    if sum(array.nbytes for array in arrays.values()) > settings.cache_size:
        return
    try:
        write(part, key, arrays)
    except OSError as error:
        logger.warning("not kept in the cache: %s", error)
        shutil.rmtree(part, ignore_errors=True)


def _expect_room(part: Path) -> None:
    """Raise "file too large" if a file alone takes more than the cache may; its size is known once it is written."""
    size, most = sum(file.stat().st_size for file in part.iterdir()), settings.cache_size
    if size > most:
        msg = f"it takes {size:,} bytes, and bc.settings.cache_size is {most:,}"
        raise OSError(errno.EFBIG, msg)


def _remove(path: Path) -> bool:
    """Rename first, then delete, so that a reader never finds half an entry. Returns whether it is gone."""
    gone = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.rename(gone)
    except FileNotFoundError:
        return True
    except OSError as error:
        level = logging.DEBUG if is_open_elsewhere(error) else logging.WARNING
        logger.log(level, "not removed from the cache: %s", error)
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


cache = Cache()


def cached(
    key: Key, read: Callable[[CachedArrays], _Made], arrays_of: Callable[[_Made], Arrays]
) -> AbstractContextManager[Entry[_Made]]:
    """The entry of a key, whose value ``read`` makes of arrays; an entry that ``read`` finds invalid is removed."""

    def load(place: Path) -> _Made | None:
        arrays = mapped(place)
        try:
            return None if arrays is None else read(arrays)
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            if isinstance(error, BiocolabError):  # raised by a fetch
                raise
            cache.forget(key, error)
            return None

    return cache._entry(key, load, arrays_of)
