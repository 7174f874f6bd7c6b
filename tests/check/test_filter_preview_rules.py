"""A report says what the filters of a submission would leave, and nothing is measured where there are none."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor import errors
from biocolab_accessor.check import filters as kept
from biocolab_accessor.cli import app
from tests.builders import set_matrix

CODES = ("BC701", "BC702", "BC703", "BC704", "BC705")


def make(n_obs=10, **arguments):
    """Cell i has i counts of CD3D, and one more of a mitochondrial gene where i is odd."""
    matrix = np.zeros((n_obs, 3), np.float32)
    matrix[:, 0] = np.arange(n_obs)
    matrix[:, 1] = 1
    matrix[1::2, 2] = 1
    adata = ad.AnnData(matrix, **arguments)
    adata.obs_names = [f"c{i}" for i in range(n_obs)]
    adata.var_names = ["CD3D", "LYZ", "mt-Co1"]
    return adata


def findings(adata, **arguments):
    return {found.code: found for found in bc.check(adata, **arguments) if found.code in CODES}


def test_without_filters_nothing_is_measured_or_reported(monkeypatch):
    monkeypatch.setattr(kept, "measure", lambda *_, **__: pytest.fail("the matrix was measured"))
    assert findings(make()) == {}
    assert findings(make(), min_counts=None, mt_percentage=None) == {}
    assert "filters" not in repr(make().biocolab.submit(dry_run=True))


def test_how_many_cells_stay_is_a_note_with_what_each_filter_removes():
    found = findings(make(), min_counts=3, mt_percentage=20)
    # 0 to 3: c0, c1 and c2 have 1, 3 and 3; one of 3, 5 is a third or a fifth.
    assert list(found) == ["BC701"]
    note = found["BC701"]
    assert (note.severity, note.path, note.changed, note.count) == ("note", "filters", False, 2)
    assert note.message == "8 of 10 cells would be kept (80.0 %), measured on X as raw"
    assert note.examples == ("min_counts=3 removes 1", "mt_percentage=20 removes 1")


@pytest.mark.parametrize("filters", [{"max_genes": 3}, {"min_counts": 0}, {"mt_percentage": 100}, {"max_counts": 1e12}])
def test_filters_that_remove_nothing_are_reported_too(filters):
    (note,) = findings(make(), **filters).values()
    assert (note.code, note.count) == ("BC701", 0)
    assert note.message.startswith("10 of 10 cells would be kept (100.0 %)")


@pytest.mark.parametrize(("min_counts", "n_kept", "code"), [(9, 3, "BC701"), (10, 1, "BC702"), (12, 0, "BC703")])
def test_few_kept_cells_are_a_warning_and_none_an_error(min_counts, n_kept, code):
    (found,) = findings(make(), min_counts=min_counts).values()
    assert (found.code, found.count) == (code, 10 - n_kept)
    assert found.message.startswith(f"{n_kept or 'none'} of 10 cells would be kept ({10 * n_kept}.0 %)")
    assert found.severity == {"BC701": "note", "BC702": "warning", "BC703": "error"}[code]
    assert ("preview_filters()" in found.fix) == (code != "BC701")


def test_bounds_are_written_like_the_arguments():
    assert findings(make(), min_counts=1_000_000)["BC703"].examples == ("min_counts=1,000,000 removes 10",)
    assert findings(make(), mt_percentage=12.5)["BC701"].examples == ("mt_percentage=12.5 removes 3",)
    assert findings(make(), max_genes=np.int64(2))["BC701"].examples == ("max_genes=2 removes 5",)


def test_cells_above_the_caps_of_the_protocol_are_reported():
    adata = make()
    adata.X = adata.X * np.float32(1e9)
    assert findings(adata, min_genes=1)["BC702"].examples == (
        "the cap on max_counts removes 9",
        "min_genes=1 removes 0",
    )


def test_filters_that_keep_no_cell_are_refused_before_anything_is_sent(server):
    before = len(server.requests)
    with pytest.raises(errors.EmptyAnnData, match=r"BC703[\s\S]*none of 10 cells would be kept") as caught:
        make().biocolab.submit(min_counts=100)
    assert not caught.value.report.ok
    assert len(server.requests) == before


def test_few_kept_cells_warn_on_submit_and_are_refused_by_strict(server):
    with pytest.raises(errors.CheckFailed, match=r"check='strict' treats as errors[\s\S]*BC702"):
        make().biocolab.submit(min_counts=10, check="strict")
    with pytest.warns(UserWarning, match="BC702 filters: 1 of 10 cells") as caught:
        submission = make().biocolab.submit(min_counts=10, skip_dimred=True)
    assert caught[0].filename == __file__
    assert submission.study().barcodes() == ["c9"]


def test_a_fraction_in_the_place_of_percent_is_guessed():
    adata = make()
    adata.X[:, 2] = 1
    found = findings(adata, mt_percentage=0.1)["BC703"]
    assert found.fix.endswith("mt_percentage is in percent: 0.1 is 0.1 %, not 10 %")
    assert "in percent" not in findings(adata, mt_percentage=5)["BC703"].fix
    assert "in percent" not in findings(make(), mt_percentage=0, min_counts=12)["BC703"].fix


def test_a_fraction_is_guessed_from_more_than_0_to_1_that_removes_half_of_the_cells():
    adata = make()  # of the odd cells, from a half to a tenth of the counts are mitochondrial
    assert (
        "mt_percentage is in percent: 1 is 1 %, not 100 %"
        in findings(adata, mt_percentage=1, min_counts=12)["BC703"].fix
    )
    for most in (0, 1.5):
        assert "in percent" not in findings(adata, mt_percentage=most, min_counts=12)["BC703"].fix
    adata.X[1, 2] = 0
    assert findings(adata, mt_percentage=0.5, min_counts=12)["BC703"].fix.endswith("preview_filters()")


@pytest.mark.parametrize(("name", "said"), [("min_counts", True), ("max_counts", True), ("min_genes", False)])
def test_bounds_on_counts_say_that_normalized_sums_are_not_counts(name, said):
    adata = make()
    adata.X = np.log1p(adata.X)
    (found,) = findings(adata, **{name: 1}).values()
    assert found.message.endswith("as normalized, whose sums are not counts" if said else "as normalized")


def test_counts_with_float_noise_are_measured_as_the_whole_numbers_that_are_sent():
    adata = make()
    adata.X = adata.X.astype(np.float64)
    adata.X[3, 0] -= 1e-7
    assert findings(adata, min_counts=5)["BC701"].count == findings(make(), min_counts=5)["BC701"].count == 3


def test_batches_that_lose_all_cells_are_named():
    adata = make(obs=pd.DataFrame({"sample": list("aaabbbcccc")}, index=list("0123456789")))
    found = findings(adata, min_counts=6, batch_key="sample")
    assert list(found) == ["BC704", "BC701"]
    warning = found["BC704"]
    assert (warning.severity, warning.message, warning.count) == ("warning", "one batch would lose all cells", 1)
    assert warning.examples == ("'a'",)
    assert warning.fix == "See adata.biocolab.preview_filters(batch_key='sample')"
    assert warning.path == "filters"
    warning = findings(adata, min_counts=9, batch_key="sample")["BC704"]
    assert (warning.message, warning.count) == ("2 batches would lose all cells", 2)
    assert warning.examples == ("'a'", "'b'")
    assert list(findings(adata, min_counts=6)) == ["BC701"]
    # Where none is left at all that is said once; and batches that are no batches are another rule's.
    assert list(findings(adata, min_counts=100, batch_key="sample")) == ["BC703"]
    assert list(findings(adata, min_counts=6, batch_key="sampel")) == ["BC701"]


def test_a_mitochondrial_bound_without_such_genes_is_a_warning():
    adata = make()
    adata.var_names = ["CD3D", "LYZ", "MTOR"]
    found = findings(adata, mt_percentage=10)
    assert list(found) == ["BC705", "BC701"]
    assert (found["BC705"].severity, found["BC705"].message) == (
        "warning", "mt_percentage=10 removes nothing: no gene is named MT-… or mt-…",
    )  # fmt: skip
    assert found["BC705"].path == "filters"
    assert (
        found["BC705"].fix
        == "Rename the genes to their symbols in a copy, or filter by a list of genes before submitting"
    )
    assert list(findings(adata, mt_percentage=100)) == ["BC701"]
    assert list(findings(adata, mt_percentage=0)) == ["BC705", "BC701"]
    adata.var_names = [f"ENSG{i:011d}" for i in range(3)]
    assert findings(adata, mt_percentage=10)["BC705"].message.endswith("since they have Ensembl ids (ENSG00000000000)")


def test_a_note_about_mitochondrial_genes_is_not_repeated():
    adata = ad.AnnData(np.ones((3, 1_000), np.float32))
    adata.var_names = [f"G{i}" for i in range(1_000)]
    assert "BC405" in {found.code for found in bc.check(adata)}
    assert {"BC405", "BC705"} & {found.code for found in bc.check(adata, mt_percentage=5)} == {"BC705"}


def test_the_matrix_that_is_sent_is_measured_with_its_own_genes():
    adata = make()
    adata.raw = ad.AnnData(np.hstack([adata.X, np.full((10, 2), 5, np.float32)]), adata.obs)
    adata.X = np.log1p(adata.X)
    note = findings(adata, min_counts=12)["BC701"]
    assert note.message == "9 of 10 cells would be kept (90.0 %), measured on raw.X as raw"
    assert findings(adata, min_genes=4, mt_percentage=5).keys() == {"BC701", "BC705"}  # raw has no genes named MT-


def test_the_note_says_that_normalized_sums_are_not_counts():
    adata = make()
    adata.X = np.log1p(adata.X)
    assert findings(adata, min_counts=1)["BC701"].message.endswith(
        "measured on X as normalized, whose sums are not counts"
    )
    assert findings(adata, min_genes=1)["BC701"].message.endswith("measured on X as normalized")


@pytest.mark.parametrize("broken", ["nan", "text", "shape", "none", "no cells", "no genes"])
def test_a_matrix_that_cannot_be_measured_is_skipped(broken):
    adata = make()
    if broken == "nan":
        adata.X[0, 0] = np.nan
    elif broken == "text":
        set_matrix(adata, adata.X.astype(str))
    elif broken == "shape":
        set_matrix(adata, np.ones((3, 2), np.float32))
    elif broken == "none":
        adata.X = None
    else:
        adata = adata[:0] if broken == "no cells" else adata[:, :0]
    report = bc.check(adata, min_counts=3, mt_percentage=5)
    assert not report.ok
    assert not {"BC701", "BC702", "BC703"} & {found.code for found in report}


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix])
def test_the_note_agrees_with_preview_filters_for_every_matrix_format(form, tmp_path):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"s": list("abcd") * 20}, index=map(str, range(80)))
    adata = ad.AnnData(rng.poisson(0.8, (80, 12)).astype(np.float32), obs)
    adata.obs_names = [f"c{i}" for i in range(80)]
    adata.var_names = ["MT-A", "mt-b", *(f"G{i}" for i in range(10))]
    set_matrix(adata, form(adata.X))
    filters = {"min_counts": 6, "max_counts": 15, "min_genes": 4, "max_genes": 9, "mt_percentage": 30}
    preview = adata.biocolab.preview_filters(batch_key="s", **filters)
    note = findings(adata, batch_key="s", **filters)["BC701"]
    assert note.message.startswith(f"{preview.n_kept} of 80 cells")
    removed = [f"{name}={value:,g} removes {int(preview.fails[name].sum())}" for name, value in preview.bounds.items()]
    assert list(note.examples) == removed
    if form is not sparse.coo_matrix:
        adata.write_h5ad(tmp_path / "a.h5ad")
        assert findings(tmp_path / "a.h5ad", batch_key="s", **filters)["BC701"] == note


def test_a_plan_shows_the_kept_cells():
    plan = make().biocolab.submit(dry_run=True, min_counts=3, mt_percentage=20)
    line = next(line for line in repr(plan).splitlines() if "filters:" in line)
    assert "8 of 10 cells would be kept (80.0 %)" in line
    assert "mt_percentage=20 removes 1" in line
    assert "8 of 10 cells" in plan._repr_html_()
    table = pd.DataFrame(make().X, index=make().obs_names, columns=["CD3D", "LYZ", "mt-Co1"])
    assert "8 of 10 cells" in repr(table.biocolab.submit(dry_run=True, min_counts=3, mt_percentage=20))
    assert table.biocolab.check(min_counts=12).errors[0].code == "BC703"


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"min_counts": -1}, "min_counts is -1"),
        ({"mt_percentage": 101}, "in percent"),
        ({"min_genes": 9, "max_genes": 3}, "no cell would be left"),
        ({"max_genes": "many"}, "max_genes is 'many'"),
    ],
)
def test_invalid_bounds_are_refused(filters, words):
    with pytest.raises(errors.InvalidArgument, match=words):
        bc.check(make(), **filters)
    with pytest.raises(errors.InvalidArgument, match=words):
        make().biocolab.check(**filters)


def test_views_backed_files_and_the_object_are_not_changed(tmp_path):
    adata = make()
    view = adata[3:]
    before = view.X.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert findings(view, min_counts=6)["BC701"].message.startswith("5 of 7 cells")
    assert view.is_view
    np.testing.assert_array_equal(view.X, before)


def test_values_that_servers_cannot_hold_are_an_error_without_a_numpy_warning():
    adata = make()
    adata.X = adata.X.astype(np.float64) * 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        report = bc.check(adata, min_counts=3, mt_percentage=20)
    assert "BC312" in {found.code for found in report.errors}


def test_the_check_command_accepts_filters(tmp_path):
    make().write_h5ad(tmp_path / "x.h5ad")

    def run(*options):
        return CliRunner().invoke(app, ["check", str(tmp_path / "x.h5ad"), *options])

    kept = run("--min-counts", "3", "--mt-percentage", "20")
    assert kept.exit_code == 0
    assert "BC701" in kept.stdout
    assert "8 of 10 cells would be kept" in kept.stdout
    none = run("--min-counts", "100")
    assert none.exit_code == 1
    assert "none of 10 cells would be kept" in none.stdout


def test_a_bound_that_no_float_can_be_is_refused():
    with pytest.raises(errors.InvalidArgument, match="must be a non-negative number"):
        bc.check(ad.AnnData(np.eye(2, dtype=np.float32)), min_counts=10**400)
