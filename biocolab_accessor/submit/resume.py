"""Resume: list interrupted submissions, resume them or forget them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocolab_accessor.clients.tasks import task_state
from biocolab_accessor.errors import AmbiguousName, BiocolabError, InvalidArgument, InvalidFile, UnknownName, public
from biocolab_accessor.messages import counted, did_you_mean, facts_table, listing, quoted, shown
from biocolab_accessor.security.urls import is_loopback, origin
from biocolab_accessor.submit import background, journal

if TYPE_CHECKING:
    from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
    from biocolab_accessor.protocol import Server
    from biocolab_accessor.submit.submission import Submission

NOT_RUNNING = "the sandbox at that address is not running"
_SHORTEST_START = 4
_SECONDS_TO_ANSWER = 0.5
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


@public
@dataclass(frozen=True)
class BrokenOff:
    """An unfinished submission of this machine: it was interrupted, or nothing has waited for it yet.

    Attributes
    ----------
    study_id
        The id that users will see; empty if the journal is corrupted.
    files
        The submitted files; empty for an object in memory.
    group_id, host, source
        The destination: the group, the server, and ``"bbrowserx"`` or ``"talk2data"``.
    state
        A description of its progress; for a sandbox, also whether it is not running.
    age
        Time since its last step.
    task_id
        The id of the task on the server; empty before the task exists.
    finished
        Whether it has ended. Finished submissions with a given ``study_id`` are remembered, so that the same call sends
        nothing.

    Examples
    --------
    >>> import anndata as ad, numpy as np, biocolab_accessor as bc
    >>> adata = ad.AnnData(np.eye(9, dtype="float32") + 1)
    >>> adata.var_names = [f"GENE{i}" for i in range(9)]
    >>> with bc.sandbox():
    ...     _ = adata.biocolab.submit(study_id="LEFT", skip_dimred=True, wait=False)
    ...     bc.submissions()[0].resume().done
    True
    """

    study_id: str
    files: tuple[Path, ...]
    group_id: str
    host: str
    source: str
    state: str
    age: timedelta
    task_id: str | int
    finished: bool
    path: Path = field(repr=False)
    known: journal.Known = field(repr=False, compare=False)

    def __str__(self) -> str:
        name = self.study_id or "(unknown)"
        sent = ", ".join(path.name for path in self.files[:3]) + (" …" if len(self.files) > 3 else "")
        where = f"group {self.group_id} on {self.host}" if self.host else "an unknown server"
        return shown(f"{name} to {where}, from {sent or 'an object in memory'}: {self.state}, {_ago(self.age)}")

    def _repr_html_(self) -> str:
        return facts_table("Interrupted submission", [(str(k), str(v)) for k, v in self.row().items()])

    def row(self) -> dict[str, str]:
        """The submission as a row of a table."""
        return {
            "study_id": self.study_id,
            "state": self.state,
            "age": _ago(self.age),
            "group": self.group_id,
            "host": self.host,
            "files": ", ".join(map(str, self.files)),
        }

    def resume(self, *, wait: bool = True) -> Submission:
        """Resume it: send the data that the server does not have yet, and wait for the study.

        Parameters
        ----------
        wait
            Wait until the study is ready.

        Returns
        -------
        Submission
            The return value of the interrupted call.

        Raises
        ------
        ConfigurationError
            The current connection is to a different server.
        InvalidFile
            The data is no longer available: the object was in the memory of another process, or a file was removed or
            changed. The message says which call resumes the submission.
        """
        from biocolab_accessor.submit.submission import connector_to, follow, submission
        from biocolab_accessor.submit.submit import submit_files

        if self.host:
            connector_to(self.source, self.host, f"study {self.study_id!r} goes to")
        call = self.known.call
        if call is not None:
            try:
                _expect_unchanged_files(call)
                with journal.only(self.path):
                    return submit_files(call["files"], **call["arguments"], wait=wait, dry_run=False)
            except InvalidFile:
                if self.task_id == "":  # otherwise the server already has the original files
                    raise
        elif self.task_id == "":
            msg = (
                f"study {self.study_id!r} was submitted from an object in memory, and its temporary file is gone. Load "
                "the object and repeat the call, adata.biocolab.submit(…) with the same arguments, to resume it"
            )
            raise InvalidFile(msg)
        found = submission(self.task_id, to=self.source)  # type: ignore[arg-type]
        return found.wait() if wait else follow(found)

    def forget(self) -> None:
        """Forget it: the same call then starts again. Data on the server is not deleted.

        Raises
        ------
        InvalidArgument
            Another call is working on it at the moment.
        """
        if not journal.drop(self.path):
            msg = f"study {self.study_id!r} is being submitted by another call: stop that call first"
            raise InvalidArgument(msg)


class Submissions(list[BrokenOff]):
    """A list of unfinished submissions, latest first, that is displayed as a table."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "no interrupted submissions"

    def _repr_html_(self) -> str:
        return "".join(each._repr_html_() for each in self) or f"<p>{self!r}</p>"


@public
def submissions(*, finished: bool = False) -> Submissions:
    """List submissions of this machine that were interrupted, or that nothing has waited for yet.

    Parameters
    ----------
    finished
        Also list finished submissions, which are remembered if a ``study_id`` was given.

    Returns
    -------
    list of BrokenOff
        Latest first. Each has ``resume()`` and ``forget()``. Submissions of a running call are not listed.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> bc.submissions()
    no interrupted submissions
    """
    every = journal.every()
    stopped = {server for server in {known.server for _, known in every} if _is_stopped(server)}
    found = [_broken_off(path, known, stopped) for path, known in every]
    # A finished submission with a generated id is recorded for its task only: the same call is a new submission.
    return Submissions(each for each in found if not each.finished or (finished and not each.known.id_is_made))


def connected_submissions(source: Server) -> list[BrokenOff]:
    """The unfinished submissions to the server of the current connection."""
    from biocolab_accessor.studies.catalog import connector_of

    host = connector_of(source).host
    return [each for each in submissions() if (each.host, each.source) == (host, source)]


def not_a_study_yet(study_id: str, connector: BBrowserXConnector) -> str:
    """How to get a submission with this id or title that is not a study yet; empty if the server has none."""
    from biocolab_accessor.submit.submission import call_of

    tasks = {
        known.task_id: known.source
        for _, known in journal.every()
        if known.server == connector.host
        and known.task_id != ""
        and known.study_info is None
        and study_id in (known.study_id, ((known.call or {}).get("arguments") or {}).get("name"))
    }
    tasks |= {
        each.task_id: each.source
        for each in background.followed()
        if each.server == connector.host and each.study_id == study_id
    }
    for task_id, source in tasks.items():
        try:
            state = task_state(connector, task_id)
        except BiocolabError:  # the server has forgotten the task, or does not answer
            continue
        if state.failed:
            continue
        how = "processed, but is not a study yet" if state.succeeded else "is still being processed"
        return f"{quoted(study_id)} was submitted and {how}:\n  {call_of(task_id, source)}.study()"
    return ""


def find(id_: str, among: Sequence[BrokenOff]) -> BrokenOff:
    """The submission with this study id (or the start of one) or task id."""
    exact = [each for each in among if id_ in (each.study_id, str(each.task_id), each.path.stem) and id_]
    found = exact or [each for each in among if len(id_) >= _SHORTEST_START and each.study_id.startswith(id_)]
    if not found:
        names = [each.study_id for each in among]
        known = f"; known are {listing(names)}" if names else ""
        msg = f"this machine has no interrupted submission {id_!r}{did_you_mean(id_, names) or known}"
        raise UnknownName(msg)
    if len(found) > 1:
        msg = f"{id_!r} matches several submissions: give one of {listing([each.path.stem for each in found])}"
        raise AmbiguousName(msg)
    return found[0]


def _files_of(call: Mapping[str, Any]) -> tuple[Path, ...]:
    """The files that a call sends."""
    return tuple(Path(str(state[0])) for state in call.get("states", ()))


def _expect_unchanged_files(call: Mapping[str, Any]) -> None:
    """Raise InvalidFile if a file was removed or changed."""
    for path, size, modified in call["states"]:
        try:
            found = os.stat(path)
        except OSError as error:
            msg = f"{path} no longer exists ({error.strerror}): restore it, or forget the submission"
            raise InvalidFile(msg) from error
        if (found.st_size, found.st_mtime_ns) != (size, modified):
            msg = f"{path} changed since it was submitted: submit the current file, and forget this submission"
            raise InvalidFile(msg)


def _is_stopped(server: str) -> bool:
    """Whether a server of this machine, such as a sandbox whose process was killed, has ended."""
    with suppress(BiocolabError, OSError):
        _, host, port = origin(server)
        if is_loopback(host):
            try:
                socket.create_connection((host, port), _SECONDS_TO_ANSWER).close()
            except ConnectionRefusedError:
                return True
    return False


def _broken_off(path: Path, known: journal.Known, stopped: Set[str]) -> BrokenOff:
    state = _state(known)
    return BrokenOff(
        study_id=known.study_id,
        files=_files_of(known.call or {}),
        group_id=known.group_id,
        host=known.server,
        source=known.source,
        state=f"{state} ({NOT_RUNNING})" if known.server in stopped and known.study_info is None else state,
        age=timedelta(seconds=max(0.0, time.time() - path.stat().st_mtime)),
        task_id=known.task_id,
        finished=known.study_info is not None,
        path=path,
        known=known,
    )


def _state(known: journal.Known) -> str:
    if known.study_info is not None:
        return "finished"
    if known.task_id != "":
        return f"on the server as task {known.task_id}, not a study yet"
    sent = sum(map(len, known.chunks.values()))
    how_far = "sent" if known.intended else f"{counted(sent, 'chunk')} sent" if sent else "nothing sent"
    return f"{how_far}, its journal is corrupted" if known.doubtful else how_far


def _ago(age: timedelta) -> str:
    seconds = age.total_seconds()
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} ago"
    return "less than a minute ago"


def as_json(each: BrokenOff) -> dict[str, Any]:
    """The submission as JSON values."""
    return {
        **each.row(),
        "age": round(each.age.total_seconds()),
        "files": [str(path) for path in each.files],
        "task_id": each.task_id,
        "finished": each.finished,
        "key": each.path.stem,
    }
