"""Routes for uploading, submitting, following tasks, committing and exporting."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from biocolab_accessor.messages import quoted
from biocolab_accessor.sandbox.processing.readers import (
    STUDY_TYPES,
    Batch,
    bucket_batches,
    fetch,
    fetched,
    folder_batches,
    uploaded_batches,
)
from biocolab_accessor.sandbox.requests import HTTPError, number, optional_text, text, texts
from biocolab_accessor.sandbox.routes.account import expect_group, ok
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.catalog import StudyRecord, TaskRecord
from biocolab_accessor.sandbox.store.files import remove
from biocolab_accessor.sandbox.store.study_folder import write_export

Body = Mapping[str, Any]

_H5AD = 2


def add_file_upload(state: State, user: str, body: Body) -> Any:
    """Announce a file that will be uploaded in chunks."""
    state.tasks.warm_up()
    return ok([{"id": state.uploads.announce(user, body).id}])


def upload_chunk(state: State, user: str, params: Body, part: Path) -> Any:
    """Receive a chunk."""
    return ok({"output_dir": state.uploads.take_chunk(user, params, part)})


def upload(state: State, user: str, params: Body, part: Path) -> Any:
    """Receive a whole file, as clients before 1.5.2 send it."""
    names = {"folder_id": params.get("file_id"), "original_file_name": params.get("name"), "n_chunks": 1}
    record = state.uploads.announce(user, names)
    return ok(state.uploads.take_chunk(user, {"id": record.id, "folder_id": record.folder_id, "chunk": 0}, part))


def submit_study_from_local(state: State, user: str, body: Body) -> Any:
    """Process an upload; repeating the request returns the same task."""
    study_path = text(body, "study_path")
    with state.uploads.submitting:
        if (known := _submitted_before(state, user, study_path)) is not None:
            return ok({"id": known.id})
        files = state.uploads.files(user, study_path)
        batches = uploaded_batches(texts(body, "batch_info"), files, body.get("study_type"))
        return start(state, user, body, batches, study_path, _study_type(body))


def submit_processed_study_from_local(state: State, user: str, body: Body) -> Any:
    """Accept a folder that was processed elsewhere; its task fails, because the sandbox cannot read it."""
    study_path = text(body, "study_path")
    defaults = {"normalize": False, "skip_dimred": True, "filter_params": {}}
    with state.uploads.submitting:
        if (known := _submitted_before(state, user, study_path)) is not None:
            return ok({"id": known.id})
        files = state.uploads.files(user, study_path)
        batches = [Batch(f"processed folder of {len(files)} files", {})]
        return start(state, user, {**body, **defaults}, batches, study_path, _study_type(body))


def submit_study_from_s3(state: State, user: str, body: Body) -> Any:
    """Process files in a bucket."""
    return _from_bucket(state, user, body, body.get("s3_id"))


def submit_study_from_shared_s3(state: State, user: str, body: Body) -> Any:
    """The same, from a bucket that is shared with the group."""
    return _from_bucket(state, user, body, body.get("shared_s3_id"))


def submit_study_from_server(state: State, user: str, body: Body) -> Any:
    """Process files in a shared folder of the server."""
    folder = state.shared_folder(text(body, "shared_folder_path"))
    batches = folder_batches(folder, body.get("batch_info"), body.get("study_type"))
    return start(state, user, body, batches, "", _study_type(body))


def get_submission_log(state: State, user: str, body: Body) -> Any:
    """The status of a task and its whole log."""
    task = _task(state, user, body)
    # The real servers do not send sandbox_page: it tells a client that this is a sandbox, and where its page is.
    return ok({"status": task.status, "log": task.log, "sandbox_page": f"/task/{task.id}"})


def commit_submission_result(state: State, user: str, body: Body) -> Any:
    """Turn a finished task into a study of the group; repeating the request returns the same study."""
    task, group = _task(state, user, body), expect_group(state, user, body)
    if task.kind != "submit" or task.status != "SUCCESS":
        what = task.status if task.kind == "submit" else f"an {task.kind}"
        detail = f"task {task.id} is {what}: only a successful submission can be committed"
        raise HTTPError(409, detail)
    if task.body["group_id"] != group:
        detail = f"task {task.id} was submitted to group {quoted(task.body['group_id'])}"
        raise HTTPError(409, detail)
    record = state.catalog.study(task.result["uuid"], user)
    if record is None:
        record = _commit(state, user, task, task.result["uuid"])
    elif state.strict:
        record = _commit(state, user, task, state.copy_study(record.uuid))
    info = {
        "uuid": record.uuid,
        "study_hash_id": record.hash_id,
        "title": record.title,
        "group_id": record.group_id,
        "species": record.species,
        "created_by": record.owner,
        **_size(state, record),
    }
    return {"status": 200, "message": "ok", "study_info": info}


def export_study(state: State, user: str, body: Body) -> Any:
    """Export a study to a file, as a task."""
    expect_group(state, user, body, public=True)
    record = state.by_uuid(user, text(body, "study_id", longest=100))
    if body.get("study_type", _H5AD) != _H5AD:
        raise HTTPError(422, "the sandbox exports h5ad (study_type 2) only")
    task, _ = state.catalog.add_task(user, "export", body, "")
    path = state.export_path()

    def work() -> Mapping[str, Any]:
        write_export(state.open(record), path)
        return {"file_path": f"api/export/{path.stem}", "file_name": f"{record.hash_id}.h5ad"}

    state.tasks.run(task.id, work)
    return ok({"id": task.id})


def get_export_result(state: State, user: str, body: Body) -> Any:
    """The path and name of an exported file."""
    task = _task(state, user, body)
    if task.kind != "export" or task.status != "SUCCESS":
        detail = f"task {task.id} is {task.status} and has no file"
        raise HTTPError(409, detail)
    return ok(task.result)


def _from_bucket(state: State, user: str, body: Body, bucket_id: Any) -> Any:
    groups = [group.id for group in state.accounts.groups(user)]
    bucket = state.buckets.get(bucket_id, groups)
    batches = bucket_batches(bucket, body.get("batch_info"), body.get("study_type"), state.uploads.incoming)
    return start(state, user, body, batches, "", _study_type(body))


def _study_type(body: Body) -> int:
    study_type = body.get("study_type")
    if not isinstance(study_type, int) or study_type not in STUDY_TYPES:
        detail = (
            f"study_type {quoted(study_type)} is not supported: spatial studies are submitted to Lens, not BBrowserX"
        )
        raise HTTPError(422, detail)
    return study_type


def start(
    state: State, user: str, body: Body, batches: list[Batch], study_path: str, study_type: int, **more: float
) -> Any:
    """Start the task of a submission; ``more`` are filters that only some servers have."""
    expect_group(state, user, body)
    info = body.get("study_info")
    if not isinstance(info, Mapping):
        raise HTTPError(422, "study_info must be an object")
    filters = body.get("filter_params")
    filters = filters if isinstance(filters, Mapping) else {}
    known = {"min_counts": 0.0, "min_genes": 0.0, "max_counts": 1e9, "max_genes": 1e9, "mt_percentage": 1.0}
    known |= more
    kept = {
        "group_id": body["group_id"],
        "species": text(body, "species", longest=50),
        "hash_id": text(info, "study_hash_id", longest=500),
        "title": optional_text(info, "name"),
        "abstract": optional_text(info, "abstract"),
        "authors": texts(info, "authors"),
    }
    job = {
        "study_type": study_type,
        "normalize": body.get("normalize") is True,
        "skip_dimred": body.get("skip_dimred") is True,
        "filters": {name: number(filters, name, default) for name, default in known.items()},
        "batches": [
            {"name": batch.name, "files": {part: os.path.realpath(path) for part, path in batch.files.items()}}
            for batch in batches
        ],
    }
    task, new = state.catalog.add_task(user, "submit", kept, study_path)
    if new:

        def finish() -> None:
            for path in fetched(batches):
                remove(path)
            state.uploads.drop(user, study_path)

        state.tasks.submit(task.id, job, lambda say: fetch(batches, say), finish)
    return ok({"id": task.id})


def _task(state: State, user: str, body: Body) -> TaskRecord:
    task = state.catalog.task(text(body, "task_id", longest=100), user)
    if task is None:
        detail = f"the sandbox has no task {quoted(body['task_id'])}"
        raise HTTPError(404, detail)
    return task


def _submitted_before(state: State, user: str, study_path: str) -> TaskRecord | None:
    known = state.catalog.task_of_upload(user, study_path)
    if known is not None and state.strict:
        detail = f"{quoted(study_path)} was already submitted"
        raise HTTPError(409, detail)
    return known


def _commit(state: State, user: str, task: TaskRecord, uuid_: str) -> StudyRecord:
    record = StudyRecord(
        uuid=uuid_,
        hash_id=task.body["hash_id"],
        title=task.body["title"],
        abstract=task.body["abstract"],
        authors=tuple(task.body["authors"]),
        reference="",
        species=task.body["species"],
        group_id=task.body["group_id"],
        owner=user,
        cell_type=None,
        created_at=datetime.now().isoformat(timespec="seconds"),
    )
    state.catalog.add_study(record)
    return record


def _size(state: State, record: StudyRecord) -> dict[str, Any]:
    """The number of cells, also by batch, and genes; real servers may not send these."""
    folder = state.open(record)
    size: dict[str, Any] = {"n_cells": len(folder.barcodes), "n_genes": len(folder.features)}
    batches = folder.obs.columns.get("Batch")
    if batches is not None and batches.labels:
        size["batches"] = dict(Counter(map(str, batches.as_json())))
    return size


UPLOADS = {"upload_chunk": upload_chunk, "upload": upload}
ROUTES = {
    function.__name__: function
    for function in (
        add_file_upload,
        submit_study_from_local,
        submit_processed_study_from_local,
        submit_study_from_s3,
        submit_study_from_shared_s3,
        submit_study_from_server,
        get_submission_log,
        commit_submission_result,
        export_study,
        get_export_result,
    )
}
