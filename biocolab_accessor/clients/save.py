"""Save: a file that a server named, fetched to a place of ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.notice import notice
from biocolab_accessor.progress import progress_bar
from biocolab_accessor.storage.foreign_hdf5 import is_hdf5, opened_foreign
from biocolab_accessor.storage.place import place_of, replacing

__all__ = ["save"]


def save(client: HttpClient, link: str, path: str | Path) -> Path:
    """Fetch a file that the server named; it is at its path when it is whole, and not before.

    Parameters
    ----------
    client
        The server.
    link
        What the server said; a name in it is never used for a file here.
    path
        Where to; a file that is there is replaced.

    Raises
    ------
    InvalidArgument
        The path is a folder, or in none.
    InvalidResponse
        The link leads to another server by plain http, a web page came in place of a file, or it is an HDF5 file that
        reaches beyond itself (:func:`biocolab_accessor.storage.foreign_hdf5.expect_harmless`).
    TransportError
        The file did not come whole.

    Warns
    -----
    UserWarning
        The file is compressed with something that is not installed here.
    """
    target = place_of(path)
    with replacing(target) as part:
        with part.open("xb") as file, progress_bar(f"Downloading {target.name}") as bar:

            def open_target(length: int | None) -> Callable[[memoryview], object]:
                bar.total = length
                file.seek(0)
                file.truncate()
                return file.write

            client.download("GET", link, None, open_target=open_target, on_bytes=bar.update, elsewhere=True)
            file.flush()
            os.fsync(file.fileno())
        _expect_harmless(part, target)
    return target


def _expect_harmless(part: Path, target: Path) -> None:
    """Of HDF5, what is at the path in the end is opened by others as if the user had written it."""
    if not is_hdf5(part):
        return
    what = f"the file for {target}"
    with opened_foreign(part, what=what, error=InvalidResponse, filters=False) as foreign:
        to_install = foreign.to_install
    if to_install:
        notice(f"{target}: {to_install}")
