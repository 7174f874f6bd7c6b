"""Tasks: follow the work of a server on a submission until it is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from biocolab_accessor.clients.progress import task_bar
from biocolab_accessor.clients.retry import Deadline
from biocolab_accessor.concurrency import until
from biocolab_accessor.errors import BiocolabError, InvalidResponse, ServerError, TaskFailed, TimedOut
from biocolab_accessor.messages import shown

logger = logging.getLogger("biocolab_accessor.clients")

_Started = TypeVar("_Started")
_Result = TypeVar("_Result")

_FAILED = frozenset({"ERROR", "FAILURE", "FAILED", "REVOKED", "CANCELLED", "CANCELED", "ABORTED", "KILLED", "TIMEOUT"})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_TOKEN_REFUSED = 401
_INTERNAL_ERROR = 500
_NO_ROOM = 507


@dataclass(frozen=True)
class TaskState:
    """A task as the server reports it: status, the whole log so far, and its page on a sandbox."""

    task_id: str
    status: str
    log: str
    page: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether it ended in success."""
        return self.status.upper() == "SUCCESS"

    @property
    def failed(self) -> bool:
        """Whether it ended in an error. An unknown status counts as still running."""
        return self.status.upper() in _FAILED

    def raise_if_failed(self) -> None:
        """Raise TaskFailed with the last lines of the log if the task failed."""
        if self.failed:
            tail = "\n".join(self.log.rstrip().splitlines()[-5:]) or "(the server returned no log)"
            msg = f"task {self.task_id} ended in {self.status}:\n{tail}"
            raise TaskFailed(msg, task_id=self.task_id, log=self.log)


class TaskServer(Protocol):
    """A connector that can be asked about tasks."""

    host: str

    def post_request(self, api_route: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Post, and return the checked envelope."""
        ...


def may_have_forgotten(error: BiocolabError) -> bool:
    """Whether an error may mean that the server no longer has the uploads or results of an earlier request."""
    # Servers report that with different words and statuses. So everything counts except a failure that passes (no
    # answer, or a busy server), a token that is not accepted, and a failed task.
    if isinstance(error, TaskFailed) or not isinstance(error, ServerError | InvalidResponse):
        return False
    status = getattr(error, "status", None)
    # A server that looks for a deleted file may also fail each time; one that is full still has what it was sent.
    return status not in (_TOKEN_REFUSED, _NO_ROOM) and (not error.passing or status == _INTERNAL_ERROR)


def restart_if_lost(
    start: Callable[[], _Started], proceed: Callable[[_Started], _Result], what: str
) -> tuple[_Started, _Result]:
    """Start something that may be started repeatedly, and continue with it; start again if the server has lost it."""
    # An error of `start` itself is final.
    started = start()
    try:
        return started, proceed(started)
    except (ServerError, InvalidResponse) as error:
        if error.passing or not may_have_forgotten(error):
            raise
        logger.warning("%s: the server has lost its progress, starting again: %s", what, error)
    started = start()
    return started, proceed(started)


def started_task(answer: Mapping[str, Any], where: str) -> str | int:
    """Return the id of the task in an answer; ``where`` is the route or URL for the message."""
    data = answer.get("data")
    task_id = data.get("id") if isinstance(data, dict) else None
    if not isinstance(task_id, str | int) or task_id == "":
        msg = f"{where} returned no task id"
        raise InvalidResponse(msg)
    return task_id


def task_state(connector: TaskServer, task_id: str | int) -> TaskState:
    """Request the state of a task once."""
    answer = connector.post_request("api/v1/get_submission_log", {"task_id": task_id})
    data: Any = answer.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("status"), str):
        msg = f"{connector.host}: the log of task {task_id} has no status"
        raise InvalidResponse(msg)
    return TaskState(str(task_id), data["status"], str(data.get("log") or ""), str(data.get("sandbox_page") or ""))


def follow_task(
    connector: TaskServer,
    task_id: str | int,
    on_line: Callable[[str], object],
    *,
    on_poll: Callable[[TaskState], object] = lambda state: None,
    timeout: float | None = None,
    stop: threading.Event | None = None,
) -> TaskState:
    """Wait until a task has succeeded; ``on_line`` gets each new line of its log once."""
    # Polling starts at ten times a second and slows down to every 5 s: short tasks end at once, long ones cost little.
    # `timeout` is in seconds, by default `bc.settings.deadline`. After TimedOut, the same id can be followed again.
    stop = stop or threading.Event()
    deadline = Deadline() if timeout is None else Deadline(timeout)
    seen, pause = 0, _FIRST_PAUSE
    while True:
        state = task_state(connector, task_id)
        over = state.succeeded or state.failed
        lines = state.log.splitlines() if over or state.log.endswith("\n") else state.log.splitlines()[:-1]
        # If the server rotates its log, it has fewer lines than before; the new ones must not be skipped.
        seen = 0 if len(lines) < seen else seen
        for line in lines[seen:]:
            on_line(line)
        seen = len(lines)
        on_poll(state)
        state.raise_if_failed()
        if state.succeeded:
            return state
        if deadline.left() <= 0 or stop.is_set():
            msg = (
                f"task {task_id} is still {state.status} after {deadline.seconds:g} s; it continues on the server: "
                "make the same call again to wait for it"
            )
            raise TimedOut(msg)
        until(stop.wait, min(pause, deadline.left()))
        pause = min(pause * 1.3, _LONGEST_PAUSE)


def show_task(connector: TaskServer, task_id: str | int, description: str) -> TaskState:
    """Wait until a task has succeeded, with a bar that shows the last line of its log."""
    with task_bar(description) as bar:
        return follow_task(connector, task_id, lambda line: bar.set_postfix_str(shown(line)))
