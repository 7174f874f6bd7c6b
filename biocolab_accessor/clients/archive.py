"""Archive: the zip file for a batch of Lens SC, written to a private folder and not to the user's."""

from __future__ import annotations

import errno
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from biocolab_accessor.errors import InvalidFile, MissingFile
from biocolab_accessor.messages import listing
from biocolab_accessor.platforms import reopened

VIZGEN, COSMX, XENIUM, VIZGEN_V2, COSMX_V2 = 9, 10, 11, 14, 19

# The files and folders (with all their contents) that are needed, by the end of the name in any case.
REQUIRED: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {
    COSMX: (("tx_file.csv", "fov_positions_file.csv"), ("celllabels", "rawmorphologyimages")),
    COSMX_V2: ((), ("cellstatsdir", "analysisresults", "runsummary")),
    VIZGEN: (("detected_transcripts.csv",), ("cell_boundaries", "images")),
    VIZGEN_V2: (("detected_transcripts.csv", "cell_boundaries.parquet"), ("images",)),
    XENIUM: (("experiment.xenium", "cell_boundaries.csv.gz", "transcripts.csv.gz", "morphology_mip.ome.tif"), ()),
}
# Compressing these again takes time and does not make them smaller.
_PACKED = (".gz", ".parquet", ".png", ".jpg", ".jpeg", ".zip", ".bz2", ".xz", ".zst")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PIECE = 1 << 20
_PREFIX = "biocolab-lens-"


@dataclass(frozen=True)
class Content:
    """The contents of a batch's archive."""

    platform: int  # study type: Vizgen's newer format has its own number
    entries: tuple[tuple[Path, str], ...]  # local path and name in the archive; a folder's name ends in a slash
    size: int  # bytes of all files


def batch_content(folder: Path, platform: int) -> Content:
    """Find the files and folders of a batch that the server needs; the folder is only read."""
    # A Vizgen folder with a parquet file is of the newer format.
    if not folder.is_dir():
        msg = f"folder {folder} does not exist"
        raise MissingFile(msg)
    # On foreign disks macOS adds a "._name" to each file, with the same ending.
    seen = sorted(path for path in _listed(folder) if not path.name.startswith("."))
    if platform == VIZGEN and any(path.name.lower().endswith(".parquet") for path in seen):
        platform = VIZGEN_V2
    files, folders = REQUIRED[platform]
    found = [_only([p for p in seen if p.is_file()], end, folder, "file") for end in files]
    found += [_only([p for p in seen if p.is_dir()], end, folder, "folder") for end in folders]
    entries = [entry for path in found for entry in _entries(path, path.name, (os.path.realpath(folder),))]
    return Content(platform, tuple(entries), sum(path.stat().st_size for path, name in entries if name[-1] != "/"))


@contextmanager
def archive_file() -> Iterator[tuple[IO[bytes], Path]]:
    """Yield an empty file for an archive, and a path to read it; nothing of it stays on the disk."""
    # If a file without a name can be opened again, as on Linux, the system frees it however the process ends. Otherwise
    # it is in a private folder, which is removed unless the process is killed.
    with tempfile.TemporaryFile(prefix=_PREFIX) as file:
        path = reopened(file)
        if path is not None:
            yield file, path
            return
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as private:
        path = Path(private) / "batch.zip"  # not named after the batch: file systems refuse some names
        with path.open("w+b") as file:
            yield file, path


def write_archive(content: Content, target: Path | IO[bytes], on_bytes: Callable[[int], object]) -> None:
    """Write an archive to a path, or to an empty open file."""
    folder = target.parent if isinstance(target, Path) else tempfile.gettempdir()
    try:
        # A file from before 1980 gets the earliest date that a zip file can store.
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for path, name in content.entries:
                info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
                if name.endswith("/"):
                    archive.writestr(info, b"")
                    continue
                stored = name.lower().endswith(_PACKED)
                info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                _add(archive, info, path, on_bytes)
        if not isinstance(target, Path):
            target.flush()
    except UnicodeEncodeError as error:
        msg = f"a file name in the batch is not valid Unicode: {error.object!r}. Rename the file"
        raise InvalidFile(msg) from error
    except OSError as error:
        if error.errno in _FULL:
            msg = (
                f"{folder} has no space for the archive of {content.size:,} bytes of files ({error.strerror}): "
                "set the environment variable TMPDIR to a folder on another disk"
            )
        else:
            msg = f"{error.filename or 'the archive'} cannot be packed: {error.strerror or error}"
        raise InvalidFile(msg) from error


def _add(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, on_bytes: Callable[[int], object]) -> None:
    before, size = path.stat(), 0
    with path.open("rb") as source, archive.open(info, "w") as member:
        # A file that grows as fast as it is read would never end.
        while size <= before.st_size and (piece := source.read(_PIECE)):
            member.write(piece)
            size += len(piece)
            on_bytes(len(piece))
    after = path.stat()
    if size != before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        msg = f"{path} was changed while it was packed: call again to send its current content"
        raise InvalidFile(msg)


def _only(seen: Sequence[Path], end: str, folder: Path, kind: str) -> Path:
    """Return the one path with this ending; an exact match wins over longer names."""
    found = [path for path in seen if path.name.lower().endswith(end)]
    found = [path for path in found if path.name.lower() == end] or found
    if len(found) == 1:
        return found[0]
    names = listing(path.name for path in (found or seen))
    if found:
        msg = f"{folder} has several {kind}s whose names end in {end!r}: {names}. Keep only one of them in the folder"
    else:
        msg = f"{folder} has no {kind} whose name ends in {end!r}; its {kind}s are {names or 'none'}"
    raise InvalidFile(msg)


def _entries(path: Path, name: str, above: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Yield a path and everything below it, following links; ``above`` are the folders that contain it."""
    if path.is_dir():
        here = os.path.realpath(path)
        if here in above:
            msg = f"{path} is a link to a folder that contains it: remove the link"
            raise InvalidFile(msg)
        yield path, f"{name}/"
        for inner in sorted(_listed(path)):
            yield from _entries(inner, f"{name}/{inner.name}", (*above, here))
        return
    if not path.is_file() or not os.access(path, os.R_OK):
        why = "cannot be read" if path.is_file() else "is neither a file nor a folder, or is a broken link"
        msg = f"{path} {why}: everything in the folders of a batch is sent"
        raise InvalidFile(msg)
    yield path, name


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        msg = f"the folder {folder} cannot be read: {error.strerror}"
        raise InvalidFile(msg) from error
