"""Database: the SQLite file in which a sandbox keeps its records."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from biocolab_accessor.sandbox.store.files import private_file

__all__ = ["Database"]


class Database:
    """One SQLite file in WAL mode, which every thread of the server uses in turn."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        private_file(path)  # the files that SQLite makes beside it are as private as it is
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("pragma journal_mode = wal")

    def create(self, schema: str) -> None:
        """Make the tables that are not there yet."""
        with self._lock:
            self._connection.executescript(schema)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all that is written within it is kept, or nothing."""
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def write(self, statement: str, *values: Any) -> None:
        """One statement as a transaction of its own."""
        with self._lock:
            self._connection.execute(statement, values)

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()
