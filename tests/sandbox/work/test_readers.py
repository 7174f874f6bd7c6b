from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import biocolab_accessor as bc
from biocolab_accessor.errors import TaskFailed
from biocolab_accessor.sandbox.cells import ProcessingError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.work.readers import read_batch


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
def test_a_broken_file_is_a_reason_and_no_crash(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    for study_type in (1, 2, 3, 6):
        files = dict.fromkeys(("matrix", "features", "barcodes"), tmp_path / "x")
        with pytest.raises(ProcessingError, match="batch"):
            read_batch("batch", study_type, files, normalize=True)


def test_nan_in_a_file_ends_the_task_with_the_number(server: Sandbox, tmp_path: Path) -> None:
    unread = "".join(f"gene{i}\t1\t2\n" for i in range(600))  # further down than a submission looks
    (tmp_path / "x.tsv").write_text(f"\tc1\tc2\n{unread}A\t1\t\nB\t2\t3\n")
    with pytest.raises(TaskFailed, match="1 NaN or infinite"):
        bc.submit(tmp_path / "x.tsv", study_type="tsv", skip_dimred=True)


def test_an_h5ad_without_values_is_a_reason(tmp_path: Path) -> None:
    ad.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["A"])).write_h5ad(tmp_path / "x.h5ad")
    for normalize, reason in ((False, "batch: X is missing"), (True, r"batch: adata\.raw is missing")):
        with pytest.raises(ProcessingError, match=reason):
            read_batch("batch", 2, {"matrix": tmp_path / "x.h5ad"}, normalize=normalize)


def test_an_mtx_whose_files_do_not_fit_together_is_a_reason(tmp_path: Path) -> None:
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
