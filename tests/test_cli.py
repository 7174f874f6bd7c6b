from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.sandbox.server import Sandbox

pytestmark = pytest.mark.usefixtures("server")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(counts: ad.AnnData, tmp_path: Path) -> Path:
    counts.write_h5ad(tmp_path / "x.h5ad")
    return tmp_path / "x.h5ad"


def test_submit_studies_and_pull_are_the_two_roads(file: Path, counts: ad.AnnData, tmp_path: Path) -> None:
    done = run("submit", file, "--study-id", "by_cli", "--skip-dimred", "--author", "A", "--json")
    assert done.exit_code == 0, done.output
    (submitted,) = json.loads(done.stdout)
    assert (submitted["study_id"], submitted["status"]) == ("by_cli", "SUCCESS")
    listed = json.loads(run("studies", "--json").stdout)
    assert submitted["uuid"] in [row["uuid"] for row in listed]
    target = tmp_path / "back.h5ad"
    pulled = run("pull", submitted["uuid"], "-o", target, "--source", "bbrowserx", "--layer", "lognorm", "--json")
    assert json.loads(pulled.stdout)[0]["cells"] == 60
    back = ad.read_h5ad(target)
    np.testing.assert_array_equal(back.X.toarray(), counts.X.toarray())
    assert "lognorm" in back.layers
    assert run("pull", "PBMC68k_reduced", "-o", target, "--gene", "LYZ").exit_code == 0
    assert ad.read_h5ad(target).shape == (700, 1)


def test_tables_are_for_people(server: Sandbox) -> None:
    assert "Personal workspace" in run("groups").stdout
    assert "nothing there" in run("studies", "--species", "others").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["studies", "personnal"], "UnknownGroup: there is no group 'personnal' (did you mean 'personal'?)"),
        (["pull", "nobody", "-o", "x.h5ad"], "UnknownStudy"),
        (["submit", "nowhere.h5ad"], "InvalidFile: there is no file nowhere.h5ad"),
        (["check", "nowhere.h5ad"], "InvalidFile"),
    ],
)
def test_errors_are_one_message_and_exit_code_1(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output


def test_check_says_what_stands_in_the_way(file: Path, counts: ad.AnnData, tmp_path: Path) -> None:
    good = run("check", file)
    assert good.exit_code == 0
    counts.X = np.full(counts.shape, np.nan, np.float32)
    counts.write_h5ad(tmp_path / "bad.h5ad")
    bad = run("check", tmp_path / "bad.h5ad")
    assert bad.exit_code == 1
    assert "2,400 NaN" in bad.stdout
    assert json.loads(run("check", tmp_path / "bad.h5ad", "--json").stdout)[0]["severity"] == "error"


def test_every_command_has_help() -> None:
    for command in ("demo", "sandbox", "submit", "pull", "groups", "studies", "check"):
        assert run(command, "--help").exit_code == 0


def test_without_a_server_every_place_is_listed(no_connection: None) -> None:
    done = run("groups")
    assert done.exit_code == 1
    assert "BIOCOLAB_PRIVATE_HOST" in done.stderr
    assert bc.settings.private_host == ""
