"""Durable: what is on disk before it is said to be, so that a study is there whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from biocolab_accessor.platforms import is_open_elsewhere, replace, sync
from biocolab_accessor.sandbox.store.private import close_to_others

__all__ = ["publish", "remove"]


def publish(part: Path, place: Path) -> None:
    """Move a finished file or folder to the place where it counts, once all its bytes are on disk, for its owner only.

    Parameters
    ----------
    part, place
        In the same folder, so that the move is one step for anybody who looks.
    """
    for path in [*part.rglob("*"), part] if part.is_dir() else [part]:
        close_to_others(path)
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
