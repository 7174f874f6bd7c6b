"""Place: where a file goes, and that it is there when it is whole and not before."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.home import expanded
from biocolab_accessor.naming import shown
from biocolab_accessor.platforms import is_open_elsewhere, replace

__all__ = ["place_of", "replacing"]


def place_of(path: str | Path) -> Path:
    """The path of a file to be written, ``~`` resolved.

    Raises
    ------
    InvalidArgument
        It is a folder, or in none, or a device or another thing that is not a regular file.
    """
    target = expanded(path)
    if target.exists() and not (target.is_file() or target.is_dir()):
        msg = f"{shown(target)} is not a regular file, and would be replaced by one: give another path"
        raise InvalidArgument(msg)
    if not target.parent.is_dir() or target.is_dir():
        msg = f"{target} is a folder" if target.is_dir() else f"there is no folder {target.parent}"
        raise InvalidArgument(msg)
    return target


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` that takes its place when the block ends well, and is removed when it does not.

    Raises
    ------
    OSError
        It cannot be written; the error names it.
    """
    path = path.resolve() if path.is_symlink() else path  # else the link would go, and what it stands for stay old
    # Not named after it: a name may be as long as the file system takes.
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        if path.exists():
            shutil.copymode(path, part)  # who may read it was decided about the file that is there
        _move(part, path)
    except OSError as error:
        # As where the disk is full: the name that the user gave, and not one that is gone by now.
        if error.errno is not None and error.filename in (None, str(part)):
            error.filename = str(path)
        raise
    finally:
        with suppress(PermissionError):  # on Windows, while the error that ends the block holds the file open
            part.unlink(missing_ok=True)


def _move(part: Path, path: Path) -> None:
    try:
        replace(part, path)
    except OSError as error:
        if is_open_elsewhere(error):
            error.strerror = f"{error.strerror}: close what reads from the file that is there, or write to another path"
        raise
