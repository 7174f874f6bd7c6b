"""Page views: studies and tasks for the page, as JSON and plain arrays."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocolab_accessor.io.names import restored, unescaped
from biocolab_accessor.messages import natural_key
from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.sandbox.routes.account import get_user_groups
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.catalog import PUBLIC, StudyRecord, TaskRecord
from biocolab_accessor.sandbox.store.study_folder import Column, StudyFolder

__all__ = ["MISSING", "codes", "column_of", "home", "matches", "study", "summary", "task"]

MISSING = 65_535
"""Code of a cell without a label."""

_MOST_MATCHES = 30
_STAMP = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d)\] ")


def home(state: State, user: str) -> dict[str, Any]:
    """Groups with their studies, and the submissions that are not studies yet."""
    records = state.catalog.studies(user)
    groups = [*get_user_groups(state, user, {})["data"], {"id": PUBLIC, "name": "Public studies"}]
    committed = {record.uuid for record in records}
    waiting = [
        task
        for task in state.catalog.tasks(user)
        if task.kind == "submit" and not (task.status == "SUCCESS" and task.result.get("uuid") in committed)
    ]
    return {
        "groups": [
            {
                "id": group["id"],
                "name": group["name"],
                "studies": [_listed(state, record) for record in records if record.group_id == group["id"]],
            }
            for group in groups
        ],
        "tasks": [_task_row(task) for task in waiting],
    }


def study(state: State, user: str, record: StudyRecord) -> dict[str, Any]:
    """A study without its values."""
    folder = state.open(record)
    columns = folder.obs.columns
    names = {group["id"]: group["name"] for group in get_user_groups(state, user, {})["data"]}
    return {
        **_listed(state, record),
        "authors": list(record.authors),
        "abstract": record.abstract,
        "reference": record.reference,
        "species": record.species,
        "public": record.group_id == PUBLIC,
        "group": "Public studies" if record.group_id == PUBLIC else names.get(record.group_id, record.group_id),
        "size": [len(folder.barcodes), len(folder.features)],
        "fields": [summary(name, column) for name, column in _named(columns)],
        "field": _first_field(record, columns),
        "embeddings": [
            {"id": row["embedding_id"], "name": unescaped(row["embedding_name"], embedding=True)}
            for row in folder.embeddings
            if _flat(folder, row)
        ],
    }


def task(state: State, user: str, task: TaskRecord, start: int) -> dict[str, Any]:
    """The status of a task, its log from position ``start`` on, and its study once it is committed."""
    record = state.catalog.study(str(task.result.get("uuid", "")), user)
    log = task.log
    return {
        **_task_row(task),
        "log": log[start:] if 0 <= start <= len(log) else log,
        "next": len(log),
        "study": None if record is None else record.uuid,
    }


def summary(name: str, column: Column) -> dict[str, Any]:
    """A short description of a field: the number of labels and the most common one, or the range of its numbers."""
    if column.labels is not None or column.values.dtype.kind == "b":
        labels, counts, missing = _counted(column)
        top = int(np.argmax(counts)) if len(labels) else None
        return {
            "name": name,
            "kind": "label",
            "n_labels": len(labels),
            "top": None if top is None else [labels[top], int(counts[top])],
            "missing": missing,
        }
    values = column.as_float32()
    finite = values[np.isfinite(values)].astype(np.float64)
    spread = [float(finite.min()), float(np.median(finite)), float(finite.max())] if len(finite) else None
    return {"name": name, "kind": "number", "spread": spread, "missing": len(values) - len(finite)}


def codes(column: Column) -> tuple[list[str], list[int], NDArray[np.uint16]] | None:
    """Labels in natural order, the number of cells of each, and a code for each cell; None for numbers."""
    if column.labels is None and column.values.dtype.kind != "b":
        return None
    labels, counts, _ = _counted(column)
    if len(labels) > MISSING:
        detail = f"the field has {len(labels):,} labels; the page can show {MISSING:,}"
        raise HTTPError(422, detail)
    # Cluster 2 before 10, like the categories of an AnnData.
    order = sorted(range(len(labels)), key=lambda code: natural_key(labels[code]))
    places = np.full(len(labels) + 1, MISSING, np.uint16)
    places[order] = np.arange(len(labels))
    # A cell without a label has the code -1, which selects the last entry.
    return [labels[code] for code in order], counts[order].tolist(), places[column.values.astype(np.int64)]


def column_of(folder: StudyFolder, number: int) -> tuple[str, Column]:
    """A field by its position."""
    columns = _named(folder.obs.columns)
    if number >= len(columns):
        detail = f"the study has {len(columns)} fields"
        raise HTTPError(404, detail)
    return columns[number]


def _named(columns: dict[str, Column]) -> list[tuple[str, Column]]:
    """Columns with their original names: some characters are sent escaped."""
    originals = restored(columns)
    return [(originals[name], column) for name, column in columns.items()]


def matches(features: list[str], typed: str) -> dict[str, Any]:
    """Features that begin with the typed text, then features that contain it, ignoring case."""
    wanted = typed.strip().casefold()
    begin, within = [], []
    for number, name in enumerate(features):
        place = name.casefold().find(wanted)
        if place == 0:
            begin.append((len(name) if wanted else 0, number, name))
        elif place > 0:
            within.append((len(name), number, name))
    found = sorted(begin) + sorted(within)
    return {
        "total": len(found),
        "matches": [{"number": number, "name": name} for _, number, name in found[:_MOST_MATCHES]],
    }


def _counted(column: Column) -> tuple[list[str], NDArray[np.int64], int]:
    labels = ["False", "True"] if column.labels is None else list(column.labels)
    numbers = column.values.astype(np.int64)
    known = numbers[numbers >= 0]
    return labels, np.bincount(known, minlength=len(labels)), len(numbers) - len(known)


def _listed(state: State, record: StudyRecord) -> dict[str, Any]:
    # A list does not create a study that is created on first use: the page requests its size separately.
    made = (state.folder / "studies" / record.uuid).exists()
    folder = state.open(record) if made else None
    return {
        "uuid": record.uuid,
        "id": record.hash_id,
        "title": record.title,
        "owner": record.owner,
        "created": record.created_at,
        "size": None if folder is None else [len(folder.barcodes), len(folder.features)],
    }


def _task_row(task: TaskRecord) -> dict[str, Any]:
    stamp = _STAMP.match(task.log)
    last = task.log.rstrip("\n").rpartition("\n")[2]
    return {
        "task": task.id,
        "id": str(task.body.get("hash_id", "")),
        "title": str(task.body.get("title", "")),
        "status": task.status,
        "since": stamp[1] if stamp else "",
        "last": _STAMP.sub("", last, count=1),
    }


def _first_field(record: StudyRecord, columns: dict[str, Column]) -> int | None:
    """The field that is shown first: cell types, else clusters, else a field with few labels."""
    names = list(columns)
    for name in (record.cell_type, "cell_type", "Leiden clustering"):
        if name in columns:
            return names.index(name)
    few = (i for i, column in enumerate(columns.values()) if column.labels and 1 < len(column.labels) <= 60)
    return next(few, 0 if names else None)


def _flat(folder: StudyFolder, row: dict[str, str]) -> bool:
    coordinates = folder.embedding(row["embedding_id"])
    return coordinates is not None and coordinates.ndim == 2 and coordinates.shape[1] >= 2
