from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import biocolab_accessor as bc
from biocolab_accessor import errors
from biocolab_accessor.cli import app
from biocolab_accessor.cli.output import code_of
from biocolab_accessor.sandbox.server import Sandbox
from tests.warm import start_python


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_folder_of_10x_is_told_the_option_that_it_needs(tmp_path: Path) -> None:
    (tmp_path / "matrix.mtx.gz").write_bytes(b"1")
    done = run("submit", str(tmp_path), "--study-type", "h5ad")
    assert done.exit_code == 1
    said = " ".join(done.stderr.split())
    assert "is a folder of a 10x matrix" in said
    assert "--study-type mtx_10x" in said
    assert "has no features.tsv or genes.tsv[.gz]" in " ".join(run("submit", str(tmp_path)).stderr.split())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["studies", "personnal"], 1, "UnknownGroup: group 'personnal' not found (did you mean 'personal'?)"),
        (["pull", "nobody", "-o", "x.h5ad"], 1, "UnknownStudy: "),
        (["pull", "nobody", "-o", "x.h5ad"], 1, "biocolab search nobody"),
        (["pull", "PBMC68k_reduced", "-o", "x.h5ad", "--genes", "LIZ"], 1, "UnknownGene: "),
        (["submit", "nowhere.h5ad"], 1, "MissingFile: nowhere.h5ad does not exist"),
        (["check", "nowhere.h5ad"], 1, "MissingFile: nowhere.h5ad does not exist"),
        (["pull", "PBMC68k_reduced"], 2, "InvalidArgument: no output file: give --output FILE.h5ad"),
        (["pull", "PBMC68k_reduced", "-o", "x.zarr"], 2, "but pull writes h5ad: use --output x.h5ad"),
        (["sandbox", "--reset"], 2, "InvalidArgument: --reset deletes the data in --path"),
        (["groups", "--source", "bioflex"], 2, "'bioflex' is not one of"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(arguments: list[str], code: int, said: str, server: Sandbox) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert "Traceback" not in done.output


def test_missing_credentials_list_every_place_and_exit_with_3(no_connection: None) -> None:
    done = run("groups")
    assert done.exit_code == 3
    assert "MissingCredentials: no host and no token for the BBrowserX private server" in done.stderr
    assert "BIOCOLAB_PRIVATE_HOST" in done.stderr
    assert bc.settings.private_host == ""


def test_a_server_without_an_answer_exits_with_4(no_connection: None) -> None:
    values = {"private_host": "http://127.0.0.1:9/", "private_token": "x", "max_retries": 0}
    with bc.settings.override(**values):
        done = run("groups")
    assert done.exit_code == 4
    assert "TransportError: " in done.stderr
    assert "Is the server running, and is the host correct?" in done.stderr


def test_a_rejected_request_exits_with_5(no_connection: None, server: Sandbox) -> None:
    with bc.settings.override(private_host=server.private_host, private_token="not-this-one"):
        done = run("groups")
    assert done.exit_code == 5
    assert "Unauthorized: " in done.stderr
    assert "not-this-one" not in done.output


def test_a_host_without_the_api_path_is_reported_with_the_right_form(no_connection: None, server: Sandbox) -> None:
    with bc.settings.override(private_host=f"{server.url}/", private_token=server.token):
        done = run("groups")
        told = next(row for row in json.loads(run("doctor", "--json").stdout) if row["state"] == "broken")
    assert done.exit_code == 5
    said = " ".join(done.stderr.split())
    assert said.endswith("The host must be the address of the API, such as https://company/t2d_index_tool/")
    assert "there is no such route: /api/v1/get_user_groups" in said
    # The doctor says it once.
    assert (told["message"], told["fix"]) == (
        f"{server.url}/ rejected the request: there is no such route: /api/v1/test_connection",
        "Check that this is the address of the API, such as https://company/t2d_index_tool/",
    )


@pytest.mark.parametrize("arguments", [["--debug", "studies", "nobody"], ["studies", "nobody", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], server: Sandbox) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "in group_id_of" in done.stderr


def test_debug_after_two_dashes_is_an_argument(server: Sandbox) -> None:
    done = run("studies", "--", "--debug")
    assert "group '--debug' not found" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_an_error_of_the_system_is_a_message(server: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("sandbox", "--path", str(tmp_path / "file" / "data"))
    assert done.exit_code == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("SandboxError: the folder ")


def test_every_own_error_has_an_exit_code_between_1_and_5() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.__name__: code_of(kind) for kind in classes if issubclass(kind, errors.BiocolabError)}
    assert set(codes.values()) == {1, 2, 3, 4, 5}
    assert (codes["CheckFailed"], codes["InvalidToken"], codes["TimedOut"], codes["TaskFailed"]) == (1, 3, 4, 5)


@pytest.mark.sweeps
def test_an_invalid_setting_is_reported_without_its_value() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "biocolab_accessor", "cache", "info"],
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "BIOCOLAB_READ_TIMEOUT": "for ever", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "ConfigurationError: " in done.stderr
    assert "$BIOCOLAB_READ_TIMEOUT: Input should be a valid number" in " ".join(done.stderr.split())
    assert "for ever" not in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_exits_with_130_and_without_a_traceback() -> None:
    code = (
        "import os, signal, threading; from biocolab_accessor.cli import app;"
        "import importlib; c = importlib.import_module('biocolab_accessor.studies.catalog');"
        "c.groups = lambda **k: os.kill(os.getpid(), signal.SIGINT) or "
        "threading.Event().wait(10); app(['groups'])"
    )
    done = start_python(["-c", code])
    _, told = done.communicate()
    assert done.returncode == 130
    assert told.strip().endswith("interrupted")
    assert "Traceback" not in told
