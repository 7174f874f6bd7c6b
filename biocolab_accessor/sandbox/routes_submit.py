"""Routes that bring studies in and files out: upload, submit, tasks, commit, export."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from biocolab_accessor.sandbox.buckets import bucket_file
from biocolab_accessor.sandbox.catalogue import StudyRecord, TaskRecord
from biocolab_accessor.sandbox.export import write_export
from biocolab_accessor.sandbox.readers import MTX_10X
from biocolab_accessor.sandbox.refusal import Refusal, number, optional_text, text, texts
from biocolab_accessor.sandbox.routes_account import expect_group, ok
from biocolab_accessor.sandbox.site import Site

__all__ = ["ROUTES", "UPLOADS"]

Body = Mapping[str, Any]

_ENDINGS = {"matrix": "matrix.mtx", "features": "features.tsv", "barcodes": "barcodes.csv"}
_H5AD = 2


def add_file_upload(site: Site, user: str, body: Body) -> Any:
    """A file is going to come in chunks."""
    site.tasks.warm_up()
    return ok([{"id": site.uploads.announce(user, body).id}])


def upload_chunk(site: Site, user: str, params: Body, part: Path) -> Any:
    """A chunk has come."""
    return ok({"output_dir": site.uploads.take_chunk(user, params, part)})


def upload(site: Site, user: str, params: Body, part: Path) -> Any:
    """A whole file has come, as clients before 1.5.2 send it."""
    names = {"folder_id": params.get("file_id"), "original_file_name": params.get("name"), "n_chunks": 1}
    record = site.uploads.announce(user, names)
    return ok(site.uploads.take_chunk(user, {"id": record.id, "folder_id": record.folder_id, "chunk": 0}, part))


def submit_study_from_local(site: Site, user: str, body: Body) -> Any:
    """Process what was uploaded; the same upload again is the same task."""
    study_path = text(body, "study_path")
    files = site.uploads.files(user, study_path)
    names = texts(body, "batch_info")
    if not names:
        raise Refusal(422, "batch_info must list the batches")
    batches = [_uploaded_batch(name, files, body.get("study_type")) for name in names]
    return _start(site, user, body, batches, study_path)


def submit_processed_study_from_local(site: Site, user: str, body: Body) -> Any:
    """Take a folder that was processed elsewhere; the task then says that it cannot be read here."""
    study_path = text(body, "study_path")
    files = site.uploads.files(user, study_path)
    batches = [{"name": "processed folder", "files": {name: str(path) for name, path in files.items()}}]
    defaults = {"normalize": False, "skip_dimred": True, "filter_params": {}}
    return _start(site, user, {**body, **defaults}, batches, study_path)


def submit_study_from_s3(site: Site, user: str, body: Body) -> Any:
    """Process files that lie in a bucket."""
    return _from_bucket(site, user, body, body.get("s3_id"))


def submit_study_from_shared_s3(site: Site, user: str, body: Body) -> Any:
    """The same, from a bucket that is shared with the group."""
    return _from_bucket(site, user, body, body.get("shared_s3_id"))


def get_submission_log(site: Site, user: str, body: Body) -> Any:
    """How a task is doing: its status and all its lines."""
    task = _task(site, user, body)
    # What the real servers do not say: by it a client knows that this is a sandbox, and where its page is.
    return ok({"status": task.status, "log": task.log, "sandbox_page": f"/task/{task.id}"})


def commit_submission_result(site: Site, user: str, body: Body) -> Any:
    """Make a finished task a study of the group; once more gives the same study."""
    task, group = _task(site, user, body), expect_group(body)
    if task.kind != "submit" or task.status != "SUCCESS":
        detail = f"task {task.id} is {task.status}: only a submission that succeeded can be committed"
        raise Refusal(409, detail)
    if task.body["group_id"] != group:
        detail = f"task {task.id} was submitted to group {task.body['group_id']!r}"
        raise Refusal(409, detail)
    record = site.catalogue.study(task.result["uuid"], user) or _commit(site, user, task)
    info = {
        "uuid": record.uuid,
        "study_hash_id": record.hash_id,
        "title": record.title,
        "group_id": record.group_id,
        "species": record.species,
        "created_by": record.owner,
    }
    return {"status": 200, "message": "ok", "study_info": info}


def export_study(site: Site, user: str, body: Body) -> Any:
    """Make a file of a study, as a task."""
    record = site.by_uuid(user, text(body, "study_id", longest=100))
    if body.get("study_type", _H5AD) != _H5AD:
        raise Refusal(422, "the sandbox exports h5ad (study_type 2) only")
    task, _ = site.catalogue.add_task(user, "export", body, "")
    path = site.export_path()

    def work() -> Mapping[str, Any]:
        write_export(site.open(record), path)
        return {"file_path": f"api/export/{path.stem}", "file_name": f"{record.hash_id}.h5ad"}

    site.tasks.run(task.id, work)
    return ok({"id": task.id})


def get_export_result(site: Site, user: str, body: Body) -> Any:
    """Where an exported file is."""
    task = _task(site, user, body)
    if task.kind != "export" or task.status != "SUCCESS":
        detail = f"task {task.id} is {task.status} and has no file"
        raise Refusal(409, detail)
    return ok(task.result)


def _from_bucket(site: Site, user: str, body: Body, bucket_id: Any) -> Any:
    info = body.get("batch_info")
    # Version 1.1.0 of the connector wraps the object in a list.
    info = info[0] if isinstance(info, list) and len(info) == 1 else info
    if not isinstance(info, Mapping) or not info or not all(isinstance(batch, Mapping) for batch in info.values()):
        raise Refusal(422, "batch_info must be an object of batches")
    batches = []
    for label, batch in info.items():
        parts = ("matrix", "features", "barcodes") if body.get("study_type") == MTX_10X else ("matrix",)
        files = {part: str(bucket_file(site, bucket_id, text(batch, part))) for part in parts}
        batches.append({"name": str(batch.get("name") or label), "files": files})
    return _start(site, user, body, batches, "")


def _uploaded_batch(name: str, files: Mapping[str, Path], study_type: Any) -> dict[str, Any]:
    if study_type != MTX_10X:
        if name not in files:
            detail = f"batch {name!r} was not uploaded; there are {sorted(files)}"
            raise Refusal(422, detail)
        return {"name": name, "files": {"matrix": str(files[name])}}
    found = {}
    for part, ending in _ENDINGS.items():
        path = files.get(f"{name}{ending}") or files.get(f"{name}{ending}.gz")
        if path is None:
            detail = f"batch {name!r} has no {name}{ending}[.gz]; there are {sorted(files)}"
            raise Refusal(422, detail)
        found[part] = str(path)
    return {"name": name, "files": found}


def _start(site: Site, user: str, body: Body, batches: list[dict[str, Any]], study_path: str) -> Any:
    expect_group(body)
    study_type, info = body.get("study_type"), body.get("study_info")
    if not isinstance(study_type, int) or not isinstance(info, Mapping):
        raise Refusal(422, "study_type must be a number and study_info an object")
    filters = body.get("filter_params")
    filters = filters if isinstance(filters, Mapping) else {}
    known = {"min_counts": 0.0, "min_genes": 0.0, "max_counts": 1e9, "max_genes": 1e9, "mt_percentage": 1.0}
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
        "batches": [_labelled(batch, several=len(batches) > 1) for batch in batches],
    }
    task, new = site.catalogue.add_task(user, "submit", kept, study_path)
    if new:
        site.tasks.submit(task.id, job)
    return ok({"id": task.id})


def _labelled(batch: dict[str, Any], *, several: bool) -> dict[str, Any]:
    """A batch among others is named by its file without the ending, which is what its cells are labelled with."""
    name = batch["name"].removesuffix(".h5ad").removesuffix(".h5") if several else batch["name"]
    return {**batch, "name": name}


def _task(site: Site, user: str, body: Body) -> TaskRecord:
    task = site.catalogue.task(text(body, "task_id", longest=100), user)
    if task is None:
        detail = f"there is no task {body['task_id']!r}"
        raise Refusal(404, detail)
    return task


def _commit(site: Site, user: str, task: TaskRecord) -> StudyRecord:
    record = StudyRecord(
        uuid=task.result["uuid"],
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
    site.catalogue.add_study(record)
    return record


UPLOADS = {"upload_chunk": upload_chunk, "upload": upload}
ROUTES = {
    function.__name__: function
    for function in (
        add_file_upload,
        submit_study_from_local,
        submit_processed_study_from_local,
        submit_study_from_s3,
        submit_study_from_shared_s3,
        get_submission_log,
        commit_submission_result,
        export_study,
        get_export_result,
    )
}
