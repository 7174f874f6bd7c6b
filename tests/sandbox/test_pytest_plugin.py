"""The plugin: tests of other projects get a sandbox, which is imported only when they request it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from biocolab_accessor.sandbox.faults.faults import KINDS

# Plugins of libraries that are installed here, which load them for a second or two.
_LIGHT = ("-p", "no:fast_array_utils", "-p", "no:zarr", "-p", "no:hypothesispytest")
_PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


@pytest.mark.notebooks
def test_the_documented_example_passes_in_another_project(pytester: pytest.Pytester) -> None:
    example = re.search(r"```python\n(.*?)```", _PAGE, re.DOTALL)[1]
    pytester.makepyfile(test_markers=example)
    pytester.runpytest_subprocess(*_LIGHT).assert_outcomes(passed=2)


@pytest.mark.sweeps
def test_each_test_has_its_own_sandbox_and_the_session_shares_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import anndata, numpy, pytest, threading
        import biocolab_accessor as bc

        @pytest.mark.parametrize("turn", [0, 1])
        def test_own(biocolab_sandbox, turn):
            biocolab_sandbox.add_study("mine", anndata.AnnData(numpy.eye(3, dtype="float32")))
            assert bc.study("mine").to_anndata().shape == (3, 3)

        @pytest.mark.parametrize("turn", [0, 1])
        def test_shared(biocolab_sandbox_session, turn):
            assert len(biocolab_sandbox_session.requests) == turn
            bc.groups()

        def test_the_own_one_is_closed():
            assert sum(thread.name == "biocolab-sandbox" for thread in threading.enumerate()) == 1
        """
    )
    pytester.runpytest_subprocess(*_LIGHT, "-v").assert_outcomes(passed=5)


def test_a_run_without_a_sandbox_does_not_import_the_package(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_light():
            assert "pytest_biocolab" in sys.modules
            assert "biocolab_accessor" not in sys.modules
        """
    )
    pytester.runpytest_subprocess(*_LIGHT).assert_outcomes(passed=1)


def test_pytest_lists_the_fixtures_with_their_descriptions(pytester: pytest.Pytester) -> None:
    said = str(pytester.runpytest_subprocess(*_LIGHT, "--fixtures", "-q").stdout)
    assert "biocolab_sandbox_session [session scope]" in said
    assert "A BioTuring sandbox for this test alone" in said


def test_the_page_lists_every_fault_with_its_options() -> None:
    for kind, (what, options) in KINDS.items():
        shown = ", ".join(f"`{name}={value!r}`" for name, value in options.items()) or "none"
        assert f"| `{kind}` | {what} | {shown} |" in _PAGE
