"""Every rule says what it found, where, how often and what to do."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import RULES
from biocolab_accessor.errors import EmptyAnnData, InvalidColumn, InvalidNames, InvalidValues, NoCounts
from tests.builders import set_matrix

COUNTS = np.array([[3, 0], [0, 1]], np.float32)
LOG = np.log1p(COUNTS)
BROKEN = np.array([[3, -1], [np.nan, np.inf]], np.float32)
IDS = [f"ENSG{i:011d}" for i in range(30)]

# Objects that anndata would mend or refuse are made behind its back.


def make(x=COUNTS, obs_names=("a", "b"), var_names=("g", "h"), obs=None, **slots):
    adata = ad.AnnData(x.copy(), pd.DataFrame(index=["a", "b"]), pd.DataFrame(index=["g", "h"]), **slots)
    adata._obs = pd.DataFrame(obs or {}, index=pd.Index(obs_names, dtype=object))
    adata._var = pd.DataFrame(index=pd.Index(var_names, dtype=object))
    return adata


def genes(names, **var):
    return ad.AnnData(np.ones((2, len(names)), np.float32), var=pd.DataFrame(var, index=names))


def transposed():
    letters = ["".join("ACGT"[number >> 2 * place & 3] for place in range(6)) for number in range(27, 52)]
    barcodes = [f"AAACATTG{ending}-1" for ending in letters]
    return ad.AnnData(
        np.ones((30, 25), np.float32), pd.DataFrame(index=[f"G{i}" for i in range(30)]), pd.DataFrame(index=barcodes)
    )


def twice(name):
    adata = make(obs={"x": [1, 2], "y": [1, 2]})
    adata._obs.columns = [name, name]
    return adata


def joined():
    adata = ad.AnnData(np.ones((4, 2), np.float32))
    adata._obs = pd.DataFrame({"sample": ["s1", "s1", "s2", "s2"]}, index=list("abab"))
    return adata


def index_named(name):
    adata = make(obs={"x": [1, 2]})
    adata._obs.index.name = name
    return adata


def scaled(raw):
    adata = make(LOG)
    if raw:
        adata.raw = adata
    adata.X = LOG - 0.5
    return adata


def misfit(name):
    adata = make()
    if name == "X":
        set_matrix(adata, np.ones((3, 2), np.float32))
    else:
        getattr(adata, name)._data["k"] = np.ones((3, 2))
    return adata


NO_LOG = "Put whole counts into layers['counts'], or log-normalize a copy: sc.pp.normalize_total, sc.pp.log1p"
STAYS_TEXT = "They are still text when the study is fetched; convert them to text in a copy to have both alike"
OWN_NAME = "The original name is restored when the study is fetched; to choose another, rename it in a copy"

CASES = {
    "barcodes twice": (
        make(obs_names=("a", "a")),
        Finding("BC101", "error", "obs_names", "1 duplicate barcode", 1, ("'a'",),
                "Make them unique: adata.obs_names_make_unique(), or add the sample to each name", InvalidNames),
    ),
    "barcodes twice in joined samples": (
        joined(),
        Finding("BC101", "error", "obs_names", "2 duplicate barcodes", 2, ("'a'", "'b'"),
                "They only clash between values of obs['sample']. In a copy: "
                "copy.obs_names = copy.obs['sample'].astype(str) + '_' + copy.obs_names", InvalidNames),
    ),
    "barcodes that cannot be written": (
        make(obs_names=("b", None)),
        Finding("BC102", "error", "obs_names", "1 name that cannot be written", 1, ("None is missing",),
                "Rename them: adata.obs.index = [...]", InvalidNames),
    ),
    "features that cannot be written": (
        make(var_names=(b"x", "")),
        Finding("BC102", "error", "var_names", "2 names that cannot be written", 2,
                ("b'x' is a bytes, not text", "'' is empty"), "Rename them: adata.var.index = [...]", InvalidNames),
    ),
    "features twice": (
        make(var_names=("g", "g")),
        Finding("BC103", "warning", "var_names", "1 duplicate feature name", 1, ("'g'",),
                "They are sent unchanged; to make them unique, use adata.var_names_make_unique()", InvalidNames),
    ),
    "a column called by a float": (
        make(obs={1.5: [1, 2]}),
        Finding("BC104", "error", "obs[1.5]", "the column name is a float, not text",
                fix="Rename it in a copy: adata.obs.columns = [...]", error=InvalidNames),
    ),
    "a column twice": (
        twice("x"),
        Finding("BC104", "error", "obs", "columns with the same name", 1, ("'x'",),
                "Rename all but one of them, or drop them from a copy", InvalidNames),
    ),
    "the servers' own column": (
        make(obs={"Barcodes": [1, 2]}),
        Finding("BC106", "warning", "obs['Barcodes']",
                "the name is reserved for barcodes on the servers: sent as 'Barcodes~biocolab'",
                fix=OWN_NAME, changed=True),
    ),
    "numbers as barcodes": (
        make(obs_names=(10, 11)),
        Finding("BC107", "note", "obs_names", "2 int: sent as text", 2, fix=STAYS_TEXT, changed=True),
    ),
    "an index called like a column": (
        index_named("x"),
        Finding("BC108", "note", "obs.index.name",
                "'x' is taken by a column or cannot be written: sent without a name", changed=True),
    ),
    "a column with a slash": (
        make(obs={"a/b": [1, 2]}),
        Finding("BC109", "warning", "obs['a/b']",
                "the name contains a '/', which separates groups in HDF5: sent as 'a%2Fb~biocolab'",
                fix=OWN_NAME, changed=True),
    ),
    "columns called by numbers": (
        make(obs={0: [1, 2], 7: [1, 2]}),
        Finding("BC110", "note", "obs.columns", "names that are numbers: sent as text", 2, ("0", "7"),
                fix=STAYS_TEXT, changed=True),
    ),
    "mixed types": (
        make(obs={"x": [1, "a"]}),
        Finding("BC208", "warning", "obs['x']", "mixed types (int 1, str 1): sent as text", 2,
                ("a: 1", "b: 'a'"), "It stays text when the study is fetched", InvalidColumn, changed=True),
    ),
    "lists": (
        make(obs={"x": [[1], [2]]}),
        Finding("BC201", "warning", "obs['x']", "not sent: values that h5ad cannot hold (list 2)", 2,
                ("a: [1]",), "Convert it: adata.obs['x'] = adata.obs['x'].astype(str)", InvalidColumn),
    ),
    "batches of lists": (
        (make(obs={"x": [[1], [2]]}), {"batch_key": "x"}),
        Finding("BC204", "error", "obs['x']", "cannot be used for batches: values that h5ad cannot hold (list 2)", 2,
                ("a: [1]",), "Convert it: adata.obs['x'] = adata.obs['x'].astype(str)", InvalidColumn),
    ),
    "booleans with gaps": (
        make(obs={"x": [True, None]}),
        Finding("BC202", "note", "obs['x']", "booleans with 1 missing: sent as labels 'True' and 'False'",
                changed=True),
    ),
    "labels in an order": (
        make(obs={"stage": pd.Categorical(["lo", "hi"], ["lo", "mid", "hi", "top"], ordered=True)}),
        Finding("BC205", "note", "obs['stage']",
                "ordered labels (lo < mid < hi < …): the servers do not keep the order"),
    ),
    "infinite numbers of cells": (
        make(obs={"ratio": [np.inf, 1.5]}),
        Finding("BC206", "warning", "obs['ratio']", "infinite numbers in 1 cell: the servers show NaN there", 1,
                ("'a'",), "Replace them with finite numbers in a copy"),
    ),
    "a batch of each cell": (
        (make(obs={"score": [0.5, 1.5]}), {"batch_key": "score"}),
        Finding("BC207", "warning", "obs['score']", "2 batches, each with a single cell", 2,
                fix="Use a column whose values name samples, donors or runs"),
    ),
    "no such batch column": (
        (make(obs={"sample": [1, 2]}), {"batch_key": "Sample"}),
        Finding("BC204", "error", "obs",
                "has no column 'Sample' (did you mean 'sample'?) for batch_key; it has 'sample'",
                fix="Give the name of one column", error=InvalidColumn),
    ),
    "two batch columns": (
        (twice("s"), {"batch_key": "s"}),
        Finding("BC204", "error", "obs", "has 2 columns 's' for batch_key; it has 's', 's'",
                fix="Give the name of one column", error=InvalidColumn),
    ),
    "cells without a batch": (
        (make(obs={"sample": ["x", None]}), {"batch_key": "sample"}),
        Finding("BC204", "error", "obs['sample']", "1 cell without a batch", 1, ("'b'",),
                "Fill the column in a copy, or drop those cells from it", InvalidColumn),
    ),
    "no counts": (
        (make(LOG), {"input_matrix_type": "raw"}),
        Finding("BC300", "error", "X, raw.X, layers",
                "input_matrix_type is 'raw', but no slot holds counts: X (2 x 2): looks log-normalized "
                "(0 % whole numbers, max 1.3863). Put the counts into adata.layers['counts'], or submit with "
                "input_matrix_type='normalized'", error=NoCounts),
    ),
    "no cells": (
        ad.AnnData(np.zeros((0, 2), np.float32)),
        Finding("BC301", "error", "X", "has no cells (0 x 2)", fix="Check how cells and genes were filtered before",
                error=EmptyAnnData),
    ),
    "infinite values": (
        make(np.array([[np.inf, 0], [-np.inf, 1]], np.float32)),
        Finding("BC302", "error", "X", "2 infinite values", 2, ("cell 'a' gene 'g'", "cell 'b' gene 'g'"),
                fix="Fill the values, or drop those cells or genes, in a copy", error=InvalidValues),
    ),
    "complex values": (
        make(COUNTS.astype(np.complex64)),
        Finding("BC302", "error", "X", "holds complex64 values: only real numbers can be sent",
                fix="Convert them: adata.X.astype('float32')", error=InvalidValues),
    ),
    "negative counts": (
        (make(np.array([[3, -1], [0, -2]], np.float32)), {"input_matrix_type": "raw"}),
        Finding("BC303", "error", "X", "2 negative values (min -2): counts cannot be negative", 2,
                ("cell 'a' gene 'h'", "cell 'b' gene 'h'"),
                fix="Check how these values were produced, or submit with input_matrix_type='normalized'",
                error=InvalidValues),
    ),
    "counts beyond float32": (
        make(COUNTS.astype(np.int64) * 2**24),
        Finding("BC304", "warning", "X",
                "counts up to 50,331,648: the servers round counts above 16,777,216",
                examples=("cell 'a' gene 'g'",), fix="Check that these are molecule counts"),
    ),
    "scaled, with better": (
        scaled(raw=True),
        Finding("BC305", "warning", "X", "2 negative values, looks scaled; sent unchanged", 2,
                fix="raw.X looks log-normalized: to send it, submit adata.raw.to_adata()"),
    ),
    "scaled": (
        scaled(raw=False),
        Finding("BC305", "warning", "X", "2 negative values, looks scaled; sent unchanged", 2,
                fix="Submit counts or log-normalized values"),
    ),
    "too large for a log": (
        make(LOG * 100),
        Finding("BC314", "warning", "X",
                "neither counts nor log-normalized (0 % whole numbers, max 138.63); sent unchanged",
                fix=NO_LOG),
    ),
    "counts with a fraction": (
        make(np.array([[3, 1.5], [2, 4]], np.float32)),
        Finding("BC314", "warning", "X",
                "neither counts nor log-normalized (75 % whole numbers, max 4); sent unchanged",
                fix=NO_LOG),
    ),
    "float noise": (
        make(COUNTS + np.array([[4e-11, 0], [0, 0]])),
        Finding("BC306", "note", "X", "counts differ from whole numbers by up to 4e-11: sent as whole numbers",
                changed=True),
    ),
    "all zero": (
        make(COUNTS * 0),
        Finding("BC307", "warning", "X", "all values are zero", fix="Put the matrix to send into X of a copy"),
    ),
    "broken counts": (
        make(LOG, layers={"counts": BROKEN}),
        Finding("BC308", "warning", "layers['counts']", "not used as counts: 1 NaN and 1 infinite values", 3,
                fix="X is sent instead; to send layers['counts'], fix its values in a copy"),
    ),
    "counts of zeros": (
        make(LOG, layers={"counts": COUNTS * 0}),
        Finding("BC308", "warning", "layers['counts']", "not used as counts: all zero", 1,
                fix="X is sent instead; to send layers['counts'], fix its values in a copy"),
    ),
    "embeddings with gaps": (
        make(obsm={"X_u": np.array([[np.nan, 1], [2, np.inf]])}),
        Finding("BC309", "warning", "obsm['X_u']", "2 cells with NaN or infinite coordinates", 2,
                fix="Fill them, or drop the key, in a copy"),
    ),
    "cells without counts": (
        make(np.array([[3, 1], [0, 0]], np.float32)),
        Finding("BC310", "warning", "X", "all values of 1 cell are zero", 1,
                fix="Drop them: sc.pp.filter_cells(copy, min_counts=1), or submit with min_counts=1"),
    ),
    "genes without counts": (
        make(np.array([[3, 0], [1, 0]], np.float32)),
        Finding("BC311", "note", "X", "all values of 1 gene are zero", 1),
    ),
    "beyond float32": (
        make(LOG.astype(float) + np.diag([1e39, 0])),
        Finding("BC312", "error", "X", "values up to 1e+39, beyond float32 (3.4e+38)",
                fix="Check how these values were produced, and scale or remove them in a copy", error=InvalidValues),
    ),
    "far below float32": (
        make(LOG.astype(float) - np.diag([1e39, 0])),
        Finding("BC312", "error", "X", "values up to 1e+39, beyond float32 (3.4e+38)",
                fix="Check how these values were produced, and scale or remove them in a copy", error=InvalidValues),
    ),
    "more digits than the servers keep": (
        make(LOG.astype(float) + 0.1, obsm={"X_u": np.ones((2, 2)), "X_v": LOG}),
        Finding("BC313", "note", "X", "sent with all digits of float64; the servers keep float32, about seven digits"),
    ),
    "coordinates of more digits than the servers keep": (
        make(COUNTS, obsm={"X_u": np.array([[0.5, 0.1], [2**24, 0.7]])}),
        Finding("BC313", "note", "obsm['X_u']",
                "sent as float64; the servers keep float32, about seven digits, which rounds 2 values", 2,
                ("0.1 as 0.10000000149011612",)),
    ),
    "truth values as coordinates": (
        make(COUNTS, obsm={"inside": np.array([[True, False], [False, False]])}),
        Finding("BC506", "note", "obsm['inside']", "booleans: sent as 0 and 1", 2, changed=True),
    ),
    "numbers of more digits than BioFlex has": (
        make(obs={"f": [0.5, 0.1], "s": [0.5, 0.25], "g": [0.7, 0.1]}),
        Finding("BC209", "note", "obs['f'], obs['g']",
                "BioFlex returns these as float32, with about seven digits", 3),
    ),
    "whole numbers that BioFlex does not have": (
        make(obs={"n": [2**24 + 1, 7], "s": [0.5, 0.25]}),
        Finding("BC210", "warning", "obs['n']",
                "BioFlex returns these as float32, which changes 1 number", 1,
                ("16777217 as 16777216 in obs['n']",),
                "To keep ids exact, convert them to text in a copy: copy.obs['n'] = copy.obs['n'].astype(str)"),
    ),
    "names with quotes of a table": (
        genes(['"CD3D"', '"LYZ"', "ACTB"]),
        Finding("BC415", "warning", "var_names", "names with quotes or spaces around them", 2,
                ("'\"CD3D\"'", "'\"LYZ\"'"),
                "In a copy: copy.var_names = copy.var_names.str.strip(' \\t\\r\\n\\ufeff\\xa0\"\\'')"),
    ),
    "ids among symbols": (
        genes([*IDS, "CD3D", "ACTB"]),
        Finding("BC401", "note", "var_names", "30 Ensembl ids among 2 other names", 30, ("'ENSG00000000000'",)),
    ),
    "versions of ids": (
        genes([f"{name}.1" for name in IDS]),
        Finding("BC402", "warning", "var_names", "30 Ensembl ids have a version", 30,
                tuple(f"'{name}.1'" for name in IDS[:3]),
                "In a copy: copy.var_names = copy.var_names.str.replace(r'\\.\\d+$', '', regex=True), "
                "then check for duplicate names"),
    ),
    "ids whose symbols are known": (
        genes(IDS, gene_symbols=[f"A{i}" for i in range(30)]),
        Finding("BC403", "warning", "var_names",
                "genes are named by Ensembl ids; var['gene_symbols'] has their symbols",
                fix="To send symbols: adata.biocolab.submit(gene_symbols='gene_symbols')"),
    ),
    "genes of human": (
        (genes(IDS), {"species": "mouse"}),
        Finding("BC404", "warning", "var_names",
                "species is 'mouse', but the genes look like human: 30 ids start with ENSG",
                fix="If they are human genes, submit with species='human'"),
    ),
    "genes of a fish": (
        (genes([name.replace("ENSG", "ENSDARG") for name in IDS]), {"species": "mouse"}),
        Finding("BC404", "warning", "var_names",
                "species is 'mouse', but the genes look like another species: 30 ids start with ENSDARG",
                fix="If they are genes of another species, submit with species='others'"),
    ),
    "mitochondrial genes": (
        genes(["MT-1", "mt-2", "MT-3", "MT-4", "x"]),
        Finding("BC405", "note", "var_names", "4 mitochondrial genes, used by the mt_percentage filter", 4,
                ("'MT-1'", "'mt-2'", "'MT-3'")),
    ),
    "no mitochondrial genes": (
        genes([f"GENE{i}" for i in range(1_000)]),
        Finding("BC405", "note", "var_names",
                "no gene has a mitochondrial name (MT-… or mt-…): a filter by mt_percentage would keep every cell"),
    ),
    "names out of a spreadsheet": (
        genes(["1-Mar", "2-Sep", "3-Sep", "4-Sep", "x"]),
        Finding("BC406", "warning", "var_names", "4 gene names that a spreadsheet turned into dates or numbers",
                4, ("'1-Mar'", "'2-Sep'", "'3-Sep'"),
                "Restore the names from the original file; spreadsheets turn MARCH1, SEPT2 and DEC1 into dates"),
    ),
    "numbers for names": (
        genes([str(i) for i in range(20)]),
        Finding("BC407", "warning", "var_names", "all gene names are numbers", 20,
                fix="Set the names of the genes in a copy: copy.var_names = [...]"),
    ),
    "numbers, with names beside": (
        genes([str(i) for i in range(20)], symbol=["A"] * 20),
        Finding("BC407", "warning", "var_names", "all gene names are numbers", 20,
                fix="Set the names of the genes in a copy: copy.var_names = [...]; var['symbol'] may have them"),
    ),
    "two genomes": (
        genes(["GRCh38_A", "GRCh38_B", "mm10___C"]),
        Finding("BC408", "warning", "var_names", "gene names carry a genome prefix (GRCh38 2, mm10 1)", 3,
                fix="In a copy, keep the cells and genes of one species, and remove the genome from the names"),
    ),
    "cells where genes are": (
        transposed(),
        Finding("BC409", "warning", "var_names", "the matrix looks transposed",
                examples=("a cell 'G0'", "a gene 'AAACATTGTGCAAA-1'"),
                fix="An AnnData has cells as rows and genes as columns: use adata.T.copy(), or df.T for a table"),
    ),
    "an index among genes": (
        genes(["Unnamed: 0", "A", "cell_ID"]),
        Finding("BC410", "warning", "var_names", "barcode or index columns among the genes", 2,
                examples=("'Unnamed: 0'", "'cell_ID'"), error=InvalidColumn,
                fix="Drop them from a copy; for a table: pd.read_csv(path, index_col=0)"),
    ),
    "QC among genes": (
        genes(["A", "n_counts", "leiden"]),
        Finding("BC411", "warning", "var_names", "QC or annotation columns among the genes", 2,
                examples=("'n_counts'", "'leiden'"), error=InvalidColumn,
                fix="Drop them from a copy, and put them into obs"),
    ),
    "one genome": (
        genes(["GRCh38_A", "GRCh38_B"]),
        Finding("BC408", "warning", "var_names", "gene names carry a genome prefix (GRCh38 2)", 2,
                fix="In a copy, remove the genome from the names"),
    ),
    "what stays here": (
        make(layers={"l1": LOG, "l2": LOG, "l3": LOG}, uns={"a": 1, "b": 1}, varm={"PCs": COUNTS}),
        Finding("BC501", "note", "layers, uns, varm", "not sent, because the servers do not read it", 6,
                ("layers['l1']", "layers['l2']", "layers['l3']", "uns['a']", "uns['b']", "and 1 more")),
    ),
    "what breaks files": (
        make(uns={"x": {1, 2}}),
        Finding("BC502", "note", "uns['x']", "is a set",
                fix="It is not sent, but write_h5ad would fail on it or change it"),
    ),
    "a matrix of another shape": (
        misfit("X"),
        Finding("BC503", "error", "X", "its shape is 3 x 2, but the object has 2 x 2",
                fix="Fix it, or drop it from a copy", error=InvalidValues),
    ),
    "an array that is no embedding": (
        make(obsm={"x": np.ones((2, 2, 2))}),
        Finding("BC504", "warning", "obsm['x']", "not sent: has 3 dimensions",
                fix="To send it, convert it in a copy to a numeric array of (cells, dimensions) or a table"),
    ),
    "a table in obsm": (
        make(obsm={"p": pd.DataFrame({"c": [1, 2]}, index=["a", "b"])}),
        Finding("BC505", "note", "obsm['p']",
                "written into the file, but servers read embeddings from arrays only and do not return it"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("made", "expected"), CASES.values(), ids=CASES)
def test_a_finding_says_what_where_and_what_to_do(made, expected):
    adata, arguments = made if isinstance(made, tuple) else (made, {})
    assert [found for found in bc.check(adata, **arguments) if found.code == expected.code] == [expected]


@pytest.mark.parametrize("name", ["obsm", "varm", "obsp", "varp", "layers"])
def test_a_slot_with_a_misfit_is_the_only_finding_and_says_how_to_fix_it(name):
    (found,) = bc.check(misfit(name))
    assert (found.code, found.path, found.error) == ("BC503", f"{name}['k']", InvalidValues)
    assert found.fix == "Set it again with the cells or genes of the object, or drop it from a copy"


def test_every_rule_has_its_words_tested_here():
    known = {expected.code for _, expected in CASES.values()}
    # In test_rules_names, test_rules_columns, test_comparison, test_rules_features, test_rules_size and
    # test_filters_rules.
    others = {
        "BC105",
        "BC203",
        "BC211",
        "BC212",
        "BC315",
        "BC316",
        "BC317",
        "BC413",
        "BC414",
        "BC601",
        *(f"BC70{number}" for number in range(1, 6)),
    }
    assert len(known | others) == len(RULES) + 1  # BC300 is no rule: no matrix could be chosen
