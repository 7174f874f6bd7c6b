"""A slot of counts is compared with the others before it is sent: the most complete one is sent, or none."""

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.check import slot_comparison
from biocolab_accessor.check.matrix_choice import choose_matrix, decide
from biocolab_accessor.check.matrix_stats import Margins
from biocolab_accessor.check.slot_comparison import amount, covers
from biocolab_accessor.errors import EmptyAnnData, InvalidValues, NoCounts
from biocolab_accessor.io import matrix_blocks
from biocolab_accessor.io.matrix_blocks import Slot, row_blocks, source_of

FORMS = {"CSR": sparse.csr_matrix, "CSC": sparse.csc_matrix, "dense": np.asarray, "arrays": sparse.csr_array}


def counts_of(n_obs, n_vars, seed=0):
    dice = np.random.default_rng(seed)
    return (dice.poisson(0.9, (n_obs, n_vars)) + np.eye(n_obs, n_vars)).astype(np.float32)


def make(x, *, genes=None, cells=None, raw=None, **layers):
    shape = next(m.shape for m in (x, *layers.values()) if m is not None)
    obs = pd.DataFrame(index=cells or [f"c{i}" for i in range(shape[0])])
    var = pd.DataFrame(index=genes or [f"G{i}" for i in range(shape[1])])
    adata = AnnData(x, obs, var, layers=layers)
    if raw is not None:
        adata.raw = raw
    return adata


def sample(seed, n_obs, n_vars=12):
    cells, genes = [f"s{seed}_{i}" for i in range(n_obs)], [f"G{i}" for i in range(n_vars)]
    return make(sparse.csr_matrix(counts_of(n_obs, n_vars, seed)), cells=cells, genes=genes)


def sent(adata):
    """The matrix that is sent, dense."""
    choice = choose_matrix(adata)
    assert choice.input_matrix_type == "raw"
    return np.vstack([block.toarray() for block in row_blocks(source_of(adata, choice.slot))])


def half(matrix, n_rows):
    """A copy in which the last rows are empty."""
    kept = matrix.copy()
    kept[n_rows:] = 0
    return kept


def only(adata, code, **arguments):
    (found,) = [found for found in bc.check(adata, **arguments) if found.code == code]
    return found


def codes(adata, **arguments):
    return {found.code for found in bc.check(adata, **arguments)}


@pytest.mark.parametrize("name", ["counts", "umi", "raw_counts"])
def test_a_layer_of_some_samples_gives_way_to_the_counts_of_all(name):
    parts = [sample(1, 20), sample(2, 25), sample(3, 5)]
    parts[1].layers[name] = parts[1].X.copy()
    both = ad.concat(parts, join="outer")
    if name != "counts":  # they come after X, so that they are only held against it
        assert choose_matrix(both).slot == Slot("X")
    np.testing.assert_array_equal(sent(both), both.X.toarray())
    assert codes(both).isdisjoint({"BC310", "BC315"})


def test_the_reason_says_what_the_layer_lacks():
    full = counts_of(45, 12)
    adata = make(full, counts=half(full, 20))
    assert choose_matrix(adata).reason == (
        f"X (45 x 12): counts (whole numbers, max {full.max():.0f}); not layers['counts'] (45 x 12): counts (whole "
        f"numbers, max {full[:20].max():.0f}), which has no values for 25 cells of X and is equal elsewhere"
    )


def test_counts_of_genes_give_way_to_those_of_genes_and_proteins():
    rna, protein = counts_of(30, 10), counts_of(30, 4, seed=5) * 50
    left = make(sparse.csr_matrix(rna), genes=[f"G{i}" for i in range(10)], counts=sparse.csr_matrix(rna))
    right = make(sparse.csr_matrix(protein), genes=[f"P{i}" for i in range(4)])
    both = ad.concat([left, right], axis=1, join="outer")
    np.testing.assert_array_equal(sent(both), np.hstack([rna, protein]))
    reason = choose_matrix(both).reason
    assert "which has no values for 4 genes of X" in reason


def test_a_hole_that_leaves_no_cell_and_no_gene_empty_is_seen():
    full = counts_of(30, 10) + 1
    kept = full.copy()
    kept[:15, 7:] = 0  # the genes of another panel, in the cells of one sample
    adata = make(full, counts=kept)
    np.testing.assert_array_equal(sent(adata), full)
    assert "which has fewer values than X and is equal elsewhere" in choose_matrix(adata).reason


def test_raw_counts_of_all_genes_go_before_those_of_the_variable_ones():
    full = make(sparse.csr_matrix(counts_of(100, 400)))
    adata = full[:, 10:60].copy()
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.log1p()
    adata.raw = full
    assert choose_matrix(adata).slot == Slot("raw.X")
    np.testing.assert_array_equal(sent(adata), full.X.toarray())
    assert adata.biocolab.submit(dry_run=True).n_vars == 400


@pytest.mark.parametrize("order", ["reversed", "repeated"])
def test_genes_of_raw_are_matched_by_their_names(order):
    genes = [f"G{i}" for i in range(9)] if order == "reversed" else ["A", "B", "A", "C", "D", "E", "F", "G", "H"]
    full = make(counts_of(20, 9) + 1, genes=genes)
    adata = full[:, [4, 2, 0] if order == "reversed" else [0, 1, 2, 4]].copy()
    adata.layers["counts"] = adata.X.copy()
    adata.raw = full
    assert choose_matrix(adata).slot == Slot("raw.X")


def test_a_raw_of_fewer_genes_gives_way_too():
    full = make(counts_of(20, 9) + 1)
    adata = full.copy()
    adata.raw = full[:, :4].copy()
    np.testing.assert_array_equal(sent(adata), full.X)


def test_the_fullest_of_three_is_taken():
    full = counts_of(30, 10)
    adata = make(half(full, 20), counts=half(full, 10), umi=full)
    assert choose_matrix(adata).slot == Slot("layer", "umi")
    np.testing.assert_array_equal(sent(adata), full)


@pytest.mark.parametrize("other", ["X", "raw.X", "layers['cellbender']"])
def test_counts_that_differ_and_lack_cells_are_refused_with_both_named_and_the_lines_that_help(other):
    full = counts_of(30, 10)
    lacking = half(full * 2, 12)
    slots = {"X": {"x": full}, "raw.X": {"x": np.log1p(lacking), "raw": make(full)},
             "layers['cellbender']": {"x": np.log1p(lacking), "cellbender": full}}  # fmt: skip
    adata = make(slots[other].pop("x"), counts=lacking, **slots[other])
    found = only(adata, "BC315")
    assert (found.severity, found.error, found.path, found.count) == ("error", InvalidValues, "layers['counts']", 18)
    assert found.message.startswith(f"has no counts for 18 cells that {other} has values for; {other}: counts (whole")
    with pytest.raises(InvalidValues, match="18 cells"):
        choose_matrix(adata)
    with pytest.raises(InvalidValues, match="BC315"):
        adata.biocolab.submit()
    assert "Drop" not in only(adata, "BC310").fix
    ways = re.findall(r"to send (.+?): (.+?)(?:; |$)", found.fix)
    assert [slot for slot, _ in ways] == ["layers['counts']", other]
    for (_, line), expected in zip(ways, (lacking, full), strict=True):
        names = {"copy": adata.copy()}
        exec(line, names)
        if expected is full or other != "X":  # a log of the same cells is no witness here
            np.testing.assert_array_equal(sent(names["copy"]), expected)


def test_each_slot_that_has_what_the_other_lacks_is_refused():
    full = counts_of(30, 10)
    second = full.copy()
    second[:10] = 0
    adata = make(None, counts=half(full, 12), umi=second)
    found = only(adata, "BC315")
    assert "has no counts for 18 cells that layers['umi'] has values for" in found.message
    assert "but values for 10 cells that layers['umi'] lacks" in found.message


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("other", sorted(FORMS))
def test_any_two_forms_are_compared(form, other):
    full = counts_of(30, 10)
    kept = half(full, 12)
    adata = make(None, counts=FORMS[form](kept), umi=FORMS[other](full))
    np.testing.assert_array_equal(sent(adata), full)
    full = full.copy()
    full[3] += 1
    assert codes(make(None, counts=FORMS[form](kept), umi=FORMS[other](full))) >= {"BC315"}


@pytest.mark.parametrize("form", ["CSR", "CSC", "dense"])
def test_files_backed_objects_views_and_dask_are_compared(form, tmp_path, monkeypatch):
    monkeypatch.setattr(matrix_blocks, "_BLOCK_BYTES", 128)
    monkeypatch.setattr(matrix_blocks, "_DENSE_BYTES", 128)
    monkeypatch.setattr(matrix_blocks, "_COLUMN_STORED_BYTES", 128)
    full = counts_of(30, 10)
    adata = make(FORMS[form](full), counts=FORMS[form](half(full, 12)))
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert "BC310" not in codes(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    np.testing.assert_array_equal(sent(backed), full)
    backed.file.close()
    view = adata[[20, 3, 25, 7], [2, 5, 1, 7]]
    np.testing.assert_array_equal(sent(view), full[[20, 3, 25, 7]][:, [2, 5, 1, 7]])
    assert view.is_view
    # Of the cells that the layer has nothing is lacking.
    assert choose_matrix(adata[:12]).slot == Slot("layer", "counts")
    if form == "dense":
        array = pytest.importorskip("dask.array")
        lazy = make(array.from_array(full, (7, 10)), counts=array.from_array(half(full, 12), (9, 10)))
        np.testing.assert_array_equal(sent(lazy), full)


def test_float_noise_is_not_a_difference_and_one_more_count_is():
    full = counts_of(20, 6).astype(np.float64)
    adata = make(full + (full > 0) * 3e-9, counts=half(full, 9))
    assert choose_matrix(adata).slot == Slot("X")
    other = full.copy()
    other[0, 0] += 1
    assert covers(make(full, counts=half(full, 9)), Slot("X"), Slot("layer", "counts"))
    assert not covers(make(other, counts=half(full, 9)), Slot("X"), Slot("layer", "counts"))


@pytest.mark.parametrize(("first", "second"), [("spliced", "unspliced"), ("mature", "nascent"), ("exonic", "intronic")])
def test_parts_of_the_counts_are_neither_taken_nor_missed(first, second):
    x, other = counts_of(20, 8), counts_of(20, 8, seed=3)
    x[:, 5] = 0
    adata = make(x, **{first: x.copy(), second: other})
    choice = choose_matrix(adata)
    assert (choice.slot, choice.conflicts) == (Slot("X"), ())
    named = f"layers['{first}'], layers['{second}'] not compared (a part of the counts, by name)"
    assert choice.reason.endswith(named)


def test_corrected_and_measured_counts_are_not_a_conflict():
    measured = counts_of(20, 8) + 1
    corrected = np.maximum(measured - 1, 0)
    for adata in (make(corrected, counts=measured), make(np.log1p(measured), counts=measured, cellbender=corrected)):
        np.testing.assert_array_equal(sent(adata), measured)
        assert "BC315" not in codes(adata)


def test_counts_of_the_same_cells_and_genes_keep_their_rank_and_are_named():
    full = counts_of(20, 8)
    choice = choose_matrix(make(full, counts=full.copy()))
    assert choice.slot == Slot("layer", "counts")
    assert choice.reason.endswith("; X holds whole numbers too, but covers no further cells or genes")


def test_a_log_of_counts_shows_which_counts_the_layer_lacks():
    full = counts_of(45, 12)
    found = only(make(np.log1p(full), counts=half(full, 20)), "BC315")
    assert (found.count, found.path) == (25, "layers['counts']")
    assert found.message == "has no counts for 25 cells that X has values for; X does not hold whole numbers"
    assert found.fix == (
        "Put all counts into layers['counts'] of a copy, or submit adata with input_matrix_type='normalized'"
    )
    plan = make(np.log1p(full), counts=half(full, 20)).biocolab.submit(dry_run=True, input_matrix_type="normalized")
    assert (plan.slot, plan.n_obs) == (Slot("X"), 45)


def test_a_log_of_counts_in_raw_is_submitted_by_the_line_of_the_fix():
    full = counts_of(45, 12)
    adata = make(half(full, 20))
    adata.raw = make(np.log1p(full))
    fix = only(adata, "BC315").fix
    assert fix == "Put all counts into X of a copy, or submit adata.raw.to_adata() with input_matrix_type='normalized'"
    plan = adata.raw.to_adata().biocolab.submit(dry_run=True, input_matrix_type="normalized")
    assert (plan.slot, plan.n_obs) == (Slot("X"), 45)


@pytest.mark.parametrize("form", ["CSR", "CSC", "dense"])
def test_a_log_of_genes_and_proteins_shows_proteins_without_counts(form):
    rna, protein = counts_of(30, 10), counts_of(30, 4, seed=5) + 1
    whole = np.hstack([rna, np.zeros_like(protein)])
    found = only(make(FORMS[form](np.log1p(np.hstack([rna, protein]))), counts=FORMS[form](whole)), "BC315")
    assert "has no counts for 4 genes that X has values for" in found.message


@pytest.mark.parametrize("rows", [20, 45])
def test_stored_zeros_are_not_counts_where_the_log_has_values(rows):
    log = sparse.csr_matrix(np.log1p(counts_of(45, 12)))
    counts = log.copy()
    counts.data = np.expm1(counts.data).round()
    counts.data[counts.indptr[rows] :] = 0
    if rows == 45:  # one gene, in all cells
        counts.data[counts.indices == 3] = 0
    found = only(make(log, counts=counts), "BC315")
    lacks = "25 cells" if rows == 20 else "1 gene"
    assert found.message == f"has no counts for {lacks} that X has values for; X does not hold whole numbers"


def test_imputed_values_do_not_prove_missing_counts_but_are_reported():
    full = counts_of(45, 12)
    full[:, 3] = 0
    imputed = np.log1p(full + 0.25).astype(np.float32)
    found = only(make(imputed, counts=full), "BC316")
    assert (found.severity, found.path) == ("warning", "layers['counts']")
    assert "has no counts for 1 gene that X has values for" in found.message
    assert bc.check(make(imputed, counts=full)).ok


def test_scaled_values_do_not_show_empty_cells():
    full = half(counts_of(30, 10), 28)
    adata = make(np.log1p(full) - np.log1p(full).mean(axis=0), counts=full)
    assert only(adata, "BC310").fix == "Drop them from a copy, or submit with min_counts=1"
    assert bc.check(adata).ok


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("where", ["X", "scaled"])
def test_scaled_values_show_genes_that_have_no_counts(form, where):
    """Proteins after CLR next to RNA, joined by axis=1: the counts layer has zeros for them."""
    dice = np.random.default_rng(0)
    full = counts_of(60, 12)
    clr = np.log1p(full)
    clr[:, 9:] = dice.normal(0, 1, (60, 3))
    full[:, 9:] = 0
    adata = make(form(clr), counts=full) if where == "X" else make(full, scaled=form(clr))
    taken, other = ("layers['counts']", "X") if where == "X" else ("X", "layers['scaled']")
    found = only(adata, "BC316")
    assert (found.severity, found.path, found.count) == ("warning", taken, 3)
    assert (
        found.message == f"has no counts for 3 genes that {other} has values for; {other} does not hold whole numbers"
    )


def test_a_slot_of_flags_is_not_said_to_hold_fractions():
    flags, full = np.zeros((20, 6), np.float32), counts_of(20, 6)
    flags[3:9, 0], full[:, 0] = 1, 0
    found = only(make(flags, counts=full), "BC316")
    assert found.message == "has no counts for 1 gene that X has values for; X holds only zeros and ones"


def test_scaled_values_of_genes_without_counts_are_not_reported():
    full = counts_of(60, 12)
    full[:, [3, 7]] = 0
    log = np.log1p(full)
    spread = log.std(axis=0)
    scaled = (log - log.mean(axis=0)) / np.where(spread, spread, 1)
    for x in (scaled, log - log.mean(axis=0) + 0.5, np.where(full.any(axis=0), scaled, -3).astype(np.float32)):
        assert {found.code for found in bc.check(make(x, counts=full))} == {"BC311", "BC501"}


def test_the_fix_keeps_empty_cells_that_have_values_elsewhere():
    full = counts_of(30, 10)
    # Sent as normalized, as was asked for; the counts are elsewhere.
    adata = make(np.log1p(half(full, 28)), counts=full)
    found = only(adata, "BC310", input_matrix_type="normalized")
    assert found.message == "all values of 2 cells are zero, but not in other slots (2 cells in layers['counts'])"
    assert found.fix == "Put their values into X of a copy. Empty droplets are left out with min_counts=1"
    part = make(half(full, 28), spliced=full)
    assert "2 cells in layers['spliced']" in only(part, "BC310").message


def test_negative_counts_and_scaled_values_are_distinguished_in_x_and_layers():
    bad = counts_of(100, 30)
    bad[3, :5] = -1
    found = only(make(sparse.csr_matrix(bad)), "BC305")
    low = f"5 negative values (min -1) among counts (whole numbers, max {bad.max():.0f})"
    assert found.message == f"{low}: counts cannot be negative; sent unchanged"
    names = {"copy": make(sparse.csr_matrix(bad))}
    exec(found.fix.partition("in a copy: ")[2], names)
    np.testing.assert_array_equal(sent(names["copy"]), np.maximum(bad, 0))
    layer = only(make(np.log1p(np.maximum(bad, 0)), counts=bad), "BC308")
    assert layer.message == "not used as counts: whole numbers, 5 of them negative (min -1)"
    bad[7, :3] = 0.5
    dense = only(make(bad), "BC305")
    assert dense.message.startswith("5 negative values (min -1) among counts (99")
    assert dense.fix == "If they stand for zero, in a copy: copy.X = copy.X.clip(min=0)"
    scaled = np.log1p(np.maximum(bad, 0))
    assert "looks scaled" in only(make(scaled - scaled.mean(axis=0)), "BC305").message


@pytest.mark.parametrize(
    ("place", "form"),
    [("X", np.int32), ("X", np.float64), ("X", "CSC"), ("raw.X", np.float32), ("umi", np.float32), ("counts", "CSR")],
)
def test_negative_counts_are_counted_in_every_slot_and_form(place, form):
    bad = counts_of(60, 20)
    full = np.maximum(bad, 0)
    bad[np.random.default_rng(3).random(bad.shape) < 0.004] = -2
    number, most = int((bad < 0).sum()), bad.max()
    stored = FORMS[form](bad) if form in FORMS else bad.astype(form)
    if place == "X":
        found = only(make(stored), "BC305")
        assert found.message.startswith(
            f"{number} negative values (min -2) among counts (whole numbers, max {most:.0f})"
        )
        return
    adata = make(np.log1p(full), raw=make(stored)) if place == "raw.X" else make(np.log1p(full), **{place: stored})
    found = only(adata, "BC308")
    assert (found.path, found.severity) == (place if place == "raw.X" else f"layers['{place}']", "warning")
    assert found.message == f"not used as counts: whole numbers, {number} of them negative (min -2)"
    assert adata.biocolab.submit(dry_run=True).input_matrix_type == "normalized"


def test_counts_of_more_cells_with_negative_values_are_a_conflict():
    full = counts_of(30, 10)
    bad = full.copy()
    bad[29, 3] = -1
    found = only(make(bad, counts=half(full, 12)), "BC315")
    assert found.message.startswith("has no counts for 18 cells that X has values for; X: whole numbers, 1 of them neg")
    assert "fix its values first" in found.fix


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.log1p(counts_of(9, 5)), "looks log-normalized"),
        (counts_of(9, 5) * 100.5, "not counts, and too large for logarithms"),
        (np.where(counts_of(9, 5) > 2, 0.5, counts_of(9, 5)), "looks log-normalized"),
        (np.zeros((9, 5)), "all zero"),
        (counts_of(9, 5) - 0.75, "looks scaled"),
    ],
)
@pytest.mark.parametrize("name", ["counts", "umi", "Raw Counts"])
def test_a_layer_named_like_counts_without_counts_is_a_warning(values, what, name):
    found = only(make(np.log1p(counts_of(9, 5)), **{name: values.astype(np.float32)}), "BC308")
    assert (found.path, found.severity) == (f"layers['{name}']", "warning")
    assert found.message.startswith(f"not used as counts: {what}")


@pytest.mark.parametrize("name", ["spliced", "matrix", "cellbender", "counts_RNA", "decontXcounts"])
def test_a_lone_layer_of_whole_numbers_is_named_with_the_line_that_sends_it(name):
    counts = counts_of(12, 6)
    with pytest.raises(EmptyAnnData) as caught:
        choose_matrix(make(None, **{name: counts}))
    held = f"layers['{name}'] (12 x 6): counts (whole numbers, max {counts.max():.0f}), but not named like counts"
    line = f"copy.layers['counts'] = copy.layers['{name}']"
    assert str(caught.value) == (
        f"X is None, and no slot that is named like counts holds counts ({held}). If layers['{name}'] holds the "
        f"counts, in a copy: {line}"
    )
    names = {"copy": make(None, **{name: counts})}
    exec(line, names)
    np.testing.assert_array_equal(sent(names["copy"]), counts)
    with pytest.raises(NoCounts, match=re.escape(held)):
        choose_matrix(make(None, **{name: counts}), "raw")


@pytest.mark.parametrize("name", ["matrix", "cellbender", "counts_RNA"])
def test_a_layer_of_whole_numbers_that_is_not_sent_is_a_warning(name):
    counts = counts_of(12, 6)
    adata = make(np.log1p(counts), **{name: counts})
    found = only(adata, "BC316")
    assert (found.path, found.severity) == (f"layers['{name}']", "warning")
    assert found.message == "holds whole numbers, but is not named like counts; X is sent"
    assert f"layers['{name}'] holds whole numbers, but not under a name for counts" in choose_matrix(adata).reason
    exec(found.fix.partition("in a copy: ")[2], {"copy": adata})
    np.testing.assert_array_equal(sent(adata), counts)


def test_genes_of_a_raw_without_counts_that_are_not_sent_are_a_warning():
    full = make(np.log1p(counts_of(20, 12)))
    adata = full[:, :5].copy()
    adata.raw = full
    assert only(adata, "BC316").message == "lacks 7 genes of raw.X, which are not sent"
    adata.layers["counts"] = counts_of(20, 12)[:, :5]
    found = only(adata, "BC316")
    assert (found.path, found.count) == ("layers['counts']", 7)
    assert adata.raw.to_adata().biocolab.submit(dry_run=True).n_vars == 12


def test_a_damaged_slot_does_not_stop_another_one():
    counts = counts_of(12, 6)
    broken = sparse.csr_matrix(counts)
    broken.indices = broken.indices.copy()
    broken.indices[3] = 99
    adata = make(counts)
    adata.layers["umi"] = broken
    choice = decide(adata)
    assert choice.slot == Slot("X")
    assert "layers['umi'] not compared, because it is damaged" in choice.reason


def test_the_same_matrix_in_two_slots_is_read_once(monkeypatch):
    from biocolab_accessor.check import matrix_choice as module

    read = []
    describe = module.describe_filled
    monkeypatch.setattr(
        module, "describe_filled", lambda source, slot, **how: read.append(slot) or describe(source, slot, **how)
    )
    matrix = sparse.csr_matrix(counts_of(12, 6))
    adata = make(matrix)
    adata.layers["counts"] = adata.X
    assert choose_matrix(adata).slot == Slot("layer", "counts")
    assert read == [Slot("layer", "counts")]


class TestReadingOnce:
    """What is computed or stored dense is read once, and what was found is handed on."""

    @staticmethod
    def counted(matrix, read, name):
        array = pytest.importorskip("dask.array")

        def look(block, block_info=None):
            if block_info:
                read.append((name, block_info[0]["chunk-location"][0]))
            return block

        return array.from_array(matrix, (10, matrix.shape[1])).map_blocks(look, dtype=matrix.dtype)

    def test_two_slots_of_dask_with_the_same_counts(self):
        read, full = [], counts_of(30, 10)
        adata = make(self.counted(full, read, "X"), counts=self.counted(full.copy(), read, "counts"))
        read.clear()
        choice = choose_matrix(adata)
        assert choice.slot == Slot("layer", "counts")
        assert sorted(read) == [(name, chunk) for name in ("X", "counts") for chunk in range(3)]
        assert choice.filled.empty == (0, 0)
        assert codes(adata) <= {"BC501"}
        assert sorted(read) == sorted(2 * [(name, chunk) for name in ("X", "counts") for chunk in range(3)])

    def test_a_log_of_dask_is_read_as_far_as_its_first_fraction_and_once_for_what_is_empty(self):
        read, full = [], half(counts_of(30, 10), 28)
        adata = make(self.counted(np.log1p(full), read, "X"))
        read.clear()
        assert "all values of 2 cells are zero" in only(adata, "BC310").message
        assert max(read.count(("X", chunk)) for chunk in (1, 2)) == 1

    def test_dense_slots_in_memory_and_on_disk(self, tmp_path, monkeypatch):
        full = counts_of(30, 10)
        adata = make(full, counts=full * 2)
        adata.write_h5ad(tmp_path / "a.h5ad")
        taken = []
        take = matrix_blocks._take
        monkeypatch.setattr(
            matrix_blocks, "_take", lambda matrix, window: taken.append(id(matrix)) or take(matrix, window)
        )
        for thing in (adata, ad.read_h5ad(tmp_path / "a.h5ad", backed="r")):
            taken.clear()
            assert choose_matrix(thing).filled.empty == (0, 0)
            assert len(taken) == 2
        thing.file.close()


def test_a_log_is_read_only_as_far_as_its_first_fraction(monkeypatch):
    monkeypatch.setattr(matrix_blocks, "_VALUES_AT_ONCE", 10)
    from biocolab_accessor.check import matrix_stats as module

    seen = []
    add = module._Tally.add
    monkeypatch.setattr(module._Tally, "add", lambda self, piece: seen.append(len(piece)) or add(self, piece))
    counts = sparse.csr_matrix(counts_of(40, 20))
    choose_matrix(make(counts.log1p(), counts=counts))
    assert len(seen) == -(-counts.nnz // 10) + 1


def test_numbers_of_cells_and_genes_are_written_in_words():
    assert [amount(Margins(25, 1)), amount(Margins(0, 2))] == ["25 cells and 1 gene", "2 genes"]


def test_the_line_that_keeps_one_slot_deletes_the_other_one():
    assert slot_comparison.only(Slot("X"), Slot("layer", "counts")) == "del copy.layers['counts']"
