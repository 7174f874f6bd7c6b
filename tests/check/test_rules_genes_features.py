"""Antibodies, guides, peaks and several genomes in var are reported."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc

GENE, ANTIBODY = "Gene Expression", "Antibody Capture"


def make(**columns):
    number = len(next(iter(columns.values())))
    var = pd.DataFrame(columns, index=[f"GENE{i}" for i in range(number)])
    return ad.AnnData(np.eye(number + 1, number, dtype=np.float32) + 1, var=var)


def findings(adata, code="BC413"):
    return [found for found in bc.check(adata) if found.code == code]


@pytest.mark.parametrize(
    ("kinds", "number", "counts"),
    [
        ([GENE] * 9 + [ANTIBODY] * 3, 3, "Antibody Capture 3"),
        ([GENE] * 5 + ["Peaks"] * 7, 7, "Peaks 7"),
        ([GENE] * 4 + ["CRISPR Guide Capture"] * 2 + [ANTIBODY], 3, "CRISPR Guide Capture 2, Antibody Capture 1"),
        ([GENE] * 4 + ["Multiplexing Capture"] * 2, 2, "Multiplexing Capture 2"),
        ([GENE] * 4 + ["Custom"] * 2, 2, "Custom 2"),
        ([GENE] * 4 + ["Antigen Capture"], 1, "Antigen Capture 1"),
    ],
)
def test_features_that_are_not_genes_are_counted_and_the_line_leaves_them_out(kinds, number, counts):
    adata = make(feature_types=pd.Categorical(kinds))
    (found,) = findings(adata)
    assert (found.severity, found.path, found.count) == ("warning", "var['feature_types']", number)
    assert found.message == f"{number} of {len(kinds)} features are not Gene Expression ({counts})"
    line = found.fix.partition("To leave them out: ")[2]
    assert line == "adata[:, adata.var['feature_types'] == 'Gene Expression']"
    kept = eval(line, {"adata": adata})
    assert kept.shape == (len(kinds) + 1, kinds.count(GENE))
    assert findings(kept) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"feature_types": [GENE] * 4},
        {"feature_types": ["gene"] * 4},
        {"feature_types": ["rna", "rna", None, None]},
        {"feature_types": [""] * 4},
        {"feature_type": ["protein_coding", "lncRNA", "protein_coding", "miRNA"]},  # CELLxGENE's biotypes
        {"feature_types": ["protein_coding", "lncRNA", "TEC", "miRNA"]},
        {"genome": ["GRCh38"] * 4},
        {"genome": ["GRCh38", "GRCh38", "", None]},  # Cell Ranger gives antibodies none
    ],
)
def test_genes_of_one_genome_are_not_reported(columns):
    adata = make(**columns)
    assert findings(adata) == findings(adata, "BC414") == []


def test_features_without_any_gene_have_no_line_to_keep_genes():
    (found,) = findings(make(feature_types=[ANTIBODY] * 4))
    assert (found.count, found.fix) == (4, "They are normalized like genes")


def test_types_of_other_tools_are_known():
    (found,) = findings(make(feature_type=["gene", "ADT", "HTO", "gene"]))
    assert found.fix.endswith("adata[:, adata.var['feature_type'] == 'gene']")
    (found,) = findings(make(feature_types=["GEX", "Gene Expression", "ATAC"]))
    assert found.fix.endswith("adata[:, adata.var['feature_types'].isin(['GEX', 'Gene Expression'])]")


@pytest.mark.parametrize(
    ("column", "genes", "others"),
    [("modality", "rna", "prot"), ("modality", "rna", "atac"), ("type", "Gene Expression", "CRISPR Guide Capture"),
     ("modalities", "GEX", "HTO"), ("feature_type", "gene", "peak"), ("type", "gene", "Negative Control Probe"),
     ("feature_type", "Gene", "Unassigned Codeword"), ("feature_type", "gene", "spike-in"),
     ("modality", "GEX", "Cell Hashing")],
)  # fmt: skip
def test_features_of_muon_bpcells_and_others_are_counted_and_the_line_leaves_them_out(column, genes, others):
    adata = make(**{column: [genes] * 3 + [others] * 2})
    (found,) = findings(adata)
    assert (found.path, found.count) == (f"var['{column}']", 2)
    line = found.fix.partition("To leave them out: ")[2]
    assert eval(line, {"adata": adata}).var_names.tolist() == ["GENE0", "GENE1", "GENE2"]


@pytest.mark.parametrize("column", ["type", "modality"])
def test_a_column_of_other_values_is_not_a_feature_type(column):
    assert findings(make(**{column: ["protein_coding", "lncRNA", "miRNA", "pseudogene"]})) == []


@pytest.mark.parametrize("form", ["chr1:{}-{}", "chrX_{}_{}", "1-{}-{}", "GL000194.1:{}-{}", "chr10-{}-{}"])
def test_peaks_without_a_type_are_recognized_by_their_names(form):
    adata = make(symbol=list("abcdefgh"))
    adata.var_names = [*adata.var_names[:5], *(form.format(1000 * i, 1000 * i + 500) for i in range(3))]
    (found,) = findings(adata)
    assert (found.severity, found.path, found.count) == ("warning", "var_names", 3)
    assert found.message == "3 of 8 features are named like peaks, not genes"
    line = found.fix.partition("To leave them out: ")[2]
    assert eval(line, {"adata": adata}).var_names.tolist() == [f"GENE{i}" for i in range(5)]
    adata = adata[:, 5:].copy()
    assert findings(adata)[0].fix == "They are normalized like genes"


@pytest.mark.parametrize("names", [["HLA-A", "NKX2-5", "1-Mar", "AC01.1"], ["RP11-34P13-7", "CTD-2-3", "Y_RNA", "7SK"]])
def test_symbols_with_dashes_are_not_peaks(names):
    adata = make(symbol=list("abcd"))
    adata.var_names = names
    assert findings(adata) == []


def test_several_genomes_are_counted_and_the_line_keeps_the_largest():
    adata = make(genome=["GRCh38"] * 3 + ["mm10"] * 2)
    (found,) = findings(adata, "BC414")
    assert (found.severity, found.path, found.count) == ("warning", "var['genome']", 2)
    assert found.message == "features of 2 genomes (GRCh38 3, mm10 2)"
    line = found.fix.partition("To keep one of them: ")[2]
    assert eval(line, {"adata": adata}).var_names.tolist() == ["GENE0", "GENE1", "GENE2"]


def test_var_of_raw_is_read_where_raw_is_sent():
    whole = make(feature_types=[GENE] * 3 + [ANTIBODY])
    adata = whole[:, :3].copy()
    adata.X = np.log1p(adata.X)
    adata.raw = whole
    (found,) = findings(adata)
    assert found.path == "raw.var['feature_types']"
    names = {"adata": adata}
    statement, _, value = found.fix.partition("To leave them out: ")[2].partition("; ")
    exec(statement, names)
    assert eval(value, names).shape == (5, 3)


def test_real_antibodies_beside_genes_are_counted(data_file):
    stored = ad.read_h5ad(data_file("pbmc_10k_protein_v3.h5ad"))
    names = list(map(str, stored.uns["protein_names"]))
    both = np.hstack([stored.X, np.asarray(stored.obsm["protein_expression"], np.float32)])
    var = pd.DataFrame(
        {"feature_types": [GENE] * stored.n_vars + [ANTIBODY] * len(names)}, index=[*stored.var_names, *names]
    )
    (found,) = findings(ad.AnnData(both, stored.obs, var))
    assert (
        found.message
        == f"{len(names)} of {16_727 + len(names):,} features are not Gene Expression ({ANTIBODY} {len(names)})"
    )
