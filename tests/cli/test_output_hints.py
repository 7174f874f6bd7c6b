"""Hints: messages name what can be typed in a terminal, and Python only where no command exists."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import anndata as ad
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.cli.output import for_terminal, learn_options
from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture(autouse=True)
def options() -> None:
    learn_options(get_command(app).commands.values())


@pytest.mark.parametrize(
    ("python", "typed"),
    [
        ("bc.submission('7e').study()", "biocolab wait 7e"),
        ("bc.submission('7e', to='talk2data').wait()", "biocolab wait 7e --to talk2data"),
        ("bc.study('N1', source='bbrowserx')", "biocolab pull N1 --source bbrowserx -o N1.h5ad"),
        ("bc.study('a b/c')", "biocolab pull 'a b/c' -o a_b_c.h5ad"),
        ("bc.search('lung fibrosis'), or cell_type=, or", "biocolab search 'lung fibrosis', or --cell-type, or"),
        ("bc.studies('All members', species=None)", "biocolab studies 'All members' --species all"),
        ("bc.studies(group) lists them", "biocolab studies GROUP lists them"),
        ("see bc.studies(), or use species= if", "see biocolab studies, or use --species if"),
        ("bc.submit('x.csv', study_type='tsv')", "biocolab submit x.csv --study-type tsv"),
        ("busy; port=0 picks a free one", "busy; --port 0 picks a free one"),
        ("Submit with input_matrix_type='raw' if", "Submit with --input-matrix-type raw if"),
        ("use study_type='mtx_10x', in a terminal with --study-type mtx_10x", "use --study-type mtx_10x"),
        ("Symbols: adata.biocolab.submit(gene_symbols='my symbol')", "Symbols: --gene-symbols 'my symbol'"),
        ("wait=False", "--no-wait"),
        ("set bc.settings.cache_dir ($BIOCOLAB_CACHE_DIR) or", "set $BIOCOLAB_CACHE_DIR or"),
        ("bc.connect(…, ssl='system') or ssl='ca.pem'", "export BIOCOLAB_SSL=system or BIOCOLAB_SSL=ca.pem"),
        (
            "  bc.connect(private_host='https://…', private_token=…)",
            "  export BIOCOLAB_PRIVATE_HOST='https://…'\n  export BIOCOLAB_PRIVATE_TOKEN='…'",
        ),
        (
            "from getpass import getpass; bc.connect(private_token=getpass('token: '))",
            "read -rs BIOCOLAB_PRIVATE_TOKEN; export BIOCOLAB_PRIVATE_TOKEN",
        ),
    ],
)  # fmt: skip
@pytest.mark.skipif("sys.platform == 'win32'", reason="PowerShell quotes in another way")
def test_python_becomes_something_to_type(python: str, typed: str) -> None:
    assert for_terminal(python) == typed


@pytest.mark.parametrize(
    "text",
    [
        "pd.read_csv(path, sep='\\t', index_col=0).T.to_csv('x.tsv', sep='\\t')",
        "Load the object and repeat the call, adata.biocolab.submit(…) with the same arguments",
        "sc.pp.filter_cells(copy, min_counts=1)",
        "https://x/?species=mouse&group=x",
        "the filter \"species='mouse'\" has one =",
        "bc.study('x', database=bc.database('mouse', 1))",
        "bc.buckets()",
        "bc.submission('7e').log",
        "species = 'mouse', group 'personal'",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert for_terminal(text) == text


def said(*arguments: object, code: int) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    assert not re.search(r"\bbc\.[a-z]+\(|[a-z]=[' ,;.)]", done.stderr), done.stderr
    return " ".join(done.stderr.split())


def test_a_study_of_another_server_is_found_with_its_options(server: Sandbox, counts: ad.AnnData) -> None:
    counts.biocolab.submit(study_id="OF MICE", species="mouse", skip_dimred=True)
    line = "biocolab pull 'OF MICE' --source bbrowserx --species mouse -o OF_MICE.h5ad"
    assert said("pull", "OF MICE", "-o", "x.h5ad", code=1).endswith(line)


def test_a_submission_that_is_not_a_study_names_the_command_that_waits(server: Sandbox, counts: ad.AnnData) -> None:
    with bc.settings.override(follow=False):
        task = counts.biocolab.submit(study_id="WAITS", skip_dimred=True, wait=False).task_id
    assert said("pull", "WAITS", "--source", "bbrowserx", "-o", "x.h5ad", code=1).endswith(f"biocolab wait {task}")
    bc.submission(task).wait()
    again = CliRunner().invoke(app, ["wait", str(task)])
    assert "SUCCESS" in again.stdout


def test_an_empty_search_shows_one(server: Sandbox) -> None:
    assert "give words, biocolab search 'lung fibrosis', or --cell-type, --tissue or --disease" in said(
        "search", code=2
    )


def test_an_unknown_gene_is_explained_with_options(server: Sandbox) -> None:
    message = said("pull", "PBMC68k_reduced", "-o", "x.h5ad", "--genes", "LIZ", code=1)
    assert message.endswith("without --genes, all genes are fetched")


def test_a_port_in_use_names_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        message = said("sandbox", "--port", busy.getsockname()[1], code=1)
    assert message.endswith("--port 0 picks a free one")


@pytest.mark.skipif("sys.platform == 'win32'", reason="PowerShell has other lines")
def test_the_folder_of_a_running_sandbox_gives_the_lines_to_paste(server: Sandbox) -> None:
    message = said("sandbox", "--path", server.path, code=1)
    for name, value in server.environment().items():
        wanted = f'"$(cat {server.path}/token)"' if name.endswith("_TOKEN") else value
        assert f"export {name}={wanted}" in message
    assert server.token not in message


def test_missing_credentials_name_the_variables(no_connection: None) -> None:
    message = said("groups", code=3)
    assert "BIOCOLAB_PRIVATE_HOST" in message
    assert "start a local server: biocolab sandbox" in message


def test_findings_and_plans_name_options(server: Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
    counts.write_h5ad(tmp_path / "x.h5ad")
    for command in (["check"], ["submit", "--dry-run"]):
        done = CliRunner().invoke(app, [*command, str(tmp_path / "x.h5ad"), "--species", "mouse"])
        assert "submit with --species human" in done.stdout
        assert "species=" not in done.stdout
