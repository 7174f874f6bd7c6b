"""Public studies: the studies that every sandbox starts with, and the ones that are added."""

from __future__ import annotations

import functools
import os
import uuid
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from anndata import AnnData

from biocolab_accessor.check.files import open_h5ad
from biocolab_accessor.check.matrix_choice import choose_matrix
from biocolab_accessor.errors import InvalidArgument, InvalidFile
from biocolab_accessor.io.hdf5_gate import opened_foreign
from biocolab_accessor.io.matrix_blocks import Slot
from biocolab_accessor.io.memory import expect_room
from biocolab_accessor.messages import did_you_mean, quoted
from biocolab_accessor.sandbox.processing.cells import Cells
from biocolab_accessor.sandbox.processing.readers import cells_of_anndata
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.catalog import PUBLIC, StudyRecord

DATABASE_ID = "5010c7d573ae4ff2b9691422b99aa2cd"
"""One id for all databases, as on the real server."""

VERSIONS = [("human", 1), ("human", 2), ("human", 3), ("mouse", 1), ("primate", 1)]
"""Species and version; in the sandbox all versions of a species have the same studies."""

SPECIES = tuple(dict.fromkeys(species for species, _ in VERSIONS))
"""Species that have a database."""


def pbmc68k() -> ad.AnnData:
    """Scanpy's packaged PBMC 68k: 700 cells by 765 genes, X scaled, raw.X log-normalized, no counts."""
    path = _package("scanpy") / "datasets" / "10x_pbmc68k_reduced.h5ad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file has an old format, which the caller cannot change
        return ad.read_h5ad(path)


def has_celltypist() -> bool:
    """Whether CellTypist, whose sample has real counts, is installed (extra ``demo``)."""
    return find_spec("celltypist") is not None


@functools.cache
def celltypist_sample() -> pd.DataFrame:
    """CellTypist's packaged sample: counts of 559 human cells by 32,786 genes. Copy it before changing it."""
    # The values differ from integers by up to 4e-11, and are returned unchanged, as float64.
    path = _package("celltypist") / "data" / "samples" / "sample_cell_by_gene.csv"
    with path.open("rb") as file:
        genes = file.readline().decode().rstrip().split(",")[1:]
        names, rows = [], []
        for line in file:
            name, _, numbers = line.rstrip().partition(b",")
            names.append(name.decode())
            rows.append(_mostly_zero(numbers))
    return pd.DataFrame(np.vstack(rows), index=names, columns=genes)


def _mostly_zero(text: bytes) -> np.ndarray:
    """Parse comma-separated numbers, skipping 0 and 0.0; pandas takes ten times as long."""
    characters = np.frombuffer(text + b",", np.uint8)
    ends = np.flatnonzero(characters == ord(","))
    starts = np.append(0, ends[:-1] + 1)
    zero = characters[starts] == ord("0")
    zero &= (ends - starts == 1) | ((ends - starts == 3) & (characters[ends - 2] == ord(".")))
    zero &= characters[ends - 1] == ord("0")
    values = np.zeros(len(ends))
    others = np.flatnonzero(~zero)
    values[others] = [float(text[start:end]) for start, end in zip(starts[others], ends[others], strict=True)]
    return values


def _package(name: str) -> Path:
    """A package's folder, without the import, which takes seconds for scanpy and CellTypist."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        msg = f"{name} is not installed" + (": pip install 'biocolab_accessor[demo]'" if name == "celltypist" else "")
        raise ModuleNotFoundError(msg)
    return Path(spec.origin).parent


_CELL_TYPE_FIELDS = ("cell_type", "cell type", "celltype", "author's cell type", "bulk_labels", "cell_types")


def list_public(
    state: State,
    study_id: str,
    build: Callable[[], Cells],
    *,
    title: str,
    authors: Sequence[str],
    reference: str,
    cell_type: str | None,
) -> None:
    """List a human study whose cells are created on first use, in this run or a later one."""
    state.set_builder(study_id, build)
    if not state.catalog.has_public(study_id):
        record = _record(study_id, title, authors, reference, "human", cell_type)
        state.catalog.add_study(record)


def add_public(
    state: State,
    study_id: str,
    adata_or_path: AnnData | str | Path,
    *,
    title: str,
    authors: Sequence[str],
    reference: str,
    species: str,
    cell_type: str | None,
) -> StudyRecord:
    """Write a study, then list it."""
    if state.catalog.has_public(study_id):
        msg = f"a public study {quoted(study_id)} already exists: use another study_id"
        raise InvalidArgument(msg)
    if species not in SPECIES:
        msg = f"the sandbox has no database of species {quoted(species)}{did_you_mean(species, SPECIES)}"
        raise InvalidArgument(msg)
    if not isinstance(adata_or_path, AnnData | str | os.PathLike):
        msg = f"a study must be an AnnData or the path of an h5ad file, not {type(adata_or_path).__name__}"
        raise InvalidArgument(msg)
    cells = _cells_of(adata_or_path) if isinstance(adata_or_path, AnnData) else _cells_in(Path(adata_or_path))
    field = _cell_type_field([str(name) for name in cells.obs.columns], cell_type)
    record = _record(study_id, title, authors, reference, species, field)
    state.write(record.uuid, cells)
    state.catalog.add_study(record)
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
            expect_room(foreign.n_bytes, str(path), "use fewer cells")
        return _cells_of(adata.to_memory())
    finally:
        adata.file.close()


def _cells_of(adata: AnnData) -> Cells:
    """The cells with their counts, or with ``X`` if there are no counts."""
    if not adata.obs_names.is_unique:
        msg = "the barcodes are not unique: call adata.obs_names_make_unique()"
        raise InvalidFile(msg)
    slot: Slot = choose_matrix(adata).slot
    features = adata.raw.var_names if slot.kind == "raw.X" else adata.var_names
    return cells_of_anndata(adata, slot.of(adata), features)


def _cell_type_field(columns: Sequence[str], wanted: str | None) -> str | None:
    """The field with the cell types: the given one, or the first with a common name."""
    if wanted is not None and wanted not in columns:
        msg = f"cell_type is {quoted(wanted)}, but obs has no such column{did_you_mean(wanted, columns)}"
        raise InvalidArgument(msg)
    return wanted or next((name for name in columns if name.lower() in _CELL_TYPE_FIELDS), None)


def seed(state: State) -> None:
    """List the initial studies; their cells are read from the packages on first use."""
    list_public(
        state,
        "PBMC68k_reduced",
        _pbmc68k,
        title="Massively parallel digital transcriptional profiling of single cells (PBMC 68k, reduced)",
        authors=("Zheng et al.",),
        reference="https://www.nature.com/articles/ncomms14049",
        cell_type="bulk_labels",
    )
    if has_celltypist():
        list_public(
            state,
            "CellTypist_sample",
            _celltypist,
            title="CellTypist's packaged sample of human immune cells",
            authors=("Domínguez Conde et al.",),
            reference="https://www.science.org/doi/10.1126/science.abl5197",
            cell_type=None,
        )


def _pbmc68k() -> Cells:
    adata = pbmc68k()
    # X is scaled, which servers do not show; the log-normalized values are in raw.
    return cells_of_anndata(adata, adata.raw.X, adata.raw.var_names)


def _celltypist() -> Cells:
    from biocolab_accessor.submit.tables import to_anndata

    adata = to_anndata(celltypist_sample())
    return cells_of_anndata(adata, adata.X, adata.var_names)
