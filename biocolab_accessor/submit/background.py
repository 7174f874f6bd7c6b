"""Background: a thread follows each submission that nothing waits for, and commits it; each task is committed once."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from biocolab_accessor.clients.retry import Deadline
from biocolab_accessor.concurrency import in_background, until
from biocolab_accessor.config import settings
from biocolab_accessor.errors import BiocolabError
from biocolab_accessor.platforms import private_folder, try_lock
from biocolab_accessor.submit import journal

if TYPE_CHECKING:
    from filelock import FileLock

    from biocolab_accessor.submit.submission import Submission

logger = logging.getLogger("biocolab_accessor.submit")

_SECONDS_TO_TRY_AGAIN = 30.0
_SECONDS_TO_GIVE_WAY = 1.0
_PROCESS = os.getpid()

# It follows a task until the event is set, and returns whether to try again later; it raises no error.
Step = Callable[[threading.Event], bool]


class _Follower:
    def __init__(self, submission: Submission, step: Step) -> None:
        self.submission, self._step = submission, step
        self.stopped, self.over = threading.Event(), threading.Event()
        self._cancel: Callable[[], None] = in_background(self._work, "biocolab-follow")

    def _work(self) -> None:
        try:
            # The thread survives a network that is down for a while.
            while self._step(self.stopped) and not self.stopped.wait(_SECONDS_TO_TRY_AGAIN):
                pass
        finally:
            key = _key(self.submission)
            with _lock:
                if _followers.get(key) is self:
                    del _followers[key]
            self.over.set()

    def give_way(self) -> None:
        """Stop, but finish a running request, which may be the commit."""
        self.stopped.set()
        until(self.over.wait, _SECONDS_TO_GIVE_WAY)

    def cancel(self) -> None:
        """Stop, and cut a running request."""
        self.stopped.set()
        self._cancel()


_lock = threading.RLock()
_followers: dict[tuple[str, str], _Follower] = {}


def follow(submission: Submission, step: Step) -> None:
    """Run a step in the background, if ``bc.settings.follow`` is on and this is not a worker's process."""
    if submission.done or not settings.follow or _is_worker():
        return
    with _lock:
        if not _followers:
            atexit.unregister(stop)
            atexit.register(stop)  # after those that are registered already, so that it is called before them
        if _key(submission) not in _followers:
            _followers[_key(submission)] = _Follower(submission, step)


def followed() -> list[Submission]:
    """The submissions that are followed at the moment."""
    with _lock:
        return [each.submission for each in _followers.values()]


def is_followed(submission: Submission) -> bool:
    """Whether a thread follows the task of a submission."""
    return _key(submission) in _followers


def withdraw(submission: Submission) -> Submission | None:
    """End the thread that follows the task of a submission; returns the submission that it followed, if any."""
    with _lock:
        follower = _followers.pop(_key(submission), None)
    if follower is None:
        return None
    follower.give_way()
    return follower.submission


def stop(address: str = "") -> None:
    """End the threads that follow submissions to servers whose address begins like this."""
    with _lock:
        ending = [key for key in _followers if key[0].startswith(address)]
        followers = [_followers.pop(key) for key in ending]
    for each in followers:
        each.stopped.set()
    for each in followers:
        each.cancel()


# By task: threads of this process wait for each other even where files cannot be locked.
_commits: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()


@contextmanager
def committing(server: str, task_id: str | int) -> Iterator[None]:
    """Within the block, nothing else on this machine commits the task."""
    path = journal.path_of_task(server, task_id)
    thread_lock = _commits.setdefault(path.stem, threading.Lock())
    until(partial(thread_lock.acquire, True))
    try:
        with _locked(path):
            yield
    finally:
        thread_lock.release()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock a file for this process, if files can be locked here."""
    lock = None
    try:
        lock = _waited_for(path)
    except BiocolabError:
        raise
    except (OSError, NotImplementedError) as error:
        logger.debug("%s cannot be locked, so another process may commit the same task: %s", path, error)
    try:
        yield
    finally:
        if lock is not None:
            _remove_lock(path, lock)


def _waited_for(path: Path) -> FileLock:
    private_folder(path.parent)
    deadline = Deadline()
    while True:
        with journal.folder_lock(path.parent):
            if (lock := try_lock(path)) is not None:
                return lock
        deadline.check("waiting for another process that commits the same task")
        time.sleep(0.1)


def _remove_lock(path: Path, lock: FileLock) -> None:
    with suppress(OSError), journal.folder_lock(path.parent):
        lock.release()
        path.with_suffix(".lock").unlink(missing_ok=True)
    lock.release()


def _key(submission: Submission) -> tuple[str, str]:
    return submission.server, str(submission.task_id)


def _is_worker() -> bool:
    """Whether this process computes for another one: a fork, a process of multiprocessing, or a Dask worker."""
    if os.getpid() != _PROCESS or multiprocessing.parent_process() is not None:
        return True
    distributed = sys.modules.get("distributed")
    try:
        return distributed is not None and bool(distributed.get_worker())
    except ValueError:  # this is not a task of a worker
        return False
