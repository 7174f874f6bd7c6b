"""Large file: an answer that is a file, sent in pieces large enough not to be held up by their number."""

from __future__ import annotations

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

__all__ = ["LargeFile"]


class LargeFile(FileResponse):
    """A file of any size; each piece is one trip to a thread, which 64 kB at a time are too many."""

    chunk_size = 4 << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ranges of a POST too, as a matrix is asked for: Starlette does it for GET only."""
        await super().__call__({**scope, "method": "GET"}, receive, send)
