"""Delivery: files and a request to a server, carried on where an earlier call was broken off.

Nothing is done twice that could make a second study. A chunk is stored under its number, so that sending it again
replaces it. A request to process an upload is sent again for the same upload and the same study only; and what makes a
study of a task is its commit, which happens for the one task that the journal has.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.tasks import TaskState, task_state
from biocolab_accessor.errors import ServerError, Unauthorized
from biocolab_accessor.naming import quoted
from biocolab_accessor.notice import notice
from biocolab_accessor.outbound import journal
from biocolab_accessor.outbound.journal import Entry, Known
from biocolab_accessor.outbound.request import StudyRequest
from biocolab_accessor.outbound.submission import Submission
from biocolab_accessor.outbound.upload import Outgoing, upload

__all__ = ["delivery"]

logger = logging.getLogger("biocolab_accessor.outbound")

_NOT_ABOUT_WHAT_IT_HAS = (400, 408, 413, 422, 429, 502, 503, 504)
"""Statuses of refusals that would not be another one if all was sent again."""


@contextmanager
def delivery(
    connector: BBrowserXConnector,
    route: str,
    body: Mapping[str, Any],
    request: StudyRequest,
    files: Sequence[Outgoing],
    *,
    source: str,
    chunk_size: int,
) -> Iterator[Submission]:
    """Send files and ask for their processing; no other call takes the submission for its own within the block.

    Parameters
    ----------
    connector, source
        The server, and which kind it is.
    route, body
        The request; the path of the upload, and the study's id where it was made here, are put in.
    request
        What the study shall be.
    files
        What is uploaded first.
    chunk_size
        Bytes of one upload request.

    Yields
    ------
    Submission
        Of this call, or of the earlier one that is carried on; committed where the user named the study and the same
        was sent under this name before.

    Raises
    ------
    TransportError, ServerError
        The server could not be reached, or refused.
    """
    info = {**body["study_info"], "study_hash_id": None if request.id_is_made else request.study_id}
    key = {
        "server": connector.host,
        "route": route,
        "body": {**body, "study_info": info},
        "files": [(file.name, file.inner, file.size, file.sha256) for file in files],
    }
    with journal.entry(key, wait=not request.id_is_made) as entry:
        found = _carried_on(connector, entry)
        if found is None:
            if not entry.known.study_id:
                if not request.id_is_made:
                    _tell_of_namesake(connector, str(request.study_id), body["species"], body["group_id"])
                entry.note(
                    "study",
                    server=connector.host,
                    source=source,
                    group_id=body["group_id"],
                    species=body["species"],
                    study_id=request.study_id,
                    id_is_made=request.id_is_made,
                )
            found = _sent(connector, entry, route, body, files, chunk_size)
        yield found


def _carried_on(connector: BBrowserXConnector, entry: Entry) -> Submission | None:
    """The submission of an earlier call, where the server has it; else the next steps are sending and asking."""
    known = entry.known
    if known.study_info is not None or known.intended:
        row = _listed(connector, known)
        if row is not None:
            logger.warning("study %s was submitted before and is there: nothing is sent", known.study_id)
            done = TaskState(str(known.task_id), "SUCCESS", "")
            found = _submission(connector, known, done, {**row, **(known.study_info or {})})
            if known.study_info is None:
                entry.finish(row)
            return found
    if known.study_info is not None:
        logger.info("study %s is no longer on %s: it is sent again", known.study_id, known.server)
        entry.clear()
        return None
    if known.task_id == "":
        return None
    try:
        state = task_state(connector, known.task_id)
    except ServerError as error:
        if not _has_forgotten(error):
            raise
        logger.info("the task of an earlier call is gone: %s", error)
        state = None
    if state is None or state.failed:
        entry.clear()
        return None
    logger.info("study %s was submitted before and is %s: going on with it", known.study_id, state.status)
    return _submission(connector, known, state)


def _listed(connector: BBrowserXConnector, known: Known) -> dict[str, Any] | None:
    """What the server lists of a study, where it is this one beyond doubt: by its uuid, or by an id that we made."""
    uuid_ = (known.study_info or {}).get("uuid")
    if uuid_ is None and known.study_info is None and not known.id_is_made:
        return None
    for row in _rows(connector, known.species, known.group_id):
        if uuid_ is not None and str(uuid_) in (str(row.get("uuid")), str(row.get("id"))):
            return dict(row)
        if uuid_ is None and known.study_id in (row.get("study_hash_id"), row.get("accession_id")):
            return dict(row)
    return None


def _tell_of_namesake(connector: BBrowserXConnector, study_id: str, species: str, group_id: str) -> None:
    """Servers take any number of studies of one id, and people find out when they look for theirs."""
    for row in _rows(connector, species, group_id):
        if study_id in (row.get("study_hash_id"), row.get("accession_id")):
            uuid_ = row.get("uuid", row.get("id"))
            notice(
                f"group {quoted(group_id)} has a study {quoted(study_id)} already (uuid {uuid_}): this will be a "
                "second one of that id, told from the first by its uuid only. Give another study_id to avoid that"
            )
            return


def _rows(connector: BBrowserXConnector, species: str, group_id: str) -> list[Mapping[str, Any]]:
    rows = connector.get_all_studies_info_in_group(species, group_id)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _sent(
    connector: BBrowserXConnector,
    entry: Entry,
    route: str,
    body: Mapping[str, Any],
    files: Sequence[Outgoing],
    chunk_size: int,
) -> Submission:
    resumed = bool(entry.known.folder_id)
    try:
        _ask(connector, entry, route, body, files, chunk_size)
    except ServerError as error:
        if not (resumed and _has_forgotten(error)):
            raise
        logger.warning("the upload of an earlier call is of no use any more, all is sent again: %s", error)
        entry.note("upload", folder_id=uuid.uuid4().hex, chunk_size=chunk_size)
        _ask(connector, entry, route, body, files, chunk_size)
    return _submission(connector, entry.known, TaskState(str(entry.known.task_id), "SUBMITTED", ""))


def _ask(
    connector: BBrowserXConnector,
    entry: Entry,
    route: str,
    body: Mapping[str, Any],
    files: Sequence[Outgoing],
    chunk_size: int,
) -> None:
    study_path = upload(connector, files, entry, chunk_size)
    info = {**body["study_info"], "study_hash_id": entry.known.study_id}
    entry.note("intent")
    # The folder is of this study alone, so that the request can be sent again where its answer is lost.
    whole = {**body, "study_info": info, "study_path": study_path}
    entry.note("task", task_id=connector.submit_task(route, whole, idempotent=True))


def _has_forgotten(error: ServerError) -> bool:
    """Whether a refusal may mean that the server no longer has what an earlier call gave it."""
    return not isinstance(error, Unauthorized) and error.status not in _NOT_ABOUT_WHAT_IT_HAS


def _submission(
    connector: BBrowserXConnector, known: Known, state: TaskState, study_info: dict[str, Any] | None = None
) -> Submission:
    return Submission(
        connector,
        task_id=known.task_id,
        study_id=known.study_id,
        group_id=known.group_id,
        species=known.species,
        source=known.source,
        state=state,
        study_info=study_info,
    )
