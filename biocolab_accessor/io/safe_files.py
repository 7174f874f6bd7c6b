"""Safe files: a full disk is an error, and a file is in its place when it is whole and not before.

HDF5 cannot close a file that it could not write to: it fails once more, keeps what it holds, and takes the process
down when that is let go. So it is told that all went well, and what went wrong is raised when it is done. Nothing else
may be raised in what HDF5 calls, Ctrl-C neither: see :mod:`biocolab_accessor.concurrency`.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import shown
from biocolab_accessor.platforms import expanded, is_open_elsewhere, replace

__all__ = ["Sink", "place_of", "replacing"]

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


def place_of(path: str | Path) -> Path:
    """The path of a file to be written, ``~`` resolved.

    Raises
    ------
    InvalidArgument
        It is a folder, or in none, or a device or another thing that is not a regular file.
    """
    target = expanded(path)
    if target.exists() and not (target.is_file() or target.is_dir()):
        msg = f"{shown(target)} is not a regular file, and would be replaced by one: give another path"
        raise InvalidArgument(msg)
    if not target.parent.is_dir() or target.is_dir():
        msg = f"{target} is a folder" if target.is_dir() else f"there is no folder {target.parent}"
        raise InvalidArgument(msg)
    return target


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` that takes its place when the block ends well, and is removed when it does not.

    Raises
    ------
    OSError
        It cannot be written; the error names it.
    """
    path = path.resolve() if path.is_symlink() else path  # else the link would go, and what it stands for stay old
    # Not named after it: a name may be as long as the file system takes.
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        if path.exists():
            shutil.copymode(path, part)  # who may read it was decided about the file that is there
        _move(part, path)
    except OSError as error:
        # As where the disk is full: the name that the user gave, and not one that is gone by now.
        if error.errno is not None and error.filename in (None, str(part)):
            error.filename = str(path)
        raise
    finally:
        with suppress(PermissionError):  # on Windows, while the error that ends the block holds the file open
            part.unlink(missing_ok=True)


def _move(part: Path, path: Path) -> None:
    try:
        replace(part, path)
    except OSError as error:
        if is_open_elsewhere(error):
            error.strerror = f"{error.strerror}: close what reads from the file that is there, or write to another path"
        raise
