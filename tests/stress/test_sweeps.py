"""A short form of each sweep; the full ones have their own commands (CONTRIBUTING.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from biocolab_accessor.sandbox.server import Sandbox
from tests.stress import faults, fuzz, hostile, kill, secrets

pytestmark = pytest.mark.sweeps


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the sweep forks the server")
def test_what_was_committed_outlives_kills(tmp_path: Path) -> None:
    found = kill.sweep(tmp_path / "sandbox", 4, seed=1)
    assert found.wrong == []
    assert found.committed > 0


@pytest.mark.parametrize("way", [fuzz.over_asgi, fuzz.over_socket])
def test_no_request_breaks_the_server_or_leaves_the_folder(
    way: Callable[..., fuzz.Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    # The process of the server needs what this one finds.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    found = way(outer, 100, 7)
    assert found.wrong == []
    assert fuzz.strays(outer) == []
    assert found.statuses[200] > 10


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the sweep reads its memory from /proc")
def test_no_answer_crashes_hangs_or_is_believed_that_cannot_be(server: Sandbox) -> None:
    found = hostile.sweep(25, seed=5, running=server)
    assert found.wrong == []
    assert sum(found.outcomes.values()) == 25
    assert found.outcomes["typed error"] > 6


def test_a_fault_costs_an_attempt_and_never_a_study(server: Sandbox, tmp_path: Path) -> None:
    """Some of the faults of each run; the whole table is the sweep's own."""
    found = faults.sweep(tmp_path, every=149, running=server)
    assert found.wrong == []
    assert found.cases >= 9


@pytest.mark.parametrize("wording", ["strict", "body"])
def test_a_fault_of_a_server_with_other_words_costs_no_study(server: Sandbox, tmp_path: Path, wording: str) -> None:
    found = faults.sweep(tmp_path, only="submit", every=61, wording=wording, running=server)
    assert found.wrong == []


def test_a_session_leaves_its_token_nowhere(tmp_path: Path) -> None:
    done = secrets.session(tmp_path, whole=False)
    assert done.returncode == 0, (tmp_path / "left" / "output.txt").read_text()[-2000:]
    assert secrets.find(tmp_path) == []
    # What was searched is really there: logs at DEBUG, tracebacks, pickles, the ledger, studies.
    output = (tmp_path / "left" / "output.txt").read_text()
    assert "DEBUG:urllib3" in output
    assert output.count("Traceback (most recent call last)") > 20
    left = {path.name for path in (tmp_path / "left").iterdir()}
    assert {"requests.csv", "submission.pickle", "cells.pickle", "graph.pickle", "written.h5ad"} <= left


@pytest.mark.parametrize("spelled", range(8))
def test_the_search_for_tokens_finds_them(tmp_path: Path, spelled: int) -> None:
    ways = list(secrets._spellings(secrets.TOKENS["right"]))
    if spelled == len(ways):
        with h5py.File(tmp_path / "x.h5ad", "w") as file:
            file.create_dataset(
                "uns/x", data=[secrets.TOKENS["right"]] * 9, compression="gzip", dtype=h5py.string_dtype()
            )
    else:
        (tmp_path / "log.txt").write_bytes(b"x " + ways[spelled][1] + b" y")
    assert len(secrets.find(tmp_path)) >= 1
    (tmp_path / "clean").mkdir()
    assert secrets.find(tmp_path / "clean") == []
