"""Journal: what is known of submissions that are on their way, so that a call that was broken off can be carried on.

One file for each submission, a line for each step, written before or right after the step. A line that was cut by a
crash is left out when the file is read, as if its step had not been taken; taking it again is no harm. No token is in
it. Whatever goes wrong with the disk, the submission goes on without its journal.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from filelock import Timeout as LockTimeout

from biocolab_accessor.clients.retry import Deadline
from biocolab_accessor.config import settings
from biocolab_accessor.errors import BiocolabError
from biocolab_accessor.platforms import private_folder, remove_file

__all__ = ["Entry", "Known", "entry", "finish", "forget", "of_task"]

logger = logging.getLogger("biocolab_accessor.outbound")

_SECONDS_KEPT = 30 * 86400
_SECONDS_TO_TIDY = 86400
_SECONDS_TO_LOCK = 30.0
_LONGEST_TEXT = 10_000


@dataclass
class Known:
    """What the journal says of one submission.

    Attributes
    ----------
    server, source, group_id, species, study_id
        Where it goes, and as what.
    id_is_made
        Whether the study's id was made here, not given by the user.
    folder_id, chunk_size
        Of the upload: folder on the server, and bytes of a chunk.
    file_ids, chunks, paths
        By the number of the file: the id that the server gave it, chunks that it has taken, and where it put them.
    intended
        Whether the server was, or was about to be, asked to process it.
    task_id
        The server's task; empty before its answer.
    study_info
        What the server said when it was committed; None before.
    """

    server: str = ""
    source: str = ""
    group_id: str = ""
    species: str = ""
    study_id: str = ""
    id_is_made: bool = False
    folder_id: str = ""
    chunk_size: int = 0
    file_ids: dict[int, str | int] = field(default_factory=dict)
    chunks: dict[int, set[int]] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)
    intended: bool = False
    task_id: str | int = ""
    study_info: dict[str, Any] | None = None

    def take(self, step: Mapping[str, Any]) -> None:
        """Take one step in.

        Raises
        ------
        KeyError, TypeError
            It is none.
        """
        kind = step["step"]
        if kind == "study":
            for name in ("server", "source", "group_id", "species", "study_id"):
                setattr(self, name, _text(step[name]))
            self.id_is_made = step["id_is_made"] is True
        elif kind == "upload":
            self.folder_id, self.chunk_size = _text(step["folder_id"]), _number(step["chunk_size"])
            self.file_ids, self.chunks, self.paths = {}, {}, {}
            self.intended, self.task_id = False, ""
        elif kind == "file":
            self.file_ids[_number(step["file"])] = _id(step["id"])
        elif kind == "chunk":
            path, file = _text(step["path"]), _number(step["file"])
            self.chunks.setdefault(file, set()).add(_number(step["chunk"]))
            self.paths[file] = path
        elif kind == "intent":
            self.intended = True
        elif kind == "task":
            self.task_id = _id(step["task_id"])
        elif kind == "commit":
            self.study_info = dict(step["study_info"])
        else:
            raise KeyError(kind)


class Entry:
    """One submission's journal, held by this call alone.

    Parameters
    ----------
    path
        The file; None where nothing can be kept.
    lock
        Held until :meth:`close`.
    """

    def __init__(self, path: Path | None, lock: FileLock | None = None) -> None:
        self._path, self._lock = path, lock
        self.known, length = _read(path) if path is not None else (Known(), 0)
        if path is not None and path.exists():
            with path.open("r+b") as file:
                file.truncate(length)  # what came to stand behind a line that was cut would be lost with it

    def note(self, step: str, **what: Any) -> None:
        """Write a step down.

        Parameters
        ----------
        step
            Its kind. Before the server is asked, and when the study is there, it is waited for until all is on disk:
            a failure of the power costs chunks that are sent again, never a second study.
        **what
            See :meth:`Known.take`.
        """
        line = {"step": step, **what}
        self.known.take(line)
        if self._path is not None:
            with self._resumable():
                _append(self._path, line, sync=step in ("intent", "commit"))

    def finish(self, study_info: Mapping[str, Any]) -> None:
        """The study was committed: it is remembered where the user named it, and else forgotten."""
        if self.known.id_is_made:
            self.drop()
        else:
            self.note("commit", study_info=dict(study_info))

    def clear(self) -> None:
        """Forget everything that was done; this call begins anew."""
        self.known = Known()
        if self._path is not None:
            with self._resumable():
                self._path.write_bytes(b"")  # not removed: other calls have to see that this one is under way

    def drop(self) -> None:
        """Forget the submission."""
        self.known = Known()
        if self._path is not None:
            with self._resumable():
                remove_file(self._path)

    def close(self) -> None:
        """Let other calls have it; of a call that did nothing, nothing stays."""
        if self._lock is not None:
            if self._path is not None and self.known == Known():
                with suppress(OSError):
                    remove_file(self._path)
            self._lock.release()
            self._lock = None

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """A journal that can no longer be kept up is given up: it must not be carried on, and stops no submission."""
        try:
            yield
        except OSError as error:
            logger.warning("the journal of this submission cannot be written, so it cannot be resumed: %s", error)
            if self._path is not None:
                with suppress(OSError):
                    remove_file(self._path)
            self._path = None


@contextmanager
def entry(key: Mapping[str, Any], *, wait: bool) -> Iterator[Entry]:
    """The journal of a submission, for the duration of a ``with`` block.

    Parameters
    ----------
    key
        In JSON, what makes two calls the same: content, server, group and what is asked for; never a token.
    wait
        What to do while another call, of any process, is under way with the same: wait for its end, or begin a
        submission of its own.

    Yields
    ------
    Entry
        Of a call that was broken off, or a new one.

    Raises
    ------
    TimedOut
        The other call has not ended within ``bc.settings.deadline``.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]
    try:
        found = _taken(_folder(), digest, wait=wait)
    except BiocolabError:  # of which some are OSError: another call has it for longer than we may wait
        raise
    except (OSError, NotImplementedError) as error:
        logger.warning("%s cannot be used, so that this submission cannot be resumed: %s", _folder(), error)
        found = Entry(None)
    try:
        yield found
    finally:
        found.close()


def of_task(server: str, task_id: str | int) -> Known | None:
    """What is known of a task; None where it was not submitted from here, or long ago."""
    found = next(_of_task(server, task_id), None)
    return found[1] if found else None


def finish(server: str, task_id: str | int, study_info: Mapping[str, Any]) -> None:
    """A task was committed: it is remembered where the user named the study, and else forgotten."""

    def end(path: Path, known: Known) -> None:
        if known.id_is_made:
            remove_file(path)
        elif known.study_info is None:
            _append(path, {"step": "commit", "study_info": dict(study_info)}, sync=True)

    _end(server, task_id, end)


def forget(server: str, task_id: str | int) -> None:
    """A task has failed: the next call begins anew."""
    _end(server, task_id, lambda path, _: remove_file(path))


def _end(server: str, task_id: str | int, end: Callable[[Path, Known], None]) -> None:
    try:
        for path, known in list(_of_task(server, task_id)):
            end(path, known)
    except (OSError, TypeError, ValueError) as error:
        logger.warning("the journal in %s cannot be written: %s", _folder(), error)


def _of_task(server: str, task_id: str | int) -> Iterator[tuple[Path, Known]]:
    for path in _folder().glob("*.jsonl"):
        try:
            known, _ = _read(path)
        except OSError as error:  # on Windows, where another process removes it just now
            logger.debug("%s cannot be read: %s", path, error)
            continue
        if str(task_id) and (known.server, str(known.task_id)) == (server, str(task_id)):
            yield path, known


def _folder() -> Path:
    return settings.cache_dir / "journal"


def _taken(folder: Path, digest: str, *, wait: bool) -> Entry:
    private_folder(folder)
    deadline = Deadline()
    while True:
        # Locks of entries are taken, and removed, by who holds this one only.
        with FileLock(folder / "lock", timeout=_SECONDS_TO_LOCK, mode=0o600):
            _tidy(folder)
            busy = False
            for path in sorted(folder.glob(f"{digest}-*.jsonl")):
                if (lock := _try_lock(path)) is not None:
                    return Entry(path, lock)
                busy = True
            if not (busy and wait):
                path = folder / f"{digest}-{uuid.uuid4().hex[:8]}.jsonl"
                path.touch(mode=0o600)  # from now on, not from its first step on, others see that it is under way
                return Entry(path, _try_lock(path))
        deadline.check("waiting for the same submission in another call")
        time.sleep(0.1)


def _try_lock(path: Path) -> FileLock | None:
    lock = FileLock(path.with_suffix(".lock"), mode=0o600)
    try:
        lock.acquire(timeout=0)
    except LockTimeout:
        return None
    return lock


def _tidy(folder: Path) -> None:
    """Once a day, remove what is too old to be carried on, and the locks of what is gone."""
    oldest, marker = time.time() - _SECONDS_KEPT, folder / "tidied"
    if marker.exists() and time.time() - marker.stat().st_mtime < _SECONDS_TO_TIDY:
        return
    marker.touch(mode=0o600)
    for place in {path.with_suffix(".jsonl") for path in folder.glob("*-*.*")}:
        try:
            stale = not place.exists() or place.stat().st_mtime < oldest
        except OSError:
            continue
        if stale and (lock := _try_lock(place)) is not None:
            with suppress(OSError):
                place.unlink(missing_ok=True)
                place.with_suffix(".lock").unlink(missing_ok=True)
            lock.release()


def _read(path: Path) -> tuple[Known, int]:
    """What a file says, and the length up to which it can be read."""
    known, length = Known(), 0
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return known, 0
    for line in content.splitlines(keepends=True):
        try:
            if not line.endswith(b"\n"):
                break
            known.take(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError):
            break
        length += len(line)
    return known, length


def _append(path: Path, line: Mapping[str, Any], *, sync: bool) -> None:
    content = (json.dumps(line) + "\n").encode()
    with open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        if file.write(content) < len(content):
            msg = f"{path} took only a part of a line"
            raise OSError(msg)
        if sync:
            os.fsync(file.fileno())


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise TypeError(value)
    return value


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(value)
    return value


def _id(value: Any) -> str | int:
    """An id that a server made, which is given back to it as it came."""
    return _number(value) if isinstance(value, int) else _text(value)
