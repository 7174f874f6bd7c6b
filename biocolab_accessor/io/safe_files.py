"""Safe files: a full disk is an error, and a file appears only when it is complete.

HDF5 cannot close a file after a failed write: closing fails as well, and the process crashes when the objects of the
file are freed. So writes always seem to succeed, and the error is raised after HDF5 has closed the file. A callback of
HDF5 must not raise anything else either, not even KeyboardInterrupt: see :mod:`biocolab_accessor.concurrency`.
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

_Item = TypeVar("_Item")


class SafeFile:
    """A new file for h5py.File to write to; a failed write is raised as an OSError at the end of the block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None
        self._unwritten: list[tuple[int, bytes]] = []

    def __enter__(self) -> SafeFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        # The first failed write explains more than any later error from HDF5 about an incomplete file.
        if self._error is not None and error is not self._error and isinstance(error, Exception | None):
            raise self._error from error

    def checked(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items, until a write fails."""
        for item in items:
            self.check()
            yield item

    def check(self) -> None:
        """Raise the OSError of a failed write; to be called between two steps."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = 0) -> int:
        """As in any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As in any file."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """As in any file; h5py recognizes a file by this method."""
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        """As in any file, including data that could not be written: HDF5 trusts what it has written."""
        start, view = self._file.tell(), memoryview(buffer).cast("B")
        self._file.readinto(view)
        for offset, content in self._unwritten:
            first, last = max(start, offset), min(start + len(view), offset + len(content))
            if first < last:
                view[first - start : last - start] = content[first - offset : last - offset]
        return len(view)

    def write(self, content: Any) -> int:
        """As in any file, but completely, or not at all after an error."""
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
        """As in any file."""
        self._attempt(lambda: self._file.truncate(size))

    def flush(self) -> None:
        """The file has no buffer."""

    def _attempt(self, step: Callable[[], object]) -> None:
        if self._error is None:
            try:
                step()
            except OSError as error:
                error.filename = str(self._path)  # tells which disk is full
                self._error = error


def target_path(path: str | Path) -> Path:
    """The path of a file to be written, ``~`` expanded; InvalidArgument unless a file can be there."""
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
    """A temporary path, which replaces ``path`` if the block succeeds, and is removed otherwise."""
    path = path.resolve() if path.is_symlink() else path  # otherwise the link itself would be replaced
    # Not named after the file, whose name may have the maximum length already.
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        if path.exists():
            shutil.copymode(path, part)  # keep the permissions of the old file
        _move(part, path)
    except OSError as error:
        # Name the path that the user gave, not the temporary one, which is removed.
        if error.errno is not None and error.filename in (None, str(part)):
            error.filename = str(path)
        raise
    finally:
        with suppress(PermissionError):  # on Windows, while the frames of an error keep the file open
            part.unlink(missing_ok=True)


def _move(part: Path, path: Path) -> None:
    try:
        replace(part, path)
    except OSError as error:
        if is_open_elsewhere(error):
            error.strerror = f"{error.strerror}: close the program that has the file open, or write to another path"
        raise
