"""Gene names of every species are distinguished from cell names, which reveals a transposed matrix."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.check.genes import are_entrez, gene_share, is_gene

HUMAN = [
    "A1BG",
    "A2M",
    "CD3D",
    "CD3E",
    "LYZ",
    "MS4A1",
    "NKG7",
    "GNLY",
    "PPBP",
    "CST3",
    "IL7R",
    "CCR7",
    "S100A4",
    "CD8A",
    "FCGR3A",
    "MT-ND1",
    "MT-CO1",
    "HLA-DRA",
    "RPL3",
    "RPS6",
    "TP53",
    "EGFR",
    "MYC",
    "KRAS",
    "ZNF100",
    "NOC2L",
]
WORM = ["unc", "lin", "egl", "daf", "ceh", "nhr", "mec", "let"]
ENTREZ = [str(number) for number in (7157, 1956, 2064, 672, 675, 3845, 4609, 5594, 207, 920, 925, 100_287_102)]
GENES = {
    "human": HUMAN,
    "mouse": [name.capitalize() for name in HUMAN],
    "fish": [name.lower() for name in HUMAN],
    "Ensembl": [f"ENSDARG{i:011d}" for i in range(30)],
    "versions": [f"ENSMUSG{i:011d}.{i % 9}" for i in range(30)],
    "id and symbol": [f"ENSG{i:011d}|{name}" for i, name in enumerate(HUMAN)],
    "symbol and id": [f"{name}_ENSG{i:011d}" for i, name in enumerate(HUMAN)],
    "fly": [f"FBgn{i:07d}" for i in range(30)],
    "worm": [f"WBGene{i:08d}" for i in range(30)],
    "worm symbols": [f"{name}-{i}" for i, name in enumerate(WORM * 4)],
    "yeast": [f"YAL{i:03d}{'WC'[i % 2]}" for i in range(30)],
    "plant": [f"AT1G{i:05d}" for i in range(30)],
    "RefSeq": [f"NM_{i:06d}.2" for i in range(30)],
    "genome": [f"GRCh38_{name}" for name in HUMAN],
    "Riken": [f"{i:07d}E13Rik" for i in range(30)],
}  # fmt: skip
CELLS = {
    "sample": [f"lymph_{i % 3}--Cell_{i}" for i in range(30)],
    "plate": [f"P1-{'ABCDEFGH'[i // 8]}{i % 8 + 1}" for i in range(30)],
    "GEO": [f"GSM36{i:05d}" for i in range(30)],
    "run": [f"SRR{i:07d}" for i in range(30)],
    "letters and numbers": [f"MT{i}" for i in range(30)],
    "markers of a sort": [f"CD4-{i}" for i in range(30)],
    "numbered": [f"cell-{i}" for i in range(30)],
    "TCGA": [f"TCGA-A{i % 7}-{i:04d}-01A" for i in range(30)],
    "barcodes": ["".join("ACGT"[i >> 2 * place & 3] for place in range(16)) + "-1" for i in range(30)],
    "numbers": [str(i) for i in range(30)],
    "few": ["treated", "control", "blank"],
}


def codes(cells: list[str], genes: list[str]) -> list[str]:
    adata = ad.AnnData(np.ones((len(cells), len(genes)), np.float32))
    adata.obs_names, adata.var_names = cells, genes
    return [found.code for found in bc.check(adata) if found.code == "BC409"]


@pytest.mark.parametrize("kind", GENES)
def test_genes_in_the_place_of_cells_are_reported_whatever_the_cell_names(kind: str) -> None:
    for cells in CELLS.values():
        assert codes(GENES[kind], cells) == ["BC409"]
        assert codes(cells, GENES[kind]) == []
    if kind not in ("Ensembl", "versions"):  # which nobody calls a cell by
        assert codes(GENES[kind], GENES["human"]) == []  # as where each cell lacks a gene


@pytest.mark.parametrize("form", ['"{}"', "gene-{}", "gene:{}", "{}__chr19", " {} ", "GRCh38_{}", "'{}'"])
def test_what_exports_add_to_the_names_of_genes_does_not_hide_them(form: str) -> None:
    written = [form.format(name) for name in GENES["human"]]
    assert gene_share(written) >= gene_share(GENES["human"])
    for cells in (CELLS["sample"], CELLS["numbers"]):
        assert codes(written, cells) == ["BC409"]
        assert codes(cells, written) == []


def test_peaks_in_the_place_of_cells_are_reported() -> None:
    peaks = [f"chr{i % 22 + 1}:{1000 * i}-{1000 * i + 500}" for i in range(40)]
    for form in (peaks, [peak.replace(":", "-") for peak in peaks], [peak.replace(":", "_") for peak in peaks]):
        assert codes(form, CELLS["sample"]) == ["BC409"]
        assert codes(CELLS["sample"], form) == []


@pytest.mark.parametrize("kind", CELLS)
def test_names_of_cells_are_not_taken_for_genes(kind: str) -> None:
    assert gene_share(CELLS[kind]) == 0
    assert codes(CELLS[kind], ["DAPI", "Area", "protein 7"]) == []


def test_entrez_ids_are_known_from_numbers_of_cells() -> None:
    assert are_entrez(ENTREZ)
    assert not are_entrez([*ENTREZ, "x"])
    assert not are_entrez(map(str, range(20_000)))
    assert not are_entrez(map(str, range(0, 20_000, 3)))
    numbers = ENTREZ + [str(i * 1009) for i in range(1, 20)]
    assert codes(numbers, CELLS["GEO"]) == ["BC409"]
    assert codes(CELLS["GEO"], numbers) == []
    assert codes([str(i) for i in range(40)], CELLS["GEO"]) == []


def test_a_third_of_real_gene_names_and_no_cell_names_are_known(read_h5ad, data_file) -> None:
    for name in ("pbmc_10k_protein_v3.h5ad", "mouse_neurons_10k_x_1k.h5ad"):
        adata = read_h5ad(name)
        assert gene_share(adata.var_names) > 0.3
        assert gene_share(adata.obs_names) == 0


@pytest.mark.parametrize("name", ["", "x", "gene1", "GENE1", "P1-A1", "1", "-", "CD4+ T", "NK cells", "Area", "W12"])
def test_a_word_is_not_a_gene(name: str) -> None:
    assert not is_gene(name)


def test_the_share_of_gene_names_counts_symbols_of_any_case_and_ids():
    names = ["CD3D", "Actb", "LYZ", "Ms4a1", "Gapdh", "FBgn0000008", "lymph_1--Cell_10", "lymph_1--Cell_11"]
    assert gene_share(names) == 0.75
