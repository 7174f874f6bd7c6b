"""Spread: several studies fetched side by side as tasks of Dask, on this machine or on many."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anndata import AnnData

from biocolab_accessor.catalog import study_of_origin
from biocolab_accessor.errors import ConfigurationError
from biocolab_accessor.inbound.disk import file_of_study
from biocolab_accessor.inbound.fetch import bytes_of
from biocolab_accessor.inbound.selection import Selection
from biocolab_accessor.inbound.study import Study, address_of, parts_of
from biocolab_accessor.storage.budget import expect_room

__all__ = ["fetch_all", "fetch_part", "write_all", "write_part"]

_AT_ONCE = 4
_RETRIES = 3


def fetch_part(origin: Mapping[str, Any], options: Mapping[str, Any]) -> AnnData:
    """One study, fetched wherever this runs, with the tokens that are there."""
    # Not the study itself: Dask's scheduler unpickles what it hands on, and has no tokens to look it up with.
    adata: AnnData = study_of_origin(origin).to_anndata(**options)
    return adata


def write_part(origin: Mapping[str, Any], selection: Selection, path: str) -> None:
    """One study as a file, written wherever this runs, if the folder can be seen from there."""
    if Path(path).parent.is_dir():
        file_of_study(parts_of(study_of_origin(origin)), selection, path)


def fetch_all(studies: Sequence[Study], options: Mapping[str, Any], alternative: str) -> list[AnnData]:
    """Each study in memory.

    Parameters
    ----------
    studies
        Which.
    options
        Of :meth:`Study.to_anndata`.
    alternative
        What to do where all together would not fit, for the message.

    Raises
    ------
    TooLarge
        What is to be made of them would not fit; the rest is not fetched then.
    ConfigurationError
        Dask is not installed.
    """
    try:
        from dask.base import compute
        from dask.delayed import delayed
    except ImportError as error:
        msg = "a collection needs Dask: pip install 'biocolab_accessor[dask]'"
        raise ConfigurationError(msg) from error

    def expect_joined(sizes: Sequence[int]) -> None:
        expect_room(sum(sizes), f"what is made of {len(sizes)} of {len(studies)} studies", alternative)

    parts = [delayed(fetch_part, pure=False)(address_of(each), options) for each in studies]
    client = _client()
    if client is None:
        held: list[int] = []

        def taken(part: AnnData) -> AnnData:
            held.append(_bytes_of(part))
            expect_joined(held)
            return part

        kept = [delayed(taken, pure=False)(part) for part in parts]
        return list(compute(*kept, scheduler="threads", num_workers=_AT_ONCE))
    futures = client.compute([*parts, *(delayed(_bytes_of, pure=False)(part) for part in parts)], retries=_RETRIES)
    try:
        expect_joined(client.gather(futures[len(parts) :]))
        return list(client.gather(futures[: len(parts)]))
    finally:
        client.cancel(futures)


def write_all(studies: Sequence[Study], selection: Selection, folder: Path) -> list[Path]:
    """Each study as an h5ad in a folder.

    Workers of a cluster write those that they can: into the folder, where they see it. The others are written from
    here one after another, since each takes what memory there is for one.

    Parameters
    ----------
    studies
        Which.
    selection
        What of them.
    folder
        Files that are there under the same names are replaced, each once the new one is complete.
    """
    paths = [folder / f"{number}.h5ad" for number in range(len(studies))]
    client = _client()
    with tempfile.TemporaryDirectory(prefix=".biocolab-", dir=folder) as scratch:
        # Under names that are new: an older file would be taken for one that a worker of another machine has written.
        parts = [Path(scratch) / path.name for path in paths]
        if client is not None:
            from dask.delayed import delayed

            tasks = [
                delayed(write_part, pure=False)(address_of(each), selection, str(part))
                for each, part in zip(studies, parts, strict=True)
            ]
            futures = client.compute(tasks, retries=_RETRIES)
            try:
                client.gather(futures)
            finally:
                client.cancel(futures)
        for each, part, path in zip(studies, parts, paths, strict=True):
            if part.exists():
                part.replace(path)
            else:
                file_of_study(parts_of(each), selection, path)
    return paths


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
