"""Private: folders and files of a sandbox that only its owner can read, whatever the umask, and its token."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["CATALOGUE", "TOKEN_FILE", "close_to_others", "kept_token", "new_token", "private_file", "private_folder"]

logger = logging.getLogger("biocolab_accessor.sandbox")

CATALOGUE = "catalogue.sqlite"
"""Name of the file in a sandbox's folder that holds its records."""

TOKEN_FILE = "token"
"""Name of the file in a sandbox's folder that holds the token which was made for it."""

_OTHERS = 0o077
_TOKEN = re.compile(r"[!-~]{16,200}", re.ASCII)


def close_to_others(path: Path) -> None:
    """Take away what other users may do with a file or a folder.

    Raises
    ------
    OSError
        It belongs to another user.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        path.chmod(mode & ~_OTHERS)


def private_folder(path: Path) -> None:
    """Make a folder, or close one that is there to other users.

    Raises
    ------
    OSError
        It cannot be made, or belongs to another user.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    close_to_others(path)


def private_file(path: Path) -> None:
    """Make an empty file, or close one that is there to other users.

    Raises
    ------
    OSError
        It cannot be made, or belongs to another user.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    close_to_others(path)


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_hex(16)


def kept_token(folder: Path) -> str:
    """The token that a sandbox's folder holds; it is made where there is none yet.

    One that other users could read or write is replaced.

    Raises
    ------
    OSError
        It cannot be read or written.
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
            close_to_others(path)
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
