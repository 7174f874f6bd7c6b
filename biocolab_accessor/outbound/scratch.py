"""Scratch: the temporary folder of a submission, which is gone with it however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock
from filelock import Timeout as LockTimeout

__all__ = ["scratch_folder"]

_PREFIX = "biocolab-submit-"
_LOCK = "lock"
_SECONDS_TO_LOCK = 60.0


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty temporary folder for the duration of a ``with`` block.

    A process that is killed cannot remove its folder: the next one does, which knows by a lock that its owner is gone.
    For SIGTERM, which ends Python without any clean-up where nobody handles it, the block leaves as for Ctrl-C.

    Yields
    ------
    pathlib.Path
        The folder.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    with _terminated_as_interrupted():
        outer = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = FileLock(outer / _LOCK, mode=0o600)
        try:
            lock.acquire(timeout=0)
            inner = outer / "files"
            inner.mkdir()
            yield inner
        finally:
            lock.release()
            shutil.rmtree(outer, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            mine = not hasattr(os, "getuid") or path.lstat().st_uid == os.getuid()
            # One that was made this minute may not have come to take its lock.
            if not mine or path.is_symlink() or time.time() - path.stat().st_mtime < _SECONDS_TO_LOCK:
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
