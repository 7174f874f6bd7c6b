"""Journal: the steps of submissions in progress, so that an interrupted call can be resumed.

Each submission has a file with one line per step, written before or right after the step. If a crash cut off the last
line, the line is ignored when the file is read, and the step is repeated, which does no harm. Any other unreadable line
(the file was corrupted, edited, or written by a newer version) makes the whole journal doubtful: the server is then
asked what it has, and the upload is not resumed. The journal contains no token. If the disk is full, the submission
continues, and its steps are written once there is room.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from biocolab_accessor.clients.retry import Deadline
from biocolab_accessor.config import settings
from biocolab_accessor.errors import BiocolabError, InvalidArgument, InvalidFile
from biocolab_accessor.platforms import expect_regular, open_to_others, private_folder, remove_file, try_lock

logger = logging.getLogger("biocolab_accessor.submit")

_SECONDS_KEPT = 30 * 86400
_SECONDS_TO_TIDY = 86400
_SECONDS_TO_LOCK = 30.0
_LONGEST_TEXT = 10_000
_LARGEST = 64 << 20  # bytes, for 800,000 chunks
_VERSION = 1
_BEGUN = "begun"
_OF_THE_STUDY = ("server", "source", "group_id", "species", "study_id", "id_is_made", "namesakes", "call")
_SUM = "sum"
_only: ContextVar[Path | None] = ContextVar("biocolab_journal", default=None)


@dataclass
class Known:
    """The recorded state of one submission."""

    server: str = ""
    source: str = ""
    group_id: str = ""
    species: str = ""
    study_id: str = ""
    id_is_made: bool = False  # generated here, not given by the user
    namesakes: frozenset[str] | None = None  # uuids of the studies that had the id before; None if unknown
    call: dict[str, Any] | None = None  # the call that sends it again, with its files; None for an object in memory
    folder_id: str = ""  # on the server
    chunk_size: int = 0
    # By the number of the file: its id on the server, the chunks that the server has, and the path there.
    file_ids: dict[int, str | int] = field(default_factory=dict)
    chunks: dict[int, set[int]] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)
    intended: bool = False  # the server was, or was about to be, asked to process it
    task_id: str | int = ""  # empty before the server's answer
    study_info: dict[str, Any] | None = None  # the server's answer to the commit; None before
    # A part of the journal cannot be read, so that more may have been done than it records.
    doubtful: bool = field(default=False, compare=False)

    def take(self, step: Mapping[str, Any]) -> None:
        """Apply one step; raise KeyError or TypeError if it is not a valid step."""
        kind = step["step"]
        if kind == _BEGUN:
            if _number(step["version"]) > _VERSION:
                raise KeyError(kind)
        elif kind == "study":
            values = {name: _text(step[name]) for name in ("server", "source", "group_id", "species", "study_id")}
            namesakes = step.get("namesakes")
            self.namesakes = None if namesakes is None else frozenset(_text(each) for each in _list(namesakes))
            self.call = _call(step.get("call"))
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
    """The journal of one submission, locked by this call; without a path, nothing is written."""

    def __init__(self, path: Path | None, lock: FileLock | None = None, *, doubtful: bool = False) -> None:
        self._path, self._lock = path, lock
        self._unwritten: list[Mapping[str, Any]] = []
        self._failed = False
        self.known, length = _read(path) if path is not None else (Known(doubtful=doubtful), 0)
        if path is not None and path.exists():
            with path.open("r+b") as file:
                file.truncate(length)  # else the next line would be appended to the cut one, and be lost

    def note(self, step: str, **what: Any) -> None:
        """Record a step; for its fields see :meth:`Known.take`."""
        line = {"step": step, **what}
        self.known.take(line)
        if self._path is not None:
            self._unwritten.append(line)
            with self._writing():
                # A power failure may cost chunks, which are sent again, but must never cause a second study.
                _append(self._path, *self._unwritten, sync=step in ("intent", "commit"))
                self._unwritten.clear()

    def finish(self, study_info: Mapping[str, Any]) -> None:
        """Record the commit of the study if the user gave its id; else for its task only."""
        known = self.known
        if known.id_is_made:
            self.drop()
            finish(known.server, known.task_id, study_info, known if known.task_id != "" else None)
        else:
            self.note("commit", study_info=dict(study_info))

    def clear(self) -> None:
        """Forget all steps; this call starts again."""
        self._rewrite(Known())

    def renew(self) -> None:
        """Forget all steps but not the study, so that it is found if it exists after all."""
        known = self.known
        self._rewrite(Known(**{name: getattr(known, name) for name in _OF_THE_STUDY}))

    def _rewrite(self, known: Known) -> None:
        self.known = known
        if self._path is not None:
            self._unwritten = _first_lines(known)
            with self._writing():
                self._path.write_bytes(b"")  # not removed: other calls have to see it
                _append(self._path, *self._unwritten, sync=False)
                self._unwritten.clear()

    def drop(self) -> None:
        """Forget the submission."""
        self.known = Known()
        if self._path is not None:
            with self._writing():
                remove_file(self._path)

    def close(self) -> None:
        """Release it to other calls; remove it if nothing was recorded, or may have been."""
        if self._lock is not None:
            if self._path is not None and self.known == Known() and not self.known.doubtful:
                with suppress(OSError):
                    remove_file(self._path)
            self._lock.release()
            self._lock = None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Go on if the disk is full: steps are kept for later, and those in the file still prevent a second study."""
        try:
            yield
        except OSError as error:
            if not self._failed:
                logger.warning("the journal of this submission cannot be written, so it may not be resumed: %s", error)
            self._failed = True


@contextmanager
def only(path: Path) -> Iterator[None]:
    """Within the block, this thread can only continue the call of this journal; anything else raises."""
    token = _only.set(path)
    try:
        yield
    finally:
        _only.reset(token)


@contextmanager
def entry(key: Mapping[str, Any], *, wait: bool) -> Iterator[Entry]:
    """The journal of a submission, new or of an interrupted call, locked within the ``with`` block."""
    # `key` identifies the call: content, server, group and request, never a token. While another call of any process
    # uses the same key, `wait` waits for it; otherwise a submission of its own is started.
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]
    if (resumed := _only.get()) is not None and resumed.stem.partition("-")[0] != digest:
        msg = (
            "these files are not those of the interrupted call (their content changed, or another version of the "
            "package prepares them differently): submit them again, and forget the interrupted submission"
        )
        raise InvalidFile(msg)
    try:
        found = _taken(_folder(), digest, wait=wait)
    except BiocolabError:  # some of them are OSError: another call held it until the deadline
        raise
    except (OSError, NotImplementedError) as error:
        logger.warning(
            "%s cannot be used: %s. This submission cannot be resumed, and the same call again may make a second "
            "study: look at bc.studies() before you repeat it, or set bc.settings.cache_dir to a folder of your own",
            _folder(),
            error,
        )
        found = Entry(None, doubtful=_is_there(digest))
    try:
        yield found
    finally:
        found.close()


def of_task(server: str, task_id: str | int) -> Known | None:
    """The recorded state of a task; None if it was not submitted from here, or long ago."""
    found = next(_of_task(server, task_id), None)
    return found[1] if found else None


def path_of_task(server: str, task_id: str | int) -> Path:
    """The file that is about a task only."""
    return _folder() / f"task-{hashlib.sha256(json.dumps([server, str(task_id)]).encode()).hexdigest()[:40]}.jsonl"


def finish(server: str, task_id: str | int, study_info: Mapping[str, Any], known: Known | None = None) -> None:
    """Record the commit of a task: for the same call if the user gave the study id, else for the same task only."""
    path = path_of_task(server, task_id)
    commit = {"step": "commit", "study_info": dict(study_info)}

    def end(each: Path, before: Known) -> None:
        if before.id_is_made and each != path:
            remove_file(each)
        elif before.study_info is None:
            _append(each, commit, sync=True)

    _end(server, task_id, end)
    if known is not None and of_task(server, task_id) is None and not _open_to_others():
        try:
            private_folder(path.parent)
            with open(path, "wb", opener=_private) as file:
                file.write(b"".join(map(_line, (*_first_lines(known), {"step": "task", "task_id": task_id}, commit))))
        except (OSError, TypeError, ValueError) as error:
            logger.debug("the commit of task %s is not recorded: %s", task_id, error)


def forget(server: str, task_id: str | int) -> None:
    """Forget a failed task: the next call starts again."""
    _end(server, task_id, lambda path, _: remove_file(path))


def renew(server: str, task_id: str | int) -> None:
    """Forget a task that the server has lost: the next call starts again, for the same study."""

    def end(path: Path, known: Known) -> None:
        path.write_bytes(b"".join(map(_line, _first_lines(known))))

    _end(server, task_id, end)


def every() -> list[tuple[Path, Known]]:
    """The journals that no call uses at the moment, latest first."""
    folder = _folder()
    if not folder.is_dir():
        return []
    if why := _open_to_others():
        logger.warning("interrupted submissions are not listed: %s", why)
        return []
    found: list[tuple[float, Path, Known]] = []
    try:
        with folder_lock(folder):
            for path in folder.glob("*-*.jsonl"):
                try:
                    lock = try_lock(path)
                    if lock is not None:
                        lock.release()
                        found.append((path.stat().st_mtime, path, _read(path)[0]))
                except OSError as error:
                    logger.debug("%s cannot be read: %s", path, error)
    except (OSError, NotImplementedError) as error:  # a file system without locks
        logger.warning("submissions in %s cannot be listed: %s. Set bc.settings.cache_dir", folder, error)
    return [(path, known) for _, path, known in sorted(found, key=lambda one: one[0], reverse=True)]


def drop(path: Path) -> bool:
    """Forget a submission; False if a call uses it at the moment."""
    with folder_lock(path.parent):
        lock = try_lock(path)
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
    if _open_to_others():
        return
    # Not the records of all other tasks, which are thousands if thousands of studies were submitted within a month.
    for path in [*_folder().glob("[0-9a-f]*.jsonl"), path_of_task(server, task_id)]:
        try:
            known, _ = _read(path)
        except OSError as error:  # on Windows, while another process removes it
            logger.debug("%s cannot be read: %s", path, error)
            continue
        if str(task_id) and (known.server, str(known.task_id)) == (server, str(task_id)):
            yield path, known


def _folder() -> Path:
    return settings.cache_dir / "journal"


def _open_to_others() -> str:
    """Why another user may have written journals; such journals are neither read nor written."""
    return open_to_others(settings.cache_dir) or open_to_others(_folder())


def folder_lock(folder: Path) -> FileLock:
    """The lock of the folder: the files in it are locked, and their locks removed, only while it is held."""
    if why := _open_to_others():
        raise PermissionError(why)
    return FileLock(folder / "lock", timeout=_SECONDS_TO_LOCK, mode=0o600)


def _taken(folder: Path, digest: str, *, wait: bool) -> Entry:
    private_folder(folder)
    deadline = Deadline()
    while True:
        with folder_lock(folder):
            _tidy(folder)
            busy = False
            for path in sorted(folder.glob(f"{digest}-*.jsonl")):
                if (lock := try_lock(path)) is not None:
                    try:
                        found = Entry(path, lock)
                    except OSError:
                        lock.release()
                        raise
                    # If the first lines are lost, any step may have been done.
                    found.known.doubtful |= not found.known.study_id
                    return found
                busy = True
            if _only.get() is not None and not (busy and wait):
                what = "is being resumed by another call" if busy else "was finished or forgotten by another call"
                msg = f"this submission {what}: nothing is sent. `biocolab resume --list` shows those that are left"
                raise InvalidArgument(msg)
            if not (busy and wait):
                path = folder / f"{digest}-{uuid.uuid4().hex[:8]}.jsonl"
                # Written now, not at the first step, so that other calls see it.
                with open(path, "xb", opener=_private) as file:
                    file.write(b"".join(map(_line, _first_lines(Known()))))
                return Entry(path, try_lock(path))
        deadline.check("waiting for the same submission in another call")
        time.sleep(0.1)


def _tidy(folder: Path) -> None:
    """Once a day, remove journals that are too old to resume, and leftover locks."""
    oldest, marker = time.time() - _SECONDS_KEPT, folder / "tidied"
    if marker.exists() and abs(time.time() - marker.stat().st_mtime) < _SECONDS_TO_TIDY:
        return
    # A clock that is wrong for a while makes every journal look old: one is removed only if it was old a day ago too.
    condemned = set(marker.read_text(encoding="utf-8").split()) if marker.exists() else set()
    old = set()
    for journal in {path.with_suffix(".jsonl") for path in folder.glob("*-*.*")}:
        try:
            stale = not journal.exists() or journal.stat().st_mtime < oldest
        except OSError:
            continue
        if stale and journal.exists() and journal.name not in condemned:
            old.add(journal.name)
            continue
        if stale and (lock := try_lock(journal)) is not None:
            with suppress(OSError):
                if journal.exists() and _read(journal)[0].study_info is None:
                    logger.warning("%s is removed: its submission was interrupted more than 30 days ago", journal)
                journal.unlink(missing_ok=True)
                journal.with_suffix(".lock").unlink(missing_ok=True)
            lock.release()
    with open(marker, "w", encoding="utf-8", opener=_private) as file:
        file.write("\n".join(sorted(old)))


def _read(path: Path) -> tuple[Known, int]:
    """The recorded state in a file, and the file's length without a cut last line."""
    known, length = Known(), 0
    try:
        expect_regular(path.stat())  # reading a FIFO may never end
        file = path.open("rb")
    except FileNotFoundError:
        return known, 0
    with file:
        size = os.fstat(file.fileno()).st_size
        known.doubtful = not 0 < size <= _LARGEST  # a journal is never empty
        for line in file if size <= _LARGEST else ():
            if not line.endswith(b"\n"):
                break
            length += len(line)
            try:
                known.take(_checked(json.loads(line)))
            except (ValueError, KeyError, TypeError, RecursionError):
                known.doubtful = True
    return known, length


def _checked(step: Any) -> Mapping[str, Any]:
    """A step with a correct checksum; older versions wrote none."""
    if not isinstance(step, dict):
        raise TypeError(step)
    if _SUM in step and step[_SUM] != _sum(step):
        raise ValueError(step)
    return step


def _sum(step: Mapping[str, Any]) -> int:
    own = {name: value for name, value in step.items() if name != _SUM}
    return zlib.crc32(json.dumps(own, sort_keys=True).encode())


def _line(step: Mapping[str, Any]) -> bytes:
    return (json.dumps({**step, _SUM: _sum(step)}) + "\n").encode()


def _first_lines(known: Known) -> list[Mapping[str, Any]]:
    """The first steps of a journal: its version, and the study if known."""
    begun = {"step": _BEGUN, "version": _VERSION}
    if not known.study_id:
        return [begun]
    namesakes = None if known.namesakes is None else sorted(known.namesakes)
    study = {name: getattr(known, name) for name in _OF_THE_STUDY}
    return [begun, {"step": "study", **study, "namesakes": namesakes}]


def _append(path: Path, *steps: Mapping[str, Any], sync: bool) -> None:
    content = b"".join(map(_line, steps))
    with open(path, "ab", buffering=0, opener=_private) as file:
        length = os.fstat(file.fileno()).st_size
        try:
            if file.write(content) < len(content):
                msg = f"only a part of a line was written to {path}"
                raise OSError(msg)
        except OSError:
            file.truncate(length)  # later lines must not be appended to the cut one
            raise
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


def _call(value: Any) -> dict[str, Any] | None:
    """A call of ``bc.submit``, or None; raise KeyError, TypeError or ValueError for anything else."""
    if value is None:
        return None
    states = value["states"]
    if not isinstance(states, list) or "files" not in value:
        raise TypeError(value)
    if not {"wait", "dry_run"}.isdisjoint(dict(value["arguments"])):
        raise ValueError(value)
    for path, size, modified in states:
        if not isinstance(path, str) or type(size) is not int or type(modified) is not int:
            raise TypeError(path)
    return dict(value)


def _id(value: Any) -> str | int:
    """An id made by a server, which must be returned unchanged."""
    return _number(value) if isinstance(value, int) else _text(value)
