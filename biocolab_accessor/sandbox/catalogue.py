"""Catalogue: which studies, tasks and uploads the sandbox has, in SQLite."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

__all__ = ["PUBLIC", "Catalogue", "StudyRecord", "TaskRecord", "UploadRecord"]

PUBLIC = "bioturing_public_studies"
"""Group id of the public studies."""

_SCHEMA = """
create table if not exists studies (
    number integer primary key, uuid text unique not null, hash_id text not null, title text not null,
    abstract text not null, authors text not null, reference text not null, species text not null,
    group_id text not null, owner text not null, cell_type text, created_at text not null
);
create table if not exists tasks (
    id text primary key, owner text not null, kind text not null, status text not null, log text not null,
    body text not null, study_path text not null, result text, created_at text not null
);
create index if not exists task_of_upload on tasks (owner, study_path);
create table if not exists uploads (
    id text primary key, owner text not null, folder_id text not null, name text not null, n_chunks integer not null
);
create table if not exists chunks (
    upload_id text not null, chunk integer not null, size integer not null, primary key (upload_id, chunk)
);
"""


@dataclass(frozen=True)
class StudyRecord:
    """A study that can be seen.

    Attributes
    ----------
    uuid, hash_id
        Its own id, and the one that people see.
    title, abstract, authors, reference, species
        As submitted.
    group_id, owner
        Who sees it: everybody where the group is PUBLIC, the owner where it is ``"personal"``, members else.
    cell_type
        Name of the metadata field with the cell types, for expression summaries.
    created_at
        Local time, ISO.
    """

    uuid: str
    hash_id: str
    title: str
    abstract: str
    authors: tuple[str, ...]
    reference: str
    species: str
    group_id: str
    owner: str
    cell_type: str | None
    created_at: str


@dataclass(frozen=True)
class TaskRecord:
    """A submission or export.

    Attributes
    ----------
    id, owner, kind
        ``kind`` is ``"submit"`` or ``"export"``.
    status
        ``PENDING``, ``RUNNING``, ``SUCCESS`` or ``ERROR``.
    log
        All lines so far.
    body
        What was asked for.
    result
        What came of it: the study's uuid, or the exported file.
    """

    id: str
    owner: str
    kind: str
    status: str
    log: str
    body: dict[str, Any]
    result: dict[str, Any]


@dataclass(frozen=True)
class UploadRecord:
    """A file that is being uploaded, or was."""

    id: str
    owner: str
    folder_id: str
    name: str
    n_chunks: int


class Catalogue:
    """The records.

    Parameters
    ----------
    path
        Of the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("pragma journal_mode = wal")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def add_study(self, record: StudyRecord) -> None:
        """Make a study visible."""
        values = (
            record.uuid,
            record.hash_id,
            record.title,
            record.abstract,
            json.dumps(record.authors),
            record.reference,
            record.species,
            record.group_id,
            record.owner,
            record.cell_type,
            record.created_at,
        )
        with self._writing() as connection:
            connection.execute(
                "insert into studies (uuid, hash_id, title, abstract, authors, reference, species, group_id, owner, "
                "cell_type, created_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )

    def studies(self, user: str | None = None, *, species: str | None = None) -> list[StudyRecord]:
        """Studies that a user sees, newest first; with no user the public ones."""
        rows = self._rows(
            "select * from studies where (? is null or species = ?) and (group_id = ? or (? is not null and "
            "(group_id != 'personal' or owner = ?))) order by number desc",
            species,
            species,
            PUBLIC,
            user,
            user,
        )
        return [_study(row) for row in rows]

    def study(self, uuid_: str, user: str) -> StudyRecord | None:
        """A study by its uuid; None where there is none that the user sees."""
        return next((record for record in self.studies(user) if record.uuid == uuid_), None)

    def add_task(self, owner: str, kind: str, body: Mapping[str, Any], study_path: str) -> tuple[TaskRecord, bool]:
        """A new task, or the one that the same upload has already; and whether it is new."""
        with self._writing() as connection:
            if study_path:
                query = "select * from tasks where owner = ? and study_path = ?"
                row = connection.execute(query, (owner, study_path)).fetchone()
                if row:
                    return _task(row), False
            id_ = uuid.uuid4().hex
            values = (id_, owner, kind, "PENDING", "", json.dumps(body), study_path, _now())
            connection.execute(
                "insert into tasks (id, owner, kind, status, log, body, study_path, created_at) "
                "values (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            row = connection.execute("select * from tasks where id = ?", (id_,)).fetchone()
        return _task(row), True

    def task(self, id_: str, owner: str) -> TaskRecord | None:
        """A task of a user."""
        rows = self._rows("select * from tasks where id = ? and owner = ?", id_, owner)
        return _task(rows[0]) if rows else None

    def tasks(self, owner: str) -> list[TaskRecord]:
        """Tasks of a user, newest first."""
        return [_task(row) for row in self._rows("select * from tasks where owner = ? order by rowid desc", owner)]

    def log_line(self, task_id: str, line: str) -> None:
        """Add a line to a task's log, with the time in front."""
        stamped = f"[{datetime.now():%Y-%m-%d %H:%M}] {line}\n"
        with self._writing() as connection:
            connection.execute("update tasks set log = log || ? where id = ?", (stamped, task_id))

    def set_task(self, task_id: str, status: str, result: Mapping[str, Any] | None = None) -> None:
        """Change a task's status, and its result where one is given."""
        with self._writing() as connection:
            connection.execute("update tasks set status = ? where id = ?", (status, task_id))
            if result is not None:
                connection.execute("update tasks set result = ? where id = ?", (json.dumps(result), task_id))

    def interrupt_tasks(self) -> None:
        """End the tasks that a sandbox which is gone left behind."""
        for row in self._rows("select id from tasks where status in ('PENDING', 'RUNNING')"):
            self.log_line(row["id"], "Interrupted: the server was stopped; submit again")
            self.set_task(row["id"], "ERROR")

    def add_upload(self, owner: str, folder_id: str, name: str, n_chunks: int) -> UploadRecord:
        """A file that will be uploaded."""
        record = UploadRecord(uuid.uuid4().hex, owner, folder_id, name, n_chunks)
        with self._writing() as connection:
            connection.execute(
                "insert into uploads values (?, ?, ?, ?, ?)", (record.id, owner, folder_id, name, n_chunks)
            )
        return record

    def upload(self, id_: str, owner: str) -> UploadRecord | None:
        """A file of a user's upload."""
        rows = self._rows("select * from uploads where id = ? and owner = ?", id_, owner)
        return UploadRecord(**dict(rows[0])) if rows else None

    def uploads(self, folder_id: str, owner: str) -> list[UploadRecord]:
        """The files of a folder, in the order they were announced."""
        rows = self._rows("select * from uploads where folder_id = ? and owner = ? order by rowid", folder_id, owner)
        return [UploadRecord(**dict(row)) for row in rows]

    def set_chunk(self, upload_id: str, chunk: int, size: int) -> None:
        """Record that a chunk has arrived; once more is no harm."""
        with self._writing() as connection:
            connection.execute("insert or replace into chunks values (?, ?, ?)", (upload_id, chunk, size))

    def chunks(self, upload_id: str) -> list[int]:
        """Numbers of the chunks that have arrived."""
        return [row["chunk"] for row in self._rows("select chunk from chunks where upload_id = ?", upload_id)]

    def clear(self) -> None:
        """Forget everything."""
        with self._writing() as connection:
            for table in ("studies", "tasks", "uploads", "chunks"):
                connection.execute(f"delete from {table}")


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")


def _study(row: sqlite3.Row) -> StudyRecord:
    fields = dict(row)
    del fields["number"]
    return StudyRecord(**{**fields, "authors": tuple(json.loads(fields["authors"]))})


def _task(row: sqlite3.Row) -> TaskRecord:
    return TaskRecord(
        id=row["id"],
        owner=row["owner"],
        kind=row["kind"],
        status=row["status"],
        log=row["log"],
        body=json.loads(row["body"]),
        result=json.loads(row["result"] or "{}"),
    )
