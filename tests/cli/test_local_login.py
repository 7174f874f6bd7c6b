from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from typer.testing import CliRunner, Result

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.sandbox.server import Sandbox
from tests.keyrings import InMemory, Locked
from tests.patience import PATIENCE
from tests.warm import start_python

pytestmark = pytest.mark.usefixtures("no_connection")

_ELSEWHERE = "https://company.example/t2d_index_tool/"


@pytest.fixture
def ring() -> Iterator[InMemory]:
    """The keyring of the system, which is empty."""
    before, ring = keyring.get_keyring(), InMemory()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def run(*arguments: str, token: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=token)


@pytest.mark.parametrize("source", ["bbrowserx", "talk2data", "bioflex"])
def test_a_token_is_verified_stored_used_and_removed(source: str, server: Sandbox, ring: InMemory) -> None:
    setting = {"bbrowserx": "private_host", "talk2data": "public_host", "bioflex": "bioflex_host"}[source]
    host = getattr(server, setting)
    done = run("login", host, "--source", source, "--token-stdin", token=f"{server.token}\n")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"The token for {host} is in the keyring of this machine.\n"
    assert ring.entries == {host: server.token, setting: host}
    found = bc.EConnector().credentials(source)
    assert (found.host, found.token.origin) == (host, "the keyring (biocolab login)")
    if source == "bbrowserx":
        assert json.loads(run("groups", "--json").stdout)[0]["name"] == "All members"
    done = run("logout", "--source", source)
    assert (done.exit_code, done.stderr) == (0, f"The token for {host} was removed from the keyring.\n")
    assert ring.entries == {}


@pytest.mark.parametrize("options", [[], ["--no-verify"]])
def test_a_token_that_the_server_refuses_is_stored_only_without_asking_it(
    options: list[str], server: Sandbox, ring: InMemory
) -> None:
    done = run("login", server.private_host, "--token-stdin", *options, token="not-this-one")
    if options:
        assert (done.exit_code, ring.entries[server.private_host]) == (0, "not-this-one")
    else:
        assert (done.exit_code, ring.entries) == (5, {})
        assert "Nothing was stored. --no-verify" in done.stderr
    assert "not-this-one" not in done.output


def test_a_token_that_does_not_come_first_is_a_warning(ring: InMemory) -> None:
    with bc.settings.override(private_host=_ELSEWHERE, private_token="of-the-environment"):
        done = run("login", "--token-stdin", "--no-verify", token="of-the-keyring")
        assert ring.entries[_ELSEWHERE] == "of-the-keyring"
        said = "warning: the token from $BIOCOLAB_PRIVATE_TOKEN comes first"
        assert said in done.stderr
        done = run("login", "https://lab.example/", "--token-stdin", "--no-verify", token="of-the-keyring")
        assert f"warning: the host '{_ELSEWHERE}' from $BIOCOLAB_PRIVATE_HOST" in done.stderr
    assert "of-the-" not in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["login", _ELSEWHERE], 2, "stdin is not a terminal, where the token could be typed: pipe it in"),
        (["login", "--token-stdin"], 2, "the address of the BBrowserX private server is missing: biocolab login https"),
        (["login", _ELSEWHERE, "--token-stdin"], 3, "InvalidToken: the token from stdin is empty"),
        (["login", "http://company.example/", "--token-stdin"], 3, "InsecureHost"),
        (["login", "https://me:pass%40company.example/", "--token-stdin"], 3, "InvalidHost"),
        (["login", _ELSEWHERE, "--token", "x"], 2, "No such option: --token"),
        (["logout"], 3, "nothing to remove: no token for the BBrowserX private server in the keyring"),
        (["logout", _ELSEWHERE], 3, f"nothing to remove: no token for {_ELSEWHERE} in the keyring"),
    ],
)
def test_wrong_arguments_are_errors_and_nothing_is_stored(
    arguments: list[str], code: int, said: str, ring: InMemory
) -> None:
    done = run(*arguments)
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
    assert ring.entries == {}


@pytest.mark.parametrize("kind", ["locked", "missing"])
def test_a_machine_without_a_keyring_says_what_to_do(
    kind: str, ring: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "locked":
        keyring.set_keyring(Locked())
        said = "Failed to unlock the collection. Set the token in the environment or in the key file instead"
    else:
        monkeypatch.setitem(sys.modules, "keyring", None)
        said = "pip install 'biocolab_accessor[keyring]'"
    done = run("login", _ELSEWHERE, "--token-stdin", "--no-verify", token="of-the-keyring")
    assert (done.exit_code, said in done.stderr) == (3, True), done.stderr
    assert run("logout", _ELSEWHERE).exit_code == 3


def test_a_terminal_asks_for_host_and_token_and_shows_no_token(server: Sandbox) -> None:
    pty = pytest.importorskip("pty", reason="the system has no pseudo-terminals")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHON_KEYRING_BACKEND": "tests.keyrings.InFile", "TERM": "dumb"}
    process = start_python(
        ["-m", "biocolab_accessor", "login"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    seen = ""
    answers = {"Address of the BBrowserX private server: ": server.private_host, "(it is not shown): ": server.token}
    while True:
        try:
            piece = os.read(ours, 65536).decode()
        except OSError:  # Linux says so when the other side has closed
            break
        seen += piece
        for question in [each for each in answers if seen.endswith(each)]:
            os.write(ours, f"{answers.pop(question)}\n".encode())
    os.close(ours)
    assert process.wait(PATIENCE) == 0, seen
    assert f"The token for {server.private_host} is in the keyring of this machine." in seen
    assert server.token not in seen
    stored = Path(os.environ["HOME"]) / "keyring.json"
    assert json.loads(stored.read_text()) == {server.private_host: server.token, "private_host": server.private_host}
