"""Save: a file that a server named, fetched to a place of ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.progress import progress_bar
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
        The link leads to another server by plain http, or a web page came in place of a file.
    TransportError
        The file did not come whole.
    """
    target = place_of(path)
    with (
        replacing(target) as part,
        part.open("xb") as file,
        progress_bar(f"Downloading {target.name}") as bar,
    ):

        def open_target(length: int | None) -> Callable[[memoryview], object]:
            bar.total = length
            file.seek(0)
            file.truncate()
            return file.write

        client.download("GET", link, None, open_target=open_target, on_bytes=bar.update, elsewhere=True)
        file.flush()
        os.fsync(file.fileno())
    return target
