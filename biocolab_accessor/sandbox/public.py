"""Public studies: from an AnnData or a file to a study that BioFlex's protocol serves."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from anndata import AnnData

from biocolab_accessor.blocks import Slot
from biocolab_accessor.check.counts import choose_matrix
from biocolab_accessor.check.run import open_h5ad
from biocolab_accessor.errors import InvalidArgument, InvalidFile
from biocolab_accessor.naming import did_you_mean, quoted
from biocolab_accessor.sandbox.cells import Cells
from biocolab_accessor.sandbox.databases import SPECIES
from biocolab_accessor.sandbox.site import Site
from biocolab_accessor.sandbox.store.catalogue import PUBLIC, StudyRecord
from biocolab_accessor.sandbox.work.readers import cells_of_anndata
from biocolab_accessor.storage.budget import expect_room
from biocolab_accessor.storage.foreign_hdf5 import opened_foreign

__all__ = ["add_public", "list_public"]

_CELL_TYPE_FIELDS = ("cell_type", "cell type", "celltype", "author's cell type", "bulk_labels", "cell_types")


def list_public(
    site: Site,
    study_id: str,
    build: Callable[[], Cells],
    *,
    title: str,
    authors: Sequence[str],
    reference: str,
    cell_type: str | None,
) -> None:
    """List a human study whose cells are made when somebody asks for them, in this run or a later one."""
    site.set_builder(study_id, build)
    if not site.catalogue.has_public(study_id):
        record = _record(study_id, title, authors, reference, "human", cell_type)
        site.catalogue.add_study(record)


def add_public(
    site: Site,
    study_id: str,
    adata_or_path: AnnData | str | Path,
    *,
    title: str,
    authors: Sequence[str],
    reference: str,
    species: str,
    cell_type: str | None,
) -> StudyRecord:
    """Write a study, then list it.

    Raises
    ------
    InvalidArgument
        There is a public study of this id already, no such column, no database of the species, or something else than
        cells.
    InvalidFile
        The path is not an h5ad, or barcodes are repeated.
    """
    if site.catalogue.has_public(study_id):
        msg = f"there is a public study {quoted(study_id)} already: give another study_id"
        raise InvalidArgument(msg)
    if species not in SPECIES:
        msg = f"the sandbox has no database of species {quoted(species)}{did_you_mean(species, SPECIES)}"
        raise InvalidArgument(msg)
    if not isinstance(adata_or_path, AnnData | str | os.PathLike):
        msg = f"a study is an AnnData or the path of an h5ad file, and no {type(adata_or_path).__name__}"
        raise InvalidArgument(msg)
    cells = _cells_of(adata_or_path) if isinstance(adata_or_path, AnnData) else _cells_in(Path(adata_or_path))
    field = _cell_type_field([str(name) for name in cells.obs.columns], cell_type)
    record = _record(study_id, title, authors, reference, species, field)
    site.write(record.uuid, cells)
    site.catalogue.add_study(record)
    return record


def _record(
    study_id: str, title: str, authors: Sequence[str], reference: str, species: str, cell_type: str | None
) -> StudyRecord:
    return StudyRecord(
        uuid=uuid.uuid4().hex,
        hash_id=study_id,
        title=title,
        abstract="",
        authors=tuple(authors),
        reference=reference,
        species=species,
        group_id=PUBLIC,
        owner="sandbox",
        cell_type=cell_type,
        created_at=datetime.now().isoformat(timespec="seconds"),
    )


def _cells_in(path: Path) -> Cells:
    adata = open_h5ad(path)
    try:
        with opened_foreign(path) as foreign:
            expect_room(foreign.n_bytes, str(path), "take fewer cells")
        return _cells_of(adata.to_memory())
    finally:
        adata.file.close()


def _cells_of(adata: AnnData) -> Cells:
    """The cells with their counts, or with ``X`` where there are none."""
    if not adata.obs_names.is_unique:
        msg = "the barcodes are not unique: adata.obs_names_make_unique()"
        raise InvalidFile(msg)
    slot: Slot = choose_matrix(adata).slot
    features = adata.raw.var_names if slot.kind == "raw.X" else adata.var_names
    return cells_of_anndata(adata, slot.of(adata), features)


def _cell_type_field(columns: Sequence[str], wanted: str | None) -> str | None:
    """The field with the cell types: the one named, else one of the usual names."""
    if wanted is not None and wanted not in columns:
        msg = f"cell_type is {quoted(wanted)}, but obs has no such column{did_you_mean(wanted, columns)}"
        raise InvalidArgument(msg)
    return wanted or next((name for name in columns if name.lower() in _CELL_TYPE_FIELDS), None)
