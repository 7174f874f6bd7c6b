"""Distributed: the studies of a collection, fetched in threads or by the workers of a Dask cluster."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anndata import AnnData

from biocolab_accessor.concurrency import first_error, request_threads, result
from biocolab_accessor.errors import ConfigurationError
from biocolab_accessor.io.memory import SharedBudget, expect_room
from biocolab_accessor.io.names import safe_name
from biocolab_accessor.platforms import replace
from biocolab_accessor.studies.catalog import study_of_origin
from biocolab_accessor.studies.disk import file_of_study
from biocolab_accessor.studies.fetch import bytes_of, fetch
from biocolab_accessor.studies.lock import recorder
from biocolab_accessor.studies.selection import Selection
from biocolab_accessor.studies.study import Study, address_of, parts_of

_AT_ONCE = 4
_RETRIES = 3


def fetch_part(origin: Mapping[str, Any], selection: Selection, cache: bool) -> AnnData:
    """Fetch one study in this process, with the tokens of this process."""
    # Takes the origin, not the study: Dask's scheduler unpickles arguments, and has no tokens to look a study up.
    parts = parts_of(study_of_origin(origin))
    return fetch(parts.cached() if cache else parts, selection)


def write_part(origin: Mapping[str, Any], selection: Selection, path: str) -> None:
    """Write one study to a file from this process, if it can access the folder."""
    if Path(path).parent.is_dir():
        file_of_study(parts_of(study_of_origin(origin)), selection, path)


def fetch_all(
    studies: Sequence[Study], selections: Sequence[Selection], alternative: str, *, cache: bool
) -> list[AnnData]:
    """Fetch each study into memory; ``alternative`` is the advice for the case that they do not fit together."""
    wanted = list(zip(studies, selections, strict=True))
    what = "the joined AnnData of {} of " + f"{len(studies)} studies"
    client = _client()
    if client is None:
        room, held = SharedBudget(), []

        def fetched(origin: Mapping[str, Any], selection: Selection) -> AnnData:
            with room.share() as keep:
                part = fetch_part(origin, selection, cache)
                keep(n_bytes := _bytes_of(part))
            held.append(n_bytes)
            # The parts stay in memory until all of them are joined.
            expect_room(2 * sum(held), what.format(len(held)), alternative, held=sum(held))
            return part

        with request_threads("biocolab-collection", _AT_ONCE) as threads:
            asked = [threads.submit(fetched, address_of(each), selection) for each, selection in wanted]
            first_error(asked)  # raises even while an earlier study is still being fetched
            return [result(each) for each in asked]
    from dask.delayed import delayed

    parts = [delayed(fetch_part, pure=False)(address_of(each), selection, cache) for each, selection in wanted]
    with _on_workers(client, [*parts, *(delayed(_bytes_of, pure=False)(part) for part in parts)]) as futures:
        sizes = client.gather(futures[len(parts) :])
        expect_room(2 * sum(sizes), what.format(len(sizes)), alternative)
        return list(client.gather(futures[: len(parts)]))


def write_all(studies: Sequence[Study], selections: Sequence[Selection], folder: Path) -> list[Path]:
    """Write each study to an h5ad in a folder, on workers that can access it, and otherwise in this process."""
    paths = [folder / _file_name(each, selection) for each, selection in zip(studies, selections, strict=True)]
    client = _client()
    with tempfile.TemporaryDirectory(prefix=".biocolab-", dir=folder, ignore_cleanup_errors=True) as scratch:
        # New names, because an older file would pass for one that a worker on another machine has written.
        parts = [Path(scratch) / path.name for path in paths]
        if client is not None:
            from dask.delayed import delayed

            tasks = [
                delayed(write_part, pure=False)(address_of(each), selection, str(part))
                for each, selection, part in zip(studies, selections, parts, strict=True)
            ]
            with _on_workers(client, tasks) as futures:
                client.gather(futures)
        for each, selection, part, path in zip(studies, selections, parts, paths, strict=True):
            if part.exists():
                replace(part, path)
            else:  # one after another: writing a single study may use the whole memory budget
                file_of_study(parts_of(each), selection, path)
    return paths


def _file_name(study: Study, selection: Selection) -> str:
    """A name that is unique for the study, cells, genes and units, because objects keep reading from the file."""
    content = [address_of(study), selection.genes, selection.unit, selection.layers]
    if selection.selects_cells:
        content += [selection.obs_filter, selection.cells]
    text = json.dumps(content, sort_keys=True)
    return f"{safe_name(study.id)}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.h5ad"


@contextmanager
def _on_workers(client: Any, tasks: Sequence[Any]) -> Iterator[Any]:
    """The futures of Dask tasks, which are cancelled at the end of the block."""
    futures = client.compute(tasks, retries=_RETRIES)
    try:
        yield futures
    except ConfigurationError as error:  # of a worker: this session may have the token
        msg = (
            f"a worker of the cluster cannot access the studies: call bc.share_credentials(client) to give workers the "
            f"tokens of this session. The worker's error: {error}"
        )
        raise ConfigurationError(msg) from error
    finally:
        client.cancel(futures)


def _bytes_of(part: AnnData) -> int:
    return sum(map(bytes_of, [part.X, *(part.layers[key] for key in part.layers if key is not None)]))


def _client() -> Any:
    """The distributed client of this session, if any; None while a lock records, which workers do not know of."""
    if recorder() is not None:
        return None
    try:
        from distributed import get_client
    except ImportError:
        return None
    try:
        return get_client()
    except ValueError:
        return None
