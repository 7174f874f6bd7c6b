"""Lock: one sandbox for a folder."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from filelock import FileLock, Timeout

from biocolab_accessor.errors import SandboxError
from biocolab_accessor.sandbox.store.private import CATALOGUE, TOKEN_FILE, close_to_others

__all__ = ["lock_folder"]

_OURS = ("lock", TOKEN_FILE, "studies", "uploads", "exports", "worker.log", "numba", "matplotlib")

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
        Another sandbox has it, or it cannot be written to or locked, or other users can change what lies in it.
    """
    lock = FileLock(path / "lock", mode=0o600)
    try:
        _make_private(path)
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


def _make_private(path: Path) -> None:
    """Make a folder that is closed to other users.

    One that holds other files is left as it is, since it may be shared on purpose: all that is made in it is private.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not hasattr(os, "getuid"):
        return
    info = path.stat()
    if info.st_uid != os.getuid() != 0:
        msg = f"{path} belongs to another user (uid {info.st_uid}): give a folder of your own"
        raise SandboxError(msg)
    if all(entry.name in _OURS or entry.name.startswith(CATALOGUE) for entry in path.iterdir()):
        close_to_others(path)
    elif stat.S_IMODE(info.st_mode) & 0o022:
        msg = f"{path} holds other files, and other users can write to it: give a folder of its own"
        raise SandboxError(msg)
