"""State: the data of a sandbox that its routes read and change."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from biocolab_accessor.concurrency import until
from biocolab_accessor.errors import SandboxError
from biocolab_accessor.messages import did_you_mean, quoted
from biocolab_accessor.sandbox.faults.faults import Fault
from biocolab_accessor.sandbox.processing.cells import Cells, lognorm
from biocolab_accessor.sandbox.processing.tasks import TaskRunner
from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.sandbox.store.buckets import Buckets
from biocolab_accessor.sandbox.store.catalog import Accounts, Catalog, StudyRecord, Terms
from biocolab_accessor.sandbox.store.files import CATALOG_FILE, Database, private_folder, publish, remove
from biocolab_accessor.sandbox.store.study_folder import StudyFolder
from biocolab_accessor.sandbox.store.uploads import Uploads


def open_state(folder: Path, url: str) -> State:
    """Open the data of a sandbox in a folder."""
    try:
        return State(folder, url)
    except (OSError, sqlite3.Error) as error:
        msg = (
            f"the sandbox cannot store its data in {folder}: {error}. Pass path= a folder on a local disk, or, for a "
            "temporary sandbox, set TMPDIR to one"
        )
        raise SandboxError(msg) from error


class State:
    """The data of a sandbox; ``url`` is its address, for links."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.buckets = Buckets()
        self.shared_folders: list[Path] = []
        self.long_body = asyncio.Semaphore()
        self.invitations: dict[str, str] = {}  # emails by one-time codes for signing in
        self._studies, self._exports = folder / "studies", folder / "exports"
        for path in (self._studies, self._exports):
            private_folder(path)
        self._database = Database(folder / CATALOG_FILE)
        self.accounts = Accounts(self._database)
        self.terms = Terms(self._database)
        self.catalog = Catalog(self._database)
        self.uploads = Uploads(folder / "uploads", self.catalog)
        clean_up(self.catalog, self._studies, folder / "uploads", self._exports)
        self.tasks = TaskRunner(self.catalog, self._studies, folder / "worker.log")
        self._builders: dict[str, Callable[[], Cells]] = {}
        self._open: dict[str, StudyFolder] = {}
        self._making: dict[str, threading.Lock] = {}
        self._lock = threading.RLock()
        self._strict = False

    @property
    def strict(self) -> bool:
        """Whether a repeated request is refused or processed again, as real servers may do."""
        return self._strict

    @strict.setter
    def strict(self, value: bool) -> None:
        self._strict = self.uploads.strict = value

    def forget(self, fault: Fault) -> None:
        """Carry out a fault of a kind ``forget_…``."""
        if fault.kind == "forget_uploads":
            self.uploads.forget_waiting()
        elif fault.kind == "forget_tasks":
            self.catalog.forget_tasks(fault.options["title"])
        else:
            self.catalog.forget_studies(fault.options["title"])

    def copy_study(self, uuid_: str) -> str:
        """Copy a study's cells, and return the uuid of the copy."""
        copy = uuid.uuid4().hex
        shutil.copytree(self._studies / uuid_, self._studies / copy)
        return copy

    def stop(self) -> None:
        """Cancel the work that requests may be waiting for, so that the server can stop."""
        self.uploads.close()

    def close(self) -> None:
        """Stop the tasks, wait for studies that are being created, and close the catalog."""
        self.tasks.close()
        for making in list(self._making.values()):
            until(partial(making.acquire, True))
            making.release()
        self._database.close()

    def clear(self) -> None:
        """Remove everything except users and buckets."""
        self.tasks.cancel_all()
        with self._lock:
            self._open.clear()
            self._builders.clear()
            self.catalog.clear()
            self.terms.clear()
            self.uploads.clear()
            for path in (*self._studies.iterdir(), *self._exports.iterdir()):
                remove(path)

    def open(self, record: StudyRecord) -> StudyFolder:
        """The folder of a study, which is created now if this is its first use."""
        with self._lock:
            making = self._making.setdefault(record.uuid, threading.Lock())
        with making:  # locks this study only; other studies stay readable
            if record.uuid not in self._open:
                path = self._studies / record.uuid
                if not path.exists():
                    if record.hash_id not in self._builders:
                        detail = f"the cells of study {quoted(record.hash_id)} are in a package that is not installed"
                        raise HTTPError(410, detail)
                    self.write(record.uuid, self._builders[record.hash_id]())
                self._open[record.uuid] = StudyFolder(path)
            return self._open[record.uuid]

    def export_path(self) -> Path:
        """A path for an export, with a name that cannot be guessed."""
        return self._exports / f"{uuid.uuid4().hex}.h5ad"

    def exported(self, name: str) -> Path | None:
        """The exported file with this name, or None."""
        return next((path for path in self._exports.glob("*.h5ad") if path.stem == name), None)

    def shared_folder(self, path: str) -> Path:
        """A local folder that submissions may use: a shared folder or one below it."""
        for folder in self.shared_folders:
            try:
                wanted = (folder / path).resolve()
                if wanted.is_relative_to(folder) and wanted.is_dir():
                    return wanted
            except (OSError, ValueError):  # too long for the file system, or contains NUL
                continue
        detail = f"{quoted(path)} is not a folder that the server shares: call sandbox.add_folder(…)"
        raise HTTPError(404, detail)

    def visible(self, user: str, study_id: str, *, species: str | None = None) -> StudyRecord:
        """The newest study with this uuid or displayed id that a user sees."""
        records = self.catalog.studies(user, species=species)
        for record in records:
            if study_id in (record.uuid, record.hash_id):
                return record
        detail = f"the sandbox has no study {quoted(study_id)}{did_you_mean(study_id, {r.hash_id for r in records})}"
        raise HTTPError(404, detail)

    def by_uuid(self, user: str, uuid_: str) -> StudyRecord:
        """The study with this uuid, if the user sees it."""
        record = self.catalog.study(uuid_, user)
        if record is None:
            detail = f"the sandbox has no study with the uuid {quoted(uuid_)}"
            raise HTTPError(404, detail)
        return record

    def write(self, uuid_: str, cells: Cells) -> None:
        """Store cells as a study, which becomes visible once the catalog lists it."""
        part = self._studies / f"{uuid.uuid4().hex}.part"
        data = cells.matrix.data
        counts = bool(len(data)) and bool((data >= 0).all()) and bool((data % 1 == 0).all())
        try:
            StudyFolder.write(part, cells, lognorm(cells.matrix) if counts else None, {}, {})
            publish(part, self._studies / uuid_)
        finally:
            remove(part)  # what a full disk has room for

    def set_builder(self, study_id: str, build: Callable[[], Cells]) -> None:
        """Set the function that creates the cells of a public study on first use."""
        self._builders[study_id] = build


_DAYS = 7


def clean_up(catalog: Catalog, studies: Path, uploads: Path, exports: Path) -> None:
    """End interrupted tasks, and remove files that nothing refers to, and uploads and exports older than a week."""
    # Studies that wait for their commit and uploads that may still be submitted stay.
    catalog.interrupt_tasks()
    known = catalog.study_uuids()
    for path in studies.iterdir():
        if path.name not in known:
            remove(path)
    waiting = catalog.waiting_uploads()
    for path in uploads.iterdir():
        if path.name not in waiting or _is_old(path):
            remove(path)
    for path in exports.iterdir():
        if path.suffix == ".part" or _is_old(path):
            remove(path)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _DAYS * 86400
