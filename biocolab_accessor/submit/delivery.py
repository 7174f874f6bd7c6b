"""Delivery: upload files and request their processing, resuming an interrupted call.

No repeated step can create a second study. A chunk is stored under its number, so that sending it again replaces it. A
processing request is repeated only for the same upload and the same study. A task becomes a study by its commit, and
only the one task in the journal is committed.

A server may have lost earlier data, and reports this in its own words. Any refused step of a resumed submission, and
any refused repetition, therefore leads to one new start; only an error of the new start is final. Before starting
again, the server is asked whether the study exists after all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, cast

from biocolab_accessor.clients.arguments import expect_distinct
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.progress import UPLOADING, progress_bar
from biocolab_accessor.clients.tasks import TaskState, may_have_forgotten, task_state
from biocolab_accessor.config import settings
from biocolab_accessor.errors import (
    BiocolabError,
    InvalidArgument,
    InvalidFile,
    InvalidResponse,
    MissingFile,
    ServerError,
)
from biocolab_accessor.messages import quoted, warn
from biocolab_accessor.platforms import expanded
from biocolab_accessor.submit import journal
from biocolab_accessor.submit.journal import Entry, Known
from biocolab_accessor.submit.plan import StudyRequest
from biocolab_accessor.submit.submission import (
    Submission,
    studies_in_group,
    studies_with_id,
    warn_of_namesakes,
    warn_of_restart,
)

_SMALLEST_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Outgoing:
    """A file to upload, with its size and hash when it was read."""

    path: Path
    name: str  # on the server
    inner: str  # sub-folder of the upload; empty for the upload folder itself
    size: int
    modified: int  # ns
    sha256: str  # hexadecimal
    identity: tuple[int, int] = field(default=(0, 0), compare=False)  # changes if another file takes the path

    def expect_unchanged(self) -> None:
        """Raise InvalidFile if the file has changed since it was read."""
        found = self.path.stat()
        same = (found.st_size, found.st_mtime_ns) == (self.size, self.modified)
        # Size and time can be copied from another file, but a link or a permission changes the identity too.
        if same and _identity(found) != self.identity:
            with self.path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        if not same:
            msg = f"{self.path} changed while it was sent: repeat the call to send the current file"
            raise InvalidFile(msg)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_ino, found.st_ctime_ns


def outgoing(path: Path, name: str, inner: str = "") -> Outgoing:
    """Read and hash a file to upload; raise InvalidFile if it is missing or empty."""
    if not path.is_file():
        msg = f"{path} does not exist"
        raise MissingFile(msg)
    if not path.stat().st_size:
        msg = f"{path} is empty"
        raise InvalidFile(msg)
    with path.open("rb") as file:
        found = os.fstat(file.fileno())  # a link may lead elsewhere by now
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Outgoing(path, name, inner, found.st_size, found.st_mtime_ns, digest, _identity(found))


def chunk_bytes(chunk_size: int | None) -> int:
    """Bytes per upload request; None means ``bc.settings.chunk_size``, and members of official enums are accepted."""
    size = settings.chunk_size if chunk_size is None else getattr(chunk_size, "value", chunk_size)
    if not isinstance(size, Integral) or size < _SMALLEST_CHUNK:
        msg = f"chunk_size is {quoted(chunk_size)}: give an integer of at least {_SMALLEST_CHUNK:,} bytes, or None"
        raise InvalidArgument(msg)
    return int(size)


def upload(
    connector: BBrowserXConnector,
    files: Sequence[Outgoing],
    entry: Entry,
    chunk_size: int,
    repeating: Callable[[], None] = lambda: None,
) -> str:
    """Upload the data that the server does not have yet, and return the folder's path on the server."""
    # `repeating` is called before a request that the server may already have acted on is sent again.
    for inner in {file.inner for file in files}:
        expect_distinct([file.name for file in files if file.inner == inner])
    known = entry.known
    # Some servers call a file ambiguous that was announced twice to the same folder. While the folder has no files, a
    # file that may have been announced before is therefore announced to a new folder.
    if not known.folder_id or known.chunk_size != chunk_size or not known.file_ids:
        entry.note("upload", folder_id=uuid.uuid4().hex, chunk_size=chunk_size)
    with progress_bar(UPLOADING, sum(file.size for file in files)) as bar:
        for number, file in enumerate(files):
            n_chunks = -(-file.size // chunk_size)
            if number not in known.file_ids:
                target = _AnnouncedFolder(entry, file.inner, chunk_size, repeating)
                entry.note("file", file=number, id=connector.announce_file(target, n_chunks, file.name))
            folder = _folder(entry, file.inner)
            params = {"folder_id": folder, "id": known.file_ids[number]}
            for chunk in range(n_chunks):
                offset = chunk * chunk_size
                length = min(chunk_size, file.size - offset)
                if chunk in known.chunks.get(number, ()):
                    bar.update(length)
                    continue
                numbered = {**params, "chunk": chunk, "n_chunks": n_chunks}
                path = connector.send_chunk(
                    numbered, file.name, file.path, offset, length, on_bytes=bar.update, look=repeating
                )
                entry.note("chunk", file=number, chunk=chunk, path=path)
            file.expect_unchanged()
    return known.paths[max(number for number, file in enumerate(files) if not file.inner)]


class _AnnouncedFolder:
    """The folder that a file is announced to, at each attempt."""

    def __init__(self, entry: Entry, inner: str, chunk_size: int, repeating: Callable[[], None]) -> None:
        self._entry, self._inner, self._chunk_size, self._repeating = entry, inner, chunk_size, repeating
        self._tried = False

    def __call__(self) -> str:
        if self._tried and self._entry.known.file_ids:
            self._repeating()
        elif self._tried:
            self._entry.note("upload", folder_id=uuid.uuid4().hex, chunk_size=self._chunk_size)
        self._tried = True
        return _folder(self._entry, self._inner)


def _folder(entry: Entry, inner: str) -> str:
    return f"{entry.known.folder_id}/{inner}" if inner else entry.known.folder_id


logger = logging.getLogger("biocolab_accessor.submit")


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
    call: Mapping[str, Any] | None = None,
) -> Iterator[Submission]:
    """Upload files and request their processing; within the block, no other call uses the same submission."""
    # `call` describes the same call for `bc.submissions()[0].resume()`; None for an object in memory.
    info = {**body["study_info"], "study_hash_id": None if request.id_is_made else request.study_id}
    key = {
        "server": connector.host,
        "route": route,
        "body": {**body, "study_info": info},
        "files": [(file.name, file.inner, file.size, file.sha256) for file in files],
    }
    with journal.entry(key, wait=not request.id_is_made) as entry:
        yield _Delivery(connector, entry, request, route, body, files, source, chunk_size, call).go()


class _Delivery:
    """One submission, started or resumed from its journal."""

    def __init__(
        self,
        connector: BBrowserXConnector,
        entry: Entry,
        request: StudyRequest,
        route: str,
        body: Mapping[str, Any],
        files: Sequence[Outgoing],
        source: str,
        chunk_size: int,
        call: Mapping[str, Any] | None,
    ) -> None:
        self.connector, self.entry, self.request = connector, entry, request
        self.route, self.body, self.files = route, body, files
        self.source, self.chunk_size, self.call = source, chunk_size, call
        self.repeated = False
        self.species, self.group_id = str(body["species"]), str(body["group_id"])

    def go(self) -> Submission:
        """Resume it, or start it."""
        self._drop_foreign_journal()
        try:
            return self._resumed() or self._sent()
        except (KeyboardInterrupt, BiocolabError) as error:
            if self.entry.known.chunks:
                name = quoted(self.entry.known.study_id)
                error.add_note(
                    f"The server keeps the data that it has received. To go on with study {name}, repeat the call"
                )
            raise

    def _drop_foreign_journal(self) -> None:
        """Ignore the content of an edited journal that names another study, group or server."""
        known = self.entry.known
        if not known.study_id:
            return
        mine = (self.connector.host, self.group_id, self.species, self.request.id_is_made)
        other = (known.server, known.group_id, known.species, known.id_is_made) != mine
        if other or not (self.request.id_is_made or known.study_id == self.request.study_id):
            self.entry.known = Known(doubtful=True)

    def _resumed(self) -> Submission | None:
        """The submission of an earlier call, if the server has it; None if files have to be sent."""
        known, entry = self.entry.known, self.entry
        if not (known.study_id or known.doubtful):
            return None
        if (found := self._existing_study()) is not None:
            return found
        if known.study_info is not None:
            logger.info("study %s is no longer on %s: sending it again", known.study_id, known.server)
            entry.clear()
            return None
        if known.task_id != "" and known.study_id:
            try:
                state = task_state(self.connector, known.task_id)
            except BiocolabError as error:
                if not may_have_forgotten(error):
                    raise
                self._start_again(error)
                return None
            if not state.failed:
                logger.info("study %s was submitted before and is %s: resuming it", known.study_id, state.status)
                return _submission(self.connector, known, state, resumed=True)
            entry.clear()
        elif known.doubtful and known.study_id:
            self._start_again("its journal on this machine is corrupted, or from a newer version")
        elif known.doubtful:
            logger.warning("the journal of an earlier call cannot be read: starting again")
            entry.clear()
        return None

    def _existing_study(self) -> Submission | None:
        """The submission of the existing study, if the server lists it."""
        known = self.entry.known
        row = self._row(known)
        if row is None:
            return None
        study_id = known.study_id or str(self.request.study_id)
        logger.warning("study %s was submitted before and exists: nothing is sent", study_id)
        if not known.study_id:
            self._note_study(None)
        done = TaskState(str(known.task_id), "SUCCESS", "")
        found = _submission(self.connector, known, done, {**row, **(known.study_info or {})})
        if known.study_info is None:
            self.entry.finish(row)
        found._was_there = True
        found._with_log()
        return found

    def _row(self, known: Known) -> dict[str, Any] | None:
        """The study as the server lists it, found by its uuid or by an id that no other study had before."""
        uuid_ = (known.study_info or {}).get("uuid")
        if uuid_ is not None:
            rows = studies_in_group(self.connector, self.species, self.group_id)
            return next((dict(row) for row in rows if str(uuid_) in (str(row.get("uuid")), str(row.get("id")))), None)
        study_id = known.study_id or ("" if self.request.id_is_made else str(self.request.study_id))
        others = frozenset() if known.id_is_made else known.namesakes
        in_doubt = known.doubtful or known.study_info is not None
        if not study_id or (others is None and not in_doubt):
            return None
        found = studies_with_id(self.connector, self.species, self.group_id, study_id)
        row = next((dict(row) for each, row in found.items() if each not in (others or ())), None)
        if row is not None and others is None and known.study_info is None:
            warn(
                f"group {quoted(self.group_id)} has a study {quoted(study_id)}, and the journal of its submission on "
                "this machine is corrupted: nothing is sent, assuming that this is the submitted study. If it is not, "
                f"run `biocolab resume --forget {quoted(study_id)}` and submit again"
            )
        return row

    def _note_study(self, namesakes: Collection[str] | None) -> None:
        self.entry.note(
            "study",
            server=self.connector.host,
            source=self.source,
            group_id=self.group_id,
            species=self.species,
            study_id=self.entry.known.study_id or self.request.study_id,
            id_is_made=self.request.id_is_made,
            namesakes=None if namesakes is None else sorted(namesakes),
            call=self.call,
        )

    def _warn_of_namesakes(self) -> list[str]:
        if self.request.id_is_made:
            return []
        return warn_of_namesakes(self.connector, self.species, self.group_id, str(self.request.study_id))

    def _start_again(self, reason: object) -> None:
        warn_of_restart(self.entry.known.study_id or str(self.request.study_id), reason)
        self.entry.renew()
        self.repeated = False

    def _sent(self) -> Submission:
        if not self.entry.known.study_id:
            self._note_study(self._warn_of_namesakes())
        resumed = bool(self.entry.known.folder_id)
        try:
            self._ask()
        except (ServerError, InvalidResponse) as error:
            if not (may_have_forgotten(error) and (resumed or (self.repeated and not error.passing))):
                raise
            # This also shows whether the server answers and accepts the token, before the uploaded data is given up.
            if (found := self._existing_study()) is not None:
                return found
            self._start_again(error)
            self._ask()
        known = self.entry.known
        return _submission(self.connector, known, TaskState(str(known.task_id), "SUBMITTED", ""), is_new=True)

    def _ask(self) -> None:
        study_path = upload(self.connector, self.files, self.entry, self.chunk_size, self._repeating)
        info = {**self.body["study_info"], "study_hash_id": self.entry.known.study_id}
        self.entry.note("intent")
        # The folder belongs to this study alone, so that the request can be repeated if its answer is lost.
        whole = {**self.body, "study_info": info, "study_path": study_path}
        task_id = self.connector.submit_task(self.route, whole, idempotent=True, look=self._repeating)
        self.entry.note("task", task_id=task_id)

    def _repeating(self) -> None:
        """Note that a step is repeated: if the server refuses it, the submission starts again."""
        self.repeated = True


def _submission(
    connector: BBrowserXConnector,
    known: Known,
    state: TaskState,
    study_info: dict[str, Any] | None = None,
    *,
    resumed: bool = False,
    is_new: bool = False,
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
        namesakes=frozenset() if known.id_is_made else known.namesakes,
        resumed=resumed,
        is_new=is_new,
    )


def call_of(files: Any, paths: Sequence[Path], arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a call of ``bc.submit``; None if it cannot be recorded."""
    try:
        states = [[os.path.abspath(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
        call = {"files": _plain(files), "arguments": dict(arguments), "states": states}
        return cast("dict[str, Any]", json.loads(json.dumps(call, allow_nan=False, default=_plain_number)))
    except (OSError, TypeError, ValueError):  # a missing file is reported when it is sent
        return None


def _plain_number(value: Any) -> Any:
    """A NumPy number as a Python number."""
    item = getattr(value, "item", None)
    if not callable(item):
        raise TypeError(value)
    return item()


def _plain(files: Any) -> Any:
    if isinstance(files, str | os.PathLike):
        return os.path.abspath(expanded(Path(files)))
    if isinstance(files, Mapping):
        return {str(name): _plain(path) for name, path in files.items()}
    return [_plain(each) for each in files]
