"""A short form of each sweep; the full ones have their own commands (CONTRIBUTING.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sweeps import fuzz, kill


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the sweep forks the server")
def test_what_was_committed_outlives_kills(tmp_path: Path) -> None:
    found = kill.sweep(tmp_path / "sandbox", 6, seed=1)
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
    found = way(outer, 150, 7)
    assert found.wrong == []
    assert fuzz.strays(outer) == []
    assert found.statuses[200] > 10
