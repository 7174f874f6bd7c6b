from __future__ import annotations

import json
import os
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.cli.output import print_json, print_submission
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import background, resume
from tests.builders import layer_names
from tests.patience import until
from tests.studies.sources.test_sources_terms import assign
from tests.warm import start_python

pytestmark = [pytest.mark.smoke, pytest.mark.usefixtures("server")]

_COMMANDS = ("demo", "sandbox", "check", "submit", "pull", "groups", "studies", "search", "summary", "doctor")
_PAGE = Path(__file__).parents[2] / "docs" / "howto" / "terminal.md"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: object) -> object:
    """What a command prints with --json, which has to be JSON and nothing else."""
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def file(counts: ad.AnnData, tmp_path: Path) -> Path:
    counts.write_h5ad(tmp_path / "x.h5ad")
    return tmp_path / "x.h5ad"


@pytest.fixture
def bad_file(counts: ad.AnnData, tmp_path: Path) -> Path:
    counts.X = np.full(counts.shape, np.nan, np.float32)
    counts.write_h5ad(tmp_path / "bad.h5ad")
    return tmp_path / "bad.h5ad"


def test_an_unreadable_file_does_not_hide_the_findings_of_the_next(file: Path, bad_file: Path, tmp_path: Path) -> None:
    done = run("check", tmp_path / "missing.h5ad", bad_file, tmp_path / "gone.h5ad", file)
    assert done.exit_code == 1
    said = done.output
    assert "missing.h5ad does not exist" in said
    assert "gone.h5ad does not exist" in said
    assert "BC302" in said


def test_a_file_is_submitted_listed_and_pulled(file: Path, counts: ad.AnnData, tmp_path: Path) -> None:
    submitted = answer("submit", file, "--study-id", "by_cli", "--skip-dimred", "--author", "A")
    assert (submitted["study_id"], submitted["status"]) == ("by_cli", "SUCCESS")
    assert submitted["uuid"] in [row["uuid"] for row in answer("studies")]
    target = tmp_path / "back.h5ad"
    pulled = answer("pull", submitted["uuid"], "-o", target, "--source", "bbrowserx", "--layers", "lognorm")
    assert (pulled["cells"], pulled["genes"], pulled["file"]) == (60, 40, str(target))
    assert pulled["file_bytes"] == target.stat().st_size
    back = ad.read_h5ad(target)
    np.testing.assert_array_equal(back.X.toarray(), counts.X.toarray())
    np.testing.assert_array_equal(back.obsm["X_own"], counts.obsm["X_own"])
    assert layer_names(back) == ["lognorm"]


def test_submit_sends_the_selected_columns(file: Path) -> None:
    submitted = answer("submit", file, "--study-id", "by_cli_obs", "--skip-dimred", "--obs", "label", "--obs", "code")
    study = bc.submission(submitted["task_id"]).study()
    assert [name for name in study.fields if not name.startswith("Number of ")] == ["code", "label"]
    unknown = run("submit", file, "--obs", "Label")
    assert unknown.exit_code != 0
    assert "did you mean 'label'?" in unknown.output


def test_pull_takes_genes_with_commas_and_fields_one_by_one(tmp_path: Path) -> None:
    target = tmp_path / "part.h5ad"
    arguments = ["--genes", "LYZ,CD3D", "--genes", "CD79A", "--fields", "bulk_labels", "--unit", "lognorm"]
    pulled = answer("pull", "PBMC68k_reduced", "-o", target, *arguments)
    assert (pulled["cells"], pulled["genes"], pulled["fields"]) == (700, 3, ["bulk_labels"])
    part = ad.read_h5ad(target)
    assert list(part.var_names) == ["LYZ", "CD3D", "CD79A"]
    assert list(part.obs) == ["bulk_labels"]
    whole = bc.study("PBMC68k_reduced").to_anndata(unit="lognorm", genes=["LYZ", "CD3D", "CD79A"])
    np.testing.assert_array_equal(part.X.toarray(), whole.X.toarray())


def test_pull_takes_the_cells_of_a_filter(tmp_path: Path) -> None:
    target = tmp_path / "some.h5ad"
    arguments = ("--genes", "CD3D", "--unit", "lognorm", "--filter", "phase == 'S' and n_genes > 1000")
    n_obs = len(bc.study("PBMC68k_reduced").metadata().query(arguments[-1]))
    assert 0 < n_obs < 700
    assert answer("pull", "PBMC68k_reduced", *arguments, "--dry-run")["n_obs"] == n_obs
    assert answer("pull", "PBMC68k_reduced", "-o", target, *arguments)["cells"] == n_obs
    assert set(ad.read_h5ad(target).obs["phase"]) == {"S"}
    refused = run("pull", "PBMC68k_reduced", "-o", target, "--filter", "phase = 'S'")
    assert refused.exit_code == 2
    assert "column 7" in refused.output


def test_pull_takes_barcodes_of_a_file_one_embedding_and_terms(counts: ad.AnnData, tmp_path: Path) -> None:
    counts.obsm["X_other"] = counts.obsm["X_own"] + 1
    study = counts.biocolab.submit(study_id="by_cli_terms", skip_dimred=True).study()
    label = counts.obs["label"].iloc[2]
    assign(study, "label", label, "CL:0000000", "CL:0000235")
    wanted = list(counts.obs_names[[9, 2, 4]])
    lines, target = tmp_path / "cells.txt", tmp_path / "x.h5ad"
    lines.write_text(f"\ufeff{wanted[0]}\r\n\n {wanted[1]} \n{wanted[2]}", "utf-8")
    where = ("pull", study.provenance()["study_uuid"], "--source", "bbrowserx", "--cells", lines)
    assert answer(*where, "--dry-run")["n_obs"] == 3
    assert answer(*where, "-o", target, "--terms", "--obsm", "own", "--fields", "label")["cells"] == 3
    pulled = ad.read_h5ad(target)
    assert list(pulled.obs_names) == [wanted[1], wanted[2], wanted[0]]  # in the order of the study
    assert list(pulled.obsm) == ["X_own"]
    np.testing.assert_array_equal(pulled.obsm["X_own"], counts[pulled.obs_names].obsm["X_own"])
    terms = ["CL:0000235" if own == label else None for own in counts.obs["label"].loc[pulled.obs_names]]
    assert [None if pd.isna(own) else own for own in pulled.obs["label_ontology_term_id"]] == terms


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cells.txt does not exist: give a text file with a barcode on each line"),
        (b"\xff\xfe", "cells.txt cannot be read as text with a barcode on each line"),
        (b"\n \n", "cells is empty: give barcodes"),
        (b"NOPE-1", "has no cell 'NOPE-1'"),
    ],
)
def test_a_file_of_barcodes_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "cells.txt").write_bytes(content)
    done = run("pull", "PBMC68k_reduced", "-o", tmp_path / "x.h5ad", "--cells", tmp_path / "cells.txt")
    assert done.exit_code in {1, 2}
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "x.h5ad").exists()
    done = run("pull", "PBMC68k_reduced", "--dry-run", "--no-embeddings", "--obsm", "UMAP")
    assert (done.exit_code, "give only one" in done.output) == (2, True)


def test_pull_takes_a_version_of_the_database(tmp_path: Path) -> None:
    pulled = answer("pull", "PBMC68k_reduced", "-o", tmp_path / "x.h5ad", "--version", 2, "--genes", "LYZ")
    assert pulled["cells"] == 700
    assert ad.read_h5ad(tmp_path / "x.h5ad").uns["biocolab"]["version"] == 2
    assert run("pull", "PBMC68k_reduced", "--dry-run", "--version", 99).exit_code == 1
    refused = run("pull", "PBMC68k_reduced", "--dry-run", "--version", 2, "--source", "bbrowserx")
    assert refused.exit_code == 2
    assert "bbrowserx has no databases" in refused.stderr


def test_a_dry_run_of_pull_shows_the_size_and_writes_nothing(tmp_path: Path) -> None:
    plan = answer("pull", "PBMC68k_reduced", "--dry-run")
    assert (plan["study_id"], plan["n_obs"], plan["n_vars"], plan["fits"]) == ("PBMC68k_reduced", 700, 765, True)
    assert plan["n_bytes"] > 0
    assert "no values were fetched" in run("pull", "PBMC68k_reduced", "--dry-run").stdout
    assert list(tmp_path.iterdir()) == []


def test_tables_outside_a_terminal_are_tab_separated_with_a_header() -> None:
    lines = run("groups").stdout.splitlines()
    assert lines[0] == "id\tname"
    assert "personal\tPersonal workspace" in lines


def test_an_empty_list_is_reported_on_stderr() -> None:
    done = run("studies", "--species", "others")
    assert (done.exit_code, done.stdout) == (0, "")
    said = (
        "warning: group 'personal' has no others study; this lists all species: biocolab studies personal --species all"
    )
    assert " ".join(done.stderr.split()) == said


def test_the_name_of_a_group_is_not_markup() -> None:
    with bc.sandbox() as server:
        server.add_group("odd", "Lab [/red] [b]", members=[server.email])
        done = run("studies", "Lab [/red] [b]")
    assert done.exit_code == 0
    assert "group 'Lab [/red] [b]' has no human study" in done.stderr.replace("\n", " ")


def test_nan_and_infinity_are_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"a": float("nan"), "b": [np.float32("inf"), 1], "c": {"d": float("-inf")}, "e": np.int64(7)}])
    shown = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert shown == [{"a": None, "b": [None, 1], "c": {"d": None}, "e": 7}]


def test_studies_take_the_group_as_an_argument_and_as_the_option_of_other_commands(file: Path) -> None:
    submitted = answer("submit", file, "--group", "All members", "--study-id", "of_a_group", "--skip-dimred")
    for given in (["All members"], ["--group", "all_members"], ["all_members", "--group", "all_members"]):
        assert submitted["uuid"] in [row["uuid"] for row in answer("studies", *given)]
    assert submitted["uuid"] not in [row["uuid"] for row in answer("studies")]
    both = run("studies", "personal", "--group", "All members")
    assert both.exit_code == 2
    assert "the group is 'personal', but --group is 'All members': give only one" in " ".join(both.stderr.split())


def test_studies_show_a_unique_start_of_each_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    uuids = ["0123456789ab", "0123456780cd", "short"]
    table = pd.DataFrame(dict.fromkeys(("study_id", "title", "created_by", "uuid"), uuids))
    monkeypatch.setattr(bc, "studies", lambda *_, **__: table)
    shown = [line.split("\t")[-1] for line in run("studies").stdout.splitlines()]
    assert shown == ["uuid", "0123456789…", "0123456780…", "short"]


def test_no_wait_prints_what_was_kept_after_a_wait_and_starts_no_thread(file: Path) -> None:
    with bc.settings.override(follow=True):
        begun = run("submit", file, "--skip-dimred", "--no-wait")
        assert background.followed() == []
    line = begun.stderr.splitlines()[-1]
    status = dict(each.split("\t", 1) for each in begun.stdout.splitlines())["status"]
    state = "has processed" if status == "SUCCESS" else "processes"  # a fast server has ended by now
    assert line.startswith(f"The server {state} it. This makes it a study: biocolab wait ")
    done = run("wait", line.split()[-1])
    assert re.search(r"^kept\t\d+ cells x \d+ genes$", done.stdout, re.MULTILINE)


def test_a_wait_for_no_task_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "connected_submissions", lambda _: [])
    done = run("wait")
    assert done.exit_code == 2
    assert "no task of this machine is waiting" in done.stderr.replace("\n", " ")


def test_a_submission_that_is_made_again_says_that_nothing_was_sent(file: Path) -> None:
    first, again = (run("submit", file, "--skip-dimred", "--study-id", "again on the line") for _ in range(2))
    assert "nothing was sent" not in first.stderr
    assert "It was submitted before, so nothing was sent." in again.stderr
    assert again.stdout == first.stdout


def test_summary_sorts_by_rate_within_each_gene() -> None:
    rows = answer("summary", "LYZ", "CD3D")
    table = bc.expression_summary(["LYZ", "CD3D"])
    assert [row["gene"] for row in rows] == ["LYZ"] * (len(rows) // 2) + ["CD3D"] * (len(rows) // 2)
    rates = [row["rate"] for row in rows if row["gene"] == "CD3D"]
    assert rates == sorted(table.loc[table["gene"] == "CD3D", "rate"], reverse=True)
    assert type(rows[0]["count"]) is int
    shown = run("summary", "CD3D", "--top", "1").stdout.splitlines()
    assert len(shown) == 2
    assert shown[1].split("\t")[:3] == ["CD3D", rows[len(rates)]["cell_type"], f"{rates[0]:.1%}"]


def test_the_cache_is_shown_and_cleared(tmp_path: Path) -> None:
    with bc.settings.override(cache_dir=tmp_path / "cache"):
        bc.study("PBMC68k_reduced").to_anndata(genes=["LYZ"])
        before = answer("cache", "info")
        assert before["folder"] == str(tmp_path / "cache")
        assert before["entries"] > 0
        gone = answer("cache", "clear")
        assert gone == {"entries": before["entries"], "n_bytes": before["n_bytes"]}
        assert answer("cache", "info")["entries"] == bc.cache.info().entries == 0


def test_check_reports_the_findings_of_each_file(file: Path, bad_file: Path) -> None:
    good = run("check", file)
    assert good.exit_code == 0
    assert [line.split("\t")[2] for line in good.stdout.splitlines()[1:]] == ["note"] * 4
    assert "ready to be sent" in good.stderr
    bad = run("check", file, bad_file)
    assert bad.exit_code == 1
    head, *lines = (text.split("\t") for text in bad.stdout.splitlines())
    (found,) = (row for line in lines if (row := dict(zip(head, line, strict=True)))["severity"] == "error")
    assert (found["file"], found["code"], found["message"]) == (str(bad_file), "BC302", "2,400 NaN")
    rows = [row for row in json.loads(run("check", file, bad_file, "--json").stdout) if row["severity"] == "error"]
    assert [(row["file"], row["severity"], row["count"]) for row in rows] == [(str(bad_file), "error", 2400)]


def test_an_unreadable_file_is_an_error_in_the_json(file: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.h5ad").write_text("this is no HDF5")
    done = run("check", file, tmp_path / "junk.h5ad", tmp_path / "gone.h5ad", "--json")
    assert done.exit_code == 1
    rows = json.loads(done.stdout)
    assert {row["file"] for row in rows} == {str(file), str(tmp_path / "junk.h5ad"), str(tmp_path / "gone.h5ad")}
    errors = [(row["file"], row["code"], row["message"]) for row in rows if row["severity"] == "error"]
    junk, gone = str(tmp_path / "junk.h5ad"), str(tmp_path / "gone.h5ad")
    assert errors == [
        (junk, "InvalidFile", f"{junk} is not an h5ad file: it is a text file"),
        (
            gone,
            "InvalidFile",
            f"{gone} does not exist: give an h5ad file, a 10x h5 file, a table, or a folder with a 10x matrix",
        ),
    ]
    assert len({tuple(row) for row in rows}) == 1  # each has the same keys


def test_check_of_batches_names_the_column(file: Path) -> None:
    assert run("check", file, "--batch-key", "sample").exit_code == 0
    done = run("check", file, "--batch-key", "sampel", "--json")
    assert done.exit_code == 1
    assert "did you mean 'sample'" in json.loads(done.stdout)[0]["message"]


def test_the_documentation_lists_every_command() -> None:
    table = re.findall(r"^\| (`.+?) \|", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = [name for row in table for name in re.findall("`biocolab ([a-z]+)`", row)]
    assert sorted(listed) == sorted(get_command(app).commands)


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_a_help_text_with_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    if command != "sandbox":
        assert "--json" in done.stdout
    assert f"Example: biocolab {command}" in " ".join(done.stdout.split())


def test_the_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> set[str]:
        asked = {"_BIOCOLAB_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        code = "from biocolab_accessor.cli import app; app(prog_name='biocolab')"
        said, _ = start_python(["-c", code], env={**os.environ, **asked}).communicate()
        return set(said.split())

    assert completed("biocolab su") == {"submit", "summary"}
    assert {"--source", "--species"} <= completed("biocolab pull --s")


def test_stdout_is_clean_for_programs_even_with_progress_and_warnings(server: Sandbox, tmp_path: Path) -> None:
    (tmp_path / ".bioapi.key").write_text("{}")
    (tmp_path / ".bioapi.key").chmod(0o644)
    environment = {**os.environ, **server.environment(), "BIOCOLAB_PROGRESS": "on", "HOME": str(tmp_path)}
    del environment["BIOCOLAB_PUBLIC_TOKEN"]
    server.faults.add("v1/study/get_matrix", kind="delay", seconds=0.8)  # what is over sooner has no bar
    try:
        done = start_python(
            ["-m", "biocolab_accessor", "pull", "PBMC68k_reduced", "-o", str(tmp_path / "x.h5ad"), "--json"],
            env=environment,
        )
        said, told = done.communicate()
    finally:
        server.faults.clear()
    assert done.returncode == 0
    assert json.loads(said)["cells"] == 700
    assert "B/s" in told  # the bar


def test_replay_shows_each_part_and_check_decides_the_exit_code(server: Sandbox, tmp_path: Path) -> None:
    adata = ad.AnnData(np.eye(9, dtype=np.float32) + 1, obs=pd.DataFrame({"mood": ["a"] * 9}))
    adata.obs_names = [f"CELL{i}" for i in range(9)]
    study = adata.biocolab.submit(skip_dimred=True).study()
    path = tmp_path / "x.lock"
    with bc.lock(path):
        study.metadata("mood")
    result = run("replay", str(path), "--check", "--json")
    assert result.exit_code == 0
    assert [(row["part"], row["state"]) for row in json.loads(result.stdout)] == [("barcodes", "same"), ("obs", "same")]
    adata.obs[["mood"]].replace("a", "b").biocolab.submit_metadata(study, overwrite=True)
    assert run("replay", str(path)).exit_code == 0
    result = run("replay", str(path), "--check")
    assert result.exit_code == 1
    assert "changed" in result.stdout
    assert run("replay", str(tmp_path / "nothing.lock")).exit_code == 1


def test_a_pulled_study_is_added_to_a_bibliography(tmp_path: Path) -> None:
    for _ in range(2):
        run("pull", "PBMC68k_reduced", "-o", tmp_path / "x.h5ad", "--genes", "CD3D", "--cite", tmp_path / "refs.bib")
    text = (tmp_path / "refs.bib").read_text()
    assert text.count("@misc{PBMC68k_reduced,") == 1
    assert "doi = {10.1038/ncomms14049}" in text
    done = run("pull", "PBMC68k_reduced", "-o", tmp_path / "y.h5ad", "--cite", tmp_path)
    assert (done.exit_code, (tmp_path / "y.h5ad").exists()) == (2, False)


def test_studies_are_found_by_words() -> None:
    (row,) = answer("search", "pbmc", "profiling", "--species", "human", "--group", "bioturing_public_studies")
    assert (row["study"], row["matched"], row["n_cells"]) == ("PBMC68k_reduced", "title", None)
    assert run("search", "pbmc", "profiling").stdout.startswith("study\tgroup\tspecies\ttitle\tmatched\treference\n")
    assert run("search").exit_code == 2
    assert "no study was found" in run("search", "qqqqqq").stderr


def test_studies_of_all_species_have_a_column_for_it(server: Sandbox, counts: ad.AnnData) -> None:
    with bc.sandbox(new=True):
        assert "group 'personal' has no studies" in run("studies", "--species", "all").stderr
        counts.biocolab.submit(study_id="OF_MICE", species="mouse", skip_dimred=True)
        header, row = run("studies", "--species", "all").stdout.splitlines()
    assert header.split("\t")[:2] == ["study_id", "species"]
    assert row.split("\t")[:2] == ["OF_MICE", "mouse"]


def test_pull_refuses_an_output_that_is_named_like_another_format(server: Sandbox, tmp_path: Path) -> None:
    done = run("pull", "NO_SUCH_STUDY", "-o", tmp_path / "n.csv")
    assert done.exit_code == 2  # before the study is looked for
    assert f"n.csv ends in .csv, but pull writes h5ad: use --output {tmp_path}/n.h5ad" in " ".join(done.stderr.split())


def test_a_processed_task_is_not_said_to_be_processed_still(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with bc.settings.override(follow=False):
        submission = bc.submit([file], study_id="processed", skip_dimred=True, wait=False)
    until(lambda: submission.status == "SUCCESS")
    print_submission(submission, as_json=False)
    wanted = f"The server has processed it. This makes it a study: biocolab wait {submission.task_id}"
    assert " ".join(capsys.readouterr().err.split()) == wanted
    submission.wait()
