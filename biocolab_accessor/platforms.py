"""Platforms: what Linux, macOS and Windows do differently, and where the user's folders are.

Each function looks at what the system offers or refuses, and not at its name, so that tests can emulate another one.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from platformdirs import user_cache_path

from biocolab_accessor.errors import ConfigurationError, InvalidArgument

__all__ = [
    "cache_folder",
    "detached",
    "expanded",
    "expect_regular",
    "home_folder",
    "is_open_elsewhere",
    "library_folders",
    "linger",
    "link",
    "most_open_files",
    "open_to_others",
    "opened_regular",
    "own_address",
    "private_folder",
    "remove_file",
    "reopened",
    "replace",
    "safe_file_name",
    "sync",
    "temporary_folder",
]

# Another program, such as a virus scanner, or a reader in another thread has a file open for a moment only.
_PATIENCE, _PAUSE = 1.0, 0.02

# What Windows says of a file that is open or mapped: access denied, sharing violation, user-mapped section open.
_IN_USE = (5, 32, 1224)

# Names of devices, whatever ending follows.
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])(?=\.|\Z)", re.IGNORECASE)


def is_open_elsewhere(error: OSError) -> bool:
    """Whether Windows refused to move or remove a file since somebody has it open; elsewhere never."""
    return getattr(error, "winerror", None) in _IN_USE


def replace(source: Path, target: Path) -> None:
    """Move a file over another one, or a folder to a new place, in one step.

    Raises
    ------
    OSError
        It cannot be moved. On Windows also where one of them stays open.
    """
    _patiently(lambda: os.replace(source, target))


def remove_file(path: Path) -> None:
    """Remove a file, if it is there.

    Raises
    ------
    OSError
        It cannot be removed. On Windows also where it stays open.
    """
    _patiently(lambda: path.unlink(missing_ok=True))


def _patiently(step: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            step()
        except PermissionError as error:
            if not is_open_elsewhere(error) or time.monotonic() > end:
                raise
        else:
            return
        time.sleep(_PAUSE)


def reopened(file: IO[bytes]) -> Path | None:
    """A path by which this process opens an open file anew, also one without a name; None where there is none.

    Linux has one; of macOS, whose ``/dev/fd`` shares the place that is read, and Windows, there is none.
    """
    path = Path(f"/proc/self/fd/{file.fileno()}")
    try:
        return path if os.path.samestat(path.stat(), os.fstat(file.fileno())) else None
    except OSError:
        return None


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk; Windows has no way to do that for a folder."""
    if path.is_dir():
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except PermissionError:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return
    with path.open("rb+") as file:  # Windows flushes what is open for writing only
        os.fsync(file.fileno())


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.copyfile(source, target)


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for this user only, whatever the umask; it may be there."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in (*reversed(missing), path):
        folder.mkdir(mode=0o700, exist_ok=True)


def open_to_others(path: Path) -> str:
    """Why what lies in a folder may be another user's; empty where it may not, or the folder is not there.

    Windows has no owners and modes that Python would tell: a user's folders are closed to others there.
    """
    try:
        info = path.stat()
    except OSError:
        return ""
    if hasattr(os, "getuid") and info.st_uid not in (os.getuid(), 0):
        return f"{path} belongs to another user (uid {info.st_uid})"
    if hasattr(os, "getuid") and stat.S_IMODE(info.st_mode) & 0o022:
        return f"{path} can be written by other users: run chmod 700 {path}"
    return ""


@contextmanager
def opened_regular(path: Path) -> Iterator[tuple[int, str]]:
    """Open a file for reading if it is a regular one, and without waiting for anything.

    Parameters
    ----------
    path
        The file. Links are followed.

    Yields
    ------
    tuple
        The descriptor, and a path to the same file for libraries that open files themselves. Where the system has
        such paths, it leads there even after another file has taken the name; on Windows no other can meanwhile.

    Raises
    ------
    OSError
        It cannot be opened, or is a folder, a FIFO, a device or a socket.
    """
    expect_regular(os.stat(path))  # opening a device may do something already
    flags = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOCTTY"))
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        found = os.fstat(descriptor)
        expect_regular(found)
        yield descriptor, _lasting_path(descriptor, found) or str(path)
    finally:
        os.close(descriptor)


def expect_regular(found: os.stat_result) -> None:
    """Refuse what is not a regular file, with an OSError that says what it is."""
    kinds = {
        stat.S_IFDIR: "it is a folder",
        stat.S_IFIFO: "it is a FIFO and not a file",
        stat.S_IFSOCK: "it is a socket and not a file",
        stat.S_IFCHR: "it is a device and not a file",
        stat.S_IFBLK: "it is a device and not a file",
    }
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, kinds.get(stat.S_IFMT(found.st_mode), "it is not a file"))


def _lasting_path(descriptor: int, found: os.stat_result) -> str:
    place = f"/proc/self/fd/{descriptor}"
    try:
        return place if os.path.samestat(os.stat(place), found) else ""
    except OSError:
        return ""


def detached() -> dict[str, Any]:
    """Arguments of Popen for a process that Ctrl-C in this terminal is not for, and that opens no window."""
    flags = [getattr(subprocess, name, 0) for name in ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")]
    return {"creationflags": sum(flags)} if all(flags) else {"start_new_session": True}


def own_address(listener: socket.socket) -> None:
    """Let a socket have an address of its own, also right after another one had it.

    SO_REUSEADDR says that on POSIX. On Windows it would let any other process take the address away.
    """
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1)


def most_open_files() -> int | None:
    """How many files and connections this process may have open; None where there is no such number."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def linger(seconds: int) -> bytes:
    """The value of SO_LINGER; with 0 seconds a connection that is closed is reset."""
    return struct.pack("hh" if hasattr(socket, "SO_EXCLUSIVEADDRUSE") else "ii", 1, seconds)


def safe_file_name(name: str) -> str:
    """A name, such as a server gives to a file, in characters that every file system takes; empty where none is left.

    Examples
    --------
    >>> safe_file_name("GSE1: T cells?.h5ad"), safe_file_name("nul.h5ad"), safe_file_name("ends. ")
    ('GSE1_ T cells_.h5ad', 'nul_.h5ad', 'ends')
    """
    found = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ")
    device = _DEVICE.match(found)
    return f"{device[0]}_{found[device.end() :]}" if device else found


logger = logging.getLogger(__name__)

_NAME = "biocolab_accessor"


def home_folder() -> Path | None:
    """The home folder; None where the system knows none."""
    try:
        home = Path.home()
    except (RuntimeError, KeyError, OSError):
        return None
    return home if home.is_absolute() else None


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` resolved.

    Raises
    ------
    InvalidArgument
        It begins with ``~``, and there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, KeyError) as error:
        msg = f"{str(path)!r} begins with the home folder, which is not known here: give a full path, or set HOME"
        raise InvalidArgument(msg) from error


def cache_folder() -> Path:
    """Where to keep what is kept between sessions: the user's cache folder, else a private temporary one."""
    with suppress(RuntimeError, KeyError, OSError):
        folder = user_cache_path(_NAME)
        if folder.is_absolute():  # older versions of platformdirs leave the "~" in it
            return folder
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:  # there is none that can be written to: the cache then says that it cannot be used
        temporary = Path(os.sep, "tmp")
    chosen = _private(temporary / f"{_NAME}-{os.getuid() if hasattr(os, 'getuid') else 'user'}")
    logger.warning("there is no home folder: the cache is in %s. To choose another, set BIOCOLAB_CACHE_DIR", chosen)
    return chosen


def library_folders(*folders: Path) -> dict[str, str]:
    """Variables that tell Numba and Matplotlib where to write, for an account that has no place of its own for that.

    Without them Numba refuses to import what it should compile, scanpy for one.

    Parameters
    ----------
    *folders
        Places, of which the first is taken that can be written to.
    """
    places = [home_folder(), Path(np.__file__).parent]
    if any(place is not None and os.access(place, os.W_OK) for place in places):
        return {}
    for folder in folders:
        names = {"NUMBA_CACHE_DIR": folder / "numba", "MPLCONFIGDIR": folder / "matplotlib"}
        wanted = {name: str(place) for name, place in names.items() if not os.environ.get(name)}
        with suppress(OSError):
            for place in wanted.values():
                private_folder(Path(place))
            if all(os.access(place, os.W_OK) for place in wanted.values()):
                return wanted
    return {}


def temporary_folder(prefix: str) -> Path:
    """A new temporary folder, which its maker removes.

    Raises
    ------
    ConfigurationError
        No folder for temporary files can be written to.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        named = f"TMPDIR is {os.environ['TMPDIR']!r}" if os.environ.get("TMPDIR") else "TMPDIR is not set"
        msg = f"no temporary folder can be made ({named}): {error}. Set TMPDIR to a folder that can be written to"
        raise ConfigurationError(msg) from error


def _private(folder: Path) -> Path:
    """The folder, or one of another name where this one belongs to somebody else: anyone may write beside it."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        info = folder.lstat()
        mine = not hasattr(os, "getuid") or (info.st_uid == os.getuid() and not stat.S_IMODE(info.st_mode) & 0o022)
        if not (stat.S_ISDIR(info.st_mode) and mine):
            return folder.with_name(f"{_NAME}-{uuid.uuid4().hex}")
    except OSError as error:
        logger.debug("%s: %s", folder, error)  # whoever writes there says so
    return folder
