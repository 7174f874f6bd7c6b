"""Journals that were cut, edited, or written by another version: every call ends, with one study per id."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import ServerError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import journal

from .conftest import CHUNK

Damage = Callable[[Path], None]


def changed(change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return damage


def of_a_newer_version(lines: list[bytes]) -> list[bytes]:
    """As a newer version with additional steps would write it."""
    steps = [{name: value for name, value in json.loads(line).items() if name != "sum"} for line in lines]
    steps[0]["version"] = 99
    for step in steps[2:]:
        step["step"] = f"{step['step']}_v99"
    return [journal._line(step) for step in steps]


def a_folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_fifo_in_its_place(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Damage] = {
    "empty": changed(lambda lines: []),
    "its first line only": changed(lambda lines: lines[:1]),
    "its first two lines": changed(lambda lines: lines[:2]),
    "without its end": changed(lambda lines: lines[:-1]),
    "a half-written last line": changed(lambda lines: [*lines[:-1], lines[-1][:9]]),
    "a half-written line in the middle": changed(lambda lines: [*lines[:3], lines[3][:9] + b"\n", *lines[4:]]),
    "without its study": changed(lambda lines: [lines[0], *lines[2:]]),
    "zeros": changed(lambda lines: [b"\0" * 200 + b"\n"]),
    "a newer version": changed(of_a_newer_version),
    "another study by hand": changed(
        lambda lines: [line.replace(b'"study_id": "', b'"study_id": "PBMC') for line in lines]
    ),
    "another task by hand": changed(lambda lines: [line.replace(b'"task_id": "', b'"task_id": "7') for line in lines]),
    "another server": changed(lambda lines: [line.replace(b"http://127", b"http://10") for line in lines]),
    "not to be read": a_folder_in_its_place,
}
if hasattr(os, "mkfifo"):
    DAMAGES["a FIFO"] = a_fifo_in_its_place


def studies(title: str) -> list[str]:
    frame = bc.studies()
    return list(frame.loc[frame["title"] == title, "uuid"])


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_an_existing_study_is_found_whatever_happened_to_its_journal(
    faulty: Sandbox, wide: ad.AnnData, damage: str
) -> None:
    options = {"study_id": f"there, {damage}", "skip_dimred": True, "chunk_size": CHUNK}
    first = wide.biocolab.submit(**options)
    [path] = journal._folder().glob("*.jsonl")
    DAMAGES[damage](path)
    faulty.requests.clear()
    faulty._state.strict = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            done = wide.biocolab.submit(**options)
    finally:
        faulty._state.strict = False
    assert studies(options["study_id"]) == [first.study_info["uuid"]] == [done.study_info["uuid"]]
    assert faulty.requests.of("submit_study_from_local") == []


@pytest.mark.parametrize(("damage", "made"), [(name, bool(n % 2)) for n, name in enumerate(sorted(DAMAGES))])
def test_an_interrupted_submission_ends_whatever_happened_to_its_journal(
    faulty: Sandbox, wide: ad.AnnData, damage: str, made: bool
) -> None:
    title = f"interrupted, {damage} {made}"
    options = {"study_id": None if made else title, "name": title, "skip_dimred": True, "chunk_size": CHUNK}
    faulty.faults.add("commit_submission_result", status=503)
    with pytest.raises(ServerError, match="503"):
        wide.biocolab.submit(**options)
    faulty.faults.clear()
    [path] = journal._folder().glob("*.jsonl")
    DAMAGES[damage](path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = wide.biocolab.submit(**options)
    assert studies(title) == [done.study_info["uuid"]]
    assert done.study().n_obs == 300


def test_a_warning_names_the_study_that_is_assumed_to_be_the_submitted_one(faulty: Sandbox, wide: ad.AnnData) -> None:
    options = {"study_id": "assumed ours", "skip_dimred": True}
    wide.biocolab.submit(**options)
    [path] = journal._folder().glob("*.jsonl")
    path.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"is corrupted.*biocolab resume --forget 'assumed ours'"):
        wide.biocolab.submit(**options)
