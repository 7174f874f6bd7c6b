"""A failing task ends with a message, and the next one runs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, TaskFailed
from biocolab_accessor.sandbox.processing import tasks
from biocolab_accessor.sandbox.processing.tasks import worker_environment
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.store import uploads
from biocolab_accessor.sandbox.store.catalog import Catalog, TaskRecord
from tests.patience import PATIENCE, until
from tests.sandbox.wire import BODY, Wire


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
def test_a_failing_cleanup_affects_neither_its_task_nor_the_next(
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
def test_a_task_whose_process_cannot_be_started_says_so_and_the_next_runs(
    counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(tasks, "start_worker", no_room)
        first = submit(counts, "first", 2)
        with pytest.raises(TaskFailed, match=r"cannot be started \(.*denied\): this account must be able to run"):
            first.wait(PATIENCE)
    assert submit(counts, "second", 3).wait(PATIENCE).status == "SUCCESS"


@pytest.mark.usefixtures("own")
def test_a_task_that_cannot_start_fails_with_a_message_and_the_next_runs(
    counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        real = Catalog.set_task

        def locked(catalog: Catalog, task_id: str, status: str, result: object = None) -> None:
            if status == "RUNNING":
                msg = "database is locked"
                raise sqlite3.OperationalError(msg)
            real(catalog, task_id, status, result)

        broken.setattr(Catalog, "set_task", locked)
        first = submit(counts, "first", 2)
        with pytest.raises(TaskFailed, match="OperationalError: database is locked"):
            first.wait(PATIENCE)
    assert submit(counts, "second", 3).wait(PATIENCE).status == "SUCCESS"
    assert any(str(first.task_id) in record.getMessage() for record in caplog.records)


def test_an_end_that_cannot_be_recorded_does_not_end_the_thread(
    own: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner, ran = own._state.tasks, threading.Event()
    with monkeypatch.context() as broken:
        for name in ("set_task", "log_line"):
            broken.setattr(Catalog, name, no_room)
        runner.run("1", dict)
        runner._jobs.put(("2", ran.set))
        assert ran.wait(PATIENCE)
    assert "task 1: its failure could not be recorded" in caplog.text


HANGS = """
import json, sys, time
for line in sys.stdin:
    job = json.loads(line)
    print(json.dumps({"log": "began"}), flush=True)
    if job["batches"][0]["name"].startswith("hang"):
        time.sleep(3600)
    print(json.dumps({"error": "not done here"}), flush=True)
"""


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch, own: Sandbox) -> Sandbox:
    """A sandbox whose worker hangs on batches with a certain name, and fails on others."""

    def start(log_path: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", HANGS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    monkeypatch.setattr(tasks, "start_worker", start)
    return own


def queue_up(sandbox: Sandbox, name: str, finished: list[str]) -> TaskRecord:
    runner, catalog = sandbox._state.tasks, sandbox._state.catalog
    task, _ = catalog.add_task(sandbox.email, "submit", {"hash_id": name}, "")
    runner.submit(task.id, {"batches": [{"name": name}]}, lambda say: None, lambda: finished.append(name))
    return task


def ended(sandbox: Sandbox, task: TaskRecord) -> TaskRecord:
    def found() -> TaskRecord | None:
        now = sandbox._state.catalog.task(task.id, sandbox.email)
        return now if now is not None and now.status in ("ERROR", "SUCCESS") else None

    return until(found)


def running(sandbox: Sandbox, task: TaskRecord) -> bool:
    return "began" in sandbox._state.catalog.task(task.id, sandbox.email).log


def test_a_hanging_task_is_stopped_at_its_limit_and_the_next_starts(hanging: Sandbox) -> None:
    finished: list[str] = []
    with bc.settings.override(sandbox_task_limit=0.3):
        stuck = ended(hanging, queue_up(hanging, "hang", finished))
    after = ended(hanging, queue_up(hanging, "after", finished))
    assert "ERROR: the task was stopped after 0.3 s, the longest that a task" in stuck.log
    assert "bc.settings.sandbox_task_limit" in stuck.log
    assert "ERROR: not done here" in after.log
    assert finished == ["hang", "after"]
    assert list((hanging.path / "studies").glob("*.part")) == []


def test_a_canceled_task_ends_and_the_next_one_starts(hanging: Sandbox) -> None:
    finished: list[str] = []
    stuck, waits, last = (queue_up(hanging, name, finished) for name in ("hang", "hang too", "last"))
    until(lambda: running(hanging, stuck))
    assert hanging.cancel_task(waits.id) is True
    assert "ERROR: the task was cancelled" in ended(hanging, waits).log  # before its turn comes
    assert not running(hanging, waits)
    assert hanging.cancel_task(stuck.id) is True
    assert "ERROR: the task was cancelled" in ended(hanging, stuck).log
    assert "ERROR: not done here" in ended(hanging, last).log
    assert sorted(finished) == ["hang", "hang too", "last"]
    assert [hanging.cancel_task(each.id) for each in (stuck, waits, last)] == [False] * 3
    with pytest.raises(InvalidArgument, match="the sandbox has no task 'none'"):
        hanging.cancel_task("none")


def test_a_thousand_tasks_that_wait_hold_up_neither_a_cancellation_nor_reset(hanging: Sandbox) -> None:
    finished: list[str] = []
    stuck, *waiting = (queue_up(hanging, name, finished) for name in ["hang", *["waits"] * 1000])
    until(lambda: running(hanging, stuck))
    last = waiting[-1]
    assert hanging.cancel_task(last.id) is True
    assert "ERROR: the task was cancelled" in ended(hanging, last).log
    hanging.reset()
    after = ended(hanging, queue_up(hanging, "after", finished))
    assert "ERROR: not done here" in after.log
    assert "waits" not in finished


def test_a_task_is_cancelled_over_http_by_the_owner_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with bc.sandbox(control=True) as sandbox:
        task, _ = sandbox._state.catalog.add_task(sandbox.email, "export", {}, "")
        go_on = threading.Event()
        sandbox._state.tasks.run(task.id, lambda: {"waited": go_on.wait(PATIENCE)})
        address = f"{sandbox.url}/_sandbox/tasks/{task.id}"
        assert requests.delete(address, timeout=PATIENCE).status_code == 401
        headers = {"bioturing-api-token": sandbox.token}
        assert requests.delete(address, headers=headers, timeout=PATIENCE).json() == {"cancelled": True}
        go_on.set()
        assert "ERROR: the task was cancelled" in ended(sandbox, task).log
        assert requests.delete(f"{address}0", headers=headers, timeout=PATIENCE).status_code == 422


def test_a_hanging_download_does_not_block_the_next_task(hanging: Sandbox) -> None:
    finished: list[str] = []
    runner, catalog, never = hanging._state.tasks, hanging._state.catalog, threading.Event()
    task, _ = catalog.add_task(hanging.email, "submit", {"hash_id": "far"}, "")
    begun = threading.Event()
    runner.submit(task.id, {"batches": []}, lambda say: [begun.set(), never.wait()], lambda: finished.append("far"))
    assert begun.wait(PATIENCE)
    after = queue_up(hanging, "after", finished)
    assert hanging.cancel_task(task.id)
    assert "ERROR: not done here" in ended(hanging, after).log
    assert "ERROR: the task was cancelled" in ended(hanging, task).log
    assert finished == ["far", "after"]
    # The abandoned download of the first task ends while another is running, which it must not affect.
    begun.clear()
    go_on, fetched = threading.Event(), []
    third, _ = catalog.add_task(hanging.email, "submit", {"hash_id": "third"}, "")
    runner.submit(
        third.id,
        {"batches": [{"name": "third"}]},
        lambda say: [begun.set(), go_on.wait(PATIENCE), fetched.append(1)],
        lambda: None,
    )
    assert begun.wait(PATIENCE)
    never.set()
    until(lambda: sum(thread.name == "biocolab-sandbox-work" for thread in threading.enumerate()) == 1)
    go_on.set()
    assert "ERROR: not done here" in ended(hanging, third).log
    assert fetched == [1]


SECRETS = {
    "BIOCOLAB_PRIVATE_TOKEN": "aaaa1111", "BIOCOLAB_SANDBOX_TOKEN": "aaaa1112", "AWS_ACCESS_KEY_ID": "aaaa1113",
    "AWS_PROFILE": "aaaa1114", "HF_TOKEN": "aaaa1115", "OPENAI_API_KEY": "aaaa1116", "MY_SECRET": "aaaa1117",
    "SECRET_OF_MINE": "aaaa1118", "PGPASSWORD": "aaaa1119", "DB_PASSWORD": "aaaa1120", "GITHUB_PAT": "aaaa1121",
    "GOOGLE_APPLICATION_CREDENTIALS": "aaaa1122", "DATABASE": "postgres://me:aaaa1123@host/x",
    "https_proxy": "http://aaaa1124.example", "lower_api_token": "aaaa1125", "MYSQL_PWD": "aaaa1127",
    "INNOCENT": "it is aaaa1126!",
}  # fmt: skip
KEPT = {
    "PATH": os.environ["PATH"], "PWD": "aa", "OLDPWD": "ab", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "2",
    "BIOCOLAB_MEMORY_BUDGET": "1000000000",
}  # fmt: skip


def test_the_environment_of_a_worker_has_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**SECRETS, **KEPT}.items():
        monkeypatch.setenv(name, value)
    with bc.settings.override(bioflex_token="aaaa1126"):
        found = worker_environment(tmp_path / "worker.log")
    assert {value for value in found.values() if "aaaa11" in value} == set()
    assert {name: found[name] for name in KEPT} == KEPT


@pytest.mark.usefixtures("cold_workers")
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads the variables of a process from /proc")
def test_the_process_of_a_worker_has_no_secrets(monkeypatch: pytest.MonkeyPatch, own: Sandbox) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with bc.settings.override(bioflex_token="aaaa1126"):
        own._state.tasks.warm_up()
    # Empty for a moment, while the new program replaces the process image.
    content = until(Path(f"/proc/{own._state.tasks._worker.pid}/environ").read_bytes)
    assert b"PATH=" in content
    assert b"aaaa11" not in content


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system cannot stop a process")
def test_a_worker_that_was_stopped_while_it_was_given_a_long_job_holds_up_neither_reset_nor_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_STOP_SECONDS", 0.2)
    ad.AnnData(np.eye(9, dtype=np.float32)).write_h5ad(tmp_path / "x.h5ad")
    # A pipe holds 64 kB of it.
    batches = {f"Batch_{i}": {"matrix": "x.h5ad", "name": f"b{i}" + "x" * 100} for i in range(2000)}
    with bc.sandbox() as server:
        bucket = server.add_bucket(tmp_path)
        for end in (server.reset, server.close):
            server._state.tasks.warm_up()
            worker = server._state.tasks._worker
            os.kill(worker.pid, signal.SIGSTOP)
            answer = Wire(server).post("submit_study_from_s3", {**BODY, "s3_id": bucket, "batch_info": batches})
            task_id = answer.json()["data"]["id"]
            until(lambda task_id=task_id: server._state.catalog.task(task_id, server.email).status == "RUNNING")
            ending = threading.Thread(target=end, daemon=True)
            ending.start()
            ending.join(PATIENCE)
            assert not ending.is_alive()
            assert worker.poll() is not None
