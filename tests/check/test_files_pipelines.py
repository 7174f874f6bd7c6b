"""Folders of pipelines that servers do not read are told by their names, with the line that reads them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import anndata
import numpy as np
import pandas
import pytest
import scanpy
from scipy import io, sparse
from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.errors import InvalidFile

COUNTS = np.random.default_rng(0).poisson(1.0, (5, 3))
PARSE = {
    "cell_metadata.csv": "bc_wells,sample,tscp_count\n" + "".join(f"01_02_0{i}__s1,A,{10 + i}\n" for i in range(5)),
    "all_genes.csv": "gene_id,gene_name,genome\nENSG1,CD3D,hg38\nENSG2,LYZ,hg38\nENSG3,ACTB,hg38\n",
}
BARCODES = "".join(f"{letter * 16}\n" for letter in "ACGTN")
BUS = {"cells_x_genes.barcodes.txt": BARCODES, "cells_x_genes.genes.txt": "ENSG1.2\nENSG2.1\nENSG3.7\n"}
FRY = {"quants_mat_rows.txt": BARCODES, "quants_mat_cols.txt": "ENSG1.2\nENSG2.1\nENSG3.7\n"}
KINDS = {
    "Parse Biosciences": ("DGE.mtx", PARSE),
    "Parse Biosciences, newer": ("count_matrix.mtx", PARSE),
    "kallisto|bustools": ("cells_x_genes.mtx", BUS),
    "alevin-fry": ("quants_mat.mtx", FRY),
}


@pytest.fixture(params=["plain", "packed"])
def is_packed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "packed")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(kind: str, is_packed: bool, tmp_path: Path) -> Path:
    place = tmp_path / "it's DGE_filtered"
    place.mkdir()
    matrix, texts = KINDS[kind]
    io.mmwrite(place / matrix, sparse.coo_matrix(COUNTS))
    for name, text in texts.items():
        (place / name).write_text(text)
    for path in list(place.iterdir()) if is_packed else []:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return place


def test_the_pipeline_is_named_and_the_line_reads_the_folder(kind: str, folder: Path, server: bc.Sandbox) -> None:
    with pytest.raises(InvalidFile) as caught:
        bc.check(folder)
    text = str(caught.value)
    assert text.startswith(
        f"{folder} is a folder with the output of {kind.partition(',')[0]}, which servers do not read"
    )
    line = re.search(r"Read it with adata = (.*), and submit that: adata\.biocolab\.submit\(…\)$", text)
    assert line is not None
    names = {"anndata": anndata, "scanpy": scanpy, "pandas": pandas}
    adata = eval(line[1], names)
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    parse = "Parse" in kind
    assert list(adata.obs_names) == ([f"01_02_0{i}__s1" for i in range(5)] if parse else BARCODES.split())
    assert list(adata.var_names) == (["CD3D", "LYZ", "ACTB"] if parse else ["ENSG1.2", "ENSG2.1", "ENSG3.7"])
    assert bc.check(adata).ok
    back = adata.biocolab.submit(skip_dimred=True).study().to_anndata()
    np.testing.assert_array_equal(back.X.toarray(), COUNTS)


@pytest.mark.parametrize("study_type", ["h5ad", "mtx_10x", "h5_10x", "tsv"])
def test_submitting_it_says_the_same_whatever_the_study_type(folder: Path, study_type: str, server: bc.Sandbox) -> None:
    before = len(server.requests)
    with pytest.raises(InvalidFile, match=r"which servers do not read\. Read it with adata = anndata\.AnnData\("):
        bc.submit(folder, study_type=study_type)
    assert len(server.requests) == before


@pytest.mark.parametrize("command", ["check", "submit"])
def test_the_command_line_says_the_same(folder: Path, command: str, server: bc.Sandbox) -> None:
    done = CliRunner().invoke(app, [command, str(folder)])
    assert done.exit_code != 0
    said = " ".join(done.output.split())
    assert "which servers do not read. Read it with adata = anndata.AnnData(scanpy.read_mtx(" in said


@pytest.mark.parametrize("missing", ["all_genes.csv", "cell_metadata.csv", "DGE.mtx"])
def test_a_folder_that_lacks_a_part_is_not_called_so(missing: str, tmp_path: Path) -> None:
    for name in {"all_genes.csv", "cell_metadata.csv", "DGE.mtx"} - {missing}:
        (tmp_path / name).write_text("x")
    with pytest.raises(
        InvalidFile, match="is a folder without a 10x matrix: give an h5ad file, a 10x h5 file, a table, or"
    ):
        bc.check(tmp_path)
