"""Files of a sandbox: its folder, locked and private, files that are durable, and the SQLite database."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biocolab_accessor.concurrency import ended
from biocolab_accessor.errors import SandboxError
from biocolab_accessor.platforms import expect_regular, is_open_elsewhere, opened_regular, replace, sync

logger = logging.getLogger("biocolab_accessor.sandbox")

CATALOG_FILE = "catalogue.sqlite"
"""Name of the database file in a sandbox's folder."""

TOKEN_FILE = "token"
"""Name of the file in a sandbox's folder with the token that was generated for it."""

_PORT_FILE = "port"
_OURS = ("lock", TOKEN_FILE, _PORT_FILE, "studies", "uploads", "exports", "worker.log", "numba", "matplotlib")
_OTHERS = 0o077
_TOKEN = re.compile(r"[!-~]{16,200}", re.ASCII)


def make_private(path: Path) -> None:
    """Remove the permissions of other users from a file or folder; raises OSError if another user owns it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        path.chmod(mode & ~_OTHERS)


def private_folder(path: Path) -> None:
    """Create a private folder, or make an existing one private."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(path)


def private_file(path: Path) -> None:
    """Create an empty private file, or make an existing one private."""
    with suppress(FileNotFoundError):
        expect_regular(path.stat())  # a FIFO would wait for a reader
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    make_private(path)


def lock_folder(path: Path, *, temporary: bool = False) -> FileLock:
    """Lock a folder, which is created if it is missing."""
    lock = FileLock(path / "lock", mode=0o600)
    try:
        _own_folder(path)
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"another sandbox uses {path}: connect to it, close it (or its notebook or terminal), or use another path"
        raise SandboxError(msg, line=_line_to(path)) from error
    except (OSError, NotImplementedError) as error:
        if not temporary:  # only this sandbox knows a temporary folder, so it works without a lock too
            msg = f"the folder {path} cannot be used: {error}. Use a disk that can be written to and supports locks"
            raise SandboxError(msg) from error
        logger.warning(
            "no locks in %s (%s): continuing without; set TMPDIR to a folder that supports locks", path, error
        )
    return lock


def _line_to(path: Path) -> str:
    """A line of code that connects to the sandbox in a folder, or starts another one if its address is not known."""
    token = path / TOKEN_FILE
    port = stored_port(path)
    if not (port and token.is_file()):
        return "bc.sandbox()"
    host = f"http://127.0.0.1:{port}/t2d_index_tool/"
    return f"bc.connect(private_host={host!r}, private_token=open({str(token)!r}).read().strip())"


def _own_folder(path: Path) -> None:
    """Create a folder that other users cannot read."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not hasattr(os, "getuid"):
        return
    info = path.stat()
    if info.st_uid != os.getuid() != 0:
        msg = f"{path} belongs to another user (uid {info.st_uid}): use a folder of your own"
        raise SandboxError(msg)
    # A folder with other files may be shared on purpose and keeps its mode; the sandbox's own files in it are private.
    if all(entry.name in _OURS or entry.name.startswith(CATALOG_FILE) for entry in path.iterdir()):
        make_private(path)
    elif stat.S_IMODE(info.st_mode) & 0o022:
        msg = f"{path} contains other files, and other users can write to it: use an empty folder"
        raise SandboxError(msg)


def stored_port(folder: Path) -> int:
    """The port of the last start in a sandbox's folder; 0 if it is not known."""
    with suppress(OSError, ValueError), opened_regular(folder / _PORT_FILE) as (descriptor, _):
        return int(os.read(descriptor, 6))
    return 0


def store_port(folder: Path, port: int) -> None:
    """Store the port of this start, if the disk takes it."""
    path = folder / _PORT_FILE
    with suppress(OSError):
        remove(path)  # it may be anything but a file
        private_file(path)
        path.write_text(str(port), encoding="ascii")


def new_token() -> str:
    """A random token."""
    return secrets.token_hex(16)


def stored_token(folder: Path) -> str:
    """The token stored in a sandbox's folder; a missing one, or one that other users could access, is replaced."""
    try:
        return _stored_token(folder / TOKEN_FILE)
    except OSError as error:
        msg = f"the sandbox cannot store its token in {folder}: {error}. Remove the file, or pass token="
        raise SandboxError(msg) from error


def _stored_token(path: Path) -> str:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with suppress(FileNotFoundError):
        expect_regular(path.lstat())
    with open(os.open(path, flags, 0o600), "r+", encoding="utf-8", errors="replace") as file:
        kept = file.read(1000).strip()
        if _TOKEN.fullmatch(kept) and not _is_shared(file.fileno()):
            return kept
        if kept:
            logger.warning("other users could read %s, or it was damaged: the sandbox generated a new token", path)
        with suppress(OSError):  # a file system without permissions
            make_private(path)
        token = new_token()
        file.seek(0)
        file.truncate()
        file.write(token + "\n")
    return token


def _is_shared(descriptor: int) -> bool:
    if not hasattr(os, "getuid"):
        return False
    info = os.fstat(descriptor)
    return info.st_uid != os.getuid() or bool(stat.S_IMODE(info.st_mode) & _OTHERS)


def publish(part: Path, place: Path) -> None:
    """Sync a finished private file or folder to disk, and rename it to its final name in the same folder."""
    for path in [*part.rglob("*"), part] if part.is_dir() else [part]:
        make_private(path)
        sync(path)
    replace(part, place)
    sync(place.parent)


def remove(path: Path) -> None:
    """Remove a file or folder if it exists; on Windows a file that is open stays until the next start."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except PermissionError as error:
        if not is_open_elsewhere(error):
            raise


_THREADS = 8
_FEW = 32


def remove_all(paths: Iterable[Path]) -> None:
    """Remove files and folders in any order, ignoring those that are missing or cannot be removed."""
    waiting = list(paths)

    def work() -> None:
        with suppress(IndexError):
            while True:
                path = waiting.pop()
                with suppress(OSError):
                    remove(path)

    threads = []
    if len(waiting) > _FEW:
        # Not an executor: sandboxes are also closed at interpreter exit, when executors no longer start threads.
        with suppress(RuntimeError):
            for _ in range(_THREADS - 1):
                thread = threading.Thread(target=work, name="biocolab-sandbox-removal", daemon=True)
                thread.start()
                threads.append(thread)
    work()
    for thread in threads:
        ended(thread)


def remove_folder(folder: Path) -> None:
    """Remove a folder whose subfolders may contain thousands of others."""
    with suppress(OSError):
        remove_all([inner for entry in folder.iterdir() if entry.is_dir() for inner in entry.iterdir()])
    remove(folder)


class Database:
    """One SQLite file in WAL mode, which the threads of the server use in turn."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        private_file(path)  # SQLite creates its other files with the same mode
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("pragma journal_mode = wal")

    def create(self, schema: str) -> None:
        """Create the tables that are missing."""
        with self._lock:
            self._connection.executescript(schema)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: either all of its writes are kept, or none."""
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                if self._connection.in_transaction:  # of a full disk SQLite has ended it already
                    self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def write(self, statement: str, *values: Any) -> None:
        """Run one statement as its own transaction."""
        with self._lock:
            self._connection.execute(statement, values)

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()
