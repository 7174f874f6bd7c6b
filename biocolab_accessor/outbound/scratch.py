"""Scratch: the temporary folder of a submission, which is gone with it however it ends."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from filelock import FileLock
from filelock import Timeout as LockTimeout

from biocolab_accessor.home import temporary_folder

__all__ = ["scratch_folder"]

logger = logging.getLogger("biocolab_accessor.outbound")

_PREFIX = "biocolab-submit-"
_LOCK, _UNLOCKED = "lock", "unlocked"
_SECONDS_TO_LOCK = 60.0
_SECONDS_WITHOUT_LOCK = 7 * 86400.0


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty temporary folder for the duration of a ``with`` block.

    A process that is killed cannot remove its folder: the next one does, which knows by a lock that its owner is gone.
    For SIGTERM, which ends Python without any clean-up where nobody handles it, the block leaves as for Ctrl-C.

    Yields
    ------
    pathlib.Path
        The folder.

    Raises
    ------
    ConfigurationError
        No folder for temporary files can be written to.
    """
    with suppress(OSError):
        _remove_abandoned(Path(tempfile.gettempdir()))
    with _terminated_as_interrupted():
        outer = temporary_folder(_PREFIX)
        lock = FileLock(outer / _LOCK, mode=0o600)
        try:
            _hold(lock, outer)
            inner = outer / "files"
            inner.mkdir(mode=0o700)
            yield inner
        finally:
            lock.release()
            shutil.rmtree(outer, ignore_errors=True)


def _hold(lock: FileLock, folder: Path) -> None:
    """Take the lock; where the file system has none, a file says that the folder is in use."""
    try:
        lock.acquire(timeout=0)
    except (OSError, NotImplementedError) as error:
        logger.warning("no locks in %s (%s): going on without. For a folder with locks set TMPDIR", folder, error)
        (folder / _UNLOCKED).touch(mode=0o600)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            mine = not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
            # One that was made this minute may not have come to take its lock.
            age = time.time() - path.lstat().st_mtime
            if not mine or path.is_symlink() or age < _SECONDS_TO_LOCK:
                continue
            if (path / _UNLOCKED).exists():  # by which nothing tells whether its owner is gone
                if age > _SECONDS_WITHOUT_LOCK:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            with FileLock(path / _LOCK, mode=0o600).acquire(timeout=0):
                shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(path, ignore_errors=True)  # Windows removes the lock when it is released
        except (OSError, LockTimeout, NotImplementedError):
            continue


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, where it would end the process at once, so that what is under way is cleaned up."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)  # what a shell says of a process that the signal has ended

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
