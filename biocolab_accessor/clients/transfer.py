"""Transfer: files sent part by part, and downloads resumed where they were interrupted."""

from __future__ import annotations

import io
import json
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from biocolab_accessor.clients.responses import (
    announced_length,
    expect_exact_length,
    expect_no_message,
    expect_no_page,
    expect_whole_file,
)
from biocolab_accessor.clients.retry import Retriable
from biocolab_accessor.errors import InvalidFile, TransportError

__all__ = ["Download", "FilePart", "OpenTarget"]


class FilePart:
    """A multipart body, ``params`` (JSON, first) and ``file`` (bytes of a file), never whole in memory."""

    # `on_bytes` gets the number of file bytes each time some were handed to the socket.

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
        # requests streams a body that has __iter__; urllib3 then uses read.
        return iter(lambda: self.read(256 * 1024), b"")

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes of the body; empty at its end."""
        if size is None or size < 0:
            size = self._size
        if piece := self._head.read(size):
            return piece
        if self._left:
            piece = self._file.read(min(size, self._left))
            if not piece:
                # Not an OSError: the transport would take it for its own, and retry.
                msg = f"{self._file.name} became shorter while it was sent: call again to send its current content"
                raise InvalidFile(msg)
            self._left -= len(piece)
            if self._on_bytes:
                self._on_bytes(len(piece))
            return piece
        return self._tail.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


OpenTarget = Callable[[int | None], Callable[[memoryview], object]]
"""Called with the announced length whenever the answer starts from its first byte; returns what takes its pieces."""

_HEAD = 4096
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Download:
    """The part of an answer that has arrived, over several attempts."""

    # An interrupted answer is requested from a little before its end. The overlap must be the same, and so must the
    # length and the ETag: a file that has changed is fetched from its beginning, and never joined to the old one.
    # `resumed_at` is the number of bytes when the server last continued an answer; 0 if it never did.

    def __init__(self, url: str, open_target: OpenTarget, on_bytes: Callable[[int], object] | None) -> None:
        self._url, self._open_target = url, open_target
        self._on_bytes = on_bytes or (lambda n: None)
        self._write: Callable[[memoryview], object] | None = None
        self.resumed_at = 0
        self._kept = 0
        self.forget()

    def forget(self) -> None:
        """Drop everything: the next attempt starts with the first byte."""
        if self._kept:
            self._on_bytes(-self._kept)
        self._kept = 0
        self._length: int | None = None
        self._etag = ""
        self._head = b""
        self._recent: deque[bytes] = deque()
        self._recent_bytes = 0
        self._asked_from: int | None = None
        self._overlap = b""

    def headers(self) -> dict[str, str]:
        """Headers of the next attempt: the missing range, if the download can be resumed."""
        self._asked_from, self._overlap = None, b""
        if not self._kept or self._length is None or self._kept >= self._length:
            return {}
        # An ETag shows that the file is the same; without one, a longer overlap has to match.
        recent = b"".join(self._recent)
        self._overlap = recent[-(_HEAD if self._etag else 16 * _HEAD) :]
        self._asked_from = self._kept - len(self._overlap)
        asked = {"Range": f"bytes={self._asked_from}-"}
        return {**asked, "If-Range": self._etag} if self._etag else asked

    @property
    def ranged(self) -> bool:
        """Whether the current attempt requested a range."""
        return self._asked_from is not None

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the headers of an answer, which continues or starts again; another range than requested is Retriable."""
        etag = headers.get("ETag", "")
        etag = etag if etag.startswith('"') else ""  # W/"…" promises the same meaning, not the same bytes
        if status == 206:
            found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
            wanted = (self._asked_from, (self._length or 0) - 1, self._length)
            if not self.ranged or found is None or tuple(map(int, found.groups())) != wanted or etag != self._etag:
                self.forget()
                raise Retriable(TransportError(f"{self._url}: the server sent a different part than requested"))
            self.resumed_at = self._kept
            return
        self.forget()
        announced = announced_length(self._url, headers)
        # With an encoding, the announced length is not the decoded one, and a range is useless.
        plain = headers.get("Content-Encoding", "identity").strip().lower() in ("", "identity")
        self._length = announced if plain else None
        self._etag = etag
        self._write = None

    def take(self, piece: bytes) -> None:
        """Take the next bytes; other bytes than last time are Retriable, and a web page raises InvalidResponse."""
        if self._overlap:
            again, piece = piece[: len(self._overlap)], piece[len(self._overlap) :]
            if not self._overlap.startswith(again):
                self.forget()
                raise Retriable(TransportError(f"{self._url}: the file changed during the download"))
            self._overlap = self._overlap[len(again) :]
            if not piece:
                return
        if len(self._head) < _HEAD:
            self._head += piece[: _HEAD - len(self._head)]
            expect_no_page(self._url, self._head)
        if self._write is None:
            self._write = self._open_target(self._length)
        if self._length is not None and self._kept + len(piece) > self._length:
            expect_exact_length(self._url, self._kept + len(piece), self._length)
        self._write(memoryview(piece))
        self._kept += len(piece)
        self._on_bytes(len(piece))
        self._recent.append(piece)
        self._recent_bytes += len(piece)
        while self._recent_bytes - len(self._recent[0]) >= 16 * _HEAD:
            self._recent_bytes -= len(self._recent.popleft())

    def end(self) -> None:
        """Check the whole once the server has sent everything; a missing part is Retriable, a message raises."""
        expect_exact_length(self._url, self._kept, self._length)
        expect_whole_file(self._url, self._head, self._kept)
        if self._kept < _HEAD:
            expect_no_message(self._url, self._head)
