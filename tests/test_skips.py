"""Skips in CI: one that is not allowed fails the session, and is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SOME = """
    import pytest

    def test_that_runs():
        pass

    @pytest.mark.skip(reason="there is no Chromium here")
    def test_that_needs_a_browser():
        pass

    @pytest.mark.skip(reason="real data file x.h5ad is not here (set BIOCOLAB_TEST_DATA)")
    def test_that_needs_data():
        pass
"""


@pytest.fixture
def ran(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> object:
    """The result of a session of its own with one test that runs, and two and a module that are skipped."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # ours imports the package
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    pytester.makepyfile(test_some=SOME, test_module="import pytest\npytest.importorskip('no_such_package')")

    def run(*arguments: str, ci: str, data: Path) -> pytest.RunResult:
        monkeypatch.setenv("CI", ci)
        monkeypatch.setenv("BIOCOLAB_TEST_DATA", str(data))
        return pytester.runpytest_subprocess("-p", "xdist.plugin", "-p", "tests.skips", *arguments)

    return run


@pytest.mark.sweeps
def test_a_skip_that_is_not_allowed_fails_the_session_in_ci(ran: object, tmp_path: Path) -> None:
    result = ran("-n2", ci="true", data=tmp_path / "absent")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    # Each worker has skipped the module.
    assert sorted(line for line in result.outlines if line.startswith("UNEXPECTED SKIP")) == [
        "UNEXPECTED SKIP test_module.py: could not import 'no_such_package': No module named 'no_such_package'",
        "UNEXPECTED SKIP test_some.py::test_that_needs_a_browser: there is no Chromium here",
    ]
    assert "1 passed, 3 skipped" in result.outlines[-1]


def test_a_skip_for_want_of_data_is_not_allowed_where_the_data_are(ran: object, tmp_path: Path) -> None:
    result = ran(ci="true", data=tmp_path)
    assert [line.partition("::")[2].partition(":")[0] for line in result.outlines if "UNEXPECTED" in line] == [
        "",
        "test_that_needs_a_browser",
        "test_that_needs_data",
    ]


def test_elsewhere_a_skip_fails_nothing(ran: object, tmp_path: Path) -> None:
    result = ran(ci="", data=tmp_path)
    assert result.ret == pytest.ExitCode.OK
    assert "UNEXPECTED" not in result.stdout.str()
