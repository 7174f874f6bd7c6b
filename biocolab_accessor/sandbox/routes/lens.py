"""Routes of the Lens servers that differ from BBrowserX's: submissions of spatial studies, and listings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biocolab_accessor.messages import quoted
from biocolab_accessor.sandbox.processing.readers import Batch, named_parts
from biocolab_accessor.sandbox.processing.spatial import BULK, PROTEOMICS, SC, bucket_folder, uploaded_parts
from biocolab_accessor.sandbox.requests import HTTPError, number, text, texts
from biocolab_accessor.sandbox.routes import account
from biocolab_accessor.sandbox.routes.account import ok
from biocolab_accessor.sandbox.routes.submit import start
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.buckets import Bucket

Body = Mapping[str, Any]


def get_all_studies_info_in_group(state: State, user: str, body: Body) -> Any:
    """Studies of a group, with the field names of Lens in addition."""
    rows = account.get_all_studies_info_in_group(state, user, body)["data"]
    return ok(
        [{**row, "id": row["uuid"], "accession_id": row["study_hash_id"], "title": row["study_title"]} for row in rows]
    )


def bulk_from_local(state: State, user: str, body: Body) -> Any:
    """Lens Bulk: process an upload; repeating the request returns the same task."""
    return _from_upload(state, user, body, _bulk_type(body))


def bulk_from_s3(state: State, user: str, body: Body) -> Any:
    """Lens Bulk: process files in a bucket."""
    return _from_bucket(state, user, body, "s3_id", _bulk_type(body))


def bulk_from_shared_s3(state: State, user: str, body: Body) -> Any:
    """The same, from a bucket that is shared with the group."""
    return _from_bucket(state, user, body, "shared_s3_id", _bulk_type(body))


def sc_from_local(state: State, user: str, body: Body) -> Any:
    """Lens SC: process an upload; repeating the request returns the same task."""
    return _from_upload(state, user, body, _sc_type(body))


def sc_from_s3(state: State, user: str, body: Body) -> Any:
    """Lens SC: process folders or images in a bucket."""
    return _from_bucket(state, user, body, "s3_id", _sc_type(body))


def sc_from_shared_s3(state: State, user: str, body: Body) -> Any:
    """The same, from a bucket that is shared with the group."""
    return _from_bucket(state, user, body, "shared_s3_id", _sc_type(body))


def _bulk_type(body: Body) -> int:
    study_type = body.get("study_type")
    if isinstance(study_type, bool) or not isinstance(study_type, int) or study_type not in BULK:
        detail = f"study_type {quoted(study_type)} cannot be submitted to Lens Bulk: use one of {sorted(BULK)}"
        raise HTTPError(422, detail)
    return study_type


def _sc_type(body: Body) -> int:
    technology, platform = body.get("study_type"), body.get("platform")
    if technology == "PROTEOMICS":
        return PROTEOMICS
    if technology != "LENS_SC" or isinstance(platform, bool) or not isinstance(platform, int) or platform not in SC:
        detail = (
            f"study_type {quoted(technology)} with platform {quoted(platform)} cannot be submitted to Lens SC: use "
            f"'PROTEOMICS', or 'LENS_SC' with one of {sorted(SC)}"
        )
        raise HTTPError(422, detail)
    return platform


def _from_upload(state: State, user: str, body: Body, kind: int) -> Any:
    study_path = text(body, "study_path")
    with state.uploads.submitting:
        if (known := state.catalog.task_of_upload(user, study_path)) is not None:
            return ok({"id": known.id})
        files = state.uploads.files(user, study_path)
        names = texts(body, "batch_info")
        if not names:
            raise HTTPError(422, "batch_info must list the batches")
        batches = [Batch(name, uploaded_parts(name, files, kind)) for name in names]
        return _start(state, user, body, batches, study_path, kind)


def _from_bucket(state: State, user: str, body: Body, key: str, kind: int) -> Any:
    bucket = state.buckets.get(body.get(key), [group.id for group in state.accounts.groups(user)])
    parts = BULK.get(kind, ("image",) if kind == PROTEOMICS else ("folder",))
    batches = []
    for name, keys in named_parts(body.get("batch_info"), parts):
        if "folder" in keys:
            batches.append(Batch(name, {"folder": bucket_folder(bucket, keys["folder"])}))
        else:
            batches.append(_bucket_files(state, bucket, name, keys))
    return _start(state, user, body, batches, "", kind)


def _bucket_files(state: State, bucket: Bucket, name: str, keys: Mapping[str, str]) -> Batch:
    local = {part: bucket.local(key) for part, key in keys.items()}
    files = {part: path or state.uploads.incoming() for part, path in local.items()}
    return Batch(name, files, {part: (bucket, keys[part]) for part, path in local.items() if path is None})


def _start(state: State, user: str, body: Body, batches: list[Batch], study_path: str, kind: int) -> Any:
    filters = body.get("filter_params")
    controls = number(filters if isinstance(filters, Mapping) else {}, "neg_controls_percentage", 100)
    # Lens has no argument for either: it receives counts, and a spatial study shows the coordinates of its cells.
    fixed = {"normalize": True, "skip_dimred": True}
    return start(state, user, {**body, **fixed}, batches, study_path, kind, neg_controls_percentage=controls)


_LISTING = {"get_all_studies_info_in_group": get_all_studies_info_in_group}
BULK_ROUTES = _LISTING | {
    "submit_study_from_local": bulk_from_local,
    "submit_study_from_s3": bulk_from_s3,
    "submit_study_from_shared_s3": bulk_from_shared_s3,
}
SC_ROUTES = _LISTING | {
    "submit_study_from_local": sc_from_local,
    "submit_study_from_s3": sc_from_s3,
    "submit_study_from_shared_s3": sc_from_shared_s3,
}
