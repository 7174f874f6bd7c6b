"""Upload: files to one folder on a server, with one progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.config import settings
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.progress import progress_bar

__all__ = ["upload"]

_SMALLEST_CHUNK = 64 * 1024


def upload(
    connector: BBrowserXConnector,
    files: Sequence[Path],
    names: Sequence[str],
    *,
    chunk_size: int | None = None,
    folder_id: str | None = None,
) -> str:
    """Upload files and give the folder's path on the server.

    Parameters
    ----------
    connector
        The server.
    files
        Paths here.
    names
        Names there, all different.
    chunk_size
        Bytes of one request; None means ``bc.settings.chunk_size``.
    folder_id
        Folder there; None makes a new one.

    Raises
    ------
    InvalidArgument
        The chunk size is too small, or two names are equal.
    InvalidFile
        A file is missing or empty.
    TransportError, ServerError
        The server could not be reached, or refused.
    """
    size = getattr(chunk_size, "value", chunk_size) or settings.chunk_size
    if not isinstance(size, int) or size < _SMALLEST_CHUNK:
        msg = f"chunk_size is {chunk_size!r}: give at least {_SMALLEST_CHUNK:,} bytes"
        raise InvalidArgument(msg)
    total = sum(file.stat().st_size for file in files if file.is_file())
    with progress_bar("Uploading", total) as bar:
        return connector.upload_chunk(names, files, size, folder_id, on_bytes=bar.update)
