"""Disk: studies larger than memory, written to an h5ad and opened from it, and files that servers export."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
from anndata import AnnData
from anndata.io import read_elem
from scipy import sparse

from biocolab_accessor.clients.tasks import restart_if_lost
from biocolab_accessor.config import settings
from biocolab_accessor.errors import ConfigurationError, InvalidArgument, InvalidFile, InvalidResponse
from biocolab_accessor.io.cache import cache
from biocolab_accessor.io.compression import Compression
from biocolab_accessor.io.hdf5_gate import opened_foreign
from biocolab_accessor.io.names import escaped, restored
from biocolab_accessor.io.safe_files import target_path
from biocolab_accessor.io.transpose import Scratch, join_rows, write_stripes
from biocolab_accessor.io.values import text_index
from biocolab_accessor.io.write_h5ad import write_h5ad
from biocolab_accessor.studies.conversion import expect_shape, to_obsm
from biocolab_accessor.studies.fetch import (
    SAMPLE_SIZE,
    embeddings_of,
    obs_of,
    origin,
    selected_genes,
    var_of,
    warn_where_no_counts,
)
from biocolab_accessor.studies.lock import recorder
from biocolab_accessor.studies.provenance import KEY as PROVENANCE
from biocolab_accessor.studies.selection import Selection, selected, without_unused_labels
from biocolab_accessor.studies.study_data import StudyParts

# Non-zeros per stripe. Each takes 8 bytes as received, 8 transposed and at most 8 while it is written. Three stripes
# are processed at once, so each may take an eighth of the budget.
_MOST, _LEAST = 2 << 20, 64 << 10
_BYTES_EACH = 32
_CHUNK_BYTES = 64 << 20

# Provenance that may differ between two files with the same matrices.
_CHANGING = {"packages", "fetched_at", "embeddings", "renamed", "title", "authors", "reference", "species"}


def write_study(parts: StudyParts, selection: Selection, path: str | Path, compression: Compression = "gzip") -> Path:
    """See :meth:`Study.to_h5ad`."""
    target = _written(parts, selection, path, compression, labels="used")
    if selection.unit == "raw":
        with h5py.File(target, "r") as file:
            warn_where_no_counts(file["X/data"][:SAMPLE_SIZE], parts.study_id)
    return target


def export_study(parts: StudyParts, export_format: str, path: str | Path | None) -> dict[str, Any]:
    """See :meth:`Study.export_study`."""
    source = parts.source
    if path is None:
        return source.export(export_format)

    def begin() -> dict[str, Any]:
        answer = source.export(export_format)
        link = answer.get("download_link") if isinstance(answer, Mapping) else None
        if not isinstance(link, str) or not link:
            msg = f"study {parts.study_id}: the server sent no link to the exported file"
            raise InvalidResponse(msg)
        return answer

    def download(answer: dict[str, Any]) -> Path:
        return source.save(answer["download_link"], path)

    answer, saved = restart_if_lost(begin, download, f"export of {parts.study_id}")
    return {**answer, "path": saved}


def _written(
    parts: StudyParts, selection: Selection, path: str | Path, compression: Compression, labels: str = "all"
) -> Path:
    target = target_path(path)
    parts = selected(parts, selection)
    genes = selected_genes(parts, selection)
    frame = obs_of(parts, selection)
    if labels == "used":
        frame = without_unused_labels(frame, selection)
    frame.columns = text_index([escaped(name) for name in frame.columns])
    arrays, keys = to_obsm(embeddings_of(parts, selection), parts.n_obs, parts.study_id)
    facts = origin(parts, selection, genes, keys)
    with (
        tempfile.TemporaryDirectory(prefix=".biocolab-", dir=target.parent, ignore_cleanup_errors=True) as folder,
        ExitStack() as opened,
    ):

        def blocks(unit: str) -> Iterator[sparse.csr_matrix]:
            # Its file is open in the folder and must be closed first: Windows does not remove open files.
            return opened.enter_context(closing(_blocks(parts, genes, unit, Path(folder))))

        write_h5ad(
            target,
            blocks(selection.unit),
            frame,
            var_of(parts.features if genes is None else genes),
            {escaped(key): array for key, array in arrays.items()},
            dtype=np.dtype(np.float32),
            compression=compression,
            layers={name: blocks(unit) for name, unit in selection.layers.items()},
            uns={PROVENANCE: facts},
        )
    return target


def file_of_study(parts: StudyParts, selection: Selection, path: str | Path | None) -> Path:
    """An h5ad of the study at a path; without a path in the cache, or InvalidArgument if it cannot be cached."""
    if path is not None:
        return _written(parts, selection, path, "gzip")
    key = parts.source.cache_key()
    found = None
    if key is not None and settings.cache_size:
        wanted = {**key, "part": "h5ad", "selection": selection._asdict()}
        # Uncompressed, because each block is read many times.
        found = cache.file(wanted, lambda place: _written(parts, selection, place, None))
        if recorder() is not None:
            _record(parts, selection)
    if found is None:
        limit = f" of bc.settings.cache_size={settings.cache_size:,} bytes" if key is not None else ""
        msg = f"study {parts.study_id} cannot be kept in the cache{limit}: give a path, study.lazy('study.h5ad')"
        raise InvalidArgument(msg)
    return found


def _record(parts: StudyParts, selection: Selection) -> None:
    """Fetch and hash what an earlier session has put into the file, a few genes at a time."""
    parts = selected(parts, selection)
    genes = selected_genes(parts, selection)
    obs_of(parts, selection)
    embeddings_of(parts, selection)
    for unit in selection.units:
        parts.record_matrix(genes, unit)


def expect_same(path: str | Path, parts: StudyParts, selection: Selection) -> None:
    """Raise InvalidArgument if the path holds another study, genes, unit or layers, which objects may be reading."""
    target = target_path(path)
    if not target.exists():
        return
    wanted = origin(parts, selection._replace(fields=()), selected_genes(parts, selection), {})
    try:
        with opened_foreign(target) as (file, *_):
            facts = read_elem(file[f"uns/{PROVENANCE}"])
    except (InvalidFile, OSError, KeyError):
        facts = {}
    facts |= {name: list(facts[name]) for name in ("genes", "cells") if name in facts}
    if any(facts.get(name) != wanted.get(name) for name in {*facts, *wanted} - _CHANGING):
        msg = (
            f"{target} exists, but does not hold study {parts.study_id} with these genes, unit and layers, and objects "
            "may be reading from it: give another path, or remove it"
        )
        raise InvalidArgument(msg)


def open_lazily(path: Path) -> AnnData:
    """An AnnData whose matrices are Dask arrays over an h5ad."""
    try:
        import dask.array  # noqa: F401 - anndata imports it late, with an error message of its own
        from anndata.experimental import read_elem_lazy
    except ImportError as error:
        msg = "lazy() needs Dask: pip install 'biocolab_accessor[dask]'"
        raise ConfigurationError(msg) from error
    with h5py.File(path, "r") as file:
        n_obs, n_vars = (int(n) for n in file["X"].attrs["shape"])
        stored = max(1, len(file["X/data"]) // max(n_obs, 1)) * 8
        chunks = (max(1, min(n_obs, _CHUNK_BYTES // stored)), n_vars)
        adata = AnnData(
            read_elem_lazy(file["X"], chunks=chunks),
            obs=read_elem(file["obs"]),
            var=read_elem(file["var"]),
            obsm=read_elem(file["obsm"]),
            layers={key: read_elem_lazy(file["layers"][key], chunks=chunks) for key in file["layers"]},
            uns=read_elem(file["uns"]),
        )
        facts = adata.uns[PROVENANCE]
        if facts["unit"] == "raw":
            warn_where_no_counts(file["X/data"][:SAMPLE_SIZE], facts["study_id"])
    return _renamed(adata, restored(adata.obs.columns), restored(adata.obsm))


def open_backed(path: Path) -> AnnData:
    """An AnnData backed by an h5ad, with the original names."""
    adata = anndata.read_h5ad(path, backed="r")
    return _renamed(adata, restored(adata.obs.columns), restored(adata.obsm))


def safe_names(adata: AnnData) -> AnnData:
    """The object, with names that can be written to a file."""
    return _renamed(adata, {n: escaped(n) for n in adata.obs.columns}, {key: escaped(key) for key in adata.obsm})


def _renamed(adata: AnnData, columns: Mapping[str, str], keys: Mapping[str, str]) -> AnnData:
    adata.obs.columns = text_index([columns[name] for name in adata.obs.columns])
    for key, name in keys.items():
        if key != name:
            adata.obsm[name] = adata.obsm[key]
            del adata.obsm[key]
    return adata


def _blocks(
    parts: StudyParts, genes: Sequence[str] | None, unit: str, folder: Path
) -> Generator[sparse.csr_matrix, None, None]:
    """Rows of the matrix; nothing is fetched before the first block is requested."""
    most = max(_LEAST, min(_MOST, settings.memory_budget // (8 * _BYTES_EACH))) if settings.memory_budget else _MOST
    n_obs, n_vars = parts.n_obs, parts.n_vars if genes is None else len(genes)
    stripes = parts.stripes(genes, unit, folder, most)
    with closing(stripes), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        kept = Scratch(file)
        checked = (expect_shape(stripe, n_obs, stripe.shape[1], parts.study_id) for stripe in stripes)
        stored = write_stripes(checked, n_obs, kept)
        expect_shape(sparse.csr_matrix(stored.shape), n_obs, n_vars, parts.study_id)
        yield from join_rows(stored, kept, most)
