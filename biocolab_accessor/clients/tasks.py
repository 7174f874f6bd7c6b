"""Tasks: following what a server does with a submission until it is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from biocolab_accessor.clients.retry import Deadline
from biocolab_accessor.concurrency import until
from biocolab_accessor.errors import BiocolabError, InvalidResponse, ServerError, TaskFailed, TimedOut

__all__ = ["TaskState", "begun_twice", "follow_task", "may_have_forgotten", "started_task", "task_state"]

logger = logging.getLogger("biocolab_accessor.clients")

_Begun = TypeVar("_Begun")
_Result = TypeVar("_Result")

_FAILED = frozenset({"ERROR", "FAILURE", "FAILED", "REVOKED", "CANCELLED", "CANCELED", "ABORTED", "KILLED", "TIMEOUT"})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_TOKEN_REFUSED = 401
_INTERNAL_ERROR = 500
_NO_ROOM = 507


@dataclass(frozen=True)
class TaskState:
    """What a server says of a task: its status word, its whole log so far, and of a sandbox where its page is."""

    task_id: str
    status: str
    log: str
    page: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it is over and went well."""
        return self.status.upper() == "SUCCESS"

    @property
    def failed(self) -> bool:
        """Whether it is over and did not. A word that we do not know counts as still running."""
        return self.status.upper() in _FAILED

    def raise_if_failed(self) -> None:
        """Raise TaskFailed with the log's last lines.

        Raises
        ------
        TaskFailed
            The task is over and did not go well.
        """
        if self.failed:
            tail = "\n".join(self.log.rstrip().splitlines()[-5:]) or "(the server gave no log)"
            msg = f"task {self.task_id} ended in {self.status}:\n{tail}"
            raise TaskFailed(msg, task_id=self.task_id, log=self.log)


class Asked(Protocol):
    """A connector, as far as it is asked for tasks."""

    host: str

    def post_request(self, api_route: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Post, and give the checked envelope."""
        ...


def may_have_forgotten(error: BiocolabError) -> bool:
    """Whether an error may mean that the server no longer has what it was given before.

    Servers say that in words and statuses of their own, so that everything counts but a failure that passes (no answer,
    or a server that is busy), a token that is not accepted, and the end of a task.
    """
    if isinstance(error, TaskFailed) or not isinstance(error, ServerError | InvalidResponse):
        return False
    status = getattr(error, "status", None)
    # A server that looks for a file which is gone may also fail each time. One without room has what it was given.
    return status not in (_TOKEN_REFUSED, _NO_ROOM) and (not error.passing or status == _INTERNAL_ERROR)


def begun_twice(begin: Callable[[], _Begun], go_on: Callable[[_Begun], _Result], what: str) -> tuple[_Begun, _Result]:
    """Begin something that may be begun any number of times, and go on with it; once more where the server has lost it.

    Parameters
    ----------
    begin
        Whose refusal is final.
    go_on
        Given what that gave.
    what
        For the log.
    """
    begun = begin()
    try:
        return begun, go_on(begun)
    except (ServerError, InvalidResponse) as error:
        if error.passing or not may_have_forgotten(error):
            raise
        logger.warning("%s: the server has lost what it had begun, which is begun once more: %s", what, error)
    begun = begin()
    return begun, go_on(begun)


def started_task(answer: Mapping[str, Any], where: str) -> str | int:
    """The id of the task that a server started, from its answer; ``where`` is the route or URL for the message.

    Raises
    ------
    InvalidResponse
        The answer has no id.
    """
    data = answer.get("data")
    task_id = data.get("id") if isinstance(data, dict) else None
    if not isinstance(task_id, str | int) or task_id == "":
        msg = f"{where} gave no task id"
        raise InvalidResponse(msg)
    return task_id


def task_state(connector: Asked, task_id: str | int) -> TaskState:
    """Ask once how a task is doing.

    Raises
    ------
    InvalidResponse
        The answer has no status.
    """
    answer = connector.post_request("api/v1/get_submission_log", {"task_id": task_id})
    data: Any = answer.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("status"), str):
        msg = f"{connector.host}: the log of task {task_id} has no status"
        raise InvalidResponse(msg)
    return TaskState(str(task_id), data["status"], str(data.get("log") or ""), str(data.get("sandbox_page") or ""))


def follow_task(
    connector: Asked,
    task_id: str | int,
    on_line: Callable[[str], object],
    *,
    on_poll: Callable[[], object] = lambda: None,
    timeout: float | None = None,
    stop: threading.Event | None = None,
) -> TaskState:
    """Wait until a task has succeeded, handing each new line of its log on.

    Asking starts at ten times a second and slows down to every 5 s: short tasks end at once, long ones cost little.

    Parameters
    ----------
    connector
        Where the task runs.
    task_id
        Its id.
    on_line
        Called with each complete line, once; with the last line even where the server did not end it.
    on_poll
        Called whenever the server has been asked, also where it had nothing new to say.
    timeout
        Seconds to wait; None means ``bc.settings.deadline``.
    stop
        Set by another thread to end the waiting.

    Raises
    ------
    TaskFailed
        It ended in an error.
    TimedOut
        It is still running, or the waiting was ended; it can go on later with the same id.
    """
    stop = stop or threading.Event()
    deadline = Deadline() if timeout is None else Deadline(timeout)
    seen, pause = 0, _FIRST_PAUSE
    while True:
        state = task_state(connector, task_id)
        over = state.succeeded or state.failed
        lines = state.log.splitlines() if over or state.log.endswith("\n") else state.log.splitlines()[:-1]
        # A server that rotates its log gives fewer lines than before; the new ones must not be skipped.
        seen = 0 if len(lines) < seen else seen
        for line in lines[seen:]:
            on_line(line)
        seen = len(lines)
        on_poll()
        state.raise_if_failed()
        if state.succeeded:
            return state
        if deadline.left() <= 0 or stop.is_set():
            msg = (
                f"task {task_id} is still {state.status} after {deadline.seconds:g} s; it goes on on the server: "
                "the same call waits for it again"
            )
            raise TimedOut(msg)
        until(stop.wait, min(pause, deadline.left()))
        pause = min(pause * 1.3, _LONGEST_PAUSE)
