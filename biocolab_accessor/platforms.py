"""Platforms: differences between Linux, macOS and Windows, and the home and temporary folders.

Each function looks at what the system offers or refuses, not at its name, so that tests can emulate another system.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from biocolab_accessor.errors import ConfigurationError, InvalidArgument

if TYPE_CHECKING:
    from filelock import FileLock

# Another program, such as a virus scanner, or another thread keeps a file open only briefly.
_PATIENCE, _PAUSE = 1.0, 0.02

# Windows errors for a file that is open or mapped: access denied, sharing violation, user-mapped section open.
_IN_USE = (5, 32, 1224)

# Names of devices, with any extension.
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9¹²³]|LPT[0-9¹²³])(?=\.|\Z)", re.IGNORECASE)


def is_open_elsewhere(error: OSError) -> bool:
    """Whether Windows refused to move or remove a file because another program has it open."""
    return getattr(error, "winerror", None) in _IN_USE


def replace(source: Path, target: Path) -> None:
    """Move a file over another, or a folder to a new path, in one step; on Windows this waits for open files."""
    _patiently(lambda: os.replace(source, target))


def remove_file(path: Path) -> None:
    """Remove a file if it exists; on Windows this waits while it is open."""
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
    """A path that reopens an open file, even one without a name; None except on Linux."""
    return _lasting_path(file.fileno())


def _lasting_path(descriptor: int) -> Path | None:
    # Not by macOS' /dev/fd, which shares the position of the file.
    path = Path(f"/proc/self/fd/{descriptor}")
    try:
        return path if os.path.samestat(path.stat(), os.fstat(descriptor)) else None
    except OSError:
        return None


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk; Windows cannot do that for a folder."""
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
    with path.open("rb+") as file:  # Windows flushes only files that are open for writing
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
    """Create a folder and its missing parents for this user only, whatever the umask; it may exist."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in (*reversed(missing), path):
        folder.mkdir(mode=0o700, exist_ok=True)


def try_lock(path: Path) -> FileLock | None:
    """The lock next to a file, acquired; None if another process or thread holds it."""
    from filelock import FileLock, Timeout  # of all that import this module, few lock files

    lock = FileLock(path.with_suffix(".lock"), mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def open_to_others(path: Path) -> str:
    """Why another user may have written into a folder; empty if that is impossible or it does not exist."""
    # Python does not see owners and modes on Windows, where a user's folders are closed to others by default.
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
    """Open a regular file without blocking; yields the descriptor and a path for libraries that open files."""
    expect_regular(os.stat(path))  # first, since opening a device can have effects
    flags = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOCTTY"))
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        expect_regular(os.fstat(descriptor))
        # On Linux the path leads to this file even after another one has taken its name; Windows prevents that.
        yield descriptor, str(_lasting_path(descriptor) or path)
    finally:
        os.close(descriptor)


def expect_regular(found: os.stat_result) -> None:
    """Raise an OSError that names the kind of anything but a regular file."""
    kinds = {
        stat.S_IFDIR: "it is a folder",
        stat.S_IFIFO: "it is a FIFO, not a file",
        stat.S_IFSOCK: "it is a socket, not a file",
        stat.S_IFCHR: "it is a device, not a file",
        stat.S_IFBLK: "it is a device, not a file",
    }
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, kinds.get(stat.S_IFMT(found.st_mode), "it is not a file"))


def detached() -> dict[str, Any]:
    """Arguments of Popen for a process that ignores Ctrl-C in this terminal and opens no window."""
    flags = [getattr(subprocess, name, 0) for name in ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")]
    return {"creationflags": sum(flags)} if all(flags) else {"start_new_session": True}


def own_address(listener: socket.socket) -> None:
    """Bind a socket exclusively, also right after another socket had the address."""
    # SO_REUSEADDR does that on POSIX; on Windows it would let any other process take the address.
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1)


def most_open_files() -> int | None:
    """How many files and connections this process may open; None if unlimited or unknown."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def linger(seconds: int) -> bytes:
    """The value of SO_LINGER; with 0 seconds, closing a connection resets it."""
    return struct.pack("hh" if hasattr(socket, "SO_EXCLUSIVEADDRUSE") else "ii", 1, seconds)


def safe_file_name(name: str) -> str:
    """A name in characters that every file system accepts; empty if none remain."""
    found = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).rstrip(". ")
    device = _DEVICE.match(found)
    return f"{device[0]}_{found[device.end() :]}" if device else found


def home_folder() -> Path | None:
    """The home folder; None if the system has none."""
    try:
        home = Path.home()
    except (RuntimeError, KeyError, OSError):
        return None
    return home if home.is_absolute() else None


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` expanded."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, KeyError) as error:
        msg = f"{str(path)!r} begins with the home folder, which is unknown: give a full path, or set HOME"
        raise InvalidArgument(msg) from error


def library_folders(*folders: Path) -> dict[str, str]:
    """Variables that give Numba and Matplotlib a writable folder, for an account that has none."""
    # Without a writable folder, importing code that Numba should cache fails, such as scanpy. The first writable one of
    # the folders is used.
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
    """A new temporary folder, which its caller removes."""
    try:
        return Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        named = f"TMPDIR is {os.environ['TMPDIR']!r}" if os.environ.get("TMPDIR") else "TMPDIR is not set"
        msg = f"cannot create a temporary folder ({named}): {error}. Set TMPDIR to a writable folder"
        raise ConfigurationError(msg) from error
