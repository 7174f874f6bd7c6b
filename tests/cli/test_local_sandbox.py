"""The command: what it prints works where it is pasted, and it ends as it is told to."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor.sandbox.store.catalog import DEFAULT_TOKEN
from tests.patience import PATIENCE
from tests.warm import Program, start_python

Process = Program | subprocess.Popen[str]
Start = Callable[..., tuple[Process, str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the command, and give it with what it printed."""
    running: list[Process] = []

    def begin(*arguments: object, **variables: str) -> tuple[Process, str]:
        command = ["-m", "biocolab_accessor", "sandbox", *map(str, arguments)]
        process = start_python(command, env={**os.environ, **variables}, stderr=subprocess.STDOUT)
        running.append(process)
        said = ""
        for line in process.stdout:
            said += line
            if "Press Ctrl-C to stop it" in line:
                break
        return process, said

    yield begin
    for process in running:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE)
        process.stdout.close()


def _url(said: str) -> str:
    return re.search(r"http://127\.0\.0\.1:\d+", said)[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sandbox_ends_with_a_signal_and_without_a_traceback(start: Start, number: signal.Signals) -> None:
    process, said = start()
    folder = Path(re.search(r"data in (\S+)", said)[1])
    assert folder.is_dir()
    process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait(PATIENCE) == 0
    assert rest.strip() in ("", "^C")
    assert not folder.exists()


@pytest.mark.sweeps
def test_the_printed_lines_work_when_pasted(start: Start, counts: ad.AnnData, tmp_path: Path) -> None:
    counts.write_h5ad(tmp_path / "x.h5ad")
    _, said = start("--path", tmp_path / "d", "--study", f"mine={tmp_path / 'x.h5ad'}")
    shell = "\n".join(line for line in said.splitlines() if line.startswith("export "))
    python = said[said.index("import biocolab_accessor") : said.index("Press Ctrl-C")]
    fetch = f"import biocolab_accessor as bc; bc.study('mine').to_anndata().write_h5ad({str(tmp_path / 'back.h5ad')!r})"
    ways = [lambda: start_python(["-c", f"{python}\n{fetch}"])]
    if shutil.which("bash"):
        command = ["bash", "-c", f"{shell}\n{sys.executable} -c {fetch!r}".replace("\\'", "'")]
        ways.append(lambda: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for way in ways:
        process = way()
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
        np.testing.assert_array_equal(ad.read_h5ad(tmp_path / "back.h5ad").X.toarray(), counts.X.toarray())
        (tmp_path / "back.h5ad").unlink()


def test_the_random_token_is_printed_in_the_lines_and_kept_with_a_path(start: Start, tmp_path: Path) -> None:
    first, said = start("--path", tmp_path)
    token = (tmp_path / "token").read_text().strip()
    assert said.count(token) == 6  # three variables, three arguments
    assert re.search(rf"{_url(said)}/#sign-in=[0-9a-f]{{32}}\n", said)
    first.send_signal(signal.SIGTERM)
    first.wait(PATIENCE)
    assert first.stdout.read() == ""
    _, again = start("--path", tmp_path)
    assert f"private_token={token!r}," in again


def test_other_machines_connect_with_the_random_token(start: Start) -> None:
    _, said = start("--host", "0.0.0.0")
    token = re.search(r"private_token='(.*)'", said)[1]
    route = f"{_url(said)}/t2d_index_tool/api/v1/test_connection"
    headers = {"bioturing-api-token": token, "Host": "192.0.2.1:8765"}
    assert requests.post(route, json={}, headers=headers, timeout=PATIENCE).status_code == 200
    assert requests.post(route, json={}, headers={**headers, "Host": "lab"}, timeout=PATIENCE).status_code == 403


def test_a_given_token_is_required_and_never_shown(start: Start) -> None:
    _, said = start(BIOCOLAB_SANDBOX_TOKEN="only-we-know-this")
    assert "only-we-know-this" not in said
    assert 'export BIOCOLAB_PRIVATE_TOKEN="$BIOCOLAB_SANDBOX_TOKEN"' in said
    assert 'private_token=os.environ["BIOCOLAB_SANDBOX_TOKEN"],' in said
    route = f"{_url(said)}/t2d_index_tool/api/v1/test_connection"
    statuses = [
        requests.post(route, json={}, headers={"bioturing-api-token": token}, timeout=10).status_code
        for token in ("only-we-know-this", DEFAULT_TOKEN)
    ]
    assert statuses == [200, 401]


@pytest.mark.usefixtures("no_connection")
def test_the_json_has_the_hosts_and_not_the_token(counts: ad.AnnData, tmp_path: Path) -> None:
    counts.write_h5ad(tmp_path / "x [b].h5ad")
    command = ["-m", "biocolab_accessor", "sandbox", "--json", "--study", f"mine={tmp_path / 'x [b].h5ad'}"]
    process = start_python(command, env={**os.environ, "BIOCOLAB_SANDBOX_TOKEN": "only-we-know-this"})
    said = ""
    while not said.rstrip().endswith("}"):
        said += process.stdout.readline()
    hosts = json.loads(said)
    assert hosts["token_file"] is None
    with bc.settings.override(bioflex_host=hosts["bioflex_host"], bioflex_token="only-we-know-this"):
        assert bc.study("mine").n_obs == 60
    process.terminate()
    rest, told = process.communicate(timeout=PATIENCE)
    assert f"added mine from {tmp_path / 'x [b].h5ad'}" in " ".join(told.split())
    assert "only-we-know-this" not in said + rest + told


@pytest.mark.usefixtures("no_connection")
def test_a_program_reads_the_token_that_was_made_from_its_file(tmp_path: Path) -> None:
    process = start_python(["-m", "biocolab_accessor", "sandbox", "--json"])
    said = ""
    while not said.rstrip().endswith("}"):
        said += process.stdout.readline()
    hosts = json.loads(said)
    token = Path(hosts["token_file"]).read_text().strip()
    with bc.settings.override(bioflex_host=hosts["bioflex_host"], bioflex_token=token):
        assert bc.study("PBMC68k_reduced").n_obs == 700
    assert token not in said
    process.terminate()
    process.communicate(timeout=PATIENCE)


def test_a_second_sandbox_on_the_same_path_exits_with_an_error(start: Start, tmp_path: Path) -> None:
    start("--path", tmp_path)
    second, said = start("--path", tmp_path)
    assert second.wait(PATIENCE) == 1
    assert f"another sandbox uses {tmp_path}: connect to it, close it (or its notebook or terminal)" in said


@pytest.mark.usefixtures("no_connection")
def test_reset_deletes_the_data_in_the_path(start: Start, counts: ad.AnnData, tmp_path: Path) -> None:
    with bc.sandbox(tmp_path) as server:
        server.add_study("kept", counts)
    kept, said = start("--path", tmp_path)
    with bc.settings.override(bioflex_host=f"{_url(said)}/", bioflex_token=(tmp_path / "token").read_text().strip()):
        assert bc.study("kept").to_anndata().shape == counts.shape
    kept.send_signal(signal.SIGTERM)
    kept.wait(PATIENCE)
    _, said = start("--path", tmp_path, "--reset")
    with bc.settings.override(bioflex_host=f"{_url(said)}/", bioflex_token=(tmp_path / "token").read_text().strip()):
        with pytest.raises(bc.errors.UnknownStudy):
            bc.study("kept")
        assert bc.study("PBMC68k_reduced").to_anndata().n_obs == 700


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--reset"], 2, "--reset deletes the data in --path"),
        (["--port", "99999"], 1, "cannot be used"),
    ],
)
def test_invalid_arguments_are_reported_without_a_traceback(
    start: Start, arguments: list[str], code: int, words: str
) -> None:
    process, said = start(*arguments)
    assert process.wait(PATIENCE) == code
    assert words in " ".join(said.split())
    assert "Traceback" not in said
