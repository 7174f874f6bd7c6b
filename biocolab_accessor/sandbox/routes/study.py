"""Routes that read a study of a group, add metadata to it, or assign ontology terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from biocolab_accessor.io.values import numbers_in
from biocolab_accessor.messages import did_you_mean, quoted
from biocolab_accessor.sandbox.processing.cells import SPATIAL_KEYS
from biocolab_accessor.sandbox.requests import HTTPError, gene_positions, text, texts
from biocolab_accessor.sandbox.routes.account import expect_group, ok
from biocolab_accessor.sandbox.routes.bioflex import unit
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.catalog import PUBLIC, TREE, StudyRecord
from biocolab_accessor.sandbox.store.study_folder import StudyFolder, encode

Body = Mapping[str, Any]


def query_genes(state: State, user: str, body: Body) -> Any:
    """Columns of the matrix; without names all of them."""
    record, folder = _study(state, user, body)
    names = texts(body, "gene_names")
    numbers = gene_positions(folder.features, names, f"study {quoted(record.hash_id)}") if names else None
    return ok(folder.columns(numbers, unit(body)))


def get_metadata_fields(state: State, user: str, body: Body) -> Any:
    """Names of the fields."""
    return ok(list(_study(state, user, body)[1].obs.columns))


def get_metadata(state: State, user: str, body: Body) -> Any:
    """Barcodes and fields, column by column; without names all of them."""
    record, folder = _study(state, user, body)
    columns, wanted = folder.obs.columns, texts(body, "fields")
    missing = [name for name in wanted if name not in columns]
    if missing:
        near = ", ".join(f"{quoted(name)}{did_you_mean(name, columns)}" for name in missing)
        detail = f"study {quoted(record.hash_id)} has no field {near}"
        raise HTTPError(404, detail)
    return ok({"Barcodes": folder.barcodes, **{name: columns[name].as_json() for name in wanted or columns}})


def get_barcodes(state: State, user: str, body: Body) -> Any:
    """Barcodes in order."""
    return ok(_study(state, user, body)[1].barcodes)


def get_features(state: State, user: str, body: Body) -> Any:
    """Gene names in order."""
    return ok(_study(state, user, body)[1].features)


def list_all_custom_embeddings(state: State, user: str, body: Body) -> Any:
    """Embeddings by id and name."""
    return ok(_study(state, user, body)[1].embeddings)


def retrieve_custom_embedding(state: State, user: str, body: Body) -> Any:
    """Coordinates of one embedding."""
    record, folder = _study(state, user, body)
    coordinates = folder.embedding(text(body, "embedding_id", longest=100))
    if coordinates is None:
        detail = f"study {quoted(record.hash_id)} has no embedding {quoted(body['embedding_id'])}"
        raise HTTPError(404, detail)
    return ok({"coord_arr": encode(coordinates, "<f4"), "coord_shape": list(coordinates.shape)})


def get_cell_centers(state: State, user: str, body: Body) -> Any:
    """Coordinates of the cells of a spatial study by sample, without the envelope of the other routes."""
    record, folder = _study(state, user, body)
    ids = {row["embedding_name"]: row["embedding_id"] for row in folder.embeddings}
    name = next((name for name in SPATIAL_KEYS if name in ids), None)
    places = None if name is None else folder.embedding(ids[name])
    if places is None:
        detail = f"study {quoted(record.hash_id)} has no cell coordinates (obsm['spatial'])"
        raise HTTPError(404, detail)
    if places.shape[1] < 2 or np.isinf(places).any():
        detail = f"obsm[{quoted(name)}] of study {quoted(record.hash_id)} lacks x and y columns, or has infinite values"
        raise HTTPError(422, detail)
    batches = folder.obs.columns.get("Batch")
    labels = batches.as_json() if batches is not None and batches.labels else [record.hash_id] * len(places)
    centers: dict[str, dict[str, list[Any]]] = {}
    for label, cell, (x, y, *_) in zip(labels, folder.barcodes, places.tolist(), strict=True):
        sample = centers.setdefault(str(label), {"cell": [], "x": [], "y": []})
        # JSON has no NaN, which here means a cell without coordinates.
        for key, value in (("cell", cell), ("x", x if x == x else None), ("y", y if y == y else None)):
            sample[key].append(value)
    return centers


def submit_metadata_dataframe(state: State, user: str, body: Body) -> Any:
    """Add the columns in the request."""
    record, folder = own_study(state, user, body)
    columns = body.get("metadata_dct")
    if not isinstance(columns, dict) or not isinstance(columns.get("barcodes"), list):
        detail = "metadata_dct must be an object with barcodes and columns"
        raise HTTPError(422, detail)
    _add(folder, [str(barcode) for barcode in columns.pop("barcodes")], columns)
    return ok({"study_id": record.uuid})


def submit_metadata_s3(state: State, user: str, body: Body) -> Any:
    """Add the columns of a csv or tsv file in a bucket; its first column holds the barcodes."""
    return _from_bucket(state, user, body, body.get("s3_id"))


def submit_metadata_from_shared_s3(state: State, user: str, body: Body) -> Any:
    """The same, from a bucket that is shared with the group."""
    return _from_bucket(state, user, body, body.get("shared_s3_id"))


def _from_bucket(state: State, user: str, body: Body, bucket_id: Any) -> Any:
    record, folder = own_study(state, user, body)
    bucket = state.buckets.get(bucket_id, [group.id for group in state.accounts.groups(user)])
    key = text(body, "file_path")
    try:
        with bucket.opened(key, state.uploads.incoming) as path:
            table = _table(path, key)
    except (ValueError, OSError) as error:
        detail = f"{key} cannot be read as a table: {error}"
        raise HTTPError(422, detail) from error
    columns = {str(name): _values(table[name]) for name in table}
    _add(folder, [str(barcode) for barcode in table.index], columns)
    return ok({"study_id": record.uuid})


def _table(path: Path, key: str) -> pd.DataFrame:
    separator = "," if key.removesuffix(".gz").endswith(".csv") else "\t"
    compression: Literal["gzip"] | None = "gzip" if key.endswith(".gz") else None
    return pd.read_csv(path, sep=separator, index_col=0, dtype=str, compression=compression)


def _values(texts: pd.Series) -> list[Any]:
    """Numbers if all values that are not missing are numbers, otherwise strings."""
    missing = texts.isna()
    present: Sequence[Any] = texts[~missing].tolist()
    rest = iter(numbers_in(present) or present)
    return [None if gone else next(rest) for gone in missing]


def _add(folder: StudyFolder, barcodes: list[str], columns: dict[str, Any]) -> None:
    if len(set(barcodes)) < len(barcodes):
        raise HTTPError(422, "the barcodes are not unique")
    folder.change_obs(lambda obs: obs.with_values(folder.barcodes, barcodes, columns))


def _study(state: State, user: str, body: Body) -> tuple[StudyRecord, StudyFolder]:
    # Optional for reading; clients before 1.5.3 omit the group for writing too.
    if body.get("group_id") is not None:
        expect_group(state, user, body, public=True)
    record = state.by_uuid(user, text(body, "study_id", longest=100))
    return record, state.open(record)


def own_study(state: State, user: str, body: Body) -> tuple[StudyRecord, StudyFolder]:
    """A study that the user may change: one that is not public."""
    record, folder = _study(state, user, body)
    if record.group_id == PUBLIC:
        detail = f"study {quoted(record.hash_id)} is public and cannot be changed"
        raise HTTPError(403, detail)
    return record, folder


ROUTES = {
    "study/query_genes": query_genes,
    "study/get_metadata_fields": get_metadata_fields,
    "study/get_metadata": get_metadata,
    "study/get_barcodes": get_barcodes,
    "study/get_features": get_features,
    "list_all_custom_embeddings": list_all_custom_embeddings,
    "retrieve_custom_embedding": retrieve_custom_embedding,
    "study/get_cell_centers": get_cell_centers,
    "submit_metadata_dataframe": submit_metadata_dataframe,
    "submit_metadata_s3": submit_metadata_s3,
    "submit_metadata_from_shared_s3": submit_metadata_from_shared_s3,
}


def get_ontologies(state: State, user: str, body: Body) -> Any:
    """The tree of terms."""
    expect_group(state, user, body, public=True)
    return ok({"tree": TREE})


def assign_standardized_term(state: State, user: str, body: Body) -> Any:
    """Assign an ontology term to a label of a metadata field."""
    expect_group(state, user, body)
    record, folder = own_study(state, user, body)
    columns, field, label = folder.obs.columns, text(body, "group"), text(body, "name")
    if field not in columns:
        detail = f"study {quoted(record.hash_id)} has no field {quoted(field)}{did_you_mean(field, columns)}"
        raise HTTPError(404, detail)
    labels = columns[field].labels or ()
    if label not in labels:
        detail = f"field {quoted(field)} has no label {quoted(label)}{did_you_mean(label, labels)}"
        raise HTTPError(404, detail)
    try:
        state.terms.assign(record.uuid, field, label, text(body, "root_id"), text(body, "leaf_id"))
    except LookupError as error:
        raise HTTPError(404, str(error)) from error
    return ok({})


def export_std_metadata(state: State, user: str, body: Body) -> Any:
    """All assigned terms of the given studies, or of all studies that the user sees."""
    wanted = texts(body, "study_ids")
    studies = [state.by_uuid(user, uuid).uuid for uuid in wanted] or [r.uuid for r in state.catalog.studies(user)]
    return ok(state.terms.of(studies))


TERM_ROUTES = {
    "get_ontologies": get_ontologies,
    "study/assign_standardized_term": assign_standardized_term,
    "export_std_metadata": export_std_metadata,
}
