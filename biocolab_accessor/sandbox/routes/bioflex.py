"""Routes of BioFlex: bare JSON, errors as ``{"detail": …}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.responses import Response

from biocolab_accessor.messages import quoted
from biocolab_accessor.protocol import UNITS, listed_units
from biocolab_accessor.sandbox.public_studies import DATABASE_ID, VERSIONS
from biocolab_accessor.sandbox.requests import HTTPError, LargeFile, gene_positions, text, texts
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.catalog import StudyRecord
from biocolab_accessor.sandbox.store.study_folder import StudyFolder, encode, write_export

Body = Mapping[str, Any]

_NUMBER, _CATEGORY = 0, 1


def databases(state: State, user: str, body: Body) -> Any:
    """All databases; in the sandbox their versions have the same studies."""
    return [
        {"id": DATABASE_ID, "name": "BioTuring database", "species": species, "version": version}
        for species, version in VERSIONS
    ]


def celltypes(state: State, user: str, body: Body) -> Any:
    """Log-normalized expression of genes by cell type, over the public studies that have cell types."""
    species, names = _species(body), list(dict.fromkeys(texts(body, "gene_names")))
    tables: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    known: set[str] = set()
    for record in state.catalog.studies(species=species):
        if record.cell_type is None:
            continue
        folder = state.open(record)
        known.update(folder.features)
        found = folder.obs.columns[record.cell_type].as_category()
        if found is None:
            continue
        labels, codes = found
        totals = np.bincount(codes, minlength=len(labels))
        place = {feature: i for i, feature in reversed(list(enumerate(folder.features)))}
        for name in names:
            if name in place:
                values = folder.column(place[name], "lognorm").astype(np.float64)
                sums = np.bincount(codes, values, minlength=len(labels))
                counts = np.bincount(codes, values > 0, minlength=len(labels))
                for label, *numbers in zip(labels, sums, counts, totals, strict=True):
                    row = tables[name].setdefault(label, [0.0, 0.0, 0.0])
                    for i, number in enumerate(numbers):
                        row[i] += float(number)
    if not known:
        msg = "no study of this database has cell types: add one with server.add_study(..., cell_type='column of obs')"
        raise HTTPError(404, msg)
    gene_positions(sorted(known), names, "the database")
    return {name: [_summary(label, *row) for label, row in table.items()] for name, table in tables.items()}


def get_study(state: State, user: str, body: Body) -> Any:
    """A study by the id that users see."""
    record = state.visible(user, text(body, "hash_id", longest=500), species=_species(body))
    folder = state.open(record)
    fields = [
        {
            "id": i,
            "name": name,
            "type": _NUMBER if column.labels is None and column.values.dtype.kind != "b" else _CATEGORY,
        }
        for i, (name, column) in enumerate(folder.obs.columns.items())
    ]
    same = [other for other in state.catalog.studies(user, species=record.species) if other.hash_id == record.hash_id]
    return {
        "id": record.hash_id if len(same) == 1 else record.uuid,
        "hash_id": record.hash_id,
        "title": record.title,
        "authors": list(record.authors),
        "reference": record.reference,
        "metalist": fields,
        # Not in the protocol: a database version never changes, but a sandbox can be reset, and it serves studies of
        # groups, whose metadata change.
        "revision": "-".join(map(str, (record.uuid, *folder.stamp))),
    }


def fetch_metadata(state: State, user: str, body: Body) -> Any:
    """Values of one field."""
    _, folder = _study(state, user, body)
    columns = list(folder.obs.columns.items())
    number = body.get("field_idx")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(columns):
        detail = f"field_idx must be an integer from 0 to {len(columns) - 1}"
        raise HTTPError(404, detail)
    name, column = columns[number]
    category = column.as_category()
    if category is None:
        return {"name": name, "type": _NUMBER, "metadata_values": encode(column.as_float32(), "<f4")}
    labels, codes = category
    return {
        "name": name,
        "type": _CATEGORY,
        "metadata_values": encode(codes, "<u2"),
        "cluster_names": labels,
        "cluster_lengths": np.bincount(codes, minlength=len(labels)).tolist(),
    }


def query_genes(state: State, user: str, body: Body) -> Any:
    """Columns of the matrix, in the requested order."""
    record, folder = _study(state, user, body)
    numbers = gene_positions(folder.features, texts(body, "gene_names"), f"study {quoted(record.hash_id)}")
    return folder.columns(numbers, unit(body))


def get_matrix(state: State, user: str, body: Body) -> Response:
    """The whole matrix as an HDF5 file."""
    _, folder = _study(state, user, body)
    return LargeFile(folder.matrix_file(unit(body)), media_type="application/octet-stream")


def get_features(state: State, user: str, body: Body) -> Response:
    """Gene names in order."""
    return LargeFile(_study(state, user, body)[1].features_file, media_type="application/json")


def get_barcodes(state: State, user: str, body: Body) -> Response:
    """Barcodes in order."""
    return LargeFile(_study(state, user, body)[1].barcodes_file, media_type="application/json")


def export_study(state: State, user: str, body: Body) -> Any:
    """Export the whole study to a file, and return its link."""
    wanted = body.get("export_format")
    if wanted != "h5ad":
        detail = f"export_format is {quoted(wanted)}: the sandbox makes 'h5ad' only"
        raise HTTPError(422, detail)
    record, folder = _study(state, user, body)
    path = state.export_path()
    write_export(folder, path)
    return {"download_link": f"{state.url}/api/export/{path.stem}", "study_hash_id": record.hash_id}


def unit(body: Body) -> str:
    """The requested unit."""
    found = body.get("unit", "raw")
    if found not in UNITS:
        detail = f"unit is {quoted(found)}: use {listed_units()}"
        raise HTTPError(422, detail)
    return str(found)


def _species(body: Body) -> str:
    species, version = body.get("species"), body.get("version")
    if body.get("database") != DATABASE_ID or (species, version) not in VERSIONS:
        detail = (
            f"the sandbox has no database {quoted(body.get('database'))}, {quoted(species)}, version {quoted(version)}"
        )
        raise HTTPError(404, detail)
    return str(species)


def _study(state: State, user: str, body: Body) -> tuple[StudyRecord, StudyFolder]:
    record = state.visible(user, str(body.get("study_idx")), species=_species(body))
    return record, state.open(record)


def _summary(label: str, total_expression: float, count: float, total: float) -> dict[str, Any]:
    return {
        "name": label,
        "sum": total_expression,
        "mean": total_expression / count if count else 0.0,
        "rate": count / total if total else 0.0,
        "count": count,
        "total": int(total),
    }


ROUTES = {
    "/v1/database/list": databases,
    "/v1/expression/celltypes": celltypes,
    "/v1/study/get": get_study,
    "/v1/study/fetch_metadata": fetch_metadata,
    "/v1/study/query_genes": query_genes,
    "/v1/study/get_matrix": get_matrix,
    "/v1/study/get_features": get_features,
    "/v1/study/get_barcodes": get_barcodes,
    "/v1/study/export_study": export_study,
}
