"""Files that a killed sandbox left behind, and how the next one handles them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.state import State
from tests.patience import PATIENCE, until
from tests.sandbox.wire import BODY, Wire


def test_files_that_nothing_refers_to_are_removed_and_others_stay(counts: ad.AnnData, tmp_path: Path) -> None:
    with bc.sandbox(tmp_path) as server:
        counts.biocolab.submit(study_id="kept", skip_dimred=True)
        where = Wire(server).upload("waits.h5ad", [b"one", b"two"], [1])
        public = {record.uuid for record in server._state.catalog.studies()}
    kept = {path.name for path in (tmp_path / "studies").iterdir()}
    waiting = {path.name for path in (tmp_path / "uploads").iterdir()}
    (tmp_path / "studies" / f"{uuid.uuid4().hex}.part").mkdir()
    (tmp_path / "studies" / uuid.uuid4().hex).mkdir()
    (tmp_path / "uploads" / f"{uuid.uuid4().hex}.part").write_bytes(b"half a chunk")
    (tmp_path / "exports" / "x.part").write_bytes(b"half a file")
    (tmp_path / "exports" / "new.h5ad").write_bytes(b"x")
    (tmp_path / "exports" / "old.h5ad").write_bytes(b"x")
    os.utime(tmp_path / "exports" / "old.h5ad", (0, 0))
    with bc.sandbox(tmp_path) as server:
        assert {path.name for path in (tmp_path / "studies").iterdir()} - public == kept - public
        assert {path.name for path in (tmp_path / "uploads").iterdir()} == waiting
        assert [path.name for path in (tmp_path / "exports").iterdir()] == ["new.h5ad"]
        again = bc.study("kept", source="bbrowserx").to_anndata()
        np.testing.assert_array_equal(again.X.toarray(), counts.X.toarray())
        # The interrupted upload continues.
        refused = Wire(server).submit(where, ["waits.h5ad"])
        assert "1 of 2 chunks of 'waits.h5ad' are missing, the first is 0" in refused.json()["detail"]


def test_an_interrupted_assembly_of_chunks_starts_again(server: Sandbox) -> None:
    wire, folder = Wire(server), uuid.uuid4().hex
    where = wire.upload("x.bin", [b"first", b"second", b"third"], folder=folder)
    uploads = server._state.uploads
    (record,) = server._state.catalog.uploads(folder, server.email)
    # The state after a server was killed when it had appended half of the second chunk.
    with (server.path / "uploads" / record.id / "chunk_0").open("ab") as file:
        file.write(b"sec")
    (path,) = uploads.files(server.email, where).values()
    assert path.read_bytes() == b"firstsecondthird"
    assert uploads.files(server.email, where) == {"x.bin": path}
    assert [entry.name for entry in path.parent.iterdir()] == ["whole"]


def test_an_upload_that_is_just_being_submitted_is_not_forgotten(
    server: Sandbox, counts: ad.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, state = Wire(server), server._state
    where = wire.upload("x.h5ad", [counts.biocolab.to_h5ad(tmp_path / "x.h5ad").read_bytes()])
    add_task, forgetting = state.catalog.add_task, threading.Thread(target=state.uploads.forget_waiting)

    def add(*arguments: Any) -> Any:
        forgetting.start()
        forgetting.join(0.3)  # long enough to forget, if nothing keeps it from doing so
        return add_task(*arguments)

    monkeypatch.setattr(state.catalog, "add_task", add)
    task = wire.submit(where, ["x.h5ad"]).json()["data"]["id"]
    assert wire.finish(task)[0] == "SUCCESS"
    forgetting.join()


def test_a_task_that_was_running_ends_as_interrupted_and_one_that_had_ended_is_committed_later(
    counts: ad.AnnData, tmp_path: Path
) -> None:
    content = counts.biocolab.to_h5ad(tmp_path / "x.h5ad").read_bytes()
    with bc.sandbox(tmp_path / "data") as server:
        wire = Wire(server)
        done = wire.submit(wire.upload("x.h5ad", [content], folder="a"), ["x.h5ad"]).json()["data"]["id"]
        assert wire.finish(done)[0] == "SUCCESS"
        running, _ = server._state.catalog.add_task(server.email, "submit", {**BODY, "hash_id": "r"}, "p")
        server._state.catalog.set_task(running.id, "RUNNING")
        server._state.catalog.log_line(running.id, "Running PCA")
    with bc.sandbox(tmp_path / "data") as server:
        wire = Wire(server)
        state = wire.data("get_submission_log", {"task_id": running.id})
        assert state["status"] == "ERROR"
        assert re.search(r"Running PCA\n.*Interrupted: the server was stopped; submit again", state["log"])
        info = wire.post("commit_submission_result", {"group_id": "personal", "task_id": done}).json()["study_info"]
        again = bc.study(info["uuid"], source="bbrowserx").to_anndata()
        np.testing.assert_array_equal(again.X.toarray(), counts.X.toarray())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.sweeps
def test_the_worker_exits_if_the_server_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "biocolab_accessor", "sandbox", "--path", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = ""
    while "Ctrl-C" not in said:
        said += process.stdout.readline()
    route = f"{re.search(r'http://[0-9.:]+', said)[0]}/t2d_index_tool/api/v1/add_file_upload"
    token = (tmp_path / "token").read_text().strip()
    body = {"folder_id": "f", "n_chunks": 1, "original_file_name": "x.h5ad"}  # which wakes the worker
    requests.post(route, json=body, headers={"bioturing-api-token": token}, timeout=10).raise_for_status()
    (worker,) = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    process.stdout.close()
    until(lambda: _state(worker) == "Z")


def _children(pid: int) -> list[int]:
    stats = [(path.parent.name, path.read_text()) for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return [int(name) for name, stat in stats if int(stat.rpartition(")")[2].split()[1]) == pid]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def test_a_listed_study_is_on_disk_before_it_is_listed(tmp_path: Path, counts: ad.AnnData) -> None:
    """A study is written and renamed to its final name before its record exists."""
    seen: list[bool] = []
    with bc.sandbox(tmp_path) as server:
        state: State = server._state
        add = state.catalog.add_study

        def adding(record: object) -> None:
            seen.append((tmp_path / "studies" / record.uuid).is_dir())
            add(record)

        state.catalog.add_study = adding
        server.add_study("public", counts)
        counts.biocolab.submit(study_id="own", skip_dimred=True)
    assert seen == [True, True]
    catalog = (tmp_path / "catalogue.sqlite").read_bytes()
    assert server.token.encode() not in catalog
    assert json.dumps("own").encode() in catalog or b"own" in catalog
