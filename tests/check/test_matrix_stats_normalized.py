"""A few cells show how a matrix without counts was normalized, at little cost."""

import anndata as ad
import h5py
import numpy as np
import pytest
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

from biocolab_accessor.check import matrix_stats
from biocolab_accessor.check.matrix_choice import choose_matrix
from biocolab_accessor.check.matrix_stats import glimpse, scaling_of
from biocolab_accessor.io.matrix_blocks import Source

COUNTS = np.random.default_rng(3).poisson(0.8, (400, 60)).astype(np.float64)
SCALED = COUNTS / COUNTS.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("target", [1e4, 1e6, 2_350.5, 10])
@pytest.mark.parametrize(("logarithm", "log"), [("log1p", np.log1p), ("log2(x + 1)", lambda x: np.log2(x + 1))])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_logarithm_and_the_total_are_found(target, logarithm, log, make, dtype):
    found = scaling_of(Source(make(log(target * SCALED).astype(dtype))))
    assert found.logarithm == logarithm
    assert found.target_sum == pytest.approx(target, rel=1e-4)


@pytest.mark.parametrize(
    "matrix",
    [
        np.log1p(COUNTS),
        np.log1p(1e4 * SCALED)[:, :20],
        np.log1p(1e4 * SCALED)[:5],
        1e4 * SCALED,
        np.zeros((20, 3)),
        np.log1p(1e4 * SCALED) - 1,
        np.zeros((0, 3)),
    ],
)
def test_no_scaling_is_found_if_totals_differ_or_cells_are_too_few(matrix):
    assert scaling_of(Source(matrix)) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [(np.log1p(1e4 * SCALED), "looks normalized (log1p, target sum ≈ 10,000)"), (COUNTS / 3, "looks log-")],
)
def test_stored_zeros_do_not_change_the_scaling(values, words):
    matrix = sparse.csr_matrix(values)
    stored = sparse.csr_matrix(
        (np.append(matrix.data, 0.0), np.append(matrix.indices, 0), np.append(matrix.indptr, matrix.nnz + 1))
    )
    assert stored.data.min() == 0
    assert glimpse(Source(stored)).startswith(words)


def test_an_empty_cell_does_not_hide_the_scaling():
    matrix = np.log1p(1e4 * SCALED)
    matrix[::7] = 0
    assert str(scaling_of(Source(matrix))) == "log1p, target sum ≈ 10,000"


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.log1p(1e4 * SCALED), "looks normalized (log1p, target sum ≈ 10,000)"),
        (np.log1p(COUNTS), "looks log-normalized"),
        (1e4 * SCALED, "looks normalized, without a logarithm"),
        (SCALED - 0.1, "looks scaled"),
        (COUNTS, "holds whole numbers"),
        (np.full((3, 3), np.nan), "holds NaN or infinite values"),
        (np.zeros((3, 3)), ""),
        (np.full((3, 3), 1j), ""),
    ],
)
def test_a_glimpse_says_what_it_looks_like(matrix, words):
    assert glimpse(Source(matrix)) == words


def test_few_cells_are_read_and_none_of_matrices_stored_by_columns(tmp_path):
    matrix = np.log1p(1e4 * SCALED)
    assert glimpse(Source(sparse.csc_matrix(matrix))) == ""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        write_elem(file, "csr", sparse.csr_matrix(matrix))
        write_elem(file, "csc", sparse.csc_matrix(matrix))
        assert "10,000" in glimpse(Source(sparse_dataset(file["csr"])))
        assert glimpse(Source(sparse_dataset(file["csc"]))) == ""


def test_the_reason_for_counts_of_a_layer_says_what_x_is():
    adata = ad.AnnData(np.log1p(1e4 * SCALED).astype(np.float32), layers={"counts": COUNTS})
    assert choose_matrix(adata).reason == (
        "layers['counts'] (400 x 60): counts (whole numbers, max 6); X looks normalized (log1p, target sum ≈ 10,000)"
    )
    assert "; log1p, target sum ≈ 10,000)" in choose_matrix(adata, "normalized").reason


@pytest.mark.parametrize(("cells", "known"), [(10, True), (9, False)])
def test_ten_cells_are_enough_and_empty_ones_do_not_count(cells, known):
    matrix = np.vstack([np.log1p(1e4 * SCALED)[:cells], np.zeros((5, 60))])
    assert (scaling_of(Source(matrix)) is not None) is known


def test_one_cell_of_twenty_may_have_another_total():
    matrix = 1e4 * SCALED[:200]
    matrix[:9] *= 2
    assert scaling_of(Source(np.log1p(matrix))).target_sum == pytest.approx(1e4)
    matrix[:12] *= 2
    assert scaling_of(Source(np.log1p(matrix))) is None


@pytest.mark.parametrize(("off", "known"), [(0.004, True), (0.006, False)])
def test_totals_may_differ_by_what_rounding_does(off, known):
    matrix = 1e4 * SCALED[:200]
    matrix[::3] *= 1 + off
    matrix[1::3] *= 1 - off
    assert (scaling_of(Source(np.log1p(matrix))) is not None) is known


def test_two_hundred_cells_from_the_first_to_the_last_are_read(monkeypatch):
    asked = []
    blocks = matrix_stats.row_blocks
    monkeypatch.setattr(matrix_stats, "row_blocks", lambda source, rows: asked.append(rows) or blocks(source, rows))
    scaling_of(Source(np.log1p(SCALED)))
    scaling_of(Source(np.log1p(SCALED[:7])))
    assert (len(asked[0]), asked[0][0], asked[0][-1]) == (200, 0, 399)
    assert asked[1].tolist() == list(range(7))


@pytest.mark.parametrize(
    ("most", "words"), [(25.0, "looks log-normalized"), (25.1, "looks normalized, without a logarithm")]
)
def test_no_logarithm_of_counts_is_above_twenty_five(most, words):
    assert glimpse(Source(np.array([[0.5, most], [0.25, 0]]))) == words


def test_lazy_matrices_are_not_read():
    class Lazy:
        dtype, shape = np.dtype(float), (3, 3)

        def compute(self):
            raise AssertionError

    assert glimpse(Source(Lazy())) == ""
    assert scaling_of(Source(Lazy())) is None
    assert glimpse(Source(sparse.coo_matrix(np.log1p(SCALED)))) == ""
