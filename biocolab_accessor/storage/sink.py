"""Sink: the file that HDF5 writes to, of which a full disk is an error and not the end of the process.

HDF5 cannot close a file that it could not write to: it fails once more, keeps what it holds, and takes the process
down when that is let go. So it is told that all went well, and what went wrong is raised when it is done. Nothing else
may be raised in what HDF5 calls, Ctrl-C neither: see :mod:`biocolab_accessor.aside`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["Sink"]

_Item = TypeVar("_Item")


class Sink:
    """A new file, for :class:`h5py.File` to write to within a ``with`` block.

    Parameters
    ----------
    path
        Where; what is there is lost.

    Raises
    ------
    OSError
        Something could not be written; at the end of the block.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None
        self._unwritten: list[tuple[int, bytes]] = []

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        # What HDF5 says of a file that has only a part of what it wrote is of no use to anybody.
        if self._error is not None and error is not self._error and isinstance(error, Exception | None):
            raise self._error from error

    def watched(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items, as long as what was made of those before could be written."""
        for item in items:
            self.expect()
            yield item

    def expect(self) -> None:
        """To be called between two steps.

        Raises
        ------
        OSError
            What was written so far could not be.
        """
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """As of any file; that it is there is how h5py knows one."""
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        """As of any file, with what could not be written in its place: HDF5 trusts what it reads of its own."""
        start, view = self._file.tell(), memoryview(buffer).cast("B")
        self._file.readinto(view)
        for offset, content in self._unwritten:
            first, last = max(start, offset), min(start + len(view), offset + len(content))
            if first < last:
                view[first - start : last - start] = content[first - offset : last - offset]
        return len(view)

    def write(self, content: Any) -> int:
        """As of any file, but all of it or nothing more."""
        start, view = self._file.tell(), memoryview(content).cast("B")

        def write() -> None:
            written = 0
            while written < len(view):
                written += self._file.write(view[written:]) or 0

        self._attempt(write)
        if self._error is not None:
            self._unwritten.append((start, bytes(view)))  # not much, since no more rows are made
        return len(view)

    def truncate(self, size: int) -> None:
        """As of any file."""
        self._attempt(lambda: self._file.truncate(size))

    def flush(self) -> None:
        """Nothing is held back."""

    def _attempt(self, step: Callable[[], object]) -> None:
        if self._error is None:
            try:
                step()
            except OSError as error:
                error.filename = str(self._path)  # else nobody knows which disk is full
                self._error = error
