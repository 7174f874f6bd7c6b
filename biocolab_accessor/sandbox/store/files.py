"""Files: readable by their owner only, on disk before they are said to be, and removed fast."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from biocolab_accessor.concurrency import ended
from biocolab_accessor.platforms import is_open_elsewhere, replace, sync

__all__ = [
    "CATALOG_FILE",
    "TOKEN_FILE",
    "make_private",
    "new_token",
    "private_file",
    "private_folder",
    "publish",
    "remove",
    "remove_all",
    "remove_folder",
    "stored_token",
]

logger = logging.getLogger("biocolab_accessor.sandbox")

CATALOG_FILE = "catalogue.sqlite"
"""Name of the file in a sandbox's folder that holds its records."""

TOKEN_FILE = "token"
"""Name of the file in a sandbox's folder that holds the token which was made for it."""

_OTHERS = 0o077

_TOKEN = re.compile(r"[!-~]{16,200}", re.ASCII)


def make_private(path: Path) -> None:
    """Take away what other users may do with a file or a folder."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        path.chmod(mode & ~_OTHERS)


def private_folder(path: Path) -> None:
    """Make a folder, or close one that is there to other users."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(path)


def private_file(path: Path) -> None:
    """Make an empty file, or close one that is there to other users."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    make_private(path)


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_hex(16)


def stored_token(folder: Path) -> str:
    """The token that a sandbox's folder holds; it is made where there is none yet.

    One that other users could read or write is replaced.
    """
    path = folder / TOKEN_FILE
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(path, flags, 0o600), "r+", encoding="utf-8", errors="replace") as file:
        kept = file.read(1000).strip()
        if _TOKEN.fullmatch(kept) and not _is_shared(file.fileno()):
            return kept
        if kept:
            logger.warning("other users could read %s, or it is damaged: the sandbox has a new token", path)
        with suppress(OSError):  # a file system without permissions
            make_private(path)
        token = new_token()
        file.seek(0)
        file.truncate()
        file.write(token + "\n")
    return token


def _is_shared(descriptor: int) -> bool:
    if not hasattr(os, "getuid"):
        return False
    info = os.fstat(descriptor)
    return info.st_uid != os.getuid() or bool(stat.S_IMODE(info.st_mode) & _OTHERS)


def publish(part: Path, place: Path) -> None:
    """Move a finished file or folder to the place where it counts, once all its bytes are on disk, for its owner only."""
    for path in [*part.rglob("*"), part] if part.is_dir() else [part]:
        make_private(path)
        sync(path)
    replace(part, place)
    sync(place.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there; what is being read stays on Windows, for the next start to remove."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except PermissionError as error:
        if not is_open_elsewhere(error):
            raise


_THREADS = 8

_FEW = 32


def remove_all(paths: Iterable[Path]) -> None:
    """Remove files and folders, in no order; those that are not there, or cannot be removed, are passed over."""
    waiting = list(paths)

    def work() -> None:
        with suppress(IndexError):
            while True:
                path = waiting.pop()
                with suppress(OSError):
                    remove(path)

    threads = []
    if len(waiting) > _FEW:
        # No executor: at the end of the interpreter, when sandboxes are closed too, those start nothing any more.
        with suppress(RuntimeError):
            for _ in range(_THREADS - 1):
                thread = threading.Thread(target=work, name="biocolab-sandbox-removal", daemon=True)
                thread.start()
                threads.append(thread)
    work()
    for thread in threads:
        ended(thread)


def remove_folder(folder: Path) -> None:
    """Remove a folder whose own folders may hold thousands of others."""
    with suppress(OSError):
        remove_all([inner for entry in folder.iterdir() if entry.is_dir() for inner in entry.iterdir()])
    remove(folder)
