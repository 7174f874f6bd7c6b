"""Large file: an answer that is a file, sent in pieces large enough not to be held up by their number."""

from __future__ import annotations

from starlette.responses import FileResponse

__all__ = ["LargeFile"]


class LargeFile(FileResponse):
    """A file of any size; each piece is one trip to a thread, which 64 kB at a time are too many."""

    chunk_size = 4 << 20
