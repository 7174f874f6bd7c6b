from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import requests
import scanpy as sc
from scipy import io, sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import TaskFailed
from biocolab_accessor.sandbox.processing.cells import ProcessingError
from biocolab_accessor.sandbox.processing.readers import read_batch
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE, until


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(("study_type", "name"), [("h5_10x", "10x-v3.h5"), ("mtx_10x", "10x-v3-mtx")])
def test_10x_files_come_back_bit_for_bit(
    study_type: str, name: str, data_file: Callable[[str], Path], server: Sandbox
) -> None:
    expected = sc.read_10x_h5(data_file("10x-v3.h5"))
    submission = bc.submit(data_file(name), study_type=study_type, skip_dimred=True)
    back = submission.study().to_anndata()
    np.testing.assert_array_equal(back.X.toarray(), expected.X.toarray())
    assert list(back.obs_names) == list(expected.obs_names)
    assert list(back.var["feature"]) == list(expected.var_names)


def test_a_tsv_has_genes_in_rows(server: Sandbox, tmp_path: Path) -> None:
    table = pd.DataFrame([[1, 0, 2], [0, 3, 0]], index=["A", "B"], columns=["c1", "c2", "c3"])
    table.to_csv(tmp_path / "x.tsv", sep="\t")
    back = bc.submit(tmp_path / "x.tsv", study_type="tsv", skip_dimred=True).study().to_anndata()
    assert (list(back.obs_names), list(back.var_names)) == (["c1", "c2", "c3"], ["A", "B"])
    np.testing.assert_array_equal(back.X.toarray(), table.to_numpy().T)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\nbroken"])
def test_a_broken_file_is_an_error_with_a_reason(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    for study_type in (1, 2, 3, 6):
        files = dict.fromkeys(("matrix", "features", "barcodes"), tmp_path / "x")
        with pytest.raises(ProcessingError, match="batch"):
            read_batch("batch", study_type, files, normalize=True)


def test_nan_in_a_file_fails_the_task_with_their_number(server: Sandbox, tmp_path: Path) -> None:
    unread = "".join(f"gene{i}\t1\t2\n" for i in range(600))  # beyond the rows that a submission checks
    (tmp_path / "x.tsv").write_text(f"\tc1\tc2\n{unread}A\t1\t\nB\t2\t3\n")
    with pytest.raises(TaskFailed, match="1 NaN or infinite"):
        bc.submit(tmp_path / "x.tsv", study_type="tsv", skip_dimred=True)


def test_an_h5ad_without_values_is_an_error(tmp_path: Path) -> None:
    ad.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["A"])).write_h5ad(tmp_path / "x.h5ad")
    for normalize, reason in ((False, "batch: X is missing"), (True, r"batch: adata\.raw is missing")):
        with pytest.raises(ProcessingError, match=reason):
            read_batch("batch", 2, {"matrix": tmp_path / "x.h5ad"}, normalize=normalize)


def test_an_mtx_whose_files_do_not_match_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("%%MatrixMarket matrix coordinate integer general\n2 3 1\n1 1 5\n")
    (tmp_path / "f").write_text("A\nB\n")
    (tmp_path / "b").write_text("x\ny\n")
    files = {"matrix": tmp_path / "m", "features": tmp_path / "f", "barcodes": tmp_path / "b"}
    with pytest.raises(ProcessingError, match="the matrix is 3 x 2, but there are 2 barcodes and 2 features"):
        read_batch("batch", 3, files, normalize=True)
    (tmp_path / "b").write_text("x\ny\nz\n")
    found = read_batch("batch", 3, files, normalize=True)
    assert found.matrix.toarray().tolist() == [[5, 0], [0, 0], [0, 0]]
    assert (found.barcodes, found.features) == (["x", "y", "z"], ["A", "B"])


def cell_ranger(folder: Path, counts: np.ndarray, kinds: list[str]) -> tuple[Path, Path]:
    """The same Cell Ranger output as a folder and as an HDF5 file."""
    n_obs, n_vars = counts.shape
    barcodes, ids = [f"AAAC{i:04d}-1" for i in range(n_obs)], [f"ENSG{i:011d}" for i in range(n_vars)]
    names = [f"GENE{i}" for i in range(n_vars)]
    mtx = folder / "filtered_feature_bc_matrix"
    mtx.mkdir(parents=True)
    with gzip.open(mtx / "matrix.mtx.gz", "wb") as file:
        io.mmwrite(file, sparse.coo_matrix(counts.T))
    (mtx / "barcodes.tsv.gz").write_bytes(gzip.compress("".join(f"{name}\n" for name in barcodes).encode()))
    lines = "".join(f"{a}\t{b}\t{c}\n" for a, b, c in zip(ids, names, kinds, strict=True))
    (mtx / "features.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    stored = sparse.csc_matrix(counts.T)
    with h5py.File(folder / "filtered.h5", "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, "S")
        group["shape"] = [n_vars, n_obs]
        for key in ("data", "indices", "indptr"):
            group[key] = getattr(stored, key)
        features = group.create_group("features")
        genomes = ["GRCh38"] * n_vars
        for key, value in {"id": ids, "name": names, "feature_type": kinds, "genome": genomes}.items():
            features[key] = np.array(value, "S")
        features["_all_tag_keys"] = np.array(["genome"], "S")
    return mtx, folder / "filtered.h5"


@pytest.mark.parametrize("genomes", [["GRCh38"], ["hg19", "mm10"], ["mm10", "hg19", "virus"]])
def test_old_cell_ranger_files_of_several_genomes_have_the_features_of_all(tmp_path: Path, genomes: list[str]) -> None:
    """Before version 3, each genome had a matrix of its own in the file."""
    counts = (np.random.default_rng(0).poisson(1.0, (40, 12)) + np.eye(40, 12)).astype(np.int32)
    of_genome = np.array_split(np.arange(12), len(genomes))
    with h5py.File(tmp_path / "old.h5", "w") as file:
        for genome, features in zip(genomes, of_genome, strict=True):
            stored, group = sparse.csc_matrix(counts[:, features].T), file.create_group(genome)
            group["barcodes"] = np.array([f"AAAC{i:04d}-1" for i in range(40)], "S")
            group["genes"] = np.array([f"ENSG{i:011d}" for i in features], "S")
            group["gene_names"] = np.array([f"GENE{i}" for i in features], "S")
            group["shape"] = stored.shape
            for key in ("data", "indices", "indptr"):
                group[key] = getattr(stored, key)
    cells = read_batch("a", 1, {"matrix": tmp_path / "old.h5"}, normalize=True)
    order = np.concatenate([of_genome[genomes.index(genome)] for genome in sorted(genomes)])  # HDF5 sorts groups
    assert cells.features == [f"GENE{i}" for i in order]
    assert cells.barcodes == [f"AAAC{i:04d}-1" for i in range(40)]
    np.testing.assert_array_equal(cells.matrix.toarray(), counts[:, order])


@pytest.mark.parametrize(
    ("kinds", "n_kept", "left"),
    [
        (["Gene Expression"] * 9 + ["Antibody Capture"] * 3, 9, "3 features of {} that are not Gene Expression: "
         "Antibody Capture 3"),
        (["Antibody Capture"] * 2 + ["Gene Expression"] * 10, 10, "Antibody Capture 2"),
        (["Gene Expression"] * 8 + ["CRISPR Guide Capture"] * 3 + ["Custom"], 8, "CRISPR Guide Capture 3, Custom 1"),
        (["Gene Expression", "Peaks"] * 6, 6, "Peaks 6"),
        (["Gene Expression"] * 12, 12, ""),
        (["Antibody Capture"] * 12, 12, ""),
    ],
)  # fmt: skip
def test_cell_ranger_output_has_the_same_features_as_h5_and_as_folder(
    tmp_path: Path, kinds: list[str], n_kept: int, left: str
) -> None:
    counts = (np.random.default_rng(0).poisson(1.0, (40, 12)) + np.eye(40, 12)).astype(np.int32)
    mtx, h5 = cell_ranger(tmp_path, counts, kinds)
    parts = {name.partition(".")[0]: mtx / name for name in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")}
    logs: list[list[str]] = [[], []]
    one = read_batch("a", 3, parts, normalize=True, say=logs[0].append)
    two = read_batch("a", 1, {"matrix": h5}, normalize=True, say=logs[1].append)
    kept = [kind == "Gene Expression" for kind in kinds] if n_kept < 12 else [True] * 12
    for cells in (one, two):
        np.testing.assert_array_equal(cells.matrix.toarray(), counts[:, kept])
        assert cells.matrix.shape == (40, n_kept)
    assert (one.features, one.barcodes) == (two.features, two.barcodes)
    assert logs[0] == logs[1]
    assert [left.format("a") in line for line in logs[0]] == [True] * bool(left)


def test_the_log_of_a_task_says_which_features_were_left_out(server: Sandbox, tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(1.0, (40, 12)) + 1
    mtx, _ = cell_ranger(tmp_path, counts.astype(np.int32), ["Gene Expression"] * 9 + ["Antibody Capture"] * 3)
    submission = bc.submit(mtx, study_type="mtx_10x", skip_dimred=True)
    np.testing.assert_array_equal(submission.study().to_anndata().X.toarray(), counts[:, :9])
    assert "that are not Gene Expression: Antibody Capture 3" in submission.log


def test_a_matrix_with_gene_indices_out_of_bounds_is_an_error(tmp_path: Path) -> None:
    matrix = sparse.csr_matrix(np.eye(5, dtype=np.float32))
    ad.AnnData(matrix).write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["X/indices"][2] = 2_000_000_000
    with pytest.raises(ProcessingError, match="batch: the matrix is damaged: it is sparse and has an index of 2,000,0"):
        read_batch("batch", 2, {"matrix": tmp_path / "x.h5ad"}, normalize=False)


def test_an_upload_that_refers_to_other_files_fails_its_task_with_the_dataset(server: Sandbox, tmp_path: Path) -> None:
    """The upload skips the client's own check, as another client could."""
    secret = tmp_path / "id_rsa"
    secret.write_text("PRIVATE KEY " * 10)
    ad.AnnData(np.eye(5, dtype=np.float32)).write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        attributes = dict(file["obs/_index"].attrs)
        del file["obs/_index"]
        file.create_dataset("obs/_index", shape=(5,), dtype="S20", external=[(str(secret), 0, 100)])
        file["obs/_index"].attrs.update(attributes)
    headers = {"bioturing-api-token": server.token}
    base = f"{server.url}/t2d_index_tool/api/v1/"

    def call(route: str, **body: object) -> dict:
        answer = requests.post(base + route, json=body, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()

    folder = uuid.uuid4().hex
    found = call("add_file_upload", folder_id=folder, n_chunks=1, original_file_name="x.h5ad")["data"][0]
    params = json.dumps({"folder_id": folder, "id": found["id"], "chunk": 0, "n_chunks": 1})
    files = {"params": (None, params), "file": ("x.h5ad", (tmp_path / "x.h5ad").read_bytes())}
    sent = requests.post(base + "upload_chunk", files=files, headers=headers, timeout=PATIENCE).json()
    info = {"study_hash_id": "stolen", "name": "x", "authors": [], "abstract": ""}
    task = call(
        "submit_study_from_local", species="human", group_id="personal", study_type=2, normalize=False,
        skip_dimred=True, filter_params={}, study_info=info, study_path=sent["data"]["output_dir"],
        batch_info=["x.h5ad"],
    )["data"]["id"]  # fmt: skip

    def log() -> str:
        said = call("get_submission_log", task_id=task)["data"]
        return said["log"] if said["status"] in ("ERROR", "SUCCESS") else ""

    assert "ERROR: x.h5ad: dataset '/obs/_index' keeps its values in another file (external storage)" in until(log)
