"""Resume: submissions that were interrupted, listed, carried on or dropped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocolab_accessor.errors import AmbiguousName, InvalidArgument, InvalidFile, UnknownName
from biocolab_accessor.messages import counted, did_you_mean, facts_table, listing
from biocolab_accessor.submit import journal
from biocolab_accessor.submit.journal import expect_files_as_they_were, files_of

if TYPE_CHECKING:
    from biocolab_accessor.submit.submission import Submission

__all__ = ["BrokenOff", "find", "submissions"]

_SHORTEST_START = 4

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))


@dataclass(frozen=True)
class BrokenOff:
    """A submission of this machine that has not ended: it was broken off, or nothing has waited for it yet.

    Attributes
    ----------
    study_id
        The id that people will see; empty where its journal is damaged.
    files
        The files that were submitted; empty for an object in memory.
    group_id, host, source
        Where it goes: the group, the server, and ``"bbrowserx"`` or ``"talk2data"``.
    state
        How far it came, in words.
    age
        Time since its last step.
    task_id
        The task on the server; empty before there is one.
    finished
        Whether it has ended: such a submission is remembered where its ``study_id`` was given, so that the same call
        sends nothing.

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
        where = f"group {self.group_id} on {self.host}" if self.host else "somewhere"
        return f"{name} to {where}, from {sent or 'an object in memory'}: {self.state}, {_ago(self.age)}"

    def _repr_html_(self) -> str:
        return facts_table("Submission that was broken off", [(str(k), str(v)) for k, v in self.row().items()])

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
        """Carry it on: send what the server does not have yet, and wait for the study.

        Parameters
        ----------
        wait
            Wait until the study is there.

        Returns
        -------
        Submission
            As the call that was broken off would have given it.

        Raises
        ------
        ConfigurationError
            What is connected to is another server.
        InvalidFile
            The data is not there any more: an object was submitted that only its own process had, or a file is gone or
            changed. The message says which call carries it on.
        """
        from biocolab_accessor.submit.submission import connector_to, submission
        from biocolab_accessor.submit.submit import submit_files

        if self.host:
            connector_to(self.source, self.host, f"study {self.study_id!r} goes to")
        call = self.known.call
        if call is not None:
            try:
                expect_files_as_they_were(call)
            except InvalidFile:
                if self.task_id == "":
                    raise
                call = None  # the server has them as they were
        if call is not None:
            return submit_files(call["files"], **call["arguments"], wait=wait)
        if self.task_id == "":
            msg = (
                f"study {self.study_id!r} was submitted from an object in memory, and its temporary file is gone. Load "
                "the object and make the same call again, adata.biocolab.submit(…) with the same arguments: it "
                "continues where this one ended"
            )
            raise InvalidFile(msg)
        found = submission(self.task_id, to=self.source)  # type: ignore[arg-type]
        return found.wait() if wait else found

    def forget(self) -> None:
        """Drop it: the same call then begins from the start. What the server has of it stays there.

        Raises
        ------
        InvalidArgument
            A call is carrying it on at this moment.
        """
        if not journal.drop(self.path):
            msg = f"study {self.study_id!r} is being submitted by another call: end that first"
            raise InvalidArgument(msg)


class Submissions(list[BrokenOff]):
    """Submissions that have not ended, the latest first; a list that shows itself as a table."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self)) or "no submission was broken off"

    def _repr_html_(self) -> str:
        return "".join(each._repr_html_() for each in self) or f"<p>{self!r}</p>"


def submissions(*, finished: bool = False) -> Submissions:
    """Submissions of this machine that were broken off, or that nothing has waited for yet.

    Parameters
    ----------
    finished
        Also list those that have ended and are remembered by the ``study_id`` that was given.

    Returns
    -------
    list of BrokenOff
        The latest first; each has ``resume()`` and ``forget()``. Those under way in a call that runs are not listed.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> bc.submissions()
    no submission was broken off
    """
    found = [_broken_off(path, known) for path, known in journal.every()]
    return Submissions(each for each in found if finished or not each.finished)


def find(id_: str, among: Sequence[BrokenOff]) -> BrokenOff:
    """The submission of a study id, of its beginning, or of a task.

    Raises
    ------
    UnknownName
        There is none.
    AmbiguousName
        There are several.
    """
    exact = [each for each in among if id_ in (each.study_id, str(each.task_id), each.path.stem) and id_]
    found = exact or [each for each in among if len(id_) >= _SHORTEST_START and each.study_id.startswith(id_)]
    if not found:
        names = [each.study_id for each in among]
        known = f"; there are {listing(names)}" if names else ""
        msg = f"no submission of {id_!r} was broken off on this machine{did_you_mean(id_, names) or known}"
        raise UnknownName(msg)
    if len(found) > 1:
        msg = f"{id_!r} stands for several submissions: give one of {listing([each.path.stem for each in found])}"
        raise AmbiguousName(msg)
    return found[0]


def _broken_off(path: Path, known: journal.Known) -> BrokenOff:
    return BrokenOff(
        study_id=known.study_id,
        files=files_of(known.call or {}),
        group_id=known.group_id,
        host=known.server,
        source=known.source,
        state=_state(known),
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
        return f"on the server as task {known.task_id}, not committed"
    sent = sum(map(len, known.chunks.values()))
    how_far = "sent" if known.intended else f"{counted(sent, 'chunk')} sent" if sent else "nothing sent"
    return f"{how_far}, its journal is damaged" if known.doubtful else how_far


def _ago(age: timedelta) -> str:
    seconds = age.total_seconds()
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{counted(int(seconds // length), unit)} ago"
    return "less than a minute ago"


def as_json(each: BrokenOff) -> dict[str, Any]:
    """A submission for a program."""
    return {
        **each.row(),
        "age": round(each.age.total_seconds()),
        "files": [str(path) for path in each.files],
        "task_id": each.task_id,
        "finished": each.finished,
        "key": each.path.stem,
    }
