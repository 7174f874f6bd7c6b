"""Site: all that the routes of a sandbox work on."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from anndata import AnnData

from biocolab_accessor.blocks import Slot
from biocolab_accessor.check.counts import choose_matrix
from biocolab_accessor.errors import InvalidArgument, InvalidFile
from biocolab_accessor.naming import did_you_mean
from biocolab_accessor.sandbox.accounts import Accounts
from biocolab_accessor.sandbox.buckets import Buckets
from biocolab_accessor.sandbox.catalogue import PUBLIC, Catalogue, StudyRecord
from biocolab_accessor.sandbox.cells import Cells, lognorm
from biocolab_accessor.sandbox.database import Database
from biocolab_accessor.sandbox.readers import cells_of_anndata
from biocolab_accessor.sandbox.refusal import Refusal
from biocolab_accessor.sandbox.study_folder import StudyFolder
from biocolab_accessor.sandbox.tasks import TaskRunner
from biocolab_accessor.sandbox.terms import Terms
from biocolab_accessor.sandbox.uploads import Uploads

__all__ = ["Site", "cell_type_field", "cells_of"]

_CELL_TYPE_FIELDS = ("cell_type", "cell type", "celltype", "author's cell type", "bulk_labels", "cell_types")


class Site:
    """The data of a sandbox.

    Parameters
    ----------
    folder
        Where they are kept.
    url
        Where the sandbox is, for links.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.buckets = Buckets()
        self.shared_folders: list[Path] = []
        self._studies, self._exports = folder / "studies", folder / "exports"
        for path in (self._studies, self._exports):
            path.mkdir(parents=True, exist_ok=True)
        for left in self._studies.glob("*.part"):
            shutil.rmtree(left)
        self._database = Database(folder / "catalogue.sqlite")
        self.accounts = Accounts(self._database)
        self.terms = Terms(self._database)
        self.catalogue = Catalogue(self._database)
        self.catalogue.interrupt_tasks()
        self.uploads = Uploads(folder / "uploads", self.catalogue)
        self.tasks = TaskRunner(self.catalogue, self._studies, folder / "worker.log")
        self._builders: dict[str, Callable[[], Cells]] = {}
        self._open: dict[str, StudyFolder] = {}
        self._lock = threading.RLock()

    def close(self) -> None:
        """End the tasks and close the catalogue."""
        self.tasks.close()
        self._database.close()

    def clear(self) -> None:
        """Forget everything but users and buckets."""
        self.tasks.cancel_all()
        with self._lock:
            self._open.clear()
            self._builders.clear()
            self.catalogue.clear()
            self.terms.clear()
            self.uploads.clear()
            for path in (self._studies, self._exports):
                shutil.rmtree(path)
                path.mkdir()

    def open(self, record: StudyRecord) -> StudyFolder:
        """The folder of a study; one that is made on first use is made now."""
        with self._lock:
            if record.uuid not in self._open:
                path = self._studies / record.uuid
                if not path.exists():
                    self._write(path, self._builders[record.hash_id]())
                self._open[record.uuid] = StudyFolder(path)
            return self._open[record.uuid]

    def export_path(self) -> Path:
        """A file for an export, under a name that cannot be guessed."""
        return self._exports / f"{uuid.uuid4().hex}.h5ad"

    def exported(self, name: str) -> Path | None:
        """An exported file by its name; None where there is none."""
        return next((path for path in self._exports.glob("*.h5ad") if path.stem == name), None)

    def shared_folder(self, path: str) -> Path:
        """A folder of this machine that submissions may name.

        Raises
        ------
        Refusal
            It is not one of those, nor below one.
        """
        for folder in self.shared_folders:
            try:
                wanted = (folder / path).resolve()
                if wanted.is_relative_to(folder) and wanted.is_dir():
                    return wanted
            except (OSError, ValueError):  # longer than the file system takes, or with a NUL
                continue
        detail = f"{path!r} is not a folder that the server shares: sandbox.add_folder(…)"
        raise Refusal(404, detail)

    def visible(self, user: str, study_id: str, *, species: str | None = None) -> StudyRecord:
        """The newest study of this uuid or displayed id that a user sees.

        Raises
        ------
        Refusal
            There is none; near ids are given.
        """
        records = self.catalogue.studies(user, species=species)
        for record in records:
            if study_id in (record.uuid, record.hash_id):
                return record
        detail = f"there is no study {study_id!r}{did_you_mean(study_id, {r.hash_id for r in records})}"
        raise Refusal(404, detail)

    def by_uuid(self, user: str, uuid_: str) -> StudyRecord:
        """A study that a user sees.

        Raises
        ------
        Refusal
            There is none.
        """
        record = self.catalogue.study(uuid_, user)
        if record is None:
            detail = f"there is no study with the uuid {uuid_!r}"
            raise Refusal(404, detail)
        return record

    def add_public(
        self,
        study_id: str,
        build: Callable[[], Cells],
        *,
        title: str,
        authors: Sequence[str],
        reference: str,
        species: str,
        cell_type: str | None,
    ) -> StudyRecord:
        """List a public study whose cells are made on first use."""
        with self._lock:
            self._builders[study_id] = build
            known = [record for record in self.catalogue.studies() if record.hash_id == study_id]
            if known:
                return known[0]
            now = datetime.now().isoformat(timespec="seconds")
            record = StudyRecord(
                uuid.uuid4().hex,
                study_id,
                title,
                "",
                tuple(authors),
                reference,
                species,
                PUBLIC,
                "sandbox",
                cell_type,
                now,
            )
            self.catalogue.add_study(record)
            return record

    def _write(self, path: Path, cells: Cells) -> None:
        part = path.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        data = cells.matrix.data
        counts = bool(len(data)) and bool((data >= 0).all()) and bool((data % 1 == 0).all())
        StudyFolder.write(part, cells, lognorm(cells.matrix) if counts else None, {}, {})
        part.rename(path)


def cells_of(adata: AnnData) -> Cells:
    """The cells of an AnnData with its counts, or with ``X`` where it has none.

    Raises
    ------
    InvalidFile
        Barcodes are repeated.
    """
    if not adata.obs_names.is_unique:
        msg = "the barcodes are not unique: adata.obs_names_make_unique()"
        raise InvalidFile(msg)
    slot: Slot = choose_matrix(adata).slot
    features = adata.raw.var_names if slot.kind == "raw.X" else adata.var_names
    return cells_of_anndata(adata, slot.of(adata), features)


def cell_type_field(cells_obs: Sequence[str], wanted: str | None) -> str | None:
    """The field with the cell types: the one named, else one of the usual names.

    Raises
    ------
    InvalidArgument
        The named one does not exist.
    """
    if wanted is not None and wanted not in cells_obs:
        msg = f"cell_type is {wanted!r}, but obs has no such column{did_you_mean(wanted, cells_obs)}"
        raise InvalidArgument(msg)
    return wanted or next((name for name in cells_obs if name.lower() in _CELL_TYPE_FIELDS), None)
