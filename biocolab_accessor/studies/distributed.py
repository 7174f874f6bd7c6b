"""Distributed: a collection fetched by the workers of a Dask cluster."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anndata import AnnData

from biocolab_accessor.concurrency import CancellableThreads, first_error, result
from biocolab_accessor.config import settings
from biocolab_accessor.errors import ConfigurationError
from biocolab_accessor.io.memory import SharedBudget, expect_room
from biocolab_accessor.io.names import safe_name
from biocolab_accessor.platforms import replace
from biocolab_accessor.studies.catalog import study_of_origin
from biocolab_accessor.studies.disk import file_of_study
from biocolab_accessor.studies.fetch import bytes_of, fetch
from biocolab_accessor.studies.selection import Selection
from biocolab_accessor.studies.study import Study, address_of, parts_of

__all__ = ["fetch_all", "fetch_part", "write_all", "write_part"]

_AT_ONCE = 4

_RETRIES = 3


def fetch_part(origin: Mapping[str, Any], selection: Selection, cache: bool) -> AnnData:
    """One study, fetched wherever this runs, with the tokens that are there."""
    # Not the study itself: Dask's scheduler unpickles what it hands on, and has no tokens to look it up with.
    parts = parts_of(study_of_origin(origin))
    return fetch(parts.cached() if cache else parts, selection)


def write_part(origin: Mapping[str, Any], selection: Selection, path: str) -> None:
    """One study as a file, written wherever this runs, if the folder can be seen from there."""
    if Path(path).parent.is_dir():
        file_of_study(parts_of(study_of_origin(origin)), selection, path)


def fetch_all(
    studies: Sequence[Study], selections: Sequence[Selection], alternative: str, *, cache: bool
) -> list[AnnData]:
    """Each study in memory.

    Parameters
    ----------
    studies
        Which.
    selections
        What of each; of no gene its cells.
    cache
        As for :meth:`Study.to_anndata`.
    alternative
        What to do where all together would not fit, for the message.

    Raises
    ------
    TooLarge
        What is to be made of them would not fit; what has not begun by then is not fetched.
    ConfigurationError
        A worker of a cluster cannot reach the studies.
    """
    wanted = list(zip(studies, selections, strict=True))
    what = "what is made of {} of " + f"{len(studies)} studies"
    client = _client()
    if client is None:
        room, held = SharedBudget(), []

        def fetched(origin: Mapping[str, Any], selection: Selection) -> AnnData:
            with room.share() as keep:
                part = fetch_part(origin, selection, cache)
                keep(n_bytes := _bytes_of(part))
            held.append(n_bytes)
            # The parts are there until all of them are joined.
            expect_room(2 * sum(held), what.format(len(held)), alternative, held=sum(held))
            return part

        with CancellableThreads(min(_AT_ONCE, settings.max_requests), "biocolab-collection") as threads:
            asked = [threads.submit(fetched, address_of(each), selection) for each, selection in wanted]
            first_error(asked)  # raises, also while one before it is still under way
            return [result(each) for each in asked]
    from dask.delayed import delayed

    parts = [delayed(fetch_part, pure=False)(address_of(each), selection, cache) for each, selection in wanted]
    futures = client.compute([*parts, *(delayed(_bytes_of, pure=False)(part) for part in parts)], retries=_RETRIES)
    try:
        with _on_workers():
            sizes = client.gather(futures[len(parts) :])
            expect_room(2 * sum(sizes), what.format(len(sizes)), alternative)
            return list(client.gather(futures[: len(parts)]))
    finally:
        client.cancel(futures)


def write_all(studies: Sequence[Study], selections: Sequence[Selection], folder: Path) -> list[Path]:
    """Each study as an h5ad in a folder.

    Workers of a cluster write those that they can: into the folder, where they see it. The others are written from
    here one after another, since each takes what memory there is for one.

    Parameters
    ----------
    studies
        Which.
    selections
        What of each.
    folder
        A file of the same study and units is replaced, once the new one is complete; what else is there stays.
    """
    paths = [folder / _file_name(each, selection) for each, selection in zip(studies, selections, strict=True)]
    client = _client()
    with tempfile.TemporaryDirectory(prefix=".biocolab-", dir=folder, ignore_cleanup_errors=True) as scratch:
        # Under names that are new: an older file would be taken for one that a worker of another machine has written.
        parts = [Path(scratch) / path.name for path in paths]
        if client is not None:
            from dask.delayed import delayed

            tasks = [
                delayed(write_part, pure=False)(address_of(each), selection, str(part))
                for each, selection, part in zip(studies, selections, parts, strict=True)
            ]
            futures = client.compute(tasks, retries=_RETRIES)
            try:
                with _on_workers():
                    client.gather(futures)
            finally:
                client.cancel(futures)
        for each, selection, part, path in zip(studies, selections, parts, paths, strict=True):
            if part.exists():
                replace(part, path)
            else:
                file_of_study(parts_of(each), selection, path)
    return paths


def _file_name(study: Study, selection: Selection) -> str:
    """A name for what is read from the file later on: of another study or unit nothing may ever take its place."""
    content = json.dumps([address_of(study), selection.genes, selection.unit, selection.layers], sort_keys=True)
    return f"{safe_name(study.id)}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.h5ad"


@contextmanager
def _on_workers() -> Iterator[None]:
    """What workers lack is said to be theirs: here it may be there.

    Raises
    ------
    ConfigurationError
        A worker has no token for a server, or is connected to another one.
    """
    try:
        yield
    except ConfigurationError as error:
        msg = (
            f"a worker of the cluster cannot reach the studies: bc.share_credentials(client) gives workers the tokens "
            f"of this session. There: {error}"
        )
        raise ConfigurationError(msg) from error


def _bytes_of(part: AnnData) -> int:
    return sum(map(bytes_of, [part.X, *(part.layers[key] for key in part.layers if key is not None)]))


def _client() -> Any:
    """The distributed client of this session, if there is one."""
    try:
        from distributed import get_client
    except ImportError:
        return None
    try:
        return get_client()
    except ValueError:
        return None
