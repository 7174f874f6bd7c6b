"""Objects and tables as other tools export them: which matrix is sent, with which values, and what is said of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.check.matrix_choice import choose_matrix
from biocolab_accessor.io.matrix_blocks import Slot

N, G = 60, 40
DICE = np.random.default_rng(7)
COUNTS = DICE.poisson(1.1, (N, G)).astype(np.float32)
LOG = np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4).astype(np.float32)
CELLS = ["".join(DICE.choice(list("ACGT"), 16)) + "-1" for _ in range(N)]
GENES = [f"GENE{i}" for i in range(G)]


def made(x: np.ndarray | None, **layers: np.ndarray) -> ad.AnnData:
    matrix = None if x is None else sparse.csr_matrix(x)
    adata = ad.AnnData(matrix, pd.DataFrame(index=CELLS), pd.DataFrame(index=GENES))
    for name, layer in layers.items():
        adata.layers[name] = sparse.csr_matrix(layer)
    return adata


def seurat_disk(x: np.ndarray, raw: np.ndarray) -> ad.AnnData:
    """X has what was scaled or normalised, raw the slot below."""
    adata = made(x)
    adata.raw = made(raw)
    return adata


def scvi() -> ad.AnnData:
    adata = made(LOG, counts=COUNTS, denoised=COUNTS * 0.9 + 0.01)
    adata.obs["_scvi_batch"], adata.obs["_scvi_labels"] = 0, 0
    adata.obsm["X_scVI"] = DICE.normal(size=(N, 10)).astype(np.float32)
    adata.obsm["_scvi_extra_continuous_covs"] = pd.DataFrame({"pct": np.linspace(0, 1, N)}, index=CELLS)
    adata.uns.update(_scvi_uuid="a", _scvi_manager_uuid="b")
    return adata


def zellkonverter() -> ad.AnnData:
    adata = made(COUNTS, logcounts=LOG)
    adata.uns["X_name"] = "counts"
    adata.obs["sizeFactor"], adata.obs["Sample"] = DICE.random(N), pd.Categorical(["a", "b"] * 30)
    return adata


def loompy() -> ad.AnnData:
    spliced = DICE.binomial(COUNTS.astype(int), 0.7).astype(np.float32)
    adata = made(spliced, matrix=COUNTS, spliced=spliced, unspliced=COUNTS - spliced, ambiguous=COUNTS * 0)
    adata.obs_names = [f"sample:{cell.removesuffix('-1')}x" for cell in CELLS]
    return adata


OBJECTS: dict[str, tuple[Callable[[], ad.AnnData], Slot, np.ndarray]] = {
    "SeuratDisk: log and counts": (lambda: seurat_disk(LOG, COUNTS), Slot("raw.X"), COUNTS),
    "SeuratDisk: scaled and counts": (lambda: seurat_disk(LOG - LOG.mean(axis=0), COUNTS), Slot("raw.X"), COUNTS),
    "scvi": (scvi, Slot("layer", "counts"), COUNTS),
    "zellkonverter: counts in X": (zellkonverter, Slot("X"), COUNTS),
    "zellkonverter: logcounts in X": (lambda: made(LOG, counts=COUNTS), Slot("layer", "counts"), COUNTS),
    "SoupX in X, counts in a layer": (
        lambda: made(COUNTS * 0.93, counts=COUNTS),
        Slot("layer", "counts"),
        COUNTS,
    ),
    "Cell Ranger aggr": (lambda: made(COUNTS), Slot("X"), COUNTS),
    "R: dense doubles of counts": (lambda: made(COUNTS.astype(np.float64)), Slot("X"), COUNTS),
    "BPCells: uint32": (lambda: made(COUNTS.astype(np.uint32)), Slot("X"), COUNTS),
    "Parse: int64 of counts, a log beside": (lambda: made(COUNTS.astype(np.int64), log=LOG), Slot("X"), COUNTS),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_the_counts_of_the_tool_are_written_with_their_values(name: str, tmp_path: Path) -> None:
    make, slot, values = OBJECTS[name]
    adata = make()
    choice = choose_matrix(adata)
    assert (choice.slot, choice.input_matrix_type, choice.conflicts) == (slot, "raw", ())
    adata.biocolab.to_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(back.X.toarray(), values)
    assert (list(back.obs_names), list(back.var_names)) == (CELLS, GENES)
    pd.testing.assert_frame_equal(back.obs, adata.obs, check_dtype=False)


def test_a_loom_of_velocyto_sends_what_its_x_holds_and_says_of_how_much() -> None:
    adata = loompy()
    choice = choose_matrix(adata)
    assert (choice.slot, choice.input_matrix_type) == (Slot("X"), "raw")
    assert bc.check(adata).ok
    assert adata.biocolab.submit(dry_run=True, check="strict").n_obs == N


def test_a_seurat_object_without_counts_is_told_what_to_send() -> None:
    adata = seurat_disk(LOG - LOG.mean(axis=0), LOG)
    (found,) = [found for found in bc.check(adata) if found.code == "BC305"]
    assert found.fix == "raw.X looks log-normalized: to send it, submit adata.raw.to_adata()"
    plan = adata.raw.to_adata().biocolab.submit(dry_run=True)
    assert (plan.slot, plan.input_matrix_type) == (Slot("X"), "normalized")


SYMBOLS = ["CD3D", "CD3E", "CD4", "CD8A", "MS4A1", "LYZ", "NKG7", "GNLY", "FCER1A", "CST3", "PPBP", "ACTB", "GAPDH"]
SYMBOLS += ["B2M", "MALAT1", "TMSB4X", "RPLP0", "RPS6", "HLA-A", "HLA-DRA", "IL7R", "CCR7", "S100A4", "CD14", "FCGR3A"]
SYMBOLS += ["MT-ND1", "MT-CO1", "EPCAM", "KRT18", "COL1A1", "PTPRC", "CD19", "CD79A", "JCHAIN"]
TABLE = pd.DataFrame(DICE.poisson(1.5, (N, len(SYMBOLS))), index=CELLS, columns=SYMBOLS)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        (TABLE.to_csv(), {}),
        (TABLE.to_csv(sep=";"), {"sep": ";"}),
        (TABLE.to_csv(sep="\t", quoting=1), {"sep": "\t"}),
        ("\ufeff" + TABLE.to_csv(), {}),
        ("## BD Rhapsody\n" + TABLE.rename_axis("Cell_Index").to_csv(), {"comment": "#"}),
        (TABLE.map(lambda value: f"{value},0").to_csv(sep=";"), {"sep": ";", "decimal": ","}),
        (TABLE.map(lambda value: f"{value:,}").to_csv(quoting=1), {"thousands": ","}),
    ],
    ids=["CSV", "semicolons", "quotes", "byte order mark", "BD Rhapsody", "decimal commas", "thousands"],
)
def test_a_table_read_with_its_index_arrives_with_its_values_and_one_read_without_is_refused(
    text: str, how: dict[str, str], tmp_path: Path
) -> None:
    read = pd.read_csv(io.StringIO(text), index_col=0, **how)
    adata = read.biocolab.to_anndata()
    assert (list(adata.obs_names), list(adata.var_names)) == (CELLS, SYMBOLS)
    np.testing.assert_array_equal(adata.to_df(), TABLE)
    numbered = pd.read_csv(io.StringIO(text), **how)
    with pytest.raises(bc.errors.InvalidColumn, match=r"index_col=0"):
        numbered.biocolab.to_anndata()


@pytest.mark.parametrize(
    "names",
    [
        ["1-Mar", "2-Mar"], ["Mar-01", "Sep-02"], ["2022-03-01 00:00:00", "2022-09-02 00:00:00"], [44256, 44257],
        ["01/03/2022", "02/09/2022"], ["2.31E+13", "1.10E+05"], list(pd.to_datetime(["2022-03-01", "2022-09-02"])),
    ],
    ids=str,
)  # fmt: skip
def test_genes_that_a_spreadsheet_made_days_or_numbers_are_named(names: list[object]) -> None:
    table = TABLE.set_axis([*names, *SYMBOLS[2:]], axis=1)
    (found,) = [found for found in table.biocolab.check() if found.code == "BC406"]
    assert (found.severity, found.count) == ("warning", 2)
    assert str(names[0]) in found.examples[0]


@pytest.mark.parametrize(
    "form",
    ["{}|ENSG00000{:06d}", "ENSG00000{1:06d}_{0}", "{0}_HUMAN", "Gene_{0}", "AT1G{1:05d}", "YAL{1:03d}W",
     "ENSMUSG00000{1:06d}.3", "chr1:{1}000-{1}500", "FBgn{1:07d}", "hg38_{0}"],
)  # fmt: skip
def test_genes_in_rows_are_known_by_any_form_of_their_names(form: str) -> None:
    rows = [form.format(symbol, number) for number, symbol in enumerate(SYMBOLS)]
    turned = TABLE.T.set_axis(rows, axis=0)
    assert "BC409" in {found.code for found in turned.biocolab.check()}
    assert "BC409" not in {found.code for found in turned.T.biocolab.check()}
