"""Files: private, durable and removed fast; and the SQLite database."""

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

from biocolab_accessor.concurrency import ended
from biocolab_accessor.platforms import is_open_elsewhere, replace, sync

__all__ = [
    "CATALOG_FILE",
    "TOKEN_FILE",
    "Database",
    "make_private",
    "new_token",
    "private_file",
    "private_folder",
    "publish",
    "remove",
    "remove_all",
    "remove_folder",
    "stored_token",
]

logger = logging.getLogger("biocolab_accessor.sandbox")

CATALOG_FILE = "catalogue.sqlite"
"""Name of the database file in a sandbox's folder."""

TOKEN_FILE = "token"
"""Name of the file in a sandbox's folder with the token that was generated for it."""

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
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    make_private(path)


def new_token() -> str:
    """A random token."""
    return secrets.token_hex(16)


def stored_token(folder: Path) -> str:
    """The token stored in a sandbox's folder; a missing one, or one that other users could access, is replaced."""
    path = folder / TOKEN_FILE
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
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
