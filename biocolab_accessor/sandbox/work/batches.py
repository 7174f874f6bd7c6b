"""Batches: from what a submission names to the files that the worker reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from biocolab_accessor.naming import quoted
from biocolab_accessor.sandbox.refusal import Refusal, text
from biocolab_accessor.sandbox.store.buckets import Bucket, inside
from biocolab_accessor.sandbox.work.readers import MTX_10X, READABLE

__all__ = [
    "Batch",
    "bucket_batches",
    "fetch",
    "fetched",
    "folder_batches",
    "key_of",
    "named_parts",
    "uploaded_batches",
]

_ENDINGS = {"matrix": "matrix.mtx", "features": "features.tsv", "barcodes": "barcodes.csv"}


@dataclass(frozen=True)
class Batch:
    """One batch of a submission.

    Attributes
    ----------
    name
        What its cells are labelled with.
    files
        Where its parts are, or will be: ``matrix``, and for MTX ``features`` and ``barcodes``. None for a study type
        that the worker does not read, which it then says.
    remote
        Bucket and key of the parts that have to be fetched first.
    """

    name: str
    files: Mapping[str, Path]
    remote: Mapping[str, tuple[Bucket, str]] = field(default_factory=dict)


def uploaded_batches(names: Sequence[str], files: Mapping[str, Path], study_type: Any) -> list[Batch]:
    """Batches of files that were uploaded.

    Raises
    ------
    Refusal
        No batch is named, or a file of one was not uploaded.
    """
    if not names:
        raise Refusal(422, "batch_info must list the batches")
    if not _is_read_here(study_type):
        return [Batch(name, {}) for name in names]
    return _labelled([Batch(name, _uploaded(name, files, study_type)) for name in names])


def bucket_batches(bucket: Bucket, info: Any, study_type: Any, place: Callable[[], Path]) -> list[Batch]:
    """Batches of files in a bucket.

    Parameters
    ----------
    bucket
        Where they are.
    info
        ``batch_info`` as sent.
    study_type
        Number on the wire.
    place
        Makes a path for a file that has to be fetched.

    Raises
    ------
    Refusal
        ``batch_info`` is of another form, or there is no such file.
    """
    batches = []
    for name, keys in _named(info, study_type):
        files, remote = {}, {}
        for part, key in keys.items():
            path = bucket.local(key)
            files[part] = path or place()
            if path is None:
                remote[part] = (bucket, key)
        batches.append(Batch(name, files, remote))
    return _labelled(batches)


def folder_batches(folder: Path, info: Any, study_type: Any) -> list[Batch]:
    """Batches of files in a folder of the server; paths may be given with or without the folder in front.

    Raises
    ------
    Refusal
        ``batch_info`` is of another form, or there is no such file in the folder.
    """

    def find(name: str) -> Path:
        return inside(folder, key_of(folder, name), f"folder {quoted(str(folder))}")

    return _labelled(
        [
            Batch(name, {part: find(key) for part, key in keys.items()})  # what is not there is refused here
            for name, keys in _named(info, study_type)
        ]
    )


def key_of(folder: PurePath, name: str) -> str:
    """What a client calls a file of a folder, without the folder in front.

    Examples
    --------
    >>> from pathlib import PureWindowsPath
    >>> key_of(PureWindowsPath("C:/Data"), "c:/data/run/x.h5ad"), key_of(PurePath("/data"), "x.h5ad")
    ('run/x.h5ad', 'x.h5ad')
    """
    path = type(folder)(name)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else name


def fetch(batches: Sequence[Batch], say: Callable[[str], object]) -> None:
    """Bring the remote parts here."""
    for batch in batches:
        for part, (bucket, key) in batch.remote.items():
            say(f"Downloading {key} from bucket {bucket.name}")
            bucket.fetch(key, batch.files[part])


def fetched(batches: Sequence[Batch]) -> list[Path]:
    """Files that :func:`fetch` makes."""
    return [batch.files[part] for batch in batches for part in batch.remote]


def named_parts(info: Any, parts: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Name and parts of each batch, of ``batch_info`` as an object.

    Raises
    ------
    Refusal
        It is of another form, or a batch lacks a part.
    """
    # Version 1.1.0 of the connector wraps the object in a list, and versions to 1.6.0 send the images of Lens in one.
    if isinstance(info, list) and len(info) == 1 and isinstance(info[0], Mapping):
        info = {str(info[0]["name"]).rpartition("/")[2]: info[0]} if "name" in info[0] else info[0]
    if not isinstance(info, Mapping) or not info or not all(isinstance(batch, Mapping) for batch in info.values()):
        raise Refusal(422, "batch_info must be an object of batches")
    return [
        (str(batch.get("name") or label), {part: text(batch, part) for part in parts}) for label, batch in info.items()
    ]


def _named(info: Any, study_type: Any) -> list[tuple[str, dict[str, str]]]:
    if not _is_read_here(study_type):
        return named_parts(info, ())
    return named_parts(info, tuple(_ENDINGS) if study_type == MTX_10X else ("matrix",))


def _is_read_here(study_type: Any) -> bool:
    return isinstance(study_type, int) and study_type in READABLE


def _uploaded(name: str, files: Mapping[str, Path], study_type: Any) -> dict[str, Path]:
    if study_type != MTX_10X:
        if name not in files:
            detail = f"batch {quoted(name)} was not uploaded; there are {sorted(files)}"
            raise Refusal(422, detail)
        return {"matrix": files[name]}
    found = {}
    for part, ending in _ENDINGS.items():
        path = files.get(f"{name}{ending}") or files.get(f"{name}{ending}.gz")
        if path is None:
            detail = f"batch {quoted(name)} has no {name}{ending}[.gz]; there are {sorted(files)}"
            raise Refusal(422, detail)
        found[part] = path
    return found


def _labelled(batches: list[Batch]) -> list[Batch]:
    """A batch among others is named by its file without the ending, which is what its cells are labelled with."""
    if len(batches) < 2:
        return batches
    names = [batch.name.removesuffix(".h5ad").removesuffix(".h5") for batch in batches]
    if len(set(names)) < len(names):
        names = [batch.name for batch in batches]
    return [Batch(name, batch.files, batch.remote) for name, batch in zip(names, batches, strict=True)]
