from __future__ import annotations

import json

from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.messages import counted
from biocolab_accessor.sandbox.server import Sandbox


def test_doctor_exits_with_0_if_nothing_is_broken(server: Sandbox) -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "topic\tsubject\tstate\tmessage\tfix"
    notes = [line.split("\t")[2] for line in done.stdout.splitlines()].count("note")
    assert done.stderr.strip() == ("no problems found" if not notes else f"no problems found, {counted(notes, 'note')}")


def test_doctor_shows_fixes_and_no_token(no_connection: None) -> None:
    with bc.settings.override(private_host="http://127.0.0.1:9/", private_token="e3b0c44298fc1c149afb"):
        done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    broken = [row for row in json.loads(done.stdout) if row["state"] == "broken"]
    assert [(row["topic"], row["subject"]) for row in broken] == [("server", "BBrowserX")]
    assert broken[0]["fix"]
    assert "e3b0c44298fc1c149afb" not in done.output


def test_doctor_counts_every_state_that_it_shows(no_connection: None) -> None:
    done = CliRunner().invoke(app, ["doctor", "--no-network"])
    states = [line.split("\t")[2] for line in done.stdout.splitlines()]
    assert states.count("broken") == 1
    assert states.count("note") >= 4  # no key file, and none of the three servers is set up
    assert done.stderr.strip() == f"1 broken, {states.count('note')} notes"
