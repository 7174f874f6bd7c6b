"""Every fast path gives, bit for bit, the result of SciPy, h5py, pandas and anndata.

Compression, the transpose and arrays in the cache are tested with their modules, in tests/io.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import sparse_dataset, write_elem
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.clients.arrays import csc_from_hdf5
from biocolab_accessor.clients.bioflex import stripes_of_file
from biocolab_accessor.io import matrix_blocks
from biocolab_accessor.io import write_h5ad as csr
from biocolab_accessor.io.matrix_blocks import Source, row_blocks
from biocolab_accessor.io.write_h5ad import write_h5ad
from biocolab_accessor.studies.conversion import categorical, gene_stripes
from biocolab_accessor.studies.fetch import var_of
from biocolab_accessor.studies.sources.bioflex import BioFlexSource
from biocolab_accessor.studies.union import union
from biocolab_accessor.submit.submit import to_h5ad
from tests.builders import set_matrix
from tests.properties.strategies import sweep
from tests.properties.test_out_and_back import folder

STORED = [np.float32, np.float64, np.int32, np.int64]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@st.composite
def dense(draw: st.DrawFn, dtype: Any = np.float32, most: int = 40) -> np.ndarray:
    """Mostly zeros, with empty rows and columns, or no rows."""
    shape = draw(st.integers(0, most)), draw(st.integers(1, 15))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.sampled_from([0, 0.1, 0.5, 1]))
    return np.where(rng.random(shape) < share, rng.integers(1, 99, shape), 0).astype(dtype)


def cuts(draw: st.DrawFn, length: int) -> list[int]:
    return [0, *sorted(draw(st.lists(st.integers(0, length), max_size=6))), length]


def arrays_of(matrix: Any) -> list[tuple[np.dtype[Any], bytes]]:
    return [(array.dtype, array.tobytes()) for array in (matrix.data, matrix.indices, matrix.indptr)]


@sweep
@given(st.data(), st.sampled_from(STORED), st.sampled_from(["gzip", None]), st.integers(1, 40))
def test_directly_stored_chunks_equal_those_of_anndata(
    data: st.DataObject, dtype: Any, compression: Any, chunk: int
) -> None:
    matrix = sparse.csr_matrix(data.draw(dense(dtype, 80)))
    obs, var = (pd.DataFrame(index=np.arange(n).astype(str)) for n in matrix.shape)
    edges = data.draw(st.composite(lambda draw: cuts(draw, matrix.shape[0]))())
    pieces = [matrix[start:stop] for start, stop in pairwise(edges)]
    with folder() as path, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csr, "_CHUNK_BYTES", 8 * chunk)
        write_h5ad(path / "ours", pieces, obs, var, {}, dtype=np.dtype(dtype), as_raw=True, compression=compression)
        ad.AnnData(matrix, obs, var).write_h5ad(path / "plain")
        ours, plain = ad.read_h5ad(path / "ours"), ad.read_h5ad(path / "plain")
        assert arrays_of(ours.X) == arrays_of(ours.raw.X) == arrays_of(plain.X)
        with h5py.File(path / "ours") as file:
            assert file["X/data"][()].tobytes() == matrix.data.tobytes()


@sweep
@given(
    dense(),
    st.sampled_from([{}, {"compression": "gzip"}, {"fletcher32": True}, {"compression": "gzip", "fletcher32": True}]),
    st.booleans(),
    st.integers(1, 30),
    st.integers(1, 60),
)
def test_a_response_is_read_as_h5py_reads_it_whole_and_in_stripes(
    values: np.ndarray, filters: dict[str, Any], shuffle: bool, chunk: int, most: int
) -> None:
    matrix = sparse.csc_matrix(values)
    with folder() as path:
        with h5py.File(path / "x.h5", "w") as file:
            for name, dtype in (("data", "<f4"), ("indices", "<u4"), ("indptr", "<u8")):
                array = getattr(matrix, name).astype(dtype)
                chunks = {"chunks": (min(chunk, len(array)),)} if len(array) else {}
                options = {**filters, "shuffle": shuffle, **chunks} if (filters or shuffle) and len(array) else {}
                file.create_dataset(name, data=array, **options)
            file["shape"] = np.array(matrix.shape, "<u8")
        whole = csc_from_hdf5(np.fromfile(path / "x.h5", np.uint8), "x")
        stripes = list(stripes_of_file(path / "x.h5", "x", most))
    assert arrays_of(whole) == arrays_of(matrix)
    assert all(stripe.nnz <= most or stripe.shape[1] == 1 for stripe in stripes)
    assert arrays_of(sparse.hstack(stripes, format="csc")) == arrays_of(matrix)


@sweep
@given(dense(), st.data(), st.sampled_from(["csr", "csc", "dense", "dask", "dask of csr", "dask of csc", "zarr"]))
def test_rows_of_a_matrix_on_disk_or_in_dask_equal_those_of_numpy(
    values: np.ndarray, data: st.DataObject, kept: str
) -> None:
    n_rows, n_columns = values.shape
    some = st.lists(st.integers(0, n_rows - 1), max_size=60).map(lambda found: np.array(found, int))
    rows = data.draw(st.none() | some) if n_rows else None
    columns = data.draw(st.none() | st.lists(st.integers(0, n_columns - 1), min_size=1).map(np.array))
    wanted = values if rows is None else values[rows]
    wanted = wanted if columns is None else wanted[:, columns]
    with folder() as path, pytest.MonkeyPatch.context() as patch:
        for name in ("_BLOCK_BYTES", "_COLUMN_STORED_BYTES", "_DENSE_BYTES"):
            patch.setattr(matrix_blocks, name, data.draw(st.integers(1, 2000), name))
        for matrix in _kept(values, kept, path, data):
            found = list(row_blocks(Source(matrix, rows, columns)))
            assert all(block.has_canonical_format for block in found)
            assert sum(block.shape[0] for block in found) == len(wanted)
            if found:
                np.testing.assert_array_equal(sparse.vstack(found).toarray(), wanted)


def _kept(values: np.ndarray, how: str, path: Path, data: st.DataObject) -> Iterator[Any]:
    if how.startswith("dask"):
        array = pytest.importorskip("dask.array")
        cut = st.composite(lambda draw, n: tuple(np.diff(cuts(draw, n)).tolist()))
        matrix = array.from_array(values, chunks=(data.draw(cut(len(values))), data.draw(cut(values.shape[1]))))
        make = {"dask of csr": sparse.csr_matrix, "dask of csc": sparse.csc_matrix}.get(how)
        if make is not None:
            matrix = matrix.rechunk({1: -1}).map_blocks(make, dtype=values.dtype, meta=make((0, 0), dtype=values.dtype))
        yield matrix
        return
    if how == "zarr":
        import zarr

        group = zarr.open_group(path / "m.zarr", mode="w")
        write_elem(group, "m", sparse.csr_matrix(values))
        yield sparse_dataset(group["m"])
        return
    made = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}[how](values)
    with h5py.File(path / "m.h5", "w") as file:
        write_elem(file, "m", made)
        yield file["m"] if how == "dense" else sparse_dataset(file["m"])


@sweep
@given(
    st.lists(
        st.integers(0, 2**53) | st.integers(0, 300) | st.sampled_from([2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32 + 1]),
        min_size=6,
        max_size=6,
    ),
    st.sampled_from([np.int64, np.float64, np.uint64, np.int32, np.float32]),
    st.sampled_from([sparse.csr_matrix, sparse.csc_matrix, np.ascontiguousarray, np.asfortranarray]),
)
def test_counts_get_a_smaller_dtype_only_if_it_is_exact(numbers: list[int], dtype: Any, make: Any) -> None:
    counts = np.array([max(numbers[0], 1), *numbers[1:]]).reshape(3, 2)
    if dtype is np.int32:
        counts = np.minimum(counts, 2**31 - 1)
    counts = counts.astype(dtype)
    adata = ad.AnnData(np.zeros((3, 2), np.float32))
    set_matrix(adata, make(counts))
    with folder() as path:
        again = ad.read_h5ad(to_h5ad(adata, path / "a.h5ad", input_matrix_type="raw"))
    assert again.X.toarray().astype(object).tolist() == counts.astype(object).tolist()
    assert again.X.dtype == (np.float32 if max(numbers) <= 2**24 else again.X.dtype)


DATABASE = SimpleNamespace(
    id="d", name="D", species="human", version=1, connection=SimpleNamespace(http=SimpleNamespace(host="http://h/"))
)
ABOUT: dict[str, Any] = {
    "hash_id": "S",
    "title": "",
    "authors": [],
    "reference": "",
    "revision": "",
    "database": DATABASE,
}
labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@sweep
@given(st.lists(labels, min_size=1, max_size=9), st.lists(st.integers(0, 8), max_size=30))
def test_labels_from_codes_equal_those_of_pandas_from_texts(names: list[str], codes: list[int]) -> None:
    codes = [code % len(names) for code in codes]
    ours = categorical(np.array(codes, np.uint16), names)
    plain = pd.Categorical([names[code] for code in codes], categories=list(dict.fromkeys(names)))
    pd.testing.assert_series_equal(pd.Series(ours), pd.Series(plain))


@sweep
@given(
    dense(),
    st.lists(st.floats(width=32), min_size=4, max_size=4),
    st.lists(labels, min_size=1, max_size=4, unique=True),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_a_cached_answer_equals_the_fetched_one(
    values: np.ndarray, numbers: list[float], names: list[str], codes: list[int]
) -> None:
    matrix = sparse.csc_matrix(values)
    asked: list[str] = []

    def once(name: str, answer: Any) -> Any:
        def fetch(*_: Any) -> Any:
            asked.append(name)
            return answer.copy()

        return fetch

    inside = np.array([code % len(names) for code in codes], np.uint16)
    fields = [
        SimpleNamespace(name="n", codes=None, categories=None, values=numbers, fetch=once("n", matrix)),
        SimpleNamespace(name="c", codes=inside, categories=names, fetch=once("c", matrix)),
    ]
    answers = {"matrix": matrix, "barcodes": names, "features": names, "query_genes": matrix}
    study: Any = SimpleNamespace(**ABOUT, metalist=fields, **{k: once(k, v) for k, v in answers.items()})
    plain = BioFlexSource(study).metadata(["n", "c"], lambda: list("abcd"))
    asked.clear()
    with folder() as path, bc.settings.override(cache_dir=path):
        cached = BioFlexSource(study).cached(lambda: matrix.shape[0])
        for _ in range(2):
            assert arrays_of(cached.matrix("raw")) == arrays_of(matrix)
            assert arrays_of(cached.rows("raw")) == arrays_of(matrix.tocsr())
            assert arrays_of(cached.query_genes(["a"], "raw")) == arrays_of(matrix)
            assert cached.barcodes() == cached.features() == names
            found = cached.metadata(["n", "c"], lambda: list("abcd"))
            assert list(found) == ["n", "c"]
            for name, column in plain.items():
                pd.testing.assert_series_equal(pd.Series(found[name]), pd.Series(column))
    # Once as it was sent, and once by cells.
    assert sorted(asked) == sorted([*answers, "matrix", "n", "c"])


@sweep
@given(dense(), st.integers(1, 20), st.integers(1, 60))
def test_genes_fetched_in_pieces_equal_those_fetched_at_once(values: np.ndarray, first: int, most: int) -> None:
    matrix = sparse.csc_matrix(values)
    genes = [str(i) for i in range(matrix.shape[1])]
    stripes = list(gene_stripes(lambda some: matrix[:, [int(gene) for gene in some]], genes, first, most))
    assert arrays_of(sparse.hstack(stripes, format="csc")) == arrays_of(matrix)
    assert stripes[0].shape[1] == min(first, len(genes))


@sweep
@given(st.data(), st.sampled_from(["inner", "outer"]), st.booleans())
def test_joined_studies_equal_those_of_anndata_concat(data: st.DataObject, join: Any, lazily: bool) -> None:
    names = data.draw(st.lists(st.sampled_from(["A", "B", "a/b", "A-1", "é"]), min_size=1, max_size=3, unique=True))
    parts = [data.draw(_parts()) for _ in names]
    plain = ad.concat(
        [part.copy() for part in parts], join=join, label="study", keys=names, index_unique="-", fill_value=0
    )
    if lazily:
        array = pytest.importorskip("dask.array")
        for part in parts:
            meta = sparse.csr_matrix((0, 0), dtype=np.float32)
            chunks = (max(1, part.n_obs // 2), -1)
            part.X = array.from_array(part.X.toarray(), chunks=chunks).map_blocks(
                sparse.csr_matrix, dtype=np.float32, meta=meta
            )
    ours = union(parts, names, join, "study").to_memory()
    assert list(ours.var_names) == list(plain.var_names)
    assert len(set(ours.obs_names)) == ours.n_obs
    assert ours.obs["study"].tolist() == plain.obs["study"].tolist()
    np.testing.assert_array_equal(ours.X.toarray(), plain.X.toarray())
    for name in set(plain.obs) - {"study"}:
        left, right = (frame[name].astype(object).where(frame[name].notna(), None) for frame in (ours.obs, plain.obs))
        assert left.tolist() == right.tolist()
    with folder() as path:
        ours.write_h5ad(path / "x.h5ad")
        assert ad.read_h5ad(path / "x.h5ad").obs["study"].tolist() == plain.obs["study"].tolist()


@st.composite
def _parts(draw: st.DrawFn) -> ad.AnnData:
    """A study; all have the gene ``g``."""
    genes = ["g", *draw(st.lists(st.sampled_from("hijkl"), max_size=4, unique=True))]
    cells = draw(st.lists(st.sampled_from(["x", "y", "x-A", "1", "é"]), min_size=1, max_size=4, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    obs = pd.DataFrame(index=pd.Index(cells, dtype=object))
    if draw(st.booleans()):
        order = draw(st.permutations(["T", "B", "unused"]))
        obs["label"] = pd.Categorical(rng.choice(["T", "B"], len(cells)), order)
    if draw(st.booleans()):
        obs["number"] = rng.random(len(cells)).astype(np.float32)
    x = sparse.csr_matrix(rng.integers(0, 3, (len(cells), len(genes))).astype(np.float32))
    return ad.AnnData(x, obs=obs, var=var_of(genes), uns={"biocolab": {"study_id": "S"}})
