"""Skips: the ones that are allowed where CI runs, in which any other fails the session.

CI sets the variable ``CI``. Elsewhere pytest lists skips (``-ra``) and nothing more.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

DATA = Path(os.environ.get("BIOCOLAB_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

ALLOWED: dict[str, bool] = {
    # The real data are not part of the repository; without the whole folder their tests cannot run.
    r"set BIOCOLAB_TEST_DATA": not DATA.is_dir(),
    # Containers run as root, hosted runners do not.
    r"only root changes identity": hasattr(os, "geteuid") and os.geteuid() != 0,
    # What the test needs, a whole number that pandas cannot hold, does not exist there.
    r"pandas 3 holds any whole number as an object": int(pd.__version__.partition(".")[0]) >= 3,
    # Methods that the official class had until 1.12; with older versions they are tested.
    r"the installed bioturing_connector has no (get_ontologies_tree|assign_standardized_meta)": True,
    # What the official Lens class runs; ours needs no such command.
    r"the official client needs the command zip": shutil.which("zip") is None,
    # Each brings thirty packages for one method, and is in no group of dependencies.
    r"spatialdata is not installed": importlib.util.find_spec("spatialdata") is None,
    r"squidpy is not installed": importlib.util.find_spec("squidpy") is None,
}
"""Whether a skip is allowed here, by a pattern of its reason."""


def unexpected(skipped: list[pytest.TestReport | pytest.CollectReport]) -> Iterator[str]:
    """The skips that are not allowed here, each as a line: which test, and its reason."""
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(allowed and re.search(pattern, reason) for pattern, allowed in ALLOWED.items()):
            yield f"{report.nodeid}: {reason.removeprefix('Skipped: ')}"


def _unexpected(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    # Workers of xdist tell their controller, which has the reports of all.
    if reporter is None or hasattr(config, "workerinput") or os.environ.get("CI", "") in {"", "0", "false"}:
        return []
    # A module that is skipped while it is collected is told of by each worker.
    return list(dict.fromkeys(unexpected(reporter.stats.get("skipped", []))))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and _unexpected(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = _unexpected(config)
    if lines:
        terminalreporter.section("skips that are not expected in CI", red=True)
        terminalreporter.write_line(
            f"{len(lines)} tests were skipped that should run here; tests/skips.py has the list"
        )
        for line in lines:
            terminalreporter.write_line(f"UNEXPECTED SKIP {line}")
