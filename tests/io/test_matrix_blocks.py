"""Matrix blocks: any part of a matrix in any form is read block by block."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import sparse_dataset, write_elem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from biocolab_accessor.io import matrix_blocks
from biocolab_accessor.io.matrix_blocks import Slot, Source, filled_slots, may_repeat, row_blocks, source_of, values

DENSE = np.where(np.random.default_rng(0).random((50, 20)) < 0.3, np.arange(1000).reshape(50, 20), 0).astype(np.float32)
X = Slot("X")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(matrix_blocks, "_BLOCK_BYTES", 400)
    monkeypatch.setattr(matrix_blocks, "_COLUMN_STORED_BYTES", 800)
    monkeypatch.setattr(matrix_blocks, "_VALUES_AT_ONCE", 64)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix])
def test_stored_values_beyond_the_part_in_use_are_ignored(form):
    matrix = form(DENSE)
    longer = form(matrix.shape, dtype=matrix.dtype)
    longer.indptr = matrix.indptr
    longer.data, longer.indices = (
        np.append(matrix.data, np.float32(np.nan)),
        np.append(matrix.indices, matrix.indices[:1]),
    )
    np.testing.assert_array_equal(np.concatenate(list(values(Source(longer)))), matrix.data)
    np.testing.assert_array_equal(stacked(row_blocks(Source(longer))), DENSE)


def stacked(found):
    found = list(found)
    assert all(isinstance(block, sparse.csr_matrix) and block.has_canonical_format for block in found)
    return sparse.vstack(found).toarray() if found else None


def in_memory():
    wide = sparse.csr_matrix(DENSE)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    return {
        "csr": sparse.csr_matrix(DENSE),
        "csr_array": sparse.csr_array(DENSE),
        "csc": sparse.csc_matrix(DENSE),
        "coo": sparse.coo_matrix(DENSE),
        "lil": sparse.lil_matrix(DENSE),
        "bsr": sparse.bsr_matrix(DENSE),
        "C": DENSE,
        "F": np.asfortranarray(DENSE),
        "strided": np.repeat(DENSE, 2, axis=0)[::2],
        "int64": DENSE.astype(np.int64),
        "bool": DENSE > 0,
        "half": (DENSE % 100).astype(np.float16),
        "wide index": wide,
    }


@pytest.fixture
def on_disk(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        write_elem(file, "csr", sparse.csr_matrix(DENSE))
        write_elem(file, "csc", sparse.csc_matrix(DENSE))
        write_elem(file, "dense", DENSE)
        yield {"csr": sparse_dataset(file["csr"]), "csc": sparse_dataset(file["csc"]), "dense": file["dense"]}


ROWS = [
    None,
    np.arange(10, 30),
    np.array([3, 4, 40]),
    np.array([49, 0, 7, 7, 8]),
    np.array([], int),
    np.arange(0, 50, 2),
]
COLUMNS = [None, np.array([5]), np.array([19, 0, 3])]


def expected(matrix, rows, columns):
    matrix = matrix if rows is None else matrix[rows]
    return matrix if columns is None else matrix[:, columns]


def check(matrix, dense):
    for rows in ROWS:
        for columns in COLUMNS:
            source = Source(matrix, rows, columns)
            want = expected(dense, rows, columns)
            assert source.shape == want.shape
            got = list(row_blocks(source))
            assert sum(block.shape[0] for block in got) == len(want)
            if len(want):
                np.testing.assert_array_equal(stacked(got), want)
            flat = np.concatenate([*values(source), np.zeros(0)])
            np.testing.assert_array_equal(np.sort(flat[flat != 0]), np.sort(want[want != 0]))


@pytest.mark.parametrize("kind", in_memory())
def test_any_part_of_a_matrix_in_memory_can_be_read(kind):
    matrix = in_memory()[kind]
    check(matrix, matrix.toarray() if sparse.issparse(matrix) else matrix)


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_any_part_of_a_matrix_on_disk_can_be_read(on_disk, kind):
    check(on_disk[kind], DENSE)


@pytest.mark.parametrize("sparse_chunks", [True, False])
def test_any_part_of_a_dask_array_can_be_read_and_each_chunk_is_computed_once(sparse_chunks):
    array = pytest.importorskip("dask.array")
    computed = []

    def note(block):
        if block.size if isinstance(block, np.ndarray) else block.shape[0]:
            computed.append(block.shape[0])
        return sparse.csr_matrix(block) if sparse_chunks else block

    meta = sparse.csr_matrix((0, 0), dtype=np.float32) if sparse_chunks else np.empty((0, 0), np.float32)
    matrix = array.from_array(DENSE, chunks=(15, 20)).map_blocks(note, dtype=np.float32, meta=meta)
    computed.clear()
    assert stacked(row_blocks(Source(matrix))).tolist() == DENSE.tolist()
    assert sum(computed) == 50
    check(matrix, DENSE)


def test_rows_of_rows_are_composed():
    source = Source(sparse.csr_matrix(DENSE), np.array([9, 3, 5]), np.array([2, 1]))
    np.testing.assert_array_equal(stacked(row_blocks(source, np.array([2, 0]))), DENSE[[5, 9]][:, [2, 1]])


def test_blocks_are_bounded_even_if_one_row_is_long():
    matrix = np.zeros((100, 300), np.float32)
    matrix[50] = 1
    matrix[:, 0] = 1
    got = list(row_blocks(Source(sparse.csr_matrix(matrix))))
    assert max(block.nnz for block in got if block.shape[0] > 1) <= 400 // 8
    assert [block.nnz for block in got if block.nnz > 50] == [300]
    np.testing.assert_array_equal(stacked(got), matrix)


def test_csr_blocks_share_memory_with_the_matrix():
    matrix = sparse.csr_matrix(DENSE)
    assert all(np.shares_memory(block.data, matrix.data) for block in row_blocks(Source(matrix)))
    run = Source(matrix, np.arange(5, 20))
    assert all(np.shares_memory(block.indices, matrix.indices) for block in row_blocks(run))


def test_unsorted_and_duplicate_entries_are_fixed_in_a_copy():
    matrix = sparse.csr_matrix((np.array([1.0, 2, 3]), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3))
    before = matrix.data.copy(), matrix.indices.copy()
    assert stacked(row_blocks(Source(matrix))).tolist() == [[2, 0, 4]]
    np.testing.assert_array_equal(matrix.data, before[0])
    np.testing.assert_array_equal(matrix.indices, before[1])


def make(**layers):
    obs, var = pd.DataFrame(index=[f"c{i}" for i in range(50)]), pd.DataFrame(index=[f"g{i}" for i in range(20)])
    adata = ad.AnnData(sparse.csr_matrix(DENSE), obs, var, layers=layers)
    adata.raw = ad.AnnData(
        sparse.csr_matrix(np.hstack([DENSE, DENSE])), obs, pd.DataFrame(index=np.arange(40).astype(str))
    )
    return adata


@pytest.mark.parametrize(
    "index",
    [
        (slice(None), slice(None)),
        (slice(10, 40, 3), slice(None)),
        (slice(None, None, -1), slice(5, 2, -1)),
        ([7, 3, 3], slice(None)),
        (slice(None), [4, 1]),
        (np.arange(50) % 3 == 0, np.arange(20) % 2 == 0),
        (["c4", "c2"], ["g9"]),
        (5, 6),
        ([], []),
    ],
)
def test_a_view_is_read_from_its_parent_and_stays_a_view(index):
    adata = make(dense=DENSE, csc=sparse.csc_matrix(DENSE))
    view = adata[index]
    for slot in filled_slots(view):
        source = source_of(view, slot)
        want = slot.of(adata[index])
        want = want.toarray() if sparse.issparse(want) else np.asarray(want)
        assert source.shape == want.shape == slot.shape(view)
        if len(want):
            np.testing.assert_array_equal(stacked(row_blocks(source)), want)
    assert view.is_view
    assert source_of(view, X).matrix is adata.X


def test_a_view_of_a_view_is_read_from_the_original_object():
    adata = make()
    view = adata[10:40][::2, [3, 1]]
    np.testing.assert_array_equal(stacked(row_blocks(source_of(view, X))), DENSE[10:40][::2][:, [3, 1]])


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_backed_objects_and_their_views_are_read_and_stay_backed(tmp_path, form):
    made = make()
    made.X = form(DENSE)
    made.write_h5ad(tmp_path / "a.h5ad")
    adata = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    try:
        view = adata[[8, 2, 30], ["g3", "g1"]]
        np.testing.assert_array_equal(stacked(row_blocks(source_of(adata, X))), DENSE)
        np.testing.assert_array_equal(stacked(row_blocks(source_of(view, X))), DENSE[[8, 2, 30]][:, [3, 1]])
        raw = stacked(row_blocks(source_of(view, Slot("raw.X"))))
        np.testing.assert_array_equal(raw, np.hstack([DENSE, DENSE])[[8, 2, 30]])
        assert adata.isbacked
        assert view.is_view
        adata.file.close()
        assert filled_slots(adata) == [X, Slot("raw.X")]
    finally:
        adata.file.close()


def test_empty_slots_are_not_listed():
    assert filled_slots(ad.AnnData(obs=pd.DataFrame(index=["a"]))) == []
    assert [str(slot) for slot in filled_slots(make(a=DENSE)[:3])] == ["X", "raw.X", "layers['a']"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_of_any_matrix_can_be_read_in_any_form(data):
    n, m = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12))
    numbers = st.sampled_from([0, 0, 0, 1, 5, -2, 0.5])
    dense = np.array(data.draw(st.lists(st.lists(numbers, min_size=m, max_size=m), min_size=n, max_size=n)), float)
    form = data.draw(st.sampled_from([sparse.csr_matrix, sparse.csc_matrix, sparse.coo_matrix, np.asfortranarray]))
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=60)), int)
    columns = data.draw(st.none() | st.lists(st.integers(0, m - 1), min_size=1).map(np.array))
    got = stacked(row_blocks(Source(form(dense), rows, columns)))
    np.testing.assert_array_equal(got, expected(dense, rows, columns))


def with_repeats(form, *, last_line_only=False):
    """DENSE, with some values split into two entries."""
    matrix = form(DENSE)
    where = np.flatnonzero(np.diff(matrix.indptr))[-1 if last_line_only else 0]
    at = matrix.indptr[where]
    repeated = form(matrix.shape, dtype=matrix.dtype)
    repeated.data, repeated.indices = np.insert(matrix.data, at, 1), np.insert(matrix.indices, at, matrix.indices[at])
    repeated.data[at + 1] -= 1
    repeated.indptr = matrix.indptr + (np.arange(len(matrix.indptr)) > where)
    repeated.indptr = repeated.indptr.astype(matrix.indptr.dtype)
    np.testing.assert_array_equal(repeated.toarray(), DENSE)
    return repeated


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("last_line_only", [True, False])
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_matrix_with_duplicate_entries_is_recognized(form, last_line_only, on_disk, tmp_path):
    plain, repeated = form(DENSE), with_repeats(form, last_line_only=last_line_only)
    if on_disk:
        with h5py.File(tmp_path / "m.h5", "w") as file:
            write_elem(file, "plain", plain)
            write_elem(file, "repeated", repeated)
            assert not may_repeat(Source(sparse_dataset(file["plain"])))
            assert may_repeat(Source(sparse_dataset(file["repeated"])))
        return
    assert not may_repeat(Source(plain))
    assert may_repeat(Source(repeated))
    plain.has_canonical_format  # noqa: B018 - SciPy caches the answer here
    plain.data, plain.indices, plain.indptr = repeated.data, repeated.indices, repeated.indptr
    assert may_repeat(Source(plain))
    assert not may_repeat(Source(DENSE))
    np.testing.assert_array_equal(stacked(row_blocks(Source(repeated))), DENSE)


def test_duplicate_entries_of_a_part_are_summed():
    repeated = with_repeats(sparse.csr_matrix)
    found = np.concatenate(list(values(Source(repeated, np.arange(50)[::-1]))))
    assert sorted(found[found != 0]) == sorted(DENSE[DENSE != 0])


def test_repeated_rows_are_read_from_a_dask_array_with_empty_chunks() -> None:
    array = pytest.importorskip("dask.array")
    for chunks in ((0, 1), (1, 0), (0, 2, 0)):
        values = np.arange(1.0, 3.0 * sum(chunks) + 1).reshape(-1, 3)
        rows = np.array([*range(len(values)), 0, 0])
        found = list(row_blocks(Source(array.from_array(values, chunks=(chunks, (3,))), rows)))
        np.testing.assert_array_equal(sparse.vstack(found).toarray(), values[rows])
