"""Durable: what is on disk before it is said to be, so that a study is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["publish", "remove", "sync"]


def publish(part: Path, place: Path) -> None:
    """Move a finished file or folder to the place where it counts, once all its bytes are on disk.

    Parameters
    ----------
    part, place
        In the same folder, so that the move is one step for anybody who looks.
    """
    for path in [*part.rglob("*"), part] if part.is_dir() else [part]:
        sync(path)
    os.replace(part, place)
    sync(place.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows has no way to open a folder for this
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
