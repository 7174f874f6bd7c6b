"""Sweep: what a sandbox that was killed left behind is put in order at the next start."""

from __future__ import annotations

import time
from pathlib import Path

from biocolab_accessor.sandbox.store.catalogue import Catalogue
from biocolab_accessor.sandbox.store.durable import remove

__all__ = ["sweep"]

_DAYS = 7


def sweep(catalogue: Catalogue, studies: Path, uploads: Path, exports: Path) -> None:
    """End interrupted tasks, and remove what belongs to nothing.

    Kept are committed studies, studies that wait for their commit, uploads that may still be submitted, and exports,
    the last two for a week.

    Parameters
    ----------
    catalogue
        Says what there is.
    studies, uploads, exports
        The folders.
    """
    catalogue.interrupt_tasks()
    known = catalogue.study_uuids()
    for path in studies.iterdir():
        if path.name not in known:
            remove(path)
    waiting = catalogue.waiting_uploads()
    for path in uploads.iterdir():
        if path.name not in waiting or _is_old(path):
            remove(path)
    for path in exports.iterdir():
        if path.suffix == ".part" or _is_old(path):
            remove(path)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _DAYS * 86400
