"""Submissions of files that a server reads where they are: in a bucket, or in a folder that it shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from biocolab_accessor.errors import InvalidArgument, public
from biocolab_accessor.messages import quoted
from biocolab_accessor.protocol import STUDY_TYPES, Filters, Server
from biocolab_accessor.studies.catalog import connector_of, group_id_of
from biocolab_accessor.submit.files import as_entries, study_type_number
from biocolab_accessor.submit.plan import StudyRequest
from biocolab_accessor.submit.submission import Submission, follow, warn_of_namesakes


@public
def submit_from_s3(
    keys: str | Mapping[str, str] | Sequence[str | Mapping[str, str]],
    group: str = "personal",
    *,
    s3_id: str | None = None,
    shared: bool = False,
    study_type: Any = "h5ad",
    study_id: str | None = None,
    name: str | None = None,
    authors: Sequence[str] = (),
    abstract: str = "",
    species: str = "human",
    input_matrix_type: Literal["raw", "normalized"] = "normalized",
    min_counts: float | None = None,
    min_genes: float | None = None,
    max_counts: float | None = None,
    max_genes: float | None = None,
    mt_percentage: float | None = None,
    skip_dimred: bool = False,
    to: Server = "bbrowserx",
    wait: bool = True,
) -> Submission:
    """Submit files in an S3 bucket that the server can read. No data passes through this machine.

    Parameters
    ----------
    keys
        Keys without the bucket. For ``"mtx_10x"``, dicts with ``matrix``, ``features`` and ``barcodes``. For
        ``"tile_db"``, keys of folders.
    s3_id
        Id of the bucket, from :func:`biocolab_accessor.buckets`. None means the first bucket that the server has
        configured for you.
    shared
        Whether the bucket is shared with the group; ``s3_id`` is then the id of the shared bucket.
    input_matrix_type
        ``"raw"`` or ``"normalized"``. It cannot be detected, because the files are not read here.
    group, study_type, study_id, name, authors, abstract, species
        As for :func:`submit_files`.
    min_counts, min_genes, max_counts, max_genes, mt_percentage, skip_dimred, to, wait
        As for :func:`submit_files`.

    Returns
    -------
    Submission
        Its ``study()`` returns the study.

    Raises
    ------
    InvalidArgument
        ``keys`` is empty or does not hold keys, the study type is unknown, or two batches have the same name.
    UnknownGroup
        The token has no access to a group of this name.
    TaskFailed
        The server could not read or process the files.

    Examples
    --------
    >>> import anndata as ad, numpy as np, tempfile, biocolab_accessor as bc
    >>> with bc.sandbox() as server, tempfile.TemporaryDirectory() as folder:
    ...     ad.AnnData(np.eye(9, dtype="float32") + 1).write_h5ad(f"{folder}/x.h5ad")
    ...     bucket = server.add_bucket(folder)  # a folder as a bucket; real servers have their own
    ...     bc.submit_from_s3("x.h5ad", s3_id=bucket, skip_dimred=True).study().n_obs
    9
    """
    filters = Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage)
    request = StudyRequest(group, study_id, name, authors, abstract, species, filters, skip_dimred)
    number = study_type_number(study_type)
    batches = _s3_batches(as_entries(keys, "bc.submit_from_s3 takes keys of files in a bucket", str | Mapping), number)
    route = "submit_study_from_shared_s3" if shared else "submit_study_from_s3"
    where = {"batch_info": batches, "shared_s3_id" if shared else "s3_id": s3_id}
    return _submit_stored(route, where, request, number, input_matrix_type, to, wait=wait)


@public
def submit_from_server(
    folder: str | Path,
    files: str | Mapping[str, str] | Sequence[str | Mapping[str, str]],
    group: str = "personal",
    *,
    study_type: Any = "h5ad",
    study_id: str | None = None,
    name: str | None = None,
    authors: Sequence[str] = (),
    abstract: str = "",
    species: str = "human",
    input_matrix_type: Literal["raw", "normalized"] = "normalized",
    min_counts: float | None = None,
    min_genes: float | None = None,
    max_counts: float | None = None,
    max_genes: float | None = None,
    mt_percentage: float | None = None,
    skip_dimred: bool = False,
    to: Server = "bbrowserx",
    wait: bool = True,
) -> Submission:
    """Submit files in a folder that the server shares. No data passes through this machine.

    Servers of bioturing-connector 1.14 or later have the route.

    Parameters
    ----------
    folder
        The shared folder, as a path on the server.
    files
        Paths in the folder. For ``"mtx_10x"``, dicts with ``matrix``, ``features`` and ``barcodes``. ``"tile_db"`` is
        not accepted from a folder.
    input_matrix_type
        ``"raw"`` or ``"normalized"``. It cannot be detected, because the files are not read here.
    group, study_type, study_id, name, authors, abstract, species
        As for :func:`submit_files`.
    min_counts, min_genes, max_counts, max_genes, mt_percentage, skip_dimred, to, wait
        As for :func:`submit_files`.

    Returns
    -------
    Submission
        Its ``study()`` returns the study.

    Raises
    ------
    InvalidArgument
        ``files`` is empty or does not hold paths, the study type is unknown, or two batches have the same name.
    UnknownGroup
        The token has no access to a group of this name.
    NotFound
        The server does not share the folder, or does not have the route.
    TaskFailed
        The server could not read or process the files.

    Examples
    --------
    >>> import anndata as ad, numpy as np, tempfile, biocolab_accessor as bc
    >>> with bc.sandbox() as server, tempfile.TemporaryDirectory() as folder:
    ...     ad.AnnData(np.eye(9, dtype="float32") + 1).write_h5ad(f"{folder}/x.h5ad")
    ...     shared = server.add_folder(folder)  # real servers have their own
    ...     bc.submit_from_server(shared, "x.h5ad", skip_dimred=True).study().n_obs
    9
    """
    filters = Filters(min_counts, min_genes, max_counts, max_genes, mt_percentage)
    request = StudyRequest(group, study_id, name, authors, abstract, species, filters, skip_dimred)
    number = study_type_number(study_type)
    if number == STUDY_TYPES["tile_db"]:
        msg = "study_type is 'tile_db', which servers read from buckets only: use bc.submit_from_s3"
        raise InvalidArgument(msg)
    if not isinstance(folder, str | Path) or not str(folder).strip():
        msg = f"folder is {quoted(folder)}: give the path of a folder that the server shares"
        raise InvalidArgument(msg)
    batches = _s3_batches(as_entries(files, "bc.submit_from_server takes paths in a folder", str | Mapping), number)
    where = {
        "batch_info": {batch["name"]: batch for batch in batches.values()},
        "shared_folder_path": folder if isinstance(folder, str) else folder.as_posix(),
    }
    return _submit_stored("submit_study_from_server", where, request, number, input_matrix_type, to, wait=wait)


def _submit_stored(
    route: str,
    where: Mapping[str, Any],
    request: StudyRequest,
    number: int,
    input_matrix_type: Any,
    to: Server,
    *,
    wait: bool,
) -> Submission:
    """Submit files that the server reads where they are."""
    matrix_type = getattr(input_matrix_type, "value", input_matrix_type)
    if matrix_type not in ("raw", "normalized"):
        msg = f"input_matrix_type is {quoted(input_matrix_type)}: give 'raw' or 'normalized'"
        raise InvalidArgument(msg)
    connector = connector_of(to)
    group_id = group_id_of(connector, request.group)
    body = {**request.body(group_id), "study_type": number, "normalize": matrix_type == "raw", **where}
    # The content of the files is not known here, so a call cannot be recognized as a repetition. If an answer is lost,
    # the new study is told from others with its id by the studies that the group has now.
    named = str(request.study_id)
    others = () if request.id_is_made else warn_of_namesakes(connector, request.species, group_id, named)
    submission = Submission(
        connector,
        task_id=connector.submit_task(route, body),
        study_id=named,
        group_id=group_id,
        species=request.species,
        source=to,
        namesakes=frozenset(others),
    )
    return submission.wait() if wait else follow(submission)


def _s3_batches(keys: list[Any], number: int) -> dict[str, dict[str, str]]:
    if not keys:
        msg = "no files to submit: give at least one key or path"
        raise InvalidArgument(msg)
    main = "folder" if number == STUDY_TYPES["tile_db"] else "matrix"
    batches: dict[str, dict[str, str]] = {}
    for i, key in enumerate(keys):
        info = {main: key} if isinstance(key, str) else {k: str(v) for k, v in key.items()}
        if main not in info:
            msg = f"batch {i} has no {quoted(main)}: {info}"
            raise InvalidArgument(msg)
        parts = info[main].rstrip("/").split("/")
        from_folder = parts[-2] if len(parts) > 1 else f"Batch {i + 1}"
        info.setdefault("name", from_folder if number == STUDY_TYPES["mtx_10x"] else parts[-1])
        batches[f"Batch_{i}"] = info
    names = [info["name"] for info in batches.values()]
    if len(set(names)) < len(names):
        msg = f"two batches have the same name ({names}): give dicts with different 'name's"
        raise InvalidArgument(msg)
    return batches
