"""Lock: one sandbox for a folder."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock, Timeout

from biocolab_accessor.errors import SandboxError

__all__ = ["lock_folder"]

logger = logging.getLogger("biocolab_accessor.sandbox")


def lock_folder(path: Path, *, temporary: bool = False) -> FileLock:
    """Take a folder, which is made where it is not there, until the lock is released.

    Parameters
    ----------
    path
        The folder.
    temporary
        Whether it was made for this sandbox, so that no other knows of it and a file system without locks will do.

    Raises
    ------
    SandboxError
        Another sandbox has it, or it cannot be written to or locked.
    """
    lock = FileLock(path / "lock")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = f"another sandbox uses {path}: close it, or give another path"
        raise SandboxError(msg) from error
    except (OSError, NotImplementedError) as error:
        if not temporary:
            msg = f"the folder {path} cannot be used: {error}. Give a path on a disk that can be written to and locked"
            raise SandboxError(msg) from error
        logger.warning("no locks in %s (%s): going on without. For a folder with locks set TMPDIR", path, error)
    return lock
