"""Closing a sandbox does not wait for the disk: assembling, reading and logging stop."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import biocolab_accessor as bc
from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.sandbox.store.catalog import UPLOAD_PREFIX
from biocolab_accessor.sandbox.store.files import remove_all, remove_folder


def folders(place: Path, number: int) -> list[Path]:
    made = [place / f"{i}" for i in range(number)]
    for path in made:
        path.mkdir(parents=True)
        (path / "whole").write_bytes(b"x")
    return made


@pytest.mark.parametrize("number", [0, 3, 200])
def test_many_folders_are_removed_and_missing_ones_are_ignored(tmp_path: Path, number: int) -> None:
    kept, *gone = folders(tmp_path, number + 1)
    (tmp_path / "file").touch()
    remove_all([*gone, tmp_path / "file", tmp_path / "never there"])
    assert list(tmp_path.iterdir()) == [kept]


def test_folders_are_removed_even_if_threads_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        msg = "can't create new thread at interpreter shutdown"
        raise RuntimeError(msg)

    folders(tmp_path / "data" / "uploads", 100)
    monkeypatch.setattr(threading.Thread, "start", start)
    remove_folder(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_closing_sandbox_stops_assembling_files_and_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    with bc.sandbox() as server:
        state, user = server._state, server.email
        for i in range(3):
            record = state.uploads.announce(user, {"n_chunks": 1, "folder_id": "f", "original_file_name": f"{i}.tsv"})
            part = state.uploads.incoming()
            part.write_text("\tc1\nA\t1\n")
            state.uploads.take_chunk(user, {"id": record.id, "folder_id": "f", "chunk": 0}, part)
        assert sorted(state.uploads.files(user, f"{UPLOAD_PREFIX}f")) == ["0.tsv", "1.tsv", "2.tsv"]

        class Worker:
            """A worker with a thousand log lines that were not read yet."""

            stdin = type("Pipe", (), {"write": lambda *_: None, "flush": lambda *_: None})()
            stdout = iter([json.dumps({"log": f"Reading batch: {i}"}) for i in range(1000)])

        logged: list[Any] = []
        tasks = state.tasks
        monkeypatch.setattr(tasks, "_worker", Worker())
        monkeypatch.setattr(state.catalog, "log_line", lambda *line: logged.append(line))
        monkeypatch.setattr(tasks, "_closed", True)
        assert tasks._converse("task", {}) == "the server was stopped"
        assert logged == []
        monkeypatch.undo()
        state.stop()
        with pytest.raises(HTTPError, match="the server was stopped"):
            state.uploads.files(user, f"{UPLOAD_PREFIX}f")
        state.uploads.drop(user, f"{UPLOAD_PREFIX}f")
        assert len(list((server.path / "uploads").iterdir())) == 3  # they go with the folder
    assert not server.path.exists()
