"""Upload: files to one folder on a server, with one progress bar, from where an earlier call was broken off."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from biocolab_accessor.clients.arguments import expect_distinct
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.config import settings
from biocolab_accessor.errors import InvalidArgument, InvalidFile
from biocolab_accessor.naming import quoted
from biocolab_accessor.outbound.journal import Entry
from biocolab_accessor.progress import progress_bar

__all__ = ["Outgoing", "chunk_bytes", "outgoing", "upload"]

_SMALLEST_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Outgoing:
    """A file as it was when its content was looked at.

    Attributes
    ----------
    path, name
        Where it is here, and what it is called on the server.
    inner
        Folder below the upload's; empty for the upload's own.
    size, modified, sha256
        Bytes, time of the last change in ns, and digest of the content in hexadecimal.
    """

    path: Path
    name: str
    inner: str
    size: int
    modified: int
    sha256: str

    def expect_unchanged(self) -> None:
        """Raise InvalidFile where the file is another one by now.

        Raises
        ------
        InvalidFile
            It has changed since it was looked at.
        """
        found = self.path.stat()
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
            msg = f"{self.path} was changed while it was sent: call again to send it as it is now"
            raise InvalidFile(msg)


def outgoing(path: Path, name: str, inner: str = "") -> Outgoing:
    """Look at a file that is to be sent.

    Raises
    ------
    InvalidFile
        It is missing or empty.
    """
    if not path.is_file() or not path.stat().st_size:
        msg = f"{path} is empty" if path.is_file() else f"there is no file {path}"
        raise InvalidFile(msg)
    with path.open("rb") as file:
        found = os.fstat(file.fileno())  # a link may lead elsewhere by now
        return Outgoing(
            path, name, inner, found.st_size, found.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest()
        )


def chunk_bytes(chunk_size: int | None) -> int:
    """Bytes of one upload request; None means ``bc.settings.chunk_size``, and members of official enums are taken.

    Raises
    ------
    InvalidArgument
        It is too small, or no whole number.
    """
    size = settings.chunk_size if chunk_size is None else getattr(chunk_size, "value", chunk_size)
    if not isinstance(size, Integral) or size < _SMALLEST_CHUNK:
        msg = f"chunk_size is {quoted(chunk_size)}: give a whole number of bytes, at least {_SMALLEST_CHUNK:,}, or None"
        raise InvalidArgument(msg)
    return int(size)


def upload(
    connector: BBrowserXConnector,
    files: Sequence[Outgoing],
    entry: Entry,
    chunk_size: int,
    repeating: Callable[[], None] = lambda: None,
) -> str:
    """Upload what the server does not have yet, and give the folder's path on the server.

    Parameters
    ----------
    connector
        The server.
    files
        Their names must differ within a folder.
    entry
        What the server has taken already, of chunks of the same size, is not sent again; every answer is noted.
    chunk_size
        Bytes of one request.
    repeating
        Called before a request is sent again that the server may have acted on.

    Raises
    ------
    InvalidArgument
        Two names are equal.
    InvalidFile
        A file was changed meanwhile.
    TransportError, ServerError
        The server could not be reached, or refused.
    """
    for inner in {file.inner for file in files}:
        expect_distinct([file.name for file in files if file.inner == inner])
    known = entry.known
    # A file that is announced twice to one folder is ambiguous to some servers. As long as the folder has none, a file
    # that may have been announced is announced to another.
    if not known.folder_id or known.chunk_size != chunk_size or not known.file_ids:
        entry.note("upload", folder_id=uuid.uuid4().hex, chunk_size=chunk_size)
    with progress_bar("Uploading", sum(file.size for file in files)) as bar:
        for number, file in enumerate(files):
            n_chunks = -(-file.size // chunk_size)
            if number not in known.file_ids:
                place = _Place(entry, file.inner, chunk_size, repeating)
                entry.note("file", file=number, id=connector.announce_file(place, n_chunks, file.name))
            folder = _folder(entry, file.inner)
            params = {"folder_id": folder, "id": known.file_ids[number]}
            for chunk in range(n_chunks):
                offset = chunk * chunk_size
                length = min(chunk_size, file.size - offset)
                if chunk in known.chunks.get(number, ()):
                    bar.update(length)
                    continue
                numbered = {**params, "chunk": chunk, "n_chunks": n_chunks}
                path = connector.send_chunk(
                    numbered, file.name, file.path, offset, length, on_bytes=bar.update, look=repeating
                )
                entry.note("chunk", file=number, chunk=chunk, path=path)
            file.expect_unchanged()
    return known.paths[max(number for number, file in enumerate(files) if not file.inner)]


class _Place:
    """The folder that a file is announced to, for each attempt."""

    def __init__(self, entry: Entry, inner: str, chunk_size: int, repeating: Callable[[], None]) -> None:
        self._entry, self._inner, self._chunk_size, self._repeating = entry, inner, chunk_size, repeating
        self._tried = False

    def __call__(self) -> str:
        if self._tried and self._entry.known.file_ids:
            self._repeating()
        elif self._tried:
            self._entry.note("upload", folder_id=uuid.uuid4().hex, chunk_size=self._chunk_size)
        self._tried = True
        return _folder(self._entry, self._inner)


def _folder(entry: Entry, inner: str) -> str:
    return f"{entry.known.folder_id}/{inner}" if inner else entry.known.folder_id
