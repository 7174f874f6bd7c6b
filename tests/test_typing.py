"""A user's own script passes a strict type checker, and runs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox

_SCRIPTS = Path(__file__).parent / "typed"


@pytest.mark.notebooks
def test_a_users_script_passes_mypy_strict_and_mistakes_do_not(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The package is found as any that is installed: by its ``py.typed``, and without a configuration of ours."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    command.append("--disable-error-code=import-untyped")  # anndata has types from 0.13 on
    command += [f"--cache-dir={pytestconfig.cache.mkdir('mypy')}"]
    for script in ("both_roads.py", "mistakes.py"):
        (tmp_path / script).write_text((_SCRIPTS / script).read_text(encoding="utf-8"), encoding="utf-8")
        command.append(script)
    path = os.pathsep.join(filter(None, [str(Path(bc.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_script_does_what_it_says(server: Sandbox) -> None:
    import_module("tests.typed.both_roads").main()
