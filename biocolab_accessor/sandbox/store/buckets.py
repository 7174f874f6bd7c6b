"""Buckets: stores of files that submissions refer to: S3, other stores that fsspec supports, and local folders."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from biocolab_accessor.errors import ConfigurationError, InvalidArgument
from biocolab_accessor.messages import did_you_mean, quoted
from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.sandbox.store.files import private_file, remove


@dataclass(frozen=True)
class Bucket:
    """One bucket, in a remote store or in a local folder."""

    id: str
    name: str
    prefix: str
    url: str = ""  # "s3://bucket"; empty for a local folder
    folder: Path | None = None
    groups: tuple[str, ...] | None = None  # ids of the groups that see it; None means all groups
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # for the store, with its secret keys

    def local(self, key: str) -> Path | None:
        """The local file of a key; None if it must be fetched."""
        if self.folder is None:
            if not self._exists(key):
                raise HTTPError(404, f"bucket {quoted(self.name)} has no file {quoted(key)}")
            return None
        return inside(self.folder, key, f"bucket {quoted(self.name)}")

    def fetch(self, key: str, target: Path) -> None:
        """Copy the file of a key from the store in pieces."""
        private_file(target)
        self._store().get_file(self._path(key), str(target))

    @contextmanager
    def opened(self, key: str, place: Callable[[], Path]) -> Iterator[Path]:
        """The file of a key: the local file, or a copy at ``place()`` that is removed afterwards."""
        path = self.local(key)
        if path is not None:
            yield path
            return
        path = place()
        try:
            self.fetch(key, path)
            yield path
        finally:
            remove(path)

    def check(self) -> None:
        """Check that the store can be listed."""
        try:
            store = self._store()
            try:
                store.ls(self._path(self.prefix), detail=False)
            except FileNotFoundError:
                store.ls(self._path(""), detail=False)  # a prefix exists once it has a file
        except ImportError as error:
            msg = f"{self.url} needs a package that is not installed: {error} (s3: pip install 'biocolab_accessor[s3]')"
            raise ConfigurationError(msg) from error
        except _failures() as error:
            msg = f"{self.url} cannot be listed: {error}"
            raise InvalidArgument(msg) from error

    def _exists(self, key: str) -> bool:
        if ".." in PurePosixPath(key).parts or "\0" in key:
            return False
        try:
            return bool(self._store().isfile(self._path(key)))
        except _failures() as error:
            raise HTTPError(422, f"bucket {quoted(self.name)} cannot be read: {error}") from error

    def _path(self, key: str) -> str:
        return f"{self.url.partition('://')[2].rstrip('/')}/{key.lstrip('/')}".rstrip("/")

    def _store(self) -> Any:
        import fsspec

        # An older listing must not hide a new file.
        options = {"use_listings_cache": False, **self.options}
        return fsspec.filesystem(self.url.partition("://")[0], **options)


class Buckets:
    """The buckets of a sandbox, in the order in which they were added."""

    def __init__(self) -> None:
        self._known: dict[str, Bucket] = {}

    def add(
        self,
        place: str | Path,
        *,
        bucket_id: str | None,
        prefix: str,
        groups: Sequence[str] | None,
        options: Mapping[str, Any],
    ) -> Bucket:
        """Add a folder or the URL of a store."""
        id_ = bucket_id or uuid.uuid4().hex
        seen_by = None if groups is None else tuple(groups)
        scheme = urlsplit(str(place)).scheme if isinstance(place, str) and "://" in place else ""
        if scheme in ("", "file"):
            folder = Path(url2pathname(urlsplit(str(place)).path)) if scheme else Path(place)
            if not folder.is_dir():
                msg = f"the folder {folder} does not exist"
                raise InvalidArgument(msg)
            bucket = Bucket(id_, folder.resolve().name, prefix, folder=folder.resolve(), groups=seen_by)
        else:
            url = str(place).rstrip("/")
            name = url.partition("://")[2].partition("/")[0]
            bucket = Bucket(id_, name, prefix, url=url, groups=seen_by, options=dict(options))
            bucket.check()
        self._known[id_] = bucket
        return bucket

    def visible(self, groups: Sequence[str]) -> list[Bucket]:
        """Buckets that a member of these groups sees."""
        return [b for b in self._known.values() if b.groups is None or set(b.groups) & set(groups)]

    def get(self, bucket_id: Any, groups: Sequence[str]) -> Bucket:
        """A bucket by its id, or the first one, among those that members of the groups see."""
        seen = {bucket.id: bucket for bucket in self.visible(groups)}
        if not seen:
            raise HTTPError(404, "no bucket is configured: call sandbox.add_bucket(…)")
        if bucket_id is None:
            return next(iter(seen.values()))
        if str(bucket_id) not in seen:
            raise HTTPError(404, f"the sandbox has no bucket {quoted(bucket_id)}{did_you_mean(str(bucket_id), seen)}")
        return seen[str(bucket_id)]

    def remove(self, bucket_id: str) -> None:
        """Forget a bucket; its files stay."""
        self._known.pop(bucket_id, None)


def _failures() -> tuple[type[Exception], ...]:
    """Exceptions that stores raise; those of S3 do not derive from OSError."""
    try:
        from botocore.exceptions import BotoCoreError
    except ModuleNotFoundError:
        return OSError, ValueError
    return OSError, ValueError, BotoCoreError


def inside(folder: Path, name: str, where: str) -> Path:
    """An existing file in a folder or below it."""
    root = folder.resolve()
    try:
        joined = root / name.lstrip("/")
        # Checked before the system is asked, because on Windows a name may refer to a drive or another machine.
        path = joined.resolve() if joined.is_relative_to(root) else joined
        found = path.is_relative_to(root) and path.is_file()
    except (OSError, ValueError):  # too long for the file system, or contains NUL
        found = False
    if not found:
        raise HTTPError(404, f"{where} has no file {quoted(name)}")
    return path
