"""Ids, QC and row numbers among the genes of a table are reported, and a correct table has no findings."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.check.tables import _KNOWN, annotations_among, ids_among, suspects
from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.sandbox.server import Sandbox

GENES = ["PDK4", "CCL26", "CX3CL1", "CD4", "SNAI2", "IRF4", "CD8A", "LYZ"]


def table(cells: int = 40, names: list[str] | None = None) -> pd.DataFrame:
    names = names or GENES
    dice = np.random.default_rng(0)
    return pd.DataFrame(dice.poisson(0.9, (cells, len(names))), index=[f"cell{i}" for i in range(cells)], columns=names)


def with_first(name: object, values: object, made: pd.DataFrame | None = None) -> pd.DataFrame:
    made = table() if made is None else made.copy()
    made.insert(0, name, values)
    return made


def told(made: pd.DataFrame) -> dict[str, str]:
    """Code and severity of the findings about the names of a table."""
    return {found.code: found.severity for found in made.biocolab.check() if found.code in ("BC410", "BC411", "BC412")}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Unnamed: 0", range(40)),
        ("cell", range(1, 41)),
        ("cell_ID", range(1, 41)),
        ("Cell.ID", range(40)),
        ("index", range(40)),
        ("level_0", range(40)),
        ("fov", [1] * 40),
        ("barcodes", range(100, 140)),
        ("EntityID", range(10**17, 10**17 + 40)),
        ("X", range(1, 41)),  # R's read.csv
        ("V1", range(1, 41)),
        ("#", range(40)),
        ("id", np.arange(40)[::-1] * 7),
        (0, range(40)),
        ("ObjectNumber", range(1, 41)),
        ("whatever", range(40)),
        ("whatever", np.cumsum(np.arange(1, 41))),
        ("cell_id", np.arange(40.0)),
    ],
)
def test_a_column_of_ids_is_an_error_with_the_fix(name: object, values: object) -> None:
    made = with_first(name, values)
    (found,) = made.biocolab.check().errors
    assert (found.code, found.path) == ("BC410", f"columns[{name!r}]")
    assert "pd.read_csv(path, index_col=0)" in found.fix
    for call in (made.biocolab.to_anndata, lambda: made.biocolab.submit()):
        with pytest.raises(InvalidColumn, match="BC410"):
            call()


def test_ids_are_found_in_a_later_column_by_their_name() -> None:
    made = table().assign(fov=1, cell_ID=range(40))
    assert [found.path for found in made.biocolab.check().errors] == ["columns['fov']", "columns['cell_ID']"]


def test_the_fix_returns_the_intended_table(server: Sandbox) -> None:
    text = table().to_csv()
    with pytest.raises(InvalidColumn, match=r"'Unnamed: 0' .*names of cells: pd\.read_csv\(path, index_col=0\)"):
        pd.read_csv(io.StringIO(text)).biocolab.check()
    mended = pd.read_csv(io.StringIO(text), index_col=0)
    assert list(mended.biocolab.check()) == []
    back = mended.biocolab.submit(skip_dimred=True).study().to_anndata()
    assert list(back.obs_names) == [f"cell{i}" for i in range(40)]
    np.testing.assert_array_equal(back.to_df()[GENES], table())


def test_a_first_column_of_gene_names_gets_the_transposed_fix() -> None:
    deposited = table(names=[f"sample {i}" for i in range(8)]).iloc[: len(GENES) * 2]
    deposited.insert(0, "Gene_symbol", [*GENES, "ACTB", "GAPDH", "CD3D", "CD3E", "MS4A1", "NKG7", "IL7R", "CCR7"])
    with pytest.raises(InvalidColumn, match=r"names of genes.*df\.set_index\('Gene_symbol'\)\.T"):
        deposited.biocolab.check()


@pytest.mark.parametrize("name", ["label_id", "segmentation id", "nucleusID", "roi.ID"])
def test_distinct_numbers_in_a_first_column_named_as_an_id_are_an_error(name: str) -> None:
    with pytest.raises(InvalidColumn, match="BC410"):
        with_first(name, np.random.default_rng(1).permutation(4000)[:40]).biocolab.to_anndata()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (range(40), "the first column numbers the rows"),
        (range(1, 41), "the first column numbers the rows"),
        (np.arange(40) * 3, "the first column has a different whole number in every row, like ids"),
        (np.cumsum(np.arange(1, 41)), "the first column has a different whole number in every row, like ids"),
        (np.random.default_rng(1).permutation(4000)[:40], "the first column has a different whole number in every row"),
        (np.arange(40)[::-1], "the first column has a different whole number in every row, like ids"),
    ],
)
def test_numbered_rows_are_distinguished_from_other_ids(values: object, message: str) -> None:
    (found,) = (one for one in with_first("label", values).biocolab.check() if one.code == "BC410")
    assert found.message.startswith(message)


@pytest.mark.parametrize("name", ["segment_id", "global_cell_id", "instanceID", "mask.ID", "cluster-free id"])
def test_distinct_numbers_in_a_later_column_named_as_an_id_are_an_error(name: str) -> None:
    made = table().assign(**{name: np.random.default_rng(1).permutation(4000)[:40]})
    (found,) = made.biocolab.check().errors
    assert (found.code, found.path) == ("BC410", f"columns[{name!r}]")
    assert found.message == "is named like ids and has a different whole number in every row, like ids: not a gene"
    assert told(made.drop(columns=[name])) == {}
    assert told(table().assign(**{name: table()["CD4"]})) == {}  # counts of a feature with such a name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mystery", np.random.default_rng(1).permutation(4000)[:40]),
        ("CD3D", range(40)),
        ("barcode", np.linspace(0.1, 0.9, 40)),
    ],
)
def test_possible_ids_are_a_warning(name: str, values: object) -> None:
    assert told(with_first(name, values)) == {"BC410": "warning"}


def test_counts_that_differ_in_every_sample_are_not_ids() -> None:
    bulk = pd.DataFrame(
        np.random.default_rng(0).permutation(40_000).reshape(40, 1000),
        index=[f"s{i}" for i in range(40)],
        columns=[f"g{i}" for i in range(1000)],
    )
    assert told(bulk) == {}


@pytest.mark.parametrize(
    "names",
    [
        ["CD3", "CD4", "CD8", "CD19", "CD45", "DNA1", "DNA2", "Ki67"],
        ["G1", "G2", "G3"],
        ["chr1:100-200", "chr1:300-400"],
        ["FOV1-gene", "INDEX1", "cellulose", "BARCODELESS", "CLUSTERIN", "AGER", "SEX1"],
        ["y", "w", "mt:ND1", "CG1234"],
        ["NegPrb1", "NegPrb2", "Blank-1"],
    ],
)
def test_unusual_names_are_not_refused(names: list[str]) -> None:
    made = table(names=names)
    assert told(made) == {}
    assert made.biocolab.to_anndata().shape == (40, len(names))


@pytest.mark.parametrize(
    "name",
    ["mt_frac", "kmeans_5", "scDblFinder.score", "bulk_labels",
     "n_counts", "n_genes", "total_counts", "pct_counts_mt", "percent.mt", "nCount_RNA", "nFeature_Spatial", "leiden",
     "leiden_r0.5", "seurat_clusters", "RNA_snn_res.0.8", "doublet_score", "cell_type", "center_x", "bc1_wind",
     "bc_wells", "tscp_count", "mread_count", "subsets_Mito_percent", "nCount_ATAC", "TSS.enrichment",
     "nucleosome_signal", "_scvi_batch", "Sample_Tag", "mitoRatio", "log10GenesPerUMI", "predicted.celltype.l1",
     "celltype.l2", "majority_voting", "conf_score", "pANN_0.25_0.09_100", "DF.classifications_0.25_0.09_100",
     "integrated_snn_res.0.5", "wsnn_res.1", "dpt_pseudotime", "cell_type_ontology_term_id"],
)  # fmt: skip
def test_qc_and_annotations_are_an_error_that_names_them(name: str) -> None:
    made = table().assign(**{name: 1.5})
    (found,) = made.biocolab.check().errors
    assert (found.code, found.path) == ("BC411", "columns")
    assert found.message == f"1 column of QC or annotations, not genes: {name!r}"
    mended = made.drop(columns=[name])
    assert f"df.drop(columns=[{name!r}])" in found.fix
    assert told(mended) == {}


@pytest.mark.parametrize("name", ["batch", "cluster", "Area", "donor_id", "phase", "age", "disease", "Mean.DAPI"])
def test_a_possible_annotation_is_a_warning(name: str) -> None:
    made = table().assign(**{name: 1})
    assert told(made) == {"BC411": "warning"}
    assert made.biocolab.to_anndata().n_vars == len(GENES) + 1


@pytest.mark.parametrize(
    ("index", "warned"),
    [
        (pd.RangeIndex(40), True),
        (pd.RangeIndex(1, 41), True),
        ([str(i) for i in range(40)], True),
        (np.flatnonzero(np.random.default_rng(0).random(100) > 0.5)[:40], True),
        ([f"c{i}" for i in range(40)], False),
        (np.random.default_rng(0).permutation(10**6)[:40], False),
        (np.arange(40) + 10**9, False),
    ],
)
def test_row_numbers_as_barcodes_are_a_warning(index: object, warned: bool) -> None:
    assert told(table().set_axis(index)) == ({"BC412": "warning"} if warned else {})


def test_a_count_beyond_float32_is_reported_with_its_column() -> None:
    made = with_first("mystery", np.arange(40) + 2**24).rename(columns={"mystery": "IGHG1"})
    (found,) = (found for found in made.biocolab.check() if found.code == "BC304")
    assert found.examples[0] == "cell 'cell1' gene 'IGHG1'"


def test_an_anndata_made_from_such_a_table_has_a_warning() -> None:
    import anndata as ad

    made = with_first("Unnamed: 0", range(40)).assign(n_counts=3).astype("float32")
    found = {one.code: one.severity for one in bc.check(ad.AnnData(made)) if one.code in ("BC410", "BC411")}
    assert found == {"BC410": "warning", "BC411": "warning"}


@pytest.mark.parametrize(
    "name",
    ["cell_id", "Unnamed: 0", "level_1", "nCount_RNA", "leiden_0.5", "pct_counts_mt", "Cluster", "a\nbarcode", 7],
)
def test_one_id_or_annotation_among_thousands_of_genes_is_suspected(name: object) -> None:
    genes = [f"GENE{number:05}" for number in range(5_000)]
    assert suspects(pd.Index(genes)) == []
    names = pd.Index([*genes, name], dtype=object)
    assert suspects(names) == list(names)
    assert ids_among(suspects(names)) == ids_among(names)
    assert annotations_among(suspects(names)) == annotations_among(names)


def test_an_empty_list_of_names_is_not_suspected() -> None:
    assert suspects(pd.Index([], dtype=object)) == []


@pytest.mark.parametrize("mark", ["", ".", "_", "-", " ", "\t"])
def test_every_known_name_is_suspected_however_it_is_written(mark: str) -> None:
    for name in [*_KNOWN, "level_0", "unnamed: 12", "pct_counts_in_top_50_genes", "rna_snn_res.1.2", "LEIDEN_3"]:
        forms = {name, name.upper(), name.capitalize(), mark + name, mark.join(name), name + mark}
        for form in forms:
            names = ["CD3D", form, "ACTB"]
            assert suspects(names) == names, form


@pytest.mark.parametrize("name", ["\u017fample", "\u017fex", "index", "ɢene", "\u0130d", "ﬁbro"])
def test_letters_of_other_scripts_are_held_against_the_whole_name(name: str) -> None:
    folded = name.casefold() in _KNOWN
    assert bool(suspects(["CD3D", name])) == folded


@pytest.mark.parametrize("name", ["", "CEL", "AGER", "DAYLIGHT", "SEX1", "CELL\nS", "LEVELS1", "\U0001d7d9"])
def test_a_gene_that_begins_alike_is_not_suspected_of_more_than_it_is(name: str) -> None:
    names = [name, "ACTB", name, "CD3D"]
    kept = ids_among(names) or annotations_among(names)[0]
    assert ids_among(suspects(names)) == ids_among(names)
    assert bool(suspects(names)) >= bool(kept)
