"""The command of the demo: how its result is told. That the demo is exact is run in tests/cli/test_demo_run.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from biocolab_accessor.cli import app, demo


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Runs the command with a result that is given: one that is not exact cannot be had otherwise."""

    def run(*arguments: str, exact: bool) -> Result:
        def result(picture: Path, say: demo.Say, stage: demo.Say) -> demo.DemoResult:
            stage("running UMAP")
            say("559 cells went out")
            say(f"saved to {picture}")
            return demo.DemoResult(559, 32_786, 3_083_577, exact, picture, 12.3)

        monkeypatch.setattr(demo, "run_demo", result)
        return CliRunner().invoke(app, ["demo", "--picture", str(tmp_path / "umap [b] [/i].png"), *arguments])

    return run


def test_an_exact_round_trip_is_reported_with_its_numbers(ended: object, tmp_path: Path) -> None:
    done = ended(exact=True)
    assert done.exit_code == 0
    assert "✓ 559 cells went out" in done.stdout
    assert "exact: 559 cells x 32,786 genes, 3,083,577 counts compared bit for bit, in 12 s" in done.stdout
    assert str(tmp_path / "umap [b] [/i].png") in done.stdout


def test_the_json_option_prints_json_only(ended: object, tmp_path: Path) -> None:
    done = ended("--json", exact=True)
    told = json.loads(done.stdout)
    assert (told["n_obs"], told["exact"], told["picture"]) == (559, True, str(tmp_path / "umap [b] [/i].png"))
    assert "✓ 559 cells went out" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_an_inexact_round_trip_exits_with_1(ended: object, arguments: list[str]) -> None:
    done = ended(*arguments, exact=False)
    assert done.exit_code == 1
    assert "was not exact" in done.stderr
    assert "compared bit for bit" not in done.stdout
