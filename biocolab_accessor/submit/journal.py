"""Journal: what is known of submissions in progress, so that an interrupted call can be carried on.

One file for each submission, a line for each step, written before or right after the step. A last line that was cut by
a crash is left out when the file is read, as if its step had not been taken: taking it again does no harm. Any other
line that cannot be read, because the file was damaged, edited, or written by a newer version, makes all of it doubtful:
then what the server has is looked up, and the upload is not carried on. No token is in it. Whatever goes wrong with the
disk, the submission goes on without its journal.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from filelock import Timeout as LockTimeout

from biocolab_accessor.clients.retry import Deadline
from biocolab_accessor.config import settings
from biocolab_accessor.errors import BiocolabError, InvalidFile
from biocolab_accessor.platforms import expanded, private_folder, remove_file

__all__ = [
    "Entry",
    "Known",
    "call_of",
    "drop",
    "entry",
    "every",
    "expect_files_as_they_were",
    "files_of",
    "finish",
    "forget",
    "of_task",
    "renew",
]

logger = logging.getLogger("biocolab_accessor.submit")

_SECONDS_KEPT = 30 * 86400

_SECONDS_TO_TIDY = 86400

_SECONDS_TO_LOCK = 30.0

_LONGEST_TEXT = 10_000

_VERSION = 1

_BEGUN = "begun"

_OF_THE_STUDY = ("server", "source", "group_id", "species", "study_id", "id_is_made", "namesakes", "call")

_SUM = "sum"


@dataclass
class Known:
    """What the journal says of one submission.

    Attributes
    ----------
    server, source, group_id, species, study_id
        Where it goes, and as what.
    id_is_made
        Whether the study's id was made here, not given by the user.
    namesakes
        Uuids of the studies that had the id before; None where that is not known.
    call
        The call that sends it once more, and its files as they were; None where it sent an object in memory.
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
    doubtful
        Whether a part of the journal cannot be read, so that more may have been done than it says.
    """

    server: str = ""
    source: str = ""
    group_id: str = ""
    species: str = ""
    study_id: str = ""
    id_is_made: bool = False
    namesakes: frozenset[str] | None = None
    call: dict[str, Any] | None = None
    folder_id: str = ""
    chunk_size: int = 0
    file_ids: dict[int, str | int] = field(default_factory=dict)
    chunks: dict[int, set[int]] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)
    intended: bool = False
    task_id: str | int = ""
    study_info: dict[str, Any] | None = None
    doubtful: bool = field(default=False, compare=False)

    def take(self, step: Mapping[str, Any]) -> None:
        """Take one step in.

        Raises
        ------
        KeyError, TypeError
            It is none.
        """
        kind = step["step"]
        if kind == _BEGUN:
            if _number(step["version"]) > _VERSION:
                raise KeyError(kind)
        elif kind == "study":
            values = {name: _text(step[name]) for name in ("server", "source", "group_id", "species", "study_id")}
            namesakes = step.get("namesakes")
            self.namesakes = None if namesakes is None else frozenset(_text(each) for each in _list(namesakes))
            call = step.get("call")
            self.call = None if call is None else dict(call)
            self.id_is_made = step["id_is_made"] is True
            for name, value in values.items():
                setattr(self, name, value)
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
    doubtful
        Whether there is a journal that cannot be read.
    """

    def __init__(self, path: Path | None, lock: FileLock | None = None, *, doubtful: bool = False) -> None:
        self._path, self._lock = path, lock
        self.known, length = _read(path) if path is not None else (Known(doubtful=doubtful), 0)
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
        self._write_anew(Known())

    def renew(self) -> None:
        """Forget what was done, but not which study it is for, so that it is found where it is there after all."""
        known = self.known
        self._write_anew(Known(**{name: getattr(known, name) for name in _OF_THE_STUDY}))

    def _write_anew(self, known: Known) -> None:
        self.known = known
        if self._path is not None:
            with self._resumable():
                self._path.write_bytes(_first_lines(known))  # not removed: others have to see that it is under way

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
        found = Entry(None, doubtful=_is_there(digest))
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


def renew(server: str, task_id: str | int) -> None:
    """A server has lost a task or its result: the next call begins from the start, as the same study."""

    def end(path: Path, known: Known) -> None:
        path.write_bytes(_first_lines(known))

    _end(server, task_id, end)


def every() -> list[tuple[Path, Known]]:
    """The journals of submissions that no call has at this moment, the latest first."""
    folder = _folder()
    if not folder.is_dir():
        return []
    found: list[tuple[float, Path, Known]] = []
    with FileLock(folder / "lock", timeout=_SECONDS_TO_LOCK, mode=0o600):
        for path in folder.glob("*-*.jsonl"):
            try:
                lock = _try_lock(path)
                if lock is not None:
                    lock.release()
                    found.append((path.stat().st_mtime, path, _read(path)[0]))
            except OSError as error:
                logger.debug("%s cannot be read: %s", path, error)
    return [(path, known) for _, path, known in sorted(found, key=lambda one: one[0], reverse=True)]


def drop(path: Path) -> bool:
    """Forget a submission; False where a call has it at this moment."""
    with FileLock(path.parent / "lock", timeout=_SECONDS_TO_LOCK, mode=0o600):
        lock = _try_lock(path)
        if lock is None:
            return False
        try:
            path.unlink(missing_ok=True)
        finally:
            lock.release()
        return True


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
                    try:
                        found = Entry(path, lock)
                    except OSError:
                        lock.release()
                        raise
                    # Of a file that was cut this much, all may have been done.
                    found.known.doubtful |= not found.known.study_id
                    return found
                busy = True
            if not (busy and wait):
                path = folder / f"{digest}-{uuid.uuid4().hex[:8]}.jsonl"
                # From now on, not from its first step on, others see that it is under way.
                with open(path, "xb", opener=_private) as file:
                    file.write(_first_lines(Known()))
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
    """What a file says, and its length without a last line that was cut."""
    known, length = Known(), 0
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return known, 0
    known.doubtful = not content  # it was never empty
    for line in content.split(b"\n")[:-1]:
        length += len(line) + 1
        try:
            known.take(_checked(json.loads(line)))
        except (ValueError, KeyError, TypeError, RecursionError):
            known.doubtful = True
    return known, length


def _checked(step: Any) -> Mapping[str, Any]:
    """A step as it was written; an older version wrote no sum."""
    if not isinstance(step, dict):
        raise TypeError(step)
    if step.get(_SUM, _sum(step)) != _sum(step):
        raise ValueError(step)
    return step


def _sum(step: Mapping[str, Any]) -> int:
    own = {name: value for name, value in step.items() if name != _SUM}
    return zlib.crc32(json.dumps(own, sort_keys=True).encode())


def _line(step: Mapping[str, Any]) -> bytes:
    return (json.dumps({**step, _SUM: _sum(step)}) + "\n").encode()


def _first_lines(known: Known) -> bytes:
    """What a journal begins with: its version, and which study it is for where that is known."""
    begun = _line({"step": _BEGUN, "version": _VERSION})
    if not known.study_id:
        return begun
    namesakes = None if known.namesakes is None else sorted(known.namesakes)
    study = {name: getattr(known, name) for name in _OF_THE_STUDY}
    return begun + _line({"step": "study", **study, "namesakes": namesakes})


def _append(path: Path, line: Mapping[str, Any], *, sync: bool) -> None:
    content = _line(line)
    with open(path, "ab", buffering=0, opener=_private) as file:
        if file.write(content) < len(content):
            msg = f"{path} took only a part of a line"
            raise OSError(msg)
        if sync:
            os.fsync(file.fileno())


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _is_there(digest: str) -> bool:
    try:
        return any(_folder().glob(f"{digest}-*.jsonl"))
    except OSError:
        return False


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value


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


def call_of(files: Any, paths: Sequence[Path], arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is kept of a call of ``bc.submit``; None where it cannot be written down.

    Parameters
    ----------
    files
        As they were given.
    paths
        Every file that they stand for.
    arguments
        All others; what they say on the wire is the same whenever the call is made.
    """
    try:
        states = [[os.path.abspath(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
        call = {"files": _plain(files), "arguments": dict(arguments), "states": states}
        return cast("dict[str, Any]", json.loads(json.dumps(call, allow_nan=False, default=_plain_number)))
    except (OSError, TypeError, ValueError):  # a file that went away, which is told when it is sent
        return None


def files_of(call: Mapping[str, Any]) -> tuple[Path, ...]:
    """The files that a call sends."""
    return tuple(Path(str(state[0])) for state in call.get("states", ()))


def expect_files_as_they_were(call: Mapping[str, Any]) -> None:
    """Raise InvalidFile where a file is gone, or another one by now.

    Raises
    ------
    InvalidFile
        It is; the message names the file.
    """
    for path, size, modified in call["states"]:
        try:
            found = os.stat(path)
        except OSError as error:
            msg = f"{path} is not there any more ({error.strerror}): put it back, or forget the submission"
            raise InvalidFile(msg) from error
        if (found.st_size, found.st_mtime_ns) != (size, modified):
            msg = f"{path} was changed since it was submitted: submit it as it is now, and forget this submission"
            raise InvalidFile(msg)


def _plain_number(value: Any) -> Any:
    """A number of NumPy as Python's."""
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
