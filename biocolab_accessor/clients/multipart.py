"""Multipart: one part of a file as an upload body, read from disk while it is sent."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from biocolab_accessor.errors import InvalidFile

__all__ = ["FilePart"]


class FilePart:
    """The body ``params`` (JSON) + ``file`` (bytes ``offset`` to ``offset + length`` of a file), never whole in memory.

    Parameters
    ----------
    params
        The text part, in the order that the server expects it: first.
    file_name
        Name that the server is told.
    path, offset, length
        Which bytes of which file.
    on_bytes
        Called with the number of file bytes whenever some were handed to the socket.
    """

    def __init__(
        self,
        params: Mapping[str, object],
        file_name: str,
        path: Path,
        offset: int,
        length: int,
        on_bytes: Callable[[int], object] | None = None,
    ) -> None:
        boundary = uuid.uuid4().hex
        name = file_name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n\r\n{json.dumps(params)}\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        )
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = io.BytesIO(head.encode())
        self._tail = io.BytesIO(f"\r\n--{boundary}--\r\n".encode())
        self._file = path.open("rb")
        self._file.seek(offset)
        self._left = length
        self._size = self._head.getbuffer().nbytes + length + self._tail.getbuffer().nbytes
        self._on_bytes = on_bytes

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        # requests takes a body for a stream by its having __iter__; urllib3 then uses read.
        return iter(lambda: self.read(256 * 1024), b"")

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes of the body; empty at its end.

        Raises
        ------
        InvalidFile
            The file has fewer bytes than were announced.
        """
        if size is None or size < 0:
            size = self._size
        if piece := self._head.read(size):
            return piece
        if self._left:
            piece = self._file.read(min(size, self._left))
            if not piece:
                # Not an OSError, which the transport would take for one of its own, and try again.
                msg = f"{self._file.name} became shorter while it was sent: call again to send it as it is now"
                raise InvalidFile(msg)
            self._left -= len(piece)
            if self._on_bytes:
                self._on_bytes(len(piece))
            return piece
        return self._tail.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
