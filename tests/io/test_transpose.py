"""Transpose: stripes give the same result as SciPy."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from biocolab_accessor.io import transpose
from biocolab_accessor.io.memory import empty_pages, release
from biocolab_accessor.io.transpose import Scratch, csr_of_csc, join_rows, spans, write_stripes


def matrix_of(seed: int, n_obs: int, n_vars: int, density: float) -> sparse.csc_matrix:
    rng = np.random.default_rng(seed)
    return sparse.random(n_obs, n_vars, density, "csc", np.float32, rng, lambda n: rng.integers(1, 9, n))


def assert_same(ours: sparse.csr_matrix, plain: sparse.csr_matrix) -> None:
    assert ours.shape == plain.shape
    for name in ("data", "indices", "indptr"):
        left, right = getattr(ours, name), getattr(plain, name)
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()


@given(
    st.integers(0, 99), st.integers(0, 40), st.integers(0, 40), st.sampled_from([0, 0.05, 0.6]), st.integers(1, 50),
    st.integers(1, 9),
)  # fmt: skip
def test_stripes_in_a_file_equal_scipys_transpose(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n_obs: int, n_vars: int, density: float, most: int, step: int
) -> None:
    matrix = matrix_of(seed, n_obs, n_vars, density)
    stripes = [matrix[:, start : start + step] for start in range(0, n_vars, step)]
    with (tmp_path_factory.getbasetemp() / "scratch").open("w+b", buffering=0) as file:
        scratch = Scratch(file)
        blocks = list(join_rows(write_stripes(stripes, n_obs, scratch), scratch, most))
    assert sum(block.shape[0] for block in blocks) == n_obs
    assert all(block.nnz <= most or block.shape[0] == 1 for block in blocks)
    if blocks:
        assert_same(sparse.vstack(blocks, format="csr", dtype=np.float32), matrix.tocsr())


# What fits into two bytes, what does not, and what seems to: the sign of a zero is lost there.
VALUES = [
    [1, 2, 3],
    [1, 65535],
    [1, 65536],
    [2.5, 1],
    [0, 1],
    [-0.0, 1],
    [-1, 7],
    [np.nan, 1],
    [np.inf, 4],
    [1e-45, 3e38],
]


@given(
    st.integers(0, 99), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.05, 0.6]), st.integers(1, 40),
    st.sampled_from(VALUES), st.sampled_from([1, 7, 1 << 18]), st.booleans(),
)  # fmt: skip
def test_stripes_in_memory_equal_scipys_transpose(
    seed: int, n_obs: int, n_vars: int, density: float, pieces: int, values: list[float], look: int, writeable: bool
) -> None:
    matrix = matrix_of(seed, n_obs, n_vars, density)
    # Mostly counts, so that the stripes differ in their dtype.
    odd = np.random.default_rng(seed).random(matrix.nnz) < 0.05
    matrix.data[odd] = np.random.default_rng(seed).choice(np.array(values, np.float32), odd.sum())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transpose, "_SMALL", 0)
        patch.setattr(transpose, "_STRIPES", pieces)
        patch.setattr(transpose, "_RANGES", 41 - pieces)
        patch.setattr(transpose, "_RELEASE_EVERY", 1 + seed % 9)
        patch.setattr(transpose, "_LOOKED_AT", look)
        if matrix.nnz:
            ours = matrix.copy()
            ours.data.flags.writeable = writeable
            assert_same(csr_of_csc(ours, consume=True), matrix.tocsr())


def test_a_stripe_of_more_genes_than_fit_into_uint16_is_transposed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transpose, "_SMALL", 0)
    monkeypatch.setattr(transpose, "_STRIPES", 1)
    for n_vars in (65_535, 65_536, 65_537, 150_000):
        last = sparse.csc_matrix(([np.float32(7)], ([2], [n_vars - 1])), (3, n_vars))
        matrix = matrix_of(0, 3, n_vars, 0.01).maximum(last)
        assert_same(csr_of_csc(matrix.copy(), consume=True), matrix.tocsr())


def test_a_truncated_scratch_file_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "scratch").open("w+b", buffering=0) as file:
        scratch = Scratch(file)
        places = [scratch.put(np.arange(100, dtype=np.int32)), scratch.put(np.arange(50, dtype=np.float32))]
        file.truncate(500)
        assert scratch.take(places[0], 10, 100).tolist() == list(range(10, 100))
        assert scratch.take(places[1], 0, 25).tolist() == list(range(25))
        with pytest.raises(OSError, match="shorter than what was written to it"):
            scratch.take(places[1], 20, 30)


@pytest.mark.parametrize("n_obs", [1, 500])
def test_a_consumed_matrix_gives_the_same_result_and_releases_its_indices(
    n_obs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transpose, "_SMALL", 0)
    plain = matrix_of(1, n_obs, 3000, 0.3)
    ours = plain.copy()
    for name in ("data", "indices"):
        array = getattr(plain, name)
        pages = empty_pages(array.nbytes).view(array.dtype)
        pages[:] = array
        setattr(ours, name, pages)
    assert_same(csr_of_csc(ours, consume=False), plain.tocsr())
    assert_same(csr_of_csc(ours, consume=True), plain.tocsr())
    if n_obs > 1:
        assert not ours.indices[4096:-4096].any()


def test_release_drops_only_whole_pages_of_our_own() -> None:
    pages = empty_pages(300 * 4096)
    pages[:] = 7
    release(pages[100:9000])
    assert pages.tolist() == [7] * 4096 + [0] * 4096 + [7] * (298 * 4096)
    other = np.full(50_000, 7, np.uint8)
    release(other)
    assert other.all()
    release(pages[12288:])
    assert not pages[12288:].any()


def test_pages_live_as_long_as_their_views() -> None:
    view = empty_pages(2 << 20)[-4096:].view(np.int32)
    gc.collect()
    view[:] = 3
    assert view.sum() == 3072


def test_ranges_of_rows_have_at_most_so_many_values_or_one_row() -> None:
    assert spans(np.array([0, 2, 3, 9, 10]), 3) == [(0, 2), (2, 3), (3, 4)]


class TestWithoutPrivateFunctionsOfScipy:
    """Another version of SciPy may not have them, or not with these arguments."""

    @pytest.fixture(params=["gone", "other arguments"])
    def without(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        def other(*_: object) -> None:
            msg = "csr_tocsc() takes 3 arguments"
            raise TypeError(msg)

        names = ("csr_tocsc", "csr_hstack", "csr_has_canonical_format")
        kernels = None if request.param == "gone" else SimpleNamespace(**dict.fromkeys(names, other))
        monkeypatch.setattr(transpose, "_kernels", kernels)
        transpose.kernels_work.cache_clear()
        yield
        transpose.kernels_work.cache_clear()

    @pytest.mark.usefixtures("without")
    def test_the_transposed_matrix_is_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not transpose.kernels_work()
        monkeypatch.setattr(transpose, "_SMALL", 1)
        matrix = matrix_of(3, 300, 90, 0.2)
        assert_same(csr_of_csc(matrix.copy(), consume=True), matrix.tocsr())

    @pytest.mark.usefixtures("without")
    def test_the_order_of_indices_is_judged_the_same(self) -> None:
        indptr, indices = np.array([0, 2, 2, 4], np.int32), np.array([0, 3, 1, 2], np.int32)
        assert transpose.is_canonical(indptr, indices)
        assert transpose.is_canonical(indptr[1:], indices)
        assert not transpose.is_canonical(indptr, indices[::-1].copy())
        assert not transpose.is_canonical(indptr, np.array([0, 0, 1, 2], np.int32))

    def test_with_them_the_order_of_indices_is_judged_the_same(self) -> None:
        assert transpose.kernels_work()
        indptr, indices = np.array([0, 2, 2, 4], np.int32), np.array([0, 3, 1, 2], np.int32)
        assert transpose.is_canonical(indptr, indices)
        assert transpose.is_canonical(indptr[1:], indices)
        assert not transpose.is_canonical(indptr, indices[::-1].copy())
        assert not transpose.is_canonical(indptr, np.array([0, 0, 1, 2], np.int32))
