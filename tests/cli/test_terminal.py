"""In a terminal, where somebody watches, answers are tables and not tab-separated lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE
from tests.warm import start_python

pty = pytest.importorskip("pty", reason="the system has no pseudo-terminals")
termios = pytest.importorskip("termios", reason="the system has no pseudo-terminals")


def seen(server: Sandbox, *arguments: object, code: int = 0, columns: int = 140) -> str:
    """What the command shows in a terminal, without colors."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    command = ["-m", "biocolab_accessor", *map(str, arguments)]
    environment = {**os.environ, **server.environment(), "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = start_python(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when the other side has closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait(PATIENCE) == code, shown.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")


def test_groups_are_a_table(server: Sandbox) -> None:
    lines = seen(server, "groups").splitlines()
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines]
    assert ["id", "name"] in rows
    assert ["personal", "Personal workspace"] in rows


def test_findings_are_shown_below_their_file(server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
    counts.X = np.full(counts.shape, np.nan, np.float32)
    counts.write_h5ad(tmp_path / "bad.h5ad")
    shown = seen(server, "check", tmp_path / "bad.h5ad", code=1)
    assert shown.index("bad.h5ad") < shown.index("BC302")
    assert "2,400 NaN" in shown
    assert "\t" not in shown


def test_errors_and_warnings_differ_without_colors(server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
    counts.X = np.full(counts.shape, np.nan, np.float32)
    counts.var_names = ["GENE0", *counts.var_names[:-1]]
    counts.write_h5ad(tmp_path / "bad.h5ad")
    shown = seen(server, "check", tmp_path / "bad.h5ad", code=1)
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:3]] for line in shown.splitlines()]
    assert ["code", "severity"] in rows
    assert ["BC302", "error"] in rows
    assert ["BC103", "warning"] in rows


def test_the_doctor_shows_marks_and_fixes(server: Sandbox) -> None:
    shown = seen(server, "doctor")
    assert re.search(r"✓ +BioFlex +", shown)
    assert "no problems found" in shown
    assert server.token not in shown


def test_a_single_result_has_one_line_per_value(server: Sandbox, tmp_path: Path) -> None:
    shown = seen(server, "pull", "PBMC68k_reduced", "-o", tmp_path / "x.h5ad", "--genes", "LYZ")
    parts = dict(
        re.split(r"  +", line.strip(), maxsplit=1) for line in shown.splitlines() if re.match(r"\w+ +\S", line)
    )
    assert (parts["study"], parts["cells"], parts["genes"]) == ("PBMC68k_reduced", "700", "1")
    assert parts["file"] == str(tmp_path / "x.h5ad")


class TestOutsideATerminal:
    def run(self, *arguments: object) -> str:
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done.stdout + done.stderr

    def test_the_version_is_that_of_the_package(self) -> None:
        assert self.run("--version") == f"biocolab_accessor {bc.__version__}\n"

    def test_a_single_result_has_a_name_and_a_value_per_line(self, server: Sandbox, tmp_path: Path) -> None:
        said = self.run("pull", "PBMC68k_reduced", "-o", tmp_path / "x.h5ad", "--genes", "LYZ")
        parts = dict(line.split("\t") for line in said.splitlines() if "\t" in line)
        assert (parts["study"], parts["cells"], parts["genes"]) == ("PBMC68k_reduced", "700", "1")
        assert parts["file"] == str(tmp_path / "x.h5ad")

    def test_the_cache_is_described_in_words(self, server: Sandbox, tmp_path: Path) -> None:
        with bc.settings.override(cache_dir=tmp_path / "cache"):
            bc.study("PBMC68k_reduced").to_anndata(genes=["LYZ"])
            entries = bc.cache.info().entries
            told = dict(line.split("\t") for line in self.run("cache", "info").splitlines())
            assert told["folder"].startswith(str(tmp_path / "cache"))
            assert told["entries"] == str(entries)
            assert f"{entries} entries removed, " in self.run("cache", "clear")
            assert bc.cache.info().entries == 0

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes")
    @pytest.mark.sweeps
    def test_a_reader_that_ends_early_causes_no_message(self, server: Sandbox) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-m", "biocolab_accessor", "groups"],
            env={**os.environ, **server.environment()},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writing)
        assert done.returncode == 1
        assert done.stderr == ""


def test_a_plan_is_wrapped_between_words(server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
    counts.to_df().T.to_csv(tmp_path / "x.csv")
    shown = seen(server, "submit", tmp_path / "x.csv", "--dry-run", columns=80)
    assert max(map(len, shown.splitlines())) <= 80
    assert "sent as raw because: all values are non-negative whole numbers" in " ".join(shown.split())
    assert "a new study (id generated on submission), species human" in " ".join(shown.split())


def test_the_paragraphs_of_a_help_fill_the_width() -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["check", "--help"]).stdout
    paragraph = shown[shown.index("Nothing is sent") : shown.index("Example:")]
    assert all(len(line) > 60 for line in paragraph.rstrip().splitlines()[:-1])


def test_the_answer_begins_on_a_line_of_its_own_however_fast_the_server_is(
    server: Sandbox, counts: ad.AnnData, tmp_path: Path
) -> None:
    counts.write_h5ad(tmp_path / "x.h5ad")
    shown = seen(server, "submit", tmp_path / "x.h5ad", "--study-id", "FAST", "--skip-dimred")
    assert re.search(r"Study 'FAST' is ready: .* genes\s*\nstudy_id  FAST", shown)


def test_a_command_in_a_message_stays_one_line(server: Sandbox) -> None:
    lines = seen(server, "studies", "--species", "others", columns=38).splitlines()
    assert max(map(len, lines[:-1])) <= 38
    assert lines[-1] == "  biocolab studies personal --species all"
