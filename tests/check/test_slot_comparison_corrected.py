"""Counts that were removed or downsampled are distinguished from counts that were never copied."""

import re

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.check.matrix_choice import choose_matrix
from biocolab_accessor.errors import InvalidValues
from biocolab_accessor.io.matrix_blocks import Slot, row_blocks, source_of

N, G = 200, 300
dice = np.random.default_rng(0)
EXPRESSION = dice.lognormal(0, 2, G)
EXPRESSION /= EXPRESSION.sum()
DEPTH = dice.lognormal(7.0, 0.5, N)
TRUE = dice.poisson(EXPRESSION * dice.lognormal(0, 1, (4, G))[dice.integers(0, 4, N)] * DEPTH[:, None])
AMBIENT = dice.poisson(EXPRESSION * 80 * dice.lognormal(0, 0.3, (N, 1)))
X = TRUE + AMBIENT
DROPLETS = dice.poisson(EXPRESSION * 80 * dice.lognormal(0, 0.3, (600, 1)))
SHALLOW = DROPLETS[:30] * 8
FIRST = np.arange(N)[:, None] < 120
SPLICED = dice.binomial(TRUE, dice.beta(4, 2, G))
NUCLEAR = dice.binomial(TRUE, dice.beta(1, 4, G))


def thinned(share, seed=1):
    return np.random.default_rng(seed).binomial(X, share)


def rounded(fractional, seed=2):
    """As SoupX rounds: up or down by chance."""
    down = np.floor(fractional)
    return down + (np.random.default_rng(seed).random(down.shape) < fractional - down)


def downsampled(matrix, total):
    adata = AnnData(sparse.csr_matrix(matrix.astype(np.float32)))
    sc.pp.downsample_counts(adata, counts_per_cell=total, random_state=0)
    return adata.X.toarray()


def make(x, **layers):
    adata = AnnData(sparse.csr_matrix(np.asarray(x, np.float32)))
    adata.obs_names = [f"c{i}" for i in range(adata.n_obs)]
    adata.var_names = [f"GENE{i}" for i in range(adata.n_vars)]
    for name, layer in layers.items():
        adata.layers[name] = sparse.csr_matrix(np.asarray(layer, np.float32))
    return adata


def found(adata, code):
    return [finding for finding in bc.check(adata) if finding.code == code]


def sent(adata):
    choice = choose_matrix(adata)
    assert choice.input_matrix_type == "raw"
    return np.vstack([block.toarray() for block in row_blocks(source_of(adata, choice.slot))])


LEGITIMATE = {
    "CellBender: ambient RNA removed": (make(X, counts=TRUE), TRUE),
    "CellBender: X is corrected, a layer has all": (make(TRUE, raw=X), TRUE),
    "CellBender: a layer named for it": (make(TRUE, raw_cellbender=X), TRUE),
    "SoupX: rounded": (make(X, counts=rounded(X * dice.beta(8, 1, G))), None),
    "DecontX: rounded": (make(X, counts=np.rint(X * dice.beta(9, 1, (N, 1)))), None),
    "half of the counts": (make(X, counts=thinned(0.5)), None),
    "a twentieth of the counts": (make(X, counts=thinned(0.05)), None),
    "as many counts in each cell": (make(X, counts=downsampled(X, 300)), None),
    "velocyto: X is spliced": (
        make(SPLICED, matrix=TRUE, spliced=SPLICED, unspliced=TRUE - SPLICED, ambiguous=AMBIENT),
        SPLICED,
    ),
    "velocyto: layers of other names": (
        make(SPLICED, spliced_counts=SPLICED, unspliced_counts=TRUE - SPLICED),
        SPLICED,
    ),
    "STARsolo: exons, and introns too": (make(X, GeneFull=X + dice.binomial(X, 0.4)), X),
    "values that lack by chance everywhere": (make(X, counts=np.where(thinned(0.9) % 7 == 3, 0, X)), None),
    "a log of what was not corrected": (make(np.log1p(X), counts=TRUE), TRUE),
    "a log of the same": (make(np.log1p(TRUE), counts=TRUE, spliced=SPLICED), TRUE),
    "a mask of ones": (make(np.ones((N, G)), counts=np.where(np.arange(G) == 3, 0, X)), None),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGITIMATE)
def test_counts_from_which_some_were_removed_are_sent_even_with_strict(name):
    adata, expected = LEGITIMATE[name]
    expected = adata.layers["counts"].toarray() if expected is None else expected
    assert [finding.code for finding in bc.check(adata) if finding.code in ("BC310", "BC315", "BC316")] == []
    np.testing.assert_array_equal(sent(adata), expected)
    plan = adata.biocolab.submit(dry_run=True, check="strict", obs=[])
    assert (plan.input_matrix_type, plan.ok) == ("raw", True)


UNLIKELY = {
    "SoupX: a gene that is all soup": make(X, counts=np.where(np.arange(G) == 17, 0, rounded(X * 0.8))),
    "velocyto: nuclei, X is spliced": make(NUCLEAR, matrix=TRUE, spliced=NUCLEAR, unspliced=TRUE - NUCLEAR),
    "a gene of seven in ten counts": make(
        X, counts=np.where(np.arange(G) == np.argsort(X.sum(axis=0))[-40], 0, rounded(X * 0.7))
    ),
    "some genes of half of the counts": make(X, counts=np.where(np.arange(G) % 25 == 3, 0, thinned(0.5))),
    "droplets": make(np.vstack([X, DROPLETS]), counts=np.vstack([TRUE, DROPLETS * 0])),
}


@pytest.mark.parametrize("name", UNLIKELY)
def test_a_loss_that_chance_does_not_explain_is_a_warning_with_both_slots_and_counts(name):
    adata = UNLIKELY[name]
    other = "layers['matrix']" if "velocyto" in name else "X"
    (finding,) = found(adata, "BC316")
    own, full = (adata.X, adata.layers["matrix"]) if "velocyto" in name else (adata.layers["counts"], adata.X)
    lost = [int(((full.sum(axis=axis) > 0) & (own.sum(axis=axis) == 0)).sum()) for axis in (0, 1)]
    assert finding.count == sum(lost) > 0
    assert re.search(rf"of the counts of {re.escape(other)} and no .*, which a correction may explain", finding.message)
    assert f"To send {other} instead, in a copy: " in finding.fix
    np.testing.assert_array_equal(sent(adata), own.toarray())
    assert not adata.biocolab.submit(dry_run=True, check="strict", obs=[]).ok


HALF = np.where(FIRST, thinned(0.9), 0)
PROTEINS = dice.negative_binomial(2, 0.02, (N, 12))
LACKING = {
    "cells of one sample, corrected": (make(X, counts=np.where(FIRST, TRUE, 0)), 80),
    "cells of one sample, nine in ten counts": (make(X, counts=HALF), 80),
    "cells of one sample, half of the counts": (make(X, counts=np.where(FIRST, thinned(0.5), 0)), 80),
    "cells of one sample, a fifth of the counts": (make(X, counts=np.where(FIRST, thinned(0.2), 0)), 80),
    "cells of a shallow sample": (make(np.vstack([X, SHALLOW]), counts=np.vstack([TRUE, SHALLOW * 0])), 30),
    "one cell": (make(X, counts=np.where(np.arange(N)[:, None] == 7, 0, TRUE)), 1),
    "all genes but the variable ones": (make(X, counts=np.where(np.arange(G) % 4 == 0, TRUE, 0)), None),
    "all genes but some, half of the counts": (make(X, counts=np.where(np.arange(G) % 4 == 0, thinned(0.5), 0)), None),
    "a gene that all cells have": (make(X, counts=np.where(np.arange(G) == np.argsort(EXPRESSION)[-3], 0, TRUE)), None),
    "proteins": (make(np.hstack([X, PROTEINS]), counts=np.hstack([TRUE, PROTEINS * 0])), None),
    "counts of another measurement": (make(X, counts=np.where(FIRST, TRUE * 3, 0)), 80),
}  # fmt: skip


@pytest.mark.parametrize("name", LACKING)
def test_counts_that_lack_unmeasured_cells_or_genes_are_refused(name):
    adata, cells = LACKING[name]
    (finding,) = found(adata, "BC315")
    assert (finding.severity, finding.path) == ("error", "layers['counts']")
    lacks = adata.layers["counts"], adata.X
    (own_cells, own_genes), (cells_of_x, genes_of_x) = (
        [np.asarray((matrix != 0).sum(axis=axis)).ravel() > 0 for axis in (1, 0)] for matrix in lacks
    )
    number = int((cells_of_x & ~own_cells).sum())
    assert cells is None or number == cells
    assert finding.count == number + int((genes_of_x & ~own_genes).sum())
    with pytest.raises(InvalidValues, match="has no counts for"):
        choose_matrix(adata)


def test_counts_without_any_guides_are_refused_if_var_has_their_type():
    guides = np.where(np.random.default_rng(5).integers(0, 20, (N, 1)) == np.arange(20), 6, 0)
    adata = make(np.hstack([X, guides]), counts=np.hstack([TRUE, guides * 0]))
    adata.var["feature_types"] = ["Gene Expression"] * G + ["CRISPR Guide Capture"] * 20
    (finding,) = found(adata, "BC315")
    assert "20 genes" in finding.message


def test_the_types_of_the_features_of_raw_are_those_in_its_own_var():
    guides = np.where(np.random.default_rng(5).integers(0, 20, (N, 1)) == np.arange(20), 6, 0)
    types = ["Gene Expression"] * G + ["CRISPR Guide Capture"] * 20
    for in_raw in (True, False):
        adata = make(np.log1p(np.hstack([X, guides])), counts=np.hstack([TRUE, guides * 0]))
        raw = make(np.hstack([X, guides]))
        (raw if in_raw else adata).var["feature_types"] = types
        adata.raw = raw
        messages = [finding.message for finding in found(adata, "BC315")]
        assert [message.partition(";")[0] for message in messages] == in_raw * [
            "has no counts for 20 genes that raw.X has values for"
        ]


def test_counts_that_lack_the_genes_of_one_genome_are_refused():
    adata = make(X, counts=np.where(np.arange(G) < 200, TRUE, 0))
    faint = np.where(np.arange(G) < 200, X, np.minimum(X, FIRST & (np.arange(G) % 50 == 0)))
    adata.X = sparse.csr_matrix(faint.astype(np.float32))
    assert found(adata, "BC315") == []
    adata.var["genome"] = ["GRCh38"] * 200 + ["mm10"] * 100
    assert len(found(adata, "BC315")) == 1


def test_emptied_droplets_are_empty_cells_and_not_a_conflict():
    adata = make(np.vstack([X, DROPLETS]), counts=np.vstack([TRUE, DROPLETS * 0]))
    (warning,) = found(adata, "BC316")
    share = 100 * TRUE.sum() / X.sum()
    assert warning.severity == "warning"
    assert warning.message == (
        f"has {share:.3g} % of the counts of X and no values for 600 cells and 1 gene, which a correction may explain, "
        "but chance cannot"
    )
    assert warning.fix == "To send X instead, in a copy: del copy.layers['counts']"
    (empty,) = found(adata, "BC310")
    assert (empty.message, empty.count) == (
        "all values of 600 cells are zero, but not in other slots (600 cells in X)", 600,
    )  # fmt: skip
    assert "Drop" not in empty.fix
    copy = adata.copy()
    exec(warning.fix.partition("in a copy: ")[2], {"copy": copy})
    np.testing.assert_array_equal(sent(copy), np.vstack([X, DROPLETS]))


@pytest.mark.parametrize(
    "lacking",
    [
        (np.arange(N)[:, None] < 50) & (np.arange(G) > 150),
        ((np.arange(N)[:, None] < 50) & (np.arange(G) > 150)) | ((np.arange(N)[:, None] > 90) & (np.arange(G) < 90)),
        (np.arange(N)[:, None] % 3 == 0) & (np.arange(G) % 2 == 0),
    ],
    ids=["one panel", "two panels", "every third cell"],
)
def test_genes_that_only_some_cells_lack_are_taken_from_the_fuller_slot(lacking):
    adata = make(X, counts=np.where(lacking, 0, X))
    assert choose_matrix(adata).slot == Slot("X")
    np.testing.assert_array_equal(sent(adata), X)


def test_the_report_says_how_much_of_a_fuller_slot_is_sent():
    adata = make(X, counts=thinned(0.3))
    (note,) = found(adata, "BC317")
    share = 100 * thinned(0.3).sum() / X.sum()
    assert re.match(rf"has {share:.3g} % of the counts of X and no values for \d+ genes, like corrected", note.message)


def test_raw_counts_of_more_genes_are_not_a_correction():
    adata = make(TRUE)[:, :250].copy()
    adata.raw = make(X)
    adata.layers["counts"] = adata.X.copy()
    (finding,) = found(adata, "BC315")
    assert "raw.X has values for" in finding.message


@pytest.mark.parametrize("form", ["CSC", "dense", "dask"])
def test_corrected_counts_are_known_in_every_form(form):
    if form == "dask":
        array = pytest.importorskip("dask.array")
    turn = {"CSC": sparse.csc_matrix, "dense": np.asarray, "dask": lambda m: array.from_array(m, (70, G))}[form]
    adata = make(X)
    adata.X = turn(X.astype(np.float32))
    adata.layers["counts"] = turn(thinned(0.2).astype(np.float32))
    assert len(found(adata, "BC317")) == 1
    adata.layers["counts"] = turn(HALF.astype(np.float32))
    assert len(found(adata, "BC315")) == 1
