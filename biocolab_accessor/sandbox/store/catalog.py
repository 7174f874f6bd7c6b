"""Catalog: users, groups, studies, tasks, uploads and ontology terms of the sandbox, in SQLite."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from biocolab_accessor.messages import quoted
from biocolab_accessor.sandbox.store.files import Database
from biocolab_accessor.security.redaction import sealed

DEFAULT_TOKEN = "biocolab-sandbox"
"""A publicly known token. A sandbox uses it only if it is passed as ``token=``, and on this machine only."""

ALL_MEMBERS, PERSONAL = "all_members", "personal"

_USERS_SCHEMA = """
create table if not exists users (email text primary key, token text unique not null);
create table if not exists groups (id text primary key, name text not null);
create table if not exists members (group_id text not null, email text not null, primary key (group_id, email));
"""


@dataclass(frozen=True)
class Group:
    """A group: its id in the protocol, and the name that users see."""

    id: str
    name: str


_COMMON_GROUPS = (Group(ALL_MEMBERS, "All members"), Group(PERSONAL, "Personal workspace"))


class Accounts:
    """Users and groups; only the digest of a token is stored."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_USERS_SCHEMA)

    def set_user(self, email: str, token: Any) -> None:
        """Add a user, or give one another token.

        Raises
        ------
        ValueError
            Another user has this token.
        """
        token = held = sealed(token)
        owner = self.user_of(held)
        if owner not in (None, email):
            msg = "another user has this token"
            raise ValueError(msg)
        self._database.write("insert or replace into users values (?, ?)", email, _digest(held))

    def user_of(self, token: Any) -> str | None:
        """Email of the user with this token, or None."""
        token = held = sealed(token)
        rows = self._database.rows("select email from users where token = ?", _digest(held))
        return str(rows[0]["email"]) if rows else None

    def users(self) -> list[str]:
        """Emails."""
        return [row["email"] for row in self._database.rows("select email from users order by email")]

    def set_group(self, group: Group, members: list[str]) -> None:
        """Add a group, or change its name and members."""
        with self._database.writing() as connection:
            connection.execute("insert or replace into groups values (?, ?)", (group.id, group.name))
            connection.execute("delete from members where group_id = ?", (group.id,))
            connection.executemany("insert into members values (?, ?)", [(group.id, email) for email in members])

    def groups(self, user: str) -> list[Group]:
        """Groups of a user: the two that all users have, then those that the user is a member of."""
        rows = self._database.rows(
            "select id, name from groups join members on id = group_id where email = ? order by name", user
        )
        return [*_COMMON_GROUPS, *(Group(row["id"], row["name"]) for row in rows)]


def _digest(held: Any) -> str:
    return hashlib.sha256(held.reveal().encode("utf-8", "surrogatepass")).hexdigest()


_TERMS_SCHEMA = """
create table if not exists terms (
    study text not null, field text not null, label text not null, root text not null, leaf text not null,
    primary key (study, field, label, root)
);
"""


def _node(id_: str, name: str, *children: dict[str, Any]) -> dict[str, Any]:
    return {"id": id_, "name": name, "children": list(children)}


# Accessions of the Cell Ontology and Uberon; clients read two levels.
TREE: dict[str, dict[str, Any]] = {
    "CL:0000000": {
        "name": "cell type",
        "children": [
            _node(
                "CL:0000084",
                "T cell",
                _node("CL:0000624", "CD4-positive, alpha-beta T cell"),
                _node("CL:0000625", "CD8-positive, alpha-beta T cell"),
            ),
            _node("CL:0000236", "B cell", _node("CL:0000786", "plasma cell")),
            _node("CL:0000623", "natural killer cell"),
            _node("CL:0000576", "monocyte", _node("CL:0000235", "macrophage")),
            _node("CL:0000451", "dendritic cell"),
            _node("CL:0000233", "platelet"),
            _node("CL:0000232", "erythrocyte"),
        ],
    },
    "UBERON:0000465": {
        "name": "tissue",
        "children": [
            _node("UBERON:0000178", "blood"),
            _node("UBERON:0002371", "bone marrow"),
            _node("UBERON:0002106", "spleen"),
            _node("UBERON:0000029", "lymph node"),
            _node("UBERON:0002048", "lung"),
            _node("UBERON:0002107", "liver"),
            _node("UBERON:0000955", "brain"),
        ],
    },
}
"""Roots by accession; a root has a name and children, and a child has its accession as ``id`` too."""


class Terms:
    """Ontology terms that were assigned to labels."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_TERMS_SCHEMA)

    def assign(self, study: str, field: str, label: str, root: str, leaf: str) -> None:
        """Assign a term to a label; it replaces an earlier term of the same root. Unknown terms raise LookupError."""
        if root not in TREE:
            msg = f"the sandbox has no ontology {quoted(root)}; use one of {', '.join(TREE)}"
            raise LookupError(msg)
        if leaf not in _leaves(root):
            msg = f"ontology {quoted(root)} has no term {quoted(leaf)}"
            raise LookupError(msg)
        self._database.write("insert or replace into terms values (?, ?, ?, ?, ?)", study, field, label, root, leaf)

    def of(self, studies: list[str]) -> list[dict[str, str]]:
        """Rows of the standardized terms of some studies."""
        rows = self._database.rows("select * from terms order by rowid")
        return [
            {
                "study_id": row["study"],
                "metadata_field": row["field"],
                "metadata_label": row["label"],
                "ontology_accession_id": row["root"],
                "ontology_label": TREE[row["root"]]["name"],
                "node_accession_id": row["leaf"],
                "node_label": _leaves(row["root"])[row["leaf"]],
            }
            for row in rows
            if row["study"] in studies
        ]

    def clear(self) -> None:
        """Remove all assignments."""
        self._database.write("delete from terms")


def _leaves(root: str) -> dict[str, str]:
    """Names of all the terms below a root."""
    children = TREE[root]["children"]
    return {node["id"]: node["name"] for child in children for node in (child, *child["children"])}


PUBLIC = "bioturing_public_studies"
"""Group id of the public studies."""

UPLOAD_PREFIX = "/sandbox/uploads/"
"""Prefix of the paths of uploads; the folder's id follows."""

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
    """A study that is visible, in the group PUBLIC to all users and in ``"personal"`` to its owner only."""

    uuid: str
    hash_id: str  # the id that users see
    title: str
    abstract: str
    authors: tuple[str, ...]
    reference: str
    species: str
    group_id: str
    owner: str
    cell_type: str | None  # metadata field with the cell types
    created_at: str  # local time, ISO


@dataclass(frozen=True)
class TaskRecord:
    """A submission or export."""

    id: str
    owner: str
    kind: str  # "submit" or "export"
    status: str  # PENDING, RUNNING, SUCCESS or ERROR
    log: str
    body: dict[str, Any]  # the request
    result: dict[str, Any]  # the study's uuid, or the exported file


@dataclass(frozen=True)
class UploadRecord:
    """An uploaded file, complete or not."""

    id: str
    owner: str
    folder_id: str
    name: str
    n_chunks: int


class Catalog:
    """The records of studies, tasks and uploads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)

    def add_study(self, record: StudyRecord) -> None:
        """Make a study visible; a study that is already visible stays unchanged."""
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
        with self._database.writing() as connection:
            connection.execute(
                "insert or ignore into studies (uuid, hash_id, title, abstract, authors, reference, species, "
                "group_id, owner, cell_type, created_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )

    def studies(self, user: str | None = None, *, species: str | None = None) -> list[StudyRecord]:
        """Studies that a user sees, newest first; without a user the public studies."""
        rows = self._database.rows(
            "select * from studies where (? is null or species = ?) and (group_id = ? or (? is not null and "
            "(group_id = ? or (group_id = ? and owner = ?) or "
            "group_id in (select group_id from members where email = ?)))) order by number desc",
            species,
            species,
            PUBLIC,
            user,
            ALL_MEMBERS,
            PERSONAL,
            user,
            user,
        )
        return [_study(row) for row in rows]

    def has_public(self, hash_id: str) -> bool:
        """Whether a public study with this displayed id exists."""
        return any(record.hash_id == hash_id for record in self.studies())

    def study(self, uuid_: str, user: str) -> StudyRecord | None:
        """The study with this uuid if the user sees it, or None."""
        return next((record for record in self.studies(user) if record.uuid == uuid_), None)

    def add_task(self, owner: str, kind: str, body: Mapping[str, Any], study_path: str) -> tuple[TaskRecord, bool]:
        """A new task, or the existing task of the same upload, and whether it is new."""
        with self._database.writing() as connection:
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
        rows = self._database.rows("select * from tasks where id = ? and owner = ?", id_, owner)
        return _task(rows[0]) if rows else None

    def has_task(self, id_: str) -> bool:
        """Whether a task with this id exists, of any user."""
        return bool(self._database.rows("select 1 from tasks where id = ?", id_))

    def tasks(self, owner: str) -> list[TaskRecord]:
        """Tasks of a user, newest first."""
        return [
            _task(row) for row in self._database.rows("select * from tasks where owner = ? order by rowid desc", owner)
        ]

    def log_line(self, task_id: str, line: str) -> None:
        """Add a line with a time stamp to a task's log."""
        stamped = f"[{datetime.now():%Y-%m-%d %H:%M}] {line}\n"
        with self._database.writing() as connection:
            connection.execute("update tasks set log = log || ? where id = ?", (stamped, task_id))

    def set_task(self, task_id: str, status: str, result: Mapping[str, Any] | None = None) -> None:
        """Change a task's status, and its result if one is given."""
        with self._database.writing() as connection:
            connection.execute("update tasks set status = ? where id = ?", (status, task_id))
            if result is not None:
                connection.execute("update tasks set result = ? where id = ?", (json.dumps(result), task_id))

    def interrupt_tasks(self) -> None:
        """End the tasks that an earlier run left unfinished."""
        for row in self._database.rows("select id from tasks where status in ('PENDING', 'RUNNING')"):
            self.log_line(row["id"], "Interrupted: the server was stopped; submit again")
            self.set_task(row["id"], "ERROR")

    def study_uuids(self) -> set[str]:
        """Studies that are visible, or wait for their commit."""
        rows = self._database.rows("select uuid from studies")
        done = self._database.rows("select result from tasks where kind = 'submit' and status = 'SUCCESS'")
        return {row["uuid"] for row in rows} | {json.loads(row["result"])["uuid"] for row in done}

    def task_of_upload(self, owner: str, study_path: str) -> TaskRecord | None:
        """The task of an upload, or None if it was not submitted."""
        rows = self._database.rows("select * from tasks where owner = ? and study_path = ?", owner, study_path)
        return _task(rows[0]) if rows else None

    def waiting_uploads(self) -> set[str]:
        """Ids of announced files in folders that were not submitted."""
        rows = self._database.rows(
            "select id from uploads where not exists (select 1 from tasks where tasks.owner = uploads.owner and "
            "tasks.study_path = ? || uploads.folder_id)",
            UPLOAD_PREFIX,
        )
        return {row["id"] for row in rows}

    def add_upload(self, owner: str, folder_id: str, name: str, n_chunks: int) -> UploadRecord:
        """Add a file that will be uploaded."""
        record = UploadRecord(uuid.uuid4().hex, owner, folder_id, name, n_chunks)
        with self._database.writing() as connection:
            connection.execute(
                "insert into uploads values (?, ?, ?, ?, ?)", (record.id, owner, folder_id, name, n_chunks)
            )
        return record

    def upload(self, id_: str, owner: str) -> UploadRecord | None:
        """A file of a user's upload."""
        rows = self._database.rows("select * from uploads where id = ? and owner = ?", id_, owner)
        return UploadRecord(**dict(rows[0])) if rows else None

    def uploads(self, folder_id: str, owner: str) -> list[UploadRecord]:
        """The files of a folder, in the order in which they were announced."""
        rows = self._database.rows(
            "select * from uploads where folder_id = ? and owner = ? order by rowid", folder_id, owner
        )
        return [UploadRecord(**dict(row)) for row in rows]

    def set_chunk(self, upload_id: str, chunk: int, size: int) -> None:
        """Record that a chunk has arrived; repeating it is harmless."""
        with self._database.writing() as connection:
            connection.execute("insert or replace into chunks values (?, ?, ?)", (upload_id, chunk, size))

    def chunks(self, upload_id: str) -> dict[int, int]:
        """Sizes in bytes of the chunks that have arrived, by number."""
        rows = self._database.rows("select chunk, size from chunks where upload_id = ?", upload_id)
        return {row["chunk"]: row["size"] for row in rows}

    def forget_uploads(self, ids: Collection[str]) -> None:
        """Forget uploaded files."""
        with self._database.writing() as connection:
            for id_ in ids:
                connection.execute("delete from uploads where id = ?", (id_,))
                connection.execute("delete from chunks where upload_id = ?", (id_,))

    def forget_tasks(self, title: str) -> None:
        """Forget tasks of studies whose title matches a pattern."""
        rows = self._database.rows("select * from tasks")
        gone = [row["id"] for row in rows if fnmatchcase(str(_task(row).body.get("title", "")), title)]
        with self._database.writing() as connection:
            for id_ in gone:
                connection.execute("delete from tasks where id = ?", (id_,))

    def forget_studies(self, title: str) -> None:
        """Forget studies of groups whose title matches a pattern."""
        rows = self._database.rows("select uuid, title from studies where group_id != ?", PUBLIC)
        with self._database.writing() as connection:
            for row in rows:
                if fnmatchcase(row["title"], title):
                    connection.execute("delete from studies where uuid = ?", (row["uuid"],))

    def clear(self) -> None:
        """Remove all records."""
        with self._database.writing() as connection:
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
