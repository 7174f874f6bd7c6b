"""Arguments: check the arguments of official methods before anything is sent."""

from __future__ import annotations

import inspect
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import PurePath
from typing import Any

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import listing, quoted
from biocolab_accessor.protocol import Filters, argument_names, known_species

_BOUNDS = ("min_counts", "min_genes", "max_counts", "max_genes", "mt_percentage")
_MATRIX_TYPES = ("raw", "normalized")
_STUDY_TYPES = (0, 1, 2, 3, 4, 5, 6, 15)
_MTX_10X, _TILE_DB = 3, 15


def plain(value: Any) -> Any:
    """Copy a value with enum members as their values and paths as strings; the official client fails on both."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        # A path on the server uses / even if this machine runs Windows.
        return value.as_posix() if isinstance(value, PurePath) else os.fspath(value)
    return getattr(value, "value", value) if not isinstance(value, str | int | float | bool | None) else value


def submit_arguments(
    method: Callable[..., Any], connector: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Bind and check the arguments of an official submit method; the caller's lists and dicts are not changed."""
    # Raises InvalidArgument for values that the server would refuse after the upload, or misunderstand.
    bound = inspect.signature(method).bind(connector, *args, **kwargs)
    bound.apply_defaults()
    _, *named = bound.arguments.items()
    arguments = {name: plain(value) for name, value in named}
    arguments["species"] = known_species(arguments["species"])
    _expect_names(arguments["authors"])
    if "input_matrix_type" in arguments and arguments["input_matrix_type"] not in _MATRIX_TYPES:
        # The official client sends everything that is not "raw" as "normalized".
        msg = f"input_matrix_type is {quoted(arguments['input_matrix_type'])}: it must be 'raw' or 'normalized'"
        raise InvalidArgument(msg)
    Filters(**{name: arguments[name] for name in _BOUNDS if name in arguments})
    if "batch_info" in arguments:
        if arguments["study_type"] == _TILE_DB and not {"s3_id", "shared_s3_id"} & arguments.keys():
            msg = "TileDB studies are read from S3 only: use submit_study_from_s3 or submit_study_from_shared_s3"
            raise InvalidArgument(msg)
        batches = arguments["batch_info"] = _batches(arguments["batch_info"], arguments["study_type"])
        if "shared_folder_path" in arguments:
            # They are sent as an object keyed by name, which would lose the first of two equal names.
            mtx = arguments["study_type"] == _MTX_10X
            expect_distinct([batch["name"] if mtx else PurePath(batch["matrix"]).name for batch in batches])
    return arguments


def described(group_id: Any, study_id: Any, name: Any, authors: Any, abstract: Any, species: Any) -> dict[str, Any]:
    """Build the part of a Lens submission that describes the study and names its group."""
    texts = {"group_id": group_id, "name": name, "abstract": abstract}
    texts |= {} if study_id is None else {"study_id": study_id}
    for argument, value in texts.items():
        if not isinstance(plain(value), str) or (argument.endswith("_id") and not plain(value)):
            msg = f"{argument} is {quoted(value):.100}: it must be a string, and an id must not be empty"
            raise InvalidArgument(msg)
    names = plain(authors)
    _expect_names(names)
    return {
        "species": known_species(species),
        "group_id": plain(group_id),
        "study_info": {
            "study_hash_id": uuid.uuid4().hex if study_id is None else plain(study_id),
            "name": plain(name),
            "authors": names or [],
            "abstract": plain(abstract),
        },
    }


def expect_study_type(study_type: Any) -> None:
    """Raise InvalidArgument for a study type that BBrowserX and Talk2Data do not accept."""
    if isinstance(study_type, bool) or study_type not in _STUDY_TYPES:
        msg = (
            f"study_type is {quoted(study_type)}: it must be one of {listing(_STUDY_TYPES)}, or a member of StudyType. "
            "For spatial studies use EConnector.get_lensbulk() or get_lenssc(), for a processed folder "
            "submit_processed_study_from_local"
        )
        raise InvalidArgument(msg)


def expect_distinct(names: Sequence[str]) -> None:
    """Raise InvalidArgument for names that are equal on a server that ignores case."""
    if len({name.casefold() for name in names}) < len(names):
        msg = f"two files would have the same name on the server and overwrite each other: {listing(sorted(names))}"
        raise InvalidArgument(msg)


def name_list(names: Iterable[str], argument: str) -> list[str]:
    """Return names as a list; a single string raises, since its letters would be queried."""
    if isinstance(names, str):
        msg = f"{argument} is the string {quoted(names)}: it must be a list, [{quoted(names)}]"
        raise InvalidArgument(msg)
    return argument_names(names, argument)


def _expect_names(authors: Any) -> None:
    if authors is not None and not (isinstance(authors, list) and all(isinstance(author, str) for author in authors)):
        msg = f"authors is {quoted(authors)}: it must be a list of names, ['Ada Lovelace']"
        raise InvalidArgument(msg)


def _batches(batch_info: Any, study_type: Any) -> list[dict[str, Any]]:
    expect_study_type(study_type)
    batches = batch_list(batch_info, "{'matrix': 'x.h5ad'}")
    needed: tuple[str, ...] = ("matrix", "features", "barcodes") if study_type == _MTX_10X else ("matrix",)
    needed = ("folder",) if study_type == _TILE_DB else needed
    for number, batch in enumerate(batches, 1):
        expect_parts(number, batch, needed)
    if study_type != _MTX_10X:
        return batches
    # The official client also uses these names for files in a bucket.
    return [
        {**batch, "name": batch_name(batch.get("name") or PurePath(batch["matrix"]).parent.name or f"Batch {number}")}
        for number, batch in enumerate(batches, 1)
    ]


def batch_list(batch_info: Any, example: str) -> list[dict[str, Any]]:
    """Return a copy of the batches; raises InvalidArgument for anything but a non-empty list of dicts."""
    batches: Any = plain(batch_info)
    if not isinstance(batches, list) or not all(isinstance(batch, dict) for batch in batches):
        msg = f"batch_info is {quoted(batch_info):.100}: it must be a list with a dict for each batch, [{example}]"
        raise InvalidArgument(msg)
    if not batches:
        msg = f"batch_info is empty: it must be a list with a dict for each batch, [{example}]"
        raise InvalidArgument(msg)
    return list(batches)


def expect_parts(number: int, batch: Mapping[str, Any], needed: Sequence[str]) -> None:
    """Raise InvalidArgument for a batch that lacks one of its parts."""
    missing = [part for part in needed if not isinstance(batch.get(part), str) or not batch[part]]
    if missing:
        msg = (
            f"batch {number} of batch_info lacks {listing(missing)}: a batch of this study type needs {listing(needed)}"
        )
        raise InvalidArgument(msg)


def batch_name(name: Any) -> str:
    """Check the name of a batch, which becomes part of file names on the server."""
    if not isinstance(name, str) or not name.isprintable() or not {"/", "\\"}.isdisjoint(name):
        msg = f"the batch name {quoted(name)} would be part of a file name on the server: use one without / and \\"
        raise InvalidArgument(msg)
    return name


_SMALLEST_CHUNK = 64 * 1024


def known_type(study_type: Any, known: Mapping[int, str], server: str, other: str) -> int:
    """Return the number of a study type that a server accepts."""
    value = plain(study_type)
    if isinstance(value, bool) or not isinstance(value, Integral) or value not in known:
        types = ", ".join(f"{number} ({name})" for number, name in known.items())
        msg = (
            f"study_type is {quoted(study_type)}: {server} accepts {types}. For other spatial studies use "
            f"EConnector.{other}(), for studies without coordinates get_bbrowserx()"
        )
        raise InvalidArgument(msg)
    return int(value)


def chunk_bytes(chunk_size: Any) -> int:
    """Return the number of bytes per upload request."""
    value = plain(chunk_size)
    if isinstance(value, bool) or not isinstance(value, Integral) or value < _SMALLEST_CHUNK:
        least = f"{_SMALLEST_CHUNK:,}"
        msg = f"chunk_size is {quoted(chunk_size)}: it must be a member of ChunkSize, or at least {least} bytes"
        raise InvalidArgument(msg)
    return int(value)


def expect_distinct_batches(names: Sequence[str]) -> None:
    """Raise InvalidArgument for equal batch names: the server would lose one of the batches."""
    try:
        expect_distinct(names)
    except InvalidArgument:
        msg = f"batch names must differ: {listing(names)}. Give each dict in batch_info its own 'name'"
        raise InvalidArgument(msg) from None
