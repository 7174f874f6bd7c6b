"""Delivery: files and a request to a server, carried on where an earlier call was broken off.

Nothing is done twice that could make a second study. A chunk is stored under its number, so that sending it again
replaces it. A request to process an upload is sent again for the same upload and the same study only; and what makes a
study of a task is its commit, which happens for the one task that the journal has.

A server may have forgotten what it was given, and says so in words of its own. So whatever refuses a step of a
submission that was begun before, or a step that was repeated, leads to one new start; only what refuses that is final.
Before it, the server is asked whether the study is there after all.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from biocolab_accessor.clients.arguments import expect_distinct
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.tasks import TaskState, may_have_forgotten, task_state
from biocolab_accessor.config import settings
from biocolab_accessor.errors import BiocolabError, InvalidArgument, InvalidFile, InvalidResponse, ServerError
from biocolab_accessor.messages import quoted, warn
from biocolab_accessor.progress import progress_bar
from biocolab_accessor.submit import journal
from biocolab_accessor.submit.journal import Entry, Known
from biocolab_accessor.submit.plan import StudyRequest
from biocolab_accessor.submit.submission import Submission, listed, rows_of_id, tell_of_namesakes, tell_of_new_start

__all__ = ["Outgoing", "chunk_bytes", "delivery", "outgoing", "upload"]

_SMALLEST_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Outgoing:
    """A file as it was when its content was looked at.

    Attributes
    ----------
    path, name
        Where it is here, and what it is called on the server.
    inner
        Folder below the upload's; empty for the upload's own.
    size, modified, sha256
        Bytes, time of the last change in ns, and digest of the content in hexadecimal.
    """

    path: Path
    name: str
    inner: str
    size: int
    modified: int
    sha256: str

    def expect_unchanged(self) -> None:
        """Raise InvalidFile where the file is another one by now.

        Raises
        ------
        InvalidFile
            It has changed since it was looked at.
        """
        found = self.path.stat()
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
            msg = f"{self.path} was changed while it was sent: call again to send it as it is now"
            raise InvalidFile(msg)


def outgoing(path: Path, name: str, inner: str = "") -> Outgoing:
    """Look at a file that is to be sent.

    Raises
    ------
    InvalidFile
        It is missing or empty.
    """
    if not path.is_file() or not path.stat().st_size:
        msg = f"{path} is empty" if path.is_file() else f"there is no file {path}"
        raise InvalidFile(msg)
    with path.open("rb") as file:
        found = os.fstat(file.fileno())  # a link may lead elsewhere by now
        return Outgoing(
            path, name, inner, found.st_size, found.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest()
        )


def chunk_bytes(chunk_size: int | None) -> int:
    """Bytes of one upload request; None means ``bc.settings.chunk_size``, and members of official enums are taken.

    Raises
    ------
    InvalidArgument
        It is too small, or no whole number.
    """
    size = settings.chunk_size if chunk_size is None else getattr(chunk_size, "value", chunk_size)
    if not isinstance(size, Integral) or size < _SMALLEST_CHUNK:
        msg = f"chunk_size is {quoted(chunk_size)}: give a whole number of bytes, at least {_SMALLEST_CHUNK:,}, or None"
        raise InvalidArgument(msg)
    return int(size)


def upload(
    connector: BBrowserXConnector,
    files: Sequence[Outgoing],
    entry: Entry,
    chunk_size: int,
    repeating: Callable[[], None] = lambda: None,
) -> str:
    """Upload what the server does not have yet, and give the folder's path on the server.

    Parameters
    ----------
    connector
        The server.
    files
        Their names must differ within a folder.
    entry
        What the server has taken already, of chunks of the same size, is not sent again; every answer is noted.
    chunk_size
        Bytes of one request.
    repeating
        Called before a request is sent again that the server may have acted on.

    Raises
    ------
    InvalidArgument
        Two names are equal.
    InvalidFile
        A file was changed meanwhile.
    TransportError, ServerError
        The server could not be reached, or refused.
    """
    for inner in {file.inner for file in files}:
        expect_distinct([file.name for file in files if file.inner == inner])
    known = entry.known
    # A file that is announced twice to one folder is ambiguous to some servers. As long as the folder has none, a file
    # that may have been announced is announced to another.
    if not known.folder_id or known.chunk_size != chunk_size or not known.file_ids:
        entry.note("upload", folder_id=uuid.uuid4().hex, chunk_size=chunk_size)
    with progress_bar("Uploading", sum(file.size for file in files)) as bar:
        for number, file in enumerate(files):
            n_chunks = -(-file.size // chunk_size)
            if number not in known.file_ids:
                place = _Place(entry, file.inner, chunk_size, repeating)
                entry.note("file", file=number, id=connector.announce_file(place, n_chunks, file.name))
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


class _Place:
    """The folder that a file is announced to, for each attempt."""

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
    call
        What sends the same again; None for an object in memory.

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
        yield _Delivery(connector, entry, request, route, body, files, source, chunk_size, call).go()


class _Delivery:
    """One submission on its way to the server, from wherever it is now."""

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
        """Carry it on, or begin it."""
        self._expect_its_own()
        return self._carried_on() or self._sent()

    def _expect_its_own(self) -> None:
        """A journal that was edited may name another study, group or server: what it says is then of no use."""
        known = self.entry.known
        if not known.study_id:
            return
        mine = (self.connector.host, self.group_id, self.species, self.request.id_is_made)
        other = (known.server, known.group_id, known.species, known.id_is_made) != mine
        if other or not (self.request.id_is_made or known.study_id == self.request.study_id):
            self.entry.known = Known(doubtful=True)

    def _carried_on(self) -> Submission | None:
        """The submission of an earlier call, where the server has it; else what comes next is sending and asking."""
        known, entry = self.entry.known, self.entry
        if not (known.study_id or known.doubtful):
            return None
        if (found := self._there()) is not None:
            return found
        if known.study_info is not None:
            logger.info("study %s is no longer on %s: it is sent again", known.study_id, known.server)
            entry.clear()
            return None
        if known.task_id != "" and known.study_id:
            try:
                state = task_state(self.connector, known.task_id)
            except BiocolabError as error:
                if not may_have_forgotten(error):
                    raise
                self._begin_again(error)
                return None
            if not state.failed:
                logger.info("study %s was submitted before and is %s: going on with it", known.study_id, state.status)
                return _submission(self.connector, known, state, resumed=True)
            entry.clear()
        elif known.doubtful and known.study_id:
            self._begin_again("its journal on this machine is damaged, or of a newer version")
        elif known.doubtful:
            logger.warning("the journal of an earlier call does not say what it has done: starting again")
            entry.clear()
        return None

    def _there(self) -> Submission | None:
        """The study itself, where the server lists it."""
        known = self.entry.known
        row = self._row(known)
        if row is None:
            return None
        study_id = known.study_id or str(self.request.study_id)
        logger.warning("study %s was submitted before and is there: nothing is sent", study_id)
        if not known.study_id:
            self._note_study(None)
        done = TaskState(str(known.task_id), "SUCCESS", "")
        found = _submission(self.connector, known, done, {**row, **(known.study_info or {})})
        if known.study_info is None:
            self.entry.finish(row)
        return found

    def _row(self, known: Known) -> dict[str, Any] | None:
        """What the server lists of the study: by its uuid, or by an id that no other study had before."""
        uuid_ = (known.study_info or {}).get("uuid")
        if uuid_ is not None:
            rows = listed(self.connector, self.species, self.group_id)
            return next((dict(row) for row in rows if str(uuid_) in (str(row.get("uuid")), str(row.get("id")))), None)
        study_id = known.study_id or ("" if self.request.id_is_made else str(self.request.study_id))
        others = frozenset() if known.id_is_made else known.namesakes
        in_doubt = known.doubtful or known.study_info is not None
        if not study_id or (others is None and not in_doubt):
            return None
        found = rows_of_id(self.connector, self.species, self.group_id, study_id)
        row = next((dict(row) for each, row in found.items() if each not in (others or ())), None)
        if row is not None and others is None and known.study_info is None:
            warn(
                f"group {quoted(self.group_id)} has a study {quoted(study_id)}, and the journal of its submission on "
                "this machine is damaged: it is taken for the one that was sent, and nothing is sent. If it is not, "
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

    def _tell_of_namesakes(self) -> list[str]:
        if self.request.id_is_made:
            return []
        return tell_of_namesakes(self.connector, self.species, self.group_id, str(self.request.study_id))

    def _begin_again(self, reason: object) -> None:
        tell_of_new_start(self.entry.known.study_id or str(self.request.study_id), reason)
        self.entry.renew()
        self.repeated = False

    def _sent(self) -> Submission:
        if not self.entry.known.study_id:
            self._note_study(self._tell_of_namesakes())
        resumed = bool(self.entry.known.folder_id)
        try:
            self._ask()
        except (ServerError, InvalidResponse) as error:
            if not (may_have_forgotten(error) and (resumed or (self.repeated and not error.passing))):
                raise
            # Also shows whether the server takes the token and answers at all, before what was sent is given up.
            if (found := self._there()) is not None:
                return found
            self._begin_again(error)
            self._ask()
        known = self.entry.known
        return _submission(self.connector, known, TaskState(str(known.task_id), "SUBMITTED", ""))

    def _ask(self) -> None:
        study_path = upload(self.connector, self.files, self.entry, self.chunk_size, self._repeating)
        info = {**self.body["study_info"], "study_hash_id": self.entry.known.study_id}
        self.entry.note("intent")
        # The folder is of this study alone, so that the request can be sent again where its answer is lost.
        whole = {**self.body, "study_info": info, "study_path": study_path}
        task_id = self.connector.submit_task(self.route, whole, idempotent=True, look=self._repeating)
        self.entry.note("task", task_id=task_id)

    def _repeating(self) -> None:
        """A step is taken again that may have been taken: a server that refuses it then has all of it anew."""
        self.repeated = True


def _submission(
    connector: BBrowserXConnector,
    known: Known,
    state: TaskState,
    study_info: dict[str, Any] | None = None,
    *,
    resumed: bool = False,
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
    )
