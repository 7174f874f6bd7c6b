"""A summary says which kind of values a matrix holds, in every format."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

from biocolab_accessor.check import matrix_stats as summary_module
from biocolab_accessor.check.matrix_stats import describe
from biocolab_accessor.io import matrix_blocks
from biocolab_accessor.io.matrix_blocks import Source

COUNTS = np.random.default_rng(0).poisson(0.5, (40, 30)).astype(np.float32)


@pytest.fixture
def on_disk(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        write_elem(file, "csr", sparse.csr_matrix(COUNTS))
        write_elem(file, "csc", sparse.csc_matrix(COUNTS))
        write_elem(file, "dense", COUNTS)
        yield {"csr": sparse_dataset(file["csr"]), "csc": sparse_dataset(file["csc"]), "dense": file["dense"]}


@pytest.mark.parametrize(
    "make",
    [
        sparse.csr_matrix,
        sparse.csc_matrix,
        sparse.coo_matrix,
        sparse.csr_array,
        sparse.lil_matrix,
        np.asarray,
        np.asfortranarray,
        lambda m: np.repeat(m, 2, axis=0)[::2],
    ],
)
def test_every_form_of_a_matrix_has_the_same_summary(make):
    found = describe(make(COUNTS))
    assert (found.shape, found.nnz, found.maximum) == ((40, 30), int((COUNTS > 0).sum()), COUNTS.max())
    assert found.kind == "counts"
    assert found.integer
    assert found.fits_float32


@pytest.mark.parametrize("name", ["csr", "csc", "dense"])
def test_a_matrix_on_disk_has_the_same_summary(on_disk, name):
    found = describe(on_disk[name], f"layers['{name}']")
    assert (found.shape, found.nnz, found.kind) == ((40, 30), int((COUNTS > 0).sum()), "counts")
    assert str(found) == f"layers['{name}'] (40 x 30): counts (whole numbers, max {COUNTS.max():.0f})"


def test_only_the_selected_part_of_a_matrix_is_read():
    matrix = np.array([[1.0, np.nan], [2.5, 3.0], [4.0, -1.0]])
    found = describe(Source(matrix, np.array([2, 0]), np.array([0])))
    assert (found.shape, found.kind, found.maximum) == ((2, 1), "counts", 4)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3 + 4e-11, "counts"),  # CellTypist's sample
        (1448 - 4e-11, "counts"),
        (3.0001, "lognorm"),
        (2.0e7 + 0.5, "normalized"),  # whole once it is float32, but no count
        (1e-9, "lognorm"),
        (1e-60, "lognorm"),  # zero as float32
        (26.5, "normalized"),
        (-1.5, "scaled"),
        (-2.0, "scaled"),
        (np.nan, "invalid"),
        (np.inf, "invalid"),
        (0.0, "empty"),
    ],
)
def test_one_value_decides(value, kind):
    assert describe(np.array([[value, 0.0]])).kind == kind


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64", "float16", "float32", "float64", "longdouble"])
def test_counts_may_have_any_dtype_of_real_numbers(dtype):
    found = describe(np.array([[0, 1], [7, 0]], dtype))
    assert (found.kind, found.maximum, found.fits_float32) == ("counts", 7, True)


@pytest.mark.parametrize(("dtype", "kind"), [("bool", "binary"), ("complex64", "invalid"), ("object", "invalid")])
def test_other_dtypes_are_not_counts(dtype, kind):
    assert describe(np.array([[0, 1], [1, 0]], dtype)).kind == kind


@pytest.mark.parametrize(
    ("matrix", "fits"),
    [
        (np.array([[0.1]]), False),
        (np.array([[0.5, 1 / 1024]]), True),
        (np.array([[0.1]], np.float32), True),
        (np.array([[2**24]], np.int64), True),
        (np.array([[2**24 + 1]], np.int64), False),
        (np.array([[-(2**24) - 1]], np.int64), False),
        (np.array([[2.0**24 + 1]]), False),
        (np.array([[1e300]]), False),
    ],
)
def test_whether_float32_is_exact_is_known(matrix, fits):
    assert describe(matrix).fits_float32 is fits


@pytest.mark.parametrize("noise", [0, 4e-9])
@pytest.mark.parametrize("dtype", ["int64", "float64", "longdouble"])
def test_counts_that_float32_cannot_hold_are_counts_in_every_dtype_that_can(dtype, noise):
    matrix = np.array([[2**24 + 1, 3], [0, 2**31 + 1]]).astype(dtype)
    if noise and dtype != "int64":
        matrix[matrix > 0] += matrix.dtype.type(noise)
    found = describe(matrix)
    assert (found.kind, found.fits_float32) == ("counts", False)
    assert describe(np.array([[2e7 + 0.5, 3]])).kind == "normalized"


def test_noise_is_the_largest_distance_to_a_whole_number():
    assert describe(np.array([[3 + 4e-11, 5 - 1e-10, 0]])).noise == pytest.approx(1e-10, rel=1e-3)
    assert describe(np.array([[3, 5, 0]], np.float32)).noise == 0


def test_nan_infinite_and_negative_values_are_counted():
    found = describe(np.array([[np.nan, np.nan, np.inf], [-np.inf, -1, 4]], np.float32))
    assert (found.n_nan, found.n_infinite, found.n_negative) == (2, 2, 1)
    assert (found.minimum, found.maximum) == (-1, 4)
    assert str(found).endswith("2 NaN and 2 infinite values")


def test_the_share_of_whole_numbers_ignores_zeros():
    found = describe(np.array([[0, 0, 0, 0, 1, 0.5]]))
    assert found.integer_share == 0.5
    assert "50 % whole numbers" in str(found)


def test_the_search_for_fractions_stops_at_the_first_piece_that_has_one(monkeypatch):
    monkeypatch.setattr(matrix_blocks, "_VALUES_AT_ONCE", 10)
    asked = []
    share = summary_module._share
    monkeypatch.setattr(summary_module, "_share", lambda *a: asked.append(1) or share(*a))
    describe(np.full((10, 10), 0.5, np.float32))
    assert len(asked) == 1


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_a_matrix_without_values_is_empty(shape, make):
    assert describe(make(np.zeros(shape))).kind == "empty"


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.array([[3, 0], [0, 1]]), "counts (whole numbers, max 3)"),
        (np.array([[3_000, 0], [0, 1]]), "counts (whole numbers, max 3,000)"),
        (np.eye(2, dtype=bool), "booleans"),
        (np.zeros((2, 2)), "all zero"),
        (np.array([[0.25, 1], [0, 2]]), "looks log-normalized (66.7 % whole numbers, max 2)"),
        (
            np.array([[0.25, 1234.5], [0, 2]]),
            "not counts, and too large for logarithms (33.3 % whole numbers, max 1,234.5)",
        ),
        (
            np.array([[-0.25, -1234.5], [0, 2]]),
            "looks scaled (2 negative values, min -1.23e+03; 33.3 % whole numbers, max 2)",
        ),
        (np.array([[-1, -1234], [0, 2]]), "whole numbers, 2 of them negative (min -1,234)"),
        (np.array([[np.nan, 1]]), "1 NaN"),
        (np.array([[-np.inf, -1.5]]), "1 infinite values"),
        (np.full((50, 50), np.nan), "2,500 NaN"),
        (np.eye(2, dtype=complex), "complex128 values, which are not real numbers"),
    ],
)
def test_a_summary_says_in_words_what_it_looks_like(matrix, words):
    n, m = matrix.shape
    assert str(describe(matrix, "layers['x']")) == f"layers['x'] ({n} x {m}): {words}"


def test_the_summary_of_log_counts_has_the_total_of_each_cell():
    counts = np.random.default_rng(0).poisson(1.0, (50, 20)) + np.eye(50, 20)
    found = describe(np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)))
    assert str(found).endswith(f"max {found.maximum:,.5g}; log1p, target sum ≈ 10,000)")
    assert describe(counts).scaling is None


@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[5.0, 0, 1, 0, 0, 9], [0, 0, 0, 0, 0, 0], [2, 0, 3, 4, 0, 0]]),
        np.array([[5.0, np.nan, 1, np.inf, -3, 9], [0, -7, np.nan, np.nan, -np.inf, 0]]),
        np.array([[np.nan, np.nan, np.nan, np.nan, 1, 2]]),
        np.array([[1 + 1e-9, 2, 3, 4 - 3e-9, 5, 6 + 2e-9]]),
        np.array([[2**24 + 1, 0, -5, 1, 2, 3]]),
        np.array([[0, 0, -5, 1, 2, -(2**24) - 1]]),
        np.array([[0.5, 1e300, 0.1, 0, 0, 0]]),
        np.array([[0, 1, 0, 1, 1, 1]], bool),
    ],
)
@pytest.mark.parametrize("at_once", [1, 2, 3, 6])
def test_a_matrix_that_is_read_in_pieces_is_described_as_one_that_is_read_at_once(monkeypatch, matrix, at_once):
    whole = describe(matrix)
    monkeypatch.setattr(matrix_blocks, "_VALUES_AT_ONCE", at_once)
    found = describe(matrix)
    assert replace(found, integer_share=whole.integer_share) == whole
    with np.errstate(invalid="ignore"):
        finite = matrix[np.isfinite(matrix)]
    assert (found.nnz, found.n_negative) == (np.count_nonzero(matrix), np.count_nonzero(finite < 0))
    assert (found.minimum, found.maximum) == (min(0, finite.min()), max(0, finite.max()))


@pytest.mark.parametrize(
    ("value", "broken"),
    [(np.nan, True), (np.inf, True), (-1.0, True), (0.0, False), (-1.5, False)],
)
def test_counts_are_broken_by_a_bad_value_and_nothing_else_is(value, broken):
    assert describe(np.array([[3, value], [0, 1]])).is_broken_counts is broken
    assert describe(np.array([[1, value], [0, 1]])).is_broken_counts is broken
    assert describe(np.array([[0, value], [0, 0]])).is_broken_counts is False


def test_a_value_that_is_just_off_a_whole_number_is_a_count_and_a_thousandth_is_not():
    assert describe(np.array([[2.0e7 + 1e-3]])).kind == "counts"
    assert describe(np.array([[2.0e7 + 2e-3]])).kind == "normalized"
    assert describe(np.array([[25.0, 0.5]])).kind == "lognorm"
    assert describe(np.array([[25.1, 0.5]])).kind == "normalized"


def twice(first, second, dtype="f8"):
    """A matrix that has two values for its first place."""
    matrix = sparse.csr_matrix((3, 2), dtype=dtype)
    matrix.data, matrix.indices = np.array([first, second, 3, 1], dtype), np.array([0, 0, 1, 0], "i4")
    matrix.indptr = np.array([0, 2, 3, 4], "i4")
    return matrix


@pytest.mark.parametrize("form", ["csr", "csc", "on disk", "part"])
@pytest.mark.parametrize("values", [(5, -2), (0.5, 0.5), (5, -5)])
def test_values_of_one_place_are_judged_by_their_sum(values, form, tmp_path):
    matrix = twice(*values)
    if form == "csc":
        # Not by way of tocsc, which would be in order.
        rows, columns, data = np.array([0, 0, 2, 1]), np.array([0, 3, 4]), np.array([*values, 1, 3], "f8")
        turned = sparse.csc_matrix((3, 2))
        turned.data, turned.indices, turned.indptr = data, rows.astype("i4"), columns.astype("i4")
        np.testing.assert_array_equal(turned.toarray(), matrix.toarray())
        matrix = turned
    if form == "on disk":
        with h5py.File(tmp_path / "m.h5", "w") as file:
            write_elem(file, "m", matrix)
            found = describe(sparse_dataset(file["m"]))
    else:
        found = describe(Source(matrix, np.arange(3)) if form == "part" else matrix)
    assert (found.kind, found.n_negative, found.maximum) == ("counts", 0, 3)
    assert found.nnz == np.count_nonzero(twice(*values).toarray())


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "fits"),
    [
        ((2**24, 1), "f8", "counts", False),
        ((2**24, 1), "i4", "counts", False),
        ((2**24, 2), "f8", "counts", True),
        ((100, 100), "i1", "scaled", True),  # it is -56 to SciPy, and would be in the file
    ],
)
def test_sums_that_float32_or_their_own_dtype_does_not_hold_are_seen(values, dtype, kind, fits):
    found = describe(twice(*values, dtype))
    assert (found.kind, found.fits_float32) == (kind, fits)


def test_obvious_counts_are_not_read_again(monkeypatch):
    monkeypatch.setattr(summary_module, "may_repeat", lambda source: pytest.fail("the indices were read"))
    assert describe(sparse.csr_matrix(np.array([[3.0, 0], [0, 200]]))).kind == "counts"
