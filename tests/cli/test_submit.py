from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.io
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, TransportError
from tests.cli.test_commands import answer, run

COUNTS = np.array([[3, 0, 1], [0, 5, 2]], np.float32)  # cells x genes
GENES, CELLS = ["CD3D", "LYZ", "ACTB"], ["AAAC-1", "AAAG-1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as Cell Ranger writes it."""
    made = tmp_path / "sample_A"
    made.mkdir()
    for name, lines in {
        "features.tsv.gz": [f"ENSG{i}\t{gene}\tGene Expression" for i, gene in enumerate(GENES)],
        "barcodes.tsv.gz": CELLS,
    }.items():
        (made / name).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    with gzip.open(made / "matrix.mtx.gz", "wb") as file:
        scipy.io.mmwrite(file, sparse.coo_matrix(COUNTS.T.astype(int)))
    return made


def csv_file(path: Path, separator: str = ",") -> Path:
    pd.DataFrame(COUNTS.T.astype(int), GENES, CELLS).to_csv(path, sep=separator)
    return path


def fetched(task_id: object) -> ad.AnnData:
    back = bc.submission(str(task_id)).study().to_anndata()
    return back[CELLS, GENES]


def test_a_10x_folder_is_recognized(server: bc.Sandbox, folder: Path) -> None:
    submitted = answer("submit", folder, "--study-id", "a_10x_folder", "--skip-dimred")
    assert submitted["status"] == "SUCCESS"
    np.testing.assert_array_equal(fetched(submitted["task_id"]).X.toarray(), COUNTS)


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_csv_file_is_recognized_and_sent_with_tabs(server: bc.Sandbox, tmp_path: Path, separator: str) -> None:
    file = csv_file(tmp_path / "x.csv", separator)
    before = file.read_bytes()
    submitted = answer("submit", file, "--study-id", f"a_csv_{ord(separator)}", "--skip-dimred")
    np.testing.assert_array_equal(fetched(submitted["task_id"]).X.toarray(), COUNTS)
    assert file.read_bytes() == before


def test_check_takes_folders_and_tables(folder: Path, tmp_path: Path) -> None:
    done = run("check", folder, csv_file(tmp_path / "x.csv"))
    assert done.exit_code == 0, done.output
    (folder / "matrix.mtx.gz").write_bytes(gzip.compress(b"1 2 3\n"))
    done = run("check", folder)
    assert done.exit_code == 1
    assert "does not begin with %%MatrixMarket" in done.output


def test_check_compares_genes_with_human_unless_another_species_is_given(tmp_path: Path) -> None:
    pd.DataFrame(1, [f"ENSMUSG{i:011d}" for i in range(30)], CELLS).to_csv(tmp_path / "x.tsv", sep="\t")
    assert "BC404" in run("check", tmp_path / "x.tsv").output
    assert "no problems found" in run("check", tmp_path / "x.tsv", "--species", "mouse").output


def test_a_dry_run_of_a_table_says_how_it_is_sent_and_why(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "x.csv")
    shown = run("submit", path, "--dry-run").stdout
    assert "tsv, sent as raw because: all values are non-negative whole numbers" in " ".join(shown.split())
    assert "type: tsv, sent as normalized\n  files:" in repr(
        bc.submit(path, input_matrix_type="normalized", dry_run=True)
    )


def test_a_strict_submission_of_files_with_warnings_sends_nothing(tmp_path: Path) -> None:
    names = [*(f"RPL{i}" for i in range(20)), "CD3D", "LYZ", "MS4A1", "NKG7", "ACTB", "GAPDH", "TP53"]
    path = tmp_path / "cells_in_rows.csv"
    pd.DataFrame(1, index=[f"cell {i}" for i in range(9)], columns=names).to_csv(path)
    done = run("submit", path, "--strict", "--study-id", "strictly")
    assert (done.exit_code, "BC409" in done.stderr) == (1, True), done.output
    assert "strictly" not in [row["study_id"] for row in answer("studies")]
    plan = run("submit", path, "--strict", "--dry-run")
    assert plan.exit_code == 1
    assert "--strict treats warnings as errors: BC409" in " ".join(plan.stdout.split())


def test_files_of_two_types_are_not_one_study(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"sample_A looks like mtx_10x; .*x\.csv looks like tsv"):
        bc.submit([folder, csv_file(tmp_path / "x.csv")], dry_run=True)


def test_batch_key_splits_a_file_into_batches(server: bc.Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
    counts.obs["donor"] = ["D1"] * 20 + ["D2"] * 40
    counts.write_h5ad(tmp_path / "x.h5ad")
    arguments = ("submit", tmp_path / "x.h5ad", "--batch-key", "donor", "--study-id", "split", "--skip-dimred")
    plan = answer(*arguments, "--dry-run")
    assert plan["batches"] == ["D1.h5ad", "D2.h5ad"]
    assert "split" not in [row["study_id"] for row in answer("studies")]
    back = bc.submission(answer(*arguments)["task_id"]).study().to_anndata(fields=["donor"])
    assert sorted(back.obs["donor"]) == ["D1"] * 20 + ["D2"] * 40
    unknown = run("submit", tmp_path / "x.h5ad", "--batch-key", "Donor", "--dry-run")
    assert "x.h5ad: obs has no column 'Donor' (did you mean 'donor'?)" in " ".join(unknown.output.split())
    two = run("submit", tmp_path / "x.h5ad", tmp_path / "x.h5ad", "--batch-key", "donor")
    assert (two.exit_code, "several files are batches" in two.output) == (2, True)


def test_a_dry_run_shows_what_would_be_sent(counts: ad.AnnData, folder: Path, tmp_path: Path) -> None:
    counts.write_h5ad(tmp_path / "x.h5ad")
    shown = run("submit", tmp_path / "x.h5ad", "--dry-run").stdout
    assert shown.startswith("Plan: nothing has been sent\n")
    assert "cells x genes: 60 x 40" in shown
    assert "files: x.h5ad (60 cells)" in shown
    assert "to send: the same command without --dry-run" in shown
    plan = answer("submit", folder, "--dry-run", "--study-id", "S")
    assert (plan["study_type"], plan["input_matrix_type"], plan["batches"]) == ("mtx_10x", "raw", ["sample_A"])
    shown = repr(bc.submit(folder, dry_run=True))
    assert "type: mtx_10x, sent as raw" in shown
    assert "group 'personal', a new study (id generated on submission), species human" in shown


def test_a_dry_run_of_files_shows_their_errors(counts: ad.AnnData, folder: Path, tmp_path: Path) -> None:
    counts.write_h5ad(tmp_path / "good.h5ad")
    counts.X = np.full(counts.shape, np.nan, dtype=np.float32)
    counts.write_h5ad(tmp_path / "bad.h5ad")
    plan = bc.submit([tmp_path / "good.h5ad", tmp_path / "bad.h5ad"], dry_run=True)
    assert (plan.ok, [each.ok for each in plan.plans]) == (False, [True, False])
    assert plan.report.errors[0].code == "BC302"
    assert "bad.h5ad: error: BC302" in repr(plan)
    assert "to send" not in repr(plan)
    assert "these files cannot be sent" in plan._repr_html_()
    (folder / "matrix.mtx.gz").write_bytes(gzip.compress(b"1 2 3\n"))
    assert "does not begin with %%MatrixMarket" in bc.submit(folder, dry_run=True)._repr_html_()
    done = run("submit", tmp_path / "bad.h5ad", "--dry-run")
    assert (done.exit_code, "error: BC302" in done.stdout) == (run("check", tmp_path / "bad.h5ad").exit_code, True)
    told = json.loads(run("submit", tmp_path / "bad.h5ad", "--dry-run", "--json").stdout)
    assert (told["ok"], told["findings"][0]["code"]) == (False, "BC302")


@pytest.mark.parametrize("command", [[], ["cache"]])
def test_a_group_of_commands_alone_prints_its_help(command: list[str]) -> None:
    done = run(*command)
    assert done.exit_code == 0
    assert "Usage" in done.stdout


def test_a_local_host_that_refuses_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    slept: list[float] = []
    monkeypatch.setattr("biocolab_accessor.clients.retry.pause", slept.append)
    connector = bc.EConnector(private_host=f"http://127.0.0.1:{port}/", private_token="t" * 32)
    with pytest.raises(TransportError, match="Is the server running"):
        connector.get_bbrowserx().post_request("api/v1/test_connection")
    assert slept == []


def test_a_local_server_that_answered_before_gets_time_to_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("biocolab_accessor.clients.retry.pause", slept.append)
    with bc.sandbox(new=True) as server:
        client = server.connect().get_bbrowserx()
        client.post_request("api/v1/test_connection")
    with bc.settings.override(max_retries=2), pytest.raises(TransportError):
        client.post_request("api/v1/test_connection")
    assert len(slept) == 2


def test_gene_symbols_names_the_genes_of_a_file(server: bc.Sandbox, counts: ad.AnnData, tmp_path: Path) -> None:
    counts.var["symbol"] = [f"SYMBOL{i}" for i in range(counts.n_vars)]
    counts.write_h5ad(tmp_path / "x.h5ad")
    arguments = ("submit", tmp_path / "x.h5ad", "--gene-symbols", "symbol", "--study-id", "symbols", "--skip-dimred")
    back = bc.submission(answer(*arguments)["task_id"]).study().to_anndata()
    assert sorted(back.var_names) == sorted(counts.var["symbol"])
    unknown = run("submit", tmp_path / "x.h5ad", "--gene-symbols", "symbols", "--dry-run")
    assert (unknown.exit_code, "did you mean 'symbol'?" in " ".join(unknown.output.split())) == (1, True)
