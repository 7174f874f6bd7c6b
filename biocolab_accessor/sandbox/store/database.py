"""Database: the SQLite file with the records of a sandbox."""

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
