"""Lock: one sandbox for a folder."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from biocolab_accessor.errors import SandboxError

__all__ = ["lock_folder"]


def lock_folder(path: Path) -> FileLock:
    """Take a folder, which is made where it is not there, until the lock is released.

    Raises
    ------
    SandboxError
        Another sandbox has it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"another sandbox uses {path}: close it, or give another path"
        raise SandboxError(msg) from error
    return lock
