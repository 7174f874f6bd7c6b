"""Fetch: a study, or a part of it, as an AnnData in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.concurrency import request_threads, result
from biocolab_accessor.io.memory import budget, expect_room
from biocolab_accessor.io.transpose import PEAK
from biocolab_accessor.io.values import text_index
from biocolab_accessor.messages import warn
from biocolab_accessor.studies.conversion import select_embeddings, select_fields, select_genes, to_obsm, unique_names
from biocolab_accessor.studies.provenance import KEY as PROVENANCE
from biocolab_accessor.studies.provenance import names_of_embeddings, origin_of, original_names
from biocolab_accessor.studies.selection import FetchPlan, Selection, selected
from biocolab_accessor.studies.sources import add_term_columns
from biocolab_accessor.studies.study_data import StudyParts

_ALTERNATIVE = (
    "use format='csr', study.to_h5ad(path), study.to_anndata(backed=path) or study.lazy(path), or ask for genes="
)

SAMPLE_SIZE = 1 << 20
"""Number of values to check for counts."""


def fetch(parts: StudyParts, selection: Selection) -> AnnData:
    """See :meth:`Study.to_anndata`."""
    parts = selected(parts, selection)
    # The requests run in parallel. This thread fetches the matrix, which takes longest, while another one assembles the
    # rest of the AnnData.
    with request_threads("biocolab-fetch", 5) as threads:
        features = threads.submit(lambda: var_of(parts.features) if selection.genes is None else None)
        barcodes = threads.submit(lambda: parts.barcodes)
        obs = threads.submit(obs_of, parts, selection)
        embeddings = threads.submit(embeddings_of, parts, selection)
        genes = selected_genes(parts, selection)
        if selection.format == "dense":
            n_vars = parts.n_vars if genes is None else len(genes)
            expect_room(_dense_bytes(parts, selection, n_vars), f"study {parts.study_id} as dense arrays", _ALTERNATIVE)

        def around() -> AnnData:
            result(barcodes)
            var = result(features) if genes is None else var_of(genes)
            frame, coordinates = result(obs), result(embeddings)
            arrays, keys = to_obsm(coordinates, parts.n_obs, parts.study_id)
            return AnnData(obs=frame, var=var, obsm=arrays, uns={PROVENANCE: origin(parts, selection, genes, keys)})

        empty = threads.submit(around)
        matrices: dict[str, Any] = {}
        for unit in selection.units:
            if genes is not None:
                found = parts.query_genes(genes, unit)
            else:
                found = parts.matrix(unit) if selection.format == "csc" else parts.rows(unit)
            matrix = found.tocsr() if selection.format == "csr" else found
            _expect_room_for_all(matrix, matrices.values(), parts, selection)
            matrices[unit] = matrix.toarray() if selection.format == "dense" else matrix
        adata = result(empty)
    x = matrices[selection.unit]
    if selection.unit == "raw":
        values = x.reshape(-1) if isinstance(x, np.ndarray) else x.data
        warn_where_no_counts(values[:SAMPLE_SIZE], parts.study_id)
    adata.X = x
    taken = {selection.unit}
    for name, unit in selection.layers.items():
        # Layers share no memory with X or each other, so that writing to one changes no other.
        adata.layers[name] = matrices[unit].copy() if unit in taken else matrices[unit]
        taken.add(unit)
    return adata


def plan_fetch(parts: StudyParts, selection: Selection) -> FetchPlan:
    """See :meth:`Study.to_anndata`."""
    parts = selected(parts, selection)
    genes = selected_genes(parts, selection)
    n_vars = parts.n_vars if genes is None else len(genes)
    fields = select_fields(selection.fields, parts.fields, parts.study_id)
    if isinstance(selection.obsm, tuple) and selection.obsm:
        select_embeddings(selection.obsm, parts.source.embedding_names(), parts.study_id)
    sizes = [parts.source.matrix_bytes(unit) for unit in selection.units] if genes is None else [None]
    known = [size for size in sizes if size is not None]
    n_bytes = sum(known) if len(known) == len(sizes) else None
    memory = None
    if selection.format == "dense":
        memory = _dense_bytes(parts, selection, n_vars) + int(PEAK * max(known, default=0))
    elif n_bytes is not None:
        by_unit = dict(zip(selection.units, known, strict=True))
        every, most = sum(by_unit[unit] for unit in selection.matrices), max(known)
        memory = int((every + _overhead(most)) * parts.n_obs / max(1, parts.n_sent))
    return FetchPlan(parts.study_id, parts.n_obs, n_vars, tuple(fields), n_bytes, memory, budget())


def bytes_of(matrix: Any) -> int:
    """Bytes of a matrix in memory, dense or compressed."""
    arrays = [matrix] if isinstance(matrix, np.ndarray) else [matrix.data, matrix.indices, matrix.indptr]
    return sum(array.nbytes for array in arrays)


def selected_genes(parts: StudyParts, selection: Selection) -> list[str] | None:
    """The checked genes of a selection; None means all."""
    if not selection.genes:
        return None if selection.genes is None else []
    return select_genes(selection.genes, parts.features, parts.study_id)


def embeddings_of(parts: StudyParts, selection: Selection) -> dict[str, NDArray[np.float32]]:
    """The embeddings of a selection by the server's names; only these are requested."""
    if isinstance(selection.obsm, bool):
        return parts.embeddings() if selection.obsm else {}
    if not selection.obsm:
        return {}
    return parts.embeddings(select_embeddings(selection.obsm, parts.source.embedding_names(), parts.study_id))


def obs_of(parts: StudyParts, selection: Selection) -> pd.DataFrame:
    """The metadata as obs, with unique names of cells and columns."""
    frame = parts.metadata(select_fields(selection.fields, parts.fields, parts.study_id))
    if selection.terms:
        add_term_columns(frame, parts.terms(), parts.study_id)
    frame.index = text_index(parts.cell_names)
    frame.columns = text_index(unique_names([str(name) for name in frame.columns]))
    return frame


def var_of(names: Sequence[str]) -> pd.DataFrame:
    """The features as var, with the server's names in a column."""
    features = text_index(names)
    var = features.to_frame(index=False, name="feature")
    var.index = features if len(set(names)) == len(names) else text_index(unique_names(names))
    return var


def origin(
    parts: StudyParts, selection: Selection, genes: Sequence[str] | None, keys: Mapping[str, str]
) -> dict[str, Any]:
    """Provenance of a fetch; ``keys`` maps embedding names to their keys in obsm."""
    source = parts.source
    wanted = select_fields(selection.fields, parts.fields, parts.study_id)
    return origin_of(
        source=source.name,
        study_id=source.study_id,
        title=source.title,
        authors=source.authors or None,
        reference=source.reference,
        **source.provenance(),
        unit=selection.unit,
        layers=selection.layers or None,
        genes=list(genes) if genes is not None else None,
        obs_filter=selection.obs_filter,
        cells=list(selection.cells) if selection.cells is not None else None,
        embeddings=names_of_embeddings(keys),
        renamed=original_names(parts.sent_fields(wanted), keys),
    )


def _expect_room_for_all(matrix: Any, others: Collection[Any], parts: StudyParts, selection: Selection) -> None:
    """Raise TooLarge as soon as the size of one matrix shows that all of them will not fit."""
    own, held = bytes_of(matrix), [bytes_of(each) for each in others]
    copies, taken = len(selection.matrices), own + sum(held)
    what = f"study {parts.study_id} with {copies} matrices (X and layers)"
    if selection.format == "dense":
        needed = _dense_bytes(parts, selection, matrix.shape[1]) + own
        expect_room(needed, f"study {parts.study_id} as dense arrays", _ALTERNATIVE, held=taken)
    elif copies > len(held) + 1:
        waiting = _overhead(own) if len(held) + 1 < len(selection.units) else 0
        needed = taken + (copies - len(held) - 1) * max(own, *held, 0) + waiting
        expect_room(needed, what, f"ask for fewer layers, or {_ALTERNATIVE}", held=taken)


def _dense_bytes(parts: StudyParts, selection: Selection, n_vars: int) -> int:
    return parts.n_obs * n_vars * np.dtype(np.float32).itemsize * len(selection.matrices)


def _overhead(n_bytes: int) -> int:
    """Additional bytes that a matrix of this size needs while it is fetched."""
    return int((PEAK - 1) * n_bytes)


def warn_where_no_counts(stored: NDArray[Any], study_id: str) -> None:
    """Warn if raw values are not integers, by some of them (:data:`SAMPLE_SIZE` are enough)."""
    if not np.array_equal(stored, np.rint(stored)):
        warn(
            f"study {study_id}: raw values are not integers, so the study has no counts; "
            "they are the submitted values, often already log-normalized"
        )
