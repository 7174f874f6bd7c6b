"""Whatever goes wrong with one task, it ends with words and the next one runs."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator

import anndata as ad
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import TaskFailed
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.store import uploads
from biocolab_accessor.sandbox.store.catalogue import Catalogue
from tests.patience import PATIENCE


@pytest.fixture
def own() -> Iterator[Sandbox]:
    """A sandbox whose task thread belongs to one test."""
    with bc.sandbox() as running:
        yield running


def no_room(*_: object) -> None:
    raise PermissionError(13, "denied")


def submit(counts: ad.AnnData, study_id: str, value: float) -> bc.Submission:
    changed = counts.copy()
    changed.X.data[0] = value
    return changed.biocolab.submit(study_id=study_id, skip_dimred=True, wait=False)


@pytest.mark.usefixtures("cold_workers", "own")
def test_clean_up_that_fails_changes_nothing_of_the_task_and_of_the_next(
    counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(uploads, "remove_all", no_room)
        first = submit(counts, "first", 2)
        assert first.wait(PATIENCE).status == "SUCCESS"
        second = submit(counts, "second", 3)
        assert second.wait(PATIENCE).status == "SUCCESS"
    assert str(first.task_id) in caplog.records[0].getMessage()
    assert caplog.records[0].exc_info[0] is PermissionError
    assert set(bc.studies()["study_id"]) == {"first", "second"}


@pytest.mark.usefixtures("own")
def test_a_task_that_cannot_begin_fails_with_words_and_the_next_runs(
    counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        real = Catalogue.set_task

        def locked(catalogue: Catalogue, task_id: str, status: str, result: object = None) -> None:
            if status == "RUNNING":
                msg = "database is locked"
                raise sqlite3.OperationalError(msg)
            real(catalogue, task_id, status, result)

        broken.setattr(Catalogue, "set_task", locked)
        first = submit(counts, "first", 2)
        with pytest.raises(TaskFailed, match="OperationalError: database is locked"):
            first.wait(PATIENCE)
    assert submit(counts, "second", 3).wait(PATIENCE).status == "SUCCESS"
    assert any(str(first.task_id) in record.getMessage() for record in caplog.records)


def test_not_even_an_end_that_cannot_be_written_ends_the_thread(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tasks, ran = own._site.tasks, threading.Event()
    with monkeypatch.context() as broken:
        for name in ("set_task", "log_line"):
            broken.setattr(Catalogue, name, no_room)
        tasks.run("1", dict)
        tasks._jobs.put(("2", ran.set))
        assert ran.wait(PATIENCE)
    assert "task 1: its end could not be written down" in caplog.text
