"""Findings about gene names: identifiers, species, genomes and damage by a spreadsheet."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from tests.check.test_genes_species import HUMAN, MOUSE

IDS = [f"ENSG{i:011d}" for i in range(30)]


def findings(names, code, **arguments):
    var = pd.DataFrame(arguments.pop("var", {}), index=names)
    adata = ad.AnnData(np.ones((2, len(names)), np.float32), var=var)
    return [found for found in bc.check(adata, **arguments) if found.code == code]


def test_ids_among_symbols_are_noted():
    (found,) = findings([*HUMAN, "ENSG00000228794"], "BC401")
    assert (found.severity, found.path, found.count) == ("note", "var_names", 1)
    assert findings(HUMAN, "BC401") == findings(IDS, "BC401") == []


def test_versions_of_ids_are_a_warning_with_a_fix_that_works():
    names = [f"{name}.{i}" for i, name in enumerate(IDS)]
    (found,) = findings(names, "BC402")
    assert (found.severity, found.count, found.examples[0]) == ("warning", 30, "'ENSG00000000000.0'")
    copy = ad.AnnData(np.ones((1, 30), np.float32), var=pd.DataFrame(index=names))
    statement = found.fix.removeprefix("In a copy: ").partition(", then")[0]
    exec(statement, {"copy": copy})
    assert list(copy.var_names) == IDS


def test_known_symbols_of_ids_are_pointed_to():
    (found,) = findings(IDS, "BC403", var={"gene_symbols": [f"A{i}" for i in range(30)]})
    assert "adata.biocolab.submit(gene_symbols='gene_symbols')" in found.fix
    assert findings(IDS, "BC403", var={"gene_symbols": IDS}) == []
    assert findings(IDS, "BC403") == []


@pytest.mark.parametrize(
    ("names", "species", "warned"),
    [
        (HUMAN, "mouse", True),
        (HUMAN, "human", False),
        (HUMAN, "primate", False),
        (HUMAN, "others", False),
        (HUMAN, None, False),
        (MOUSE, "human", True),
        (MOUSE, "primate", True),
        (MOUSE, "mouse", False),
        ([f"ENSRNOG{i:011d}" for i in range(30)], "mouse", True),
        ([f"ENSRNOG{i:011d}" for i in range(30)], "others", False),
        ([f"g{i}" for i in range(30)], "mouse", False),
    ],
)
def test_another_species_than_the_names_say_is_a_warning(names, species, warned):
    found = findings(names, "BC404", species=species)
    assert len(found) == warned
    if warned:
        assert found[0].severity == "warning"
        assert f"species is {species!r}" in found[0].message


def test_the_species_is_compared_when_an_object_is_submitted():
    adata = ad.AnnData(np.ones((2, len(MOUSE)), np.float32), var=pd.DataFrame(index=MOUSE))
    assert [found.code for found in adata.biocolab.submit(dry_run=True).report.warnings] == ["BC404"]
    assert adata.biocolab.submit(species="mouse", dry_run=True).report.warnings == ()
    assert [found.code for found in adata.biocolab.check(species="human").warnings] == ["BC404"]


def test_without_a_species_the_check_compares_with_human_as_a_submission_does(tmp_path):
    adata = ad.AnnData(np.ones((2, len(MOUSE)), np.float32), var=pd.DataFrame(index=MOUSE))
    adata.write_h5ad(tmp_path / "x.h5ad")
    planned = adata.biocolab.submit(dry_run=True).report
    assert [found.code for found in planned.warnings] == ["BC404"]
    assert adata.biocolab.check() == bc.check(adata) == bc.check(tmp_path / "x.h5ad") == planned
    assert adata.to_df().biocolab.check().warnings == planned.warnings
    assert adata.biocolab.check(species=None).warnings == ()


def test_barcodes_of_a_transposed_object_are_not_taken_for_genes_of_a_species():
    barcodes = [f"AAACCTGAGA{a}{b}{c}GGTT-1" for a in "ACGT" for b in "ACGT" for c in "ACGT"]
    adata = ad.AnnData(np.ones((len(MOUSE), 64), np.float32), pd.DataFrame(index=MOUSE), pd.DataFrame(index=barcodes))
    for report in (adata.biocolab.check(species="mouse"), adata.to_df().biocolab.check(species="mouse")):
        assert [found.code for found in report.warnings] == ["BC409"]
    assert [found.code for found in adata.T.biocolab.check().warnings] == ["BC404"]


def test_mitochondrial_genes_are_counted():
    (found,) = findings(HUMAN, "BC405")
    assert (found.severity, found.count, found.examples) == ("note", 2, ("'MT-CO1'", "'MT-CO3'"))


@pytest.mark.parametrize(("number", "noted"), [(1_200, True), (300, False)])
def test_a_transcriptome_without_mitochondrial_genes_is_noted_and_a_panel_is_not(number, noted):
    found = findings([f"GENE{i}" for i in range(number)], "BC405")
    assert bool(found) == noted
    if noted:
        assert "(MT-… or mt-…): a filter by mt_percentage would keep every cell" in found[0].message


def test_names_out_of_a_spreadsheet_are_a_warning():
    (found,) = findings([*HUMAN, "1-Mar", "2-Sep"], "BC406")
    assert (found.severity, found.count, found.examples) == ("warning", 2, ("'1-Mar'", "'2-Sep'"))


def test_genes_without_names_are_a_warning():
    (found,) = findings([str(i) for i in range(30)], "BC407", var={"symbol": [f"A{i}" for i in range(30)]})
    assert (found.severity, found.count) == ("warning", 30)
    assert "var['symbol'] may have them" in found.fix
    assert findings([str(i) for i in range(5)], "BC407") == []


def test_genome_prefixes_of_names_are_a_warning():
    (found,) = findings([f"GRCh38_{name}" for name in HUMAN] + [f"mm10___{name}" for name in MOUSE], "BC408")
    assert (found.severity, found.count) == ("warning", len(HUMAN) + len(MOUSE))
    assert "keep the cells and genes of one species" in found.fix


def test_genes_are_those_of_the_matrix_that_is_sent():
    adata = ad.AnnData(np.log1p(np.ones((2, 1), np.float32)), var=pd.DataFrame(index=["x"]))
    adata.raw = ad.AnnData(np.ones((2, 30), np.float32), var=pd.DataFrame(index=[f"{name}.1" for name in IDS]))
    found = next(found for found in bc.check(adata) if found.code == "BC402")
    assert found.path == "raw.var_names"
    exec(found.fix.removeprefix("In a copy: ").partition(", then")[0], {"copy": adata})
    assert list(adata.raw.var_names) == IDS


@pytest.mark.parametrize(("number", "noted"), [(27, True), (26, False)])
def test_symbols_are_pointed_to_where_nine_of_ten_names_are_ids(number, noted):
    names = IDS[:number] + [f"A{i}" for i in range(30 - number)]
    assert bool(findings(names, "BC403", var={"symbol": [f"B{i}" for i in range(30)]})) is noted


@pytest.mark.parametrize(("number", "warned"), [(20, True), (19, False)])
def test_twenty_numbers_are_not_names(number, warned):
    assert bool(findings([str(i) for i in range(number)], "BC407")) is warned


def test_one_gene_with_a_name_among_numbers_is_enough():
    assert findings([*(str(i) for i in range(30)), "CD3D"], "BC407") == []


@pytest.mark.parametrize(("number", "noted"), [(1_000, True), (999, False)])
def test_a_thousand_genes_are_a_transcriptome(number, noted):
    assert bool(findings([f"GENE{i}" for i in range(number)], "BC405")) is noted


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"symbol": "A", "gene_symbols": "B"}, "gene_symbols"),  # the usual name first, in whatever order they stand
        ({"gene_symbols": "ENSG00000000001", "symbol": "A"}, "symbol"),
        ({"gene_symbols": "17", "name": "A"}, "name"),
        ({"feature_name": "A"}, "feature_name"),
        ({"gene_name": "A"}, "gene_name"),
        ({"description": "A"}, None),
    ],
)
def test_symbols_are_looked_for_in_columns_of_their_usual_names(columns, named):
    found = findings(IDS, "BC403", var={name: [value] * 30 for name, value in columns.items()})
    assert [f"var[{named!r}] has their symbols" in each.message for each in found] == ([True] if named else [])


@pytest.mark.parametrize(
    ("values", "has"),
    [
        ([np.nan] * 30, False),
        ([None, *(f"B{i}" for i in range(29))], True),
        ([None, *IDS[1:]], False),
        (["ENSA", *(f"B{i}" for i in range(29))], True),
        ([f"ENSMUST{i:011d}.1" for i in range(30)], False),
    ],
)
def test_the_first_value_decides_whether_a_column_holds_symbols(values, has):
    assert bool(findings(IDS, "BC403", var={"symbol": pd.Series(values, IDS, dtype=object)})) is has


def test_one_gene_is_enough_to_have_a_symbol():
    assert len(findings(IDS[:1], "BC403", var={"symbol": ["A"]})) == 1


def test_symbols_of_raw_are_pointed_to_in_raw():
    adata = ad.AnnData(np.log1p(np.ones((2, 1), np.float32)), var=pd.DataFrame({"symbol": ["no"]}, index=["x"]))
    adata.raw = ad.AnnData(np.ones((2, 30), np.float32), var=pd.DataFrame({"gene_name": ["A"] * 30}, index=IDS))
    found = next(found for found in bc.check(adata) if found.code == "BC403")
    assert found.message == "genes are named by Ensembl ids; raw.var['gene_name'] has their symbols"
    assert found.fix == "To send symbols: adata.biocolab.submit(gene_symbols='gene_name')"


def named(cells, genes):
    adata = ad.AnnData(np.ones((len(cells), len(genes)), np.float32))
    adata.obs_names, adata.var_names = cells, genes
    return [found.code for found in bc.check(adata) if found.code == "BC409"]


def barcodes(number, after="-1"):
    return [f"ACGTACGTAC{''.join('ACGT'[i >> 2 * place & 3] for place in range(4))}{after}" for i in range(number)]


@pytest.mark.parametrize("after", ["", "-1", "-12_b"])
def test_barcodes_as_gene_names_are_reported_unless_cells_have_them_too(after):
    cells = [f"cell {i}" for i in range(30)]
    assert named(cells, barcodes(30, after)) == ["BC409"]
    assert named([f"s1_{name}" for name in barcodes(30)], barcodes(30, after)) == []
    assert named(cells, barcodes(19, after)) == []  # too few to tell
    assert named(cells, barcodes(20, after)) == ["BC409"]
    assert named(cells, [f"CD{i}" for i in range(10)] + barcodes(20, after)) == []


def test_gene_ids_as_cell_names_are_reported_whatever_the_gene_names():
    ids = [f"ENSMUSG{i:011d}.2" for i in range(25)]
    assert named(ids, [f"cell {i}" for i in range(25)]) == ["BC409"]
    assert named(ids[:10] + [f"cell {i}" for i in range(15)], ids) == []
    assert named([f"cell {i}" for i in range(25)], ids) == []


@pytest.mark.parametrize(
    "name", ['"CD3D"', "'CD3D'", " CD3D", "CD3D ", "CD3D\t", "\ufeffCD3D", "CD3D\xa0", "CD3D\r"], ids=ascii
)
@pytest.mark.parametrize("path", ["var_names", "obs_names"])
def test_quotes_and_spaces_around_names_are_a_warning_with_the_line_that_removes_them(name, path):
    adata = ad.AnnData(np.ones((3, 3), np.float32))
    adata.obs_names, adata.var_names = ["a", "b", "c"], ["LYZ", "ACTB", "NKX2-1"]
    setattr(adata, path, [name, *getattr(adata, path)[1:]])
    (found,) = [found for found in bc.check(adata) if found.code == "BC415"]
    assert (found.severity, found.path, found.count, found.examples) == ("warning", path, 1, (repr(name),))
    names = {"copy": adata}
    exec(found.fix.removeprefix("In a copy: "), names)
    assert getattr(adata, path)[0] == "CD3D"
    assert "BC415" not in {found.code for found in bc.check(adata)}


def test_quotes_and_spaces_within_names_are_not_reported():
    adata = ad.AnnData(np.ones((3, 5), np.float32))
    adata.obs_names, adata.var_names = ["5' a", "b c", 'd"e'], ["aph(3')", "T cell", "lacZ'", '"a"b', "x"]
    assert "BC415" not in {found.code for found in bc.check(adata)}
