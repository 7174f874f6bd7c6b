"""Removal: thousands of small folders, which a disk removes faster side by side than one after another."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from biocolab_accessor.sandbox.store.durable import remove
from biocolab_accessor.waits import ended

__all__ = ["remove_all", "remove_folder"]

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
