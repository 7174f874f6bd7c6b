"""Problems of the matrix to send are reported with its slot."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor import errors
from tests.builders import set_matrix

COUNTS = np.array([[3, 0], [0, 1]], np.float32)


def only(adata, code, **arguments):
    report = bc.check(adata, **arguments)
    # What is not sent, and that servers keep float32, is noted of nearly every object.
    assert [found.code for found in report if found.code not in ("BC501", "BC313")] == [code]
    return report[0]


@pytest.mark.parametrize(
    ("shape", "what"), [((0, 2), "no cells"), ((2, 0), "no genes"), ((0, 0), "no cells and genes")]
)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_there_must_be_cells_and_genes(shape, what, make):
    found = only(AnnData(make(np.zeros(shape, np.float32))), "BC301")
    assert (found.error, found.path) == (errors.EmptyAnnData, "X")
    assert what in found.message


def test_an_object_without_any_matrix_is_an_error():
    found = only(AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["g"])), "BC300")
    assert found.error is errors.EmptyAnnData


def test_missing_counts_are_an_error_if_raw_is_requested():
    found = only(AnnData(np.log1p(COUNTS)), "BC300", input_matrix_type="raw")
    assert found.error is errors.NoCounts


@pytest.mark.parametrize(("value", "what"), [(np.nan, "1 NaN"), (np.inf, "1 infinite values")])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_nan_and_infinite_values_are_errors(value, what, make):
    matrix = COUNTS.copy()
    matrix[0, 1] = value
    found = only(AnnData(make(matrix)), "BC302")
    assert (found.path, found.message, found.error) == ("X", what, errors.InvalidValues)


@pytest.mark.parametrize("dtype", [np.complex64, object])
def test_other_than_real_numbers_are_errors(dtype):
    assert "only real numbers" in only(AnnData(COUNTS.astype(dtype)), "BC302").message


def test_negative_counts_are_an_error_only_if_raw_is_requested():
    adata = AnnData(np.array([[3, -1], [0, 1]], np.float32))
    found = only(adata, "BC303", input_matrix_type="raw")
    assert (found.count, found.error) == (1, errors.InvalidValues)
    assert only(adata, "BC305", input_matrix_type="normalized").severity == "warning"
    assert only(adata, "BC305").severity == "warning"


def test_counts_beyond_float32_are_a_warning():
    assert only(AnnData(COUNTS.astype(np.int64) * 2**24), "BC304").severity == "warning"
    assert len(bc.check(AnnData(np.array([[2**24]], np.int64)))) == 0


def test_the_warning_about_a_scaled_x_names_the_log_normalized_slot():
    adata = AnnData(np.log1p(COUNTS))
    adata.raw = adata
    adata.X = adata.X - 0.5
    assert only(adata, "BC305").fix.startswith("raw.X looks log-normalized")


def test_float_noise_is_noted():
    assert "up to 4e-11" in only(AnnData(COUNTS.astype(float) + np.array([[4e-11, 0], [0, 0]])), "BC306").message


def test_a_matrix_of_zeros_is_a_warning():
    assert only(AnnData(np.zeros((2, 2), np.float32)), "BC307").path == "X"


@pytest.mark.parametrize("bad", [np.nan, -1.0])
def test_counts_that_are_not_chosen_because_of_a_bad_value_are_a_warning(bad):
    layer = COUNTS.copy()
    layer[1, 0] = bad
    found = only(AnnData(np.log1p(COUNTS), layers={"counts": layer}), "BC308")
    assert (found.path, found.count, found.fix[:14]) == ("layers['counts']", 1, "X is sent inst")


def test_embeddings_with_gaps_are_a_warning():
    adata = AnnData(COUNTS, obsm={"X_umap": np.array([[np.nan, 1], [2, 3]])})
    found = only(adata, "BC309")
    assert (found.path, found.count) == ("obsm['X_umap']", 1)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_cells_without_counts_are_a_warning_and_genes_without_a_note(make):
    matrix = np.array([[3, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    cells, genes = bc.check(AnnData(make(matrix)))
    assert (cells.code, cells.severity, cells.path, cells.count) == ("BC310", "warning", "X", 2)
    assert "min_counts=1" in cells.fix
    assert (genes.code, genes.severity, genes.count, genes.changed) == ("BC311", "note", 1, False)


@pytest.mark.parametrize("value", [1e39, -1e300])
def test_values_that_float32_cannot_hold_are_an_error(value):
    matrix = np.log1p(COUNTS.astype(float)) + np.diag([value, 0])
    found = only(AnnData(matrix), "BC312") if value > 0 else bc.check(AnnData(matrix)).errors[0]
    assert (found.code, found.error) == ("BC312", errors.InvalidValues)


def test_digits_that_the_servers_drop_are_noted():
    obsm = {"X_pca": np.ones((2, 2)) / 3, "X_umap": COUNTS, "X_half": np.ones((2, 2)) / 2}
    adata = AnnData(np.log1p(COUNTS.astype(np.float64)), obsm=obsm)
    found = bc.check(adata)
    assert [(each.code, each.path, each.count) for each in found] == [("BC313", "X", 1), ("BC313", "obsm['X_pca']", 4)]
    assert len(bc.check(AnnData(COUNTS.astype(np.float64)))) == 0  # counts are exact in either


def test_masked_values_are_errors():
    adata = AnnData(COUNTS.copy())
    set_matrix(adata, np.ma.masked_equal(np.array([[3, 9], [9, 1]], np.float32), 9))
    (found,) = (found for found in bc.check(adata) if found.code == "BC302")
    assert (found.message, found.count, found.error) == ("2 masked values", 2, errors.InvalidValues)


def test_the_largest_float32_is_not_an_overflow():
    largest = float(np.finfo(np.float32).max)
    for value in (largest, -largest):
        assert "BC312" not in [found.code for found in bc.check(AnnData(np.array([[0.5, value]])))]


def test_gaps_are_counted_by_cell_in_arrays_of_floats_of_any_dimensions():
    gaps = np.ones((2, 3, 4))
    gaps[1] = np.nan
    gaps[0, 0, 0] = np.inf
    adata = AnnData(COUNTS, obsm={"X_3d": gaps, "X_int": np.ones((2, 2), int), "X_none": np.ones((2, 0))})
    (found,) = (found for found in bc.check(adata) if found.code == "BC309")
    assert (found.path, found.count) == ("obsm['X_3d']", 2)


def test_empty_cells_of_an_invalid_or_empty_matrix_are_not_counted():
    for matrix in (np.array([[np.nan, 0], [0, 0]], np.float32), np.zeros((2, 2), np.float32)):
        assert {"BC310", "BC311"} & {found.code for found in bc.check(AnnData(matrix))} == set()


def test_negative_values_are_an_error_only_if_counts_are_sent():
    matrix = np.array([[3, -1], [0, 1]], np.float32)
    assert [found.code for found in bc.check(AnnData(matrix), input_matrix_type="raw").errors] == ["BC303"]
    assert bc.check(AnnData(matrix)).errors == ()
    assert bc.check(AnnData(matrix), input_matrix_type="normalized").errors == ()


def test_counts_that_are_sent_as_normalized_are_neither_rounded_nor_too_large():
    noisy = AnnData(COUNTS.astype(float) + np.array([[4e-11, 0], [0, 0]]))
    assert [found.code for found in bc.check(noisy, input_matrix_type="normalized")] == ["BC313"]
    large = AnnData(COUNTS * 2**24)
    assert [found.code for found in bc.check(large, input_matrix_type="normalized")] == []


def test_a_layer_of_counts_that_is_sent_is_not_reported_as_unused():
    layer = COUNTS.copy()
    layer[1, 0] = -1
    adata = AnnData(np.log1p(COUNTS), layers={"counts": layer, "umi": layer})
    paths = [found.path for found in bc.check(adata, input_matrix_type="raw") if found.code == "BC308"]
    assert paths == ["layers['umi']"]
    assert [found.path for found in bc.check(adata) if found.code == "BC308"] == ["layers['counts']", "layers['umi']"]


def test_a_layer_named_counts_with_log_or_scaled_values_is_a_warning():
    log = AnnData(np.log1p(COUNTS), layers={"counts": np.log1p(COUNTS)})
    (found,) = (found for found in bc.check(log) if found.code == "BC308")
    assert found.message.startswith("not used as counts: looks log-normalized (0 % whole numbers")
    scaled = AnnData(np.log1p(COUNTS), layers={"counts": COUNTS - 0.5})
    (found,) = (found for found in bc.check(scaled) if found.code == "BC308")
    assert found.message.startswith("not used as counts: looks scaled (2 negative values")
    assert found.count == 2


def test_the_fix_for_log_normalized_values_works_if_raw_has_more_genes():
    whole = AnnData(np.log1p(np.array([[3, 0, 2], [0, 1, 5]], np.float32)))
    adata = whole[:, :2].copy()
    adata.raw = whole
    adata.X = adata.X - 0.5
    assert "submit adata.raw.to_adata()" in only(adata, "BC305").fix
    assert adata.raw.to_adata().biocolab.submit(dry_run=True).n_vars == 3


@pytest.mark.parametrize(("slot", "way"), [("X", "sc.pp.filter_cells(copy, min_counts=1)"), ("layer", "from a copy")])
def test_the_fix_for_empty_cells_depends_on_the_slot(slot, way):
    counts = np.array([[3, 1], [0, 0]], np.float32)
    adata = AnnData(counts) if slot == "X" else AnnData(np.log1p(counts), layers={"counts": counts})
    (found,) = [found for found in bc.check(adata) if found.code == "BC310"]
    assert found.fix == f"Drop them{':' if slot == 'X' else ''} {way}, or submit with min_counts=1"


def test_a_table_of_obsm_may_have_columns_of_any_name():
    table = pd.DataFrame({"dtype": [1.0, 2.0], "shape": [1, 2]}, index=["0", "1"])
    assert bc.check(AnnData(COUNTS.copy(), obsm={"table": table})).ok


def test_cells_that_the_servers_leave_out_are_reported():
    def message(most):
        (found,) = [found for found in bc.check(AnnData(np.array([[most, 1], [2, 3]], float))) if found.code == "BC304"]
        return found.message

    assert message(1e9) == "counts up to 1,000,000,000: the servers round counts above 16,777,216"
    assert message(2e9).endswith("16,777,216, and leave out cells with more than 1,000,000,000 counts")
