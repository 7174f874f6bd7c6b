"""Write h5ad: the file is a standard h5ad, and complete or absent."""

import time
import zlib

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from biocolab_accessor.errors import InvalidArgument, InvalidValues
from biocolab_accessor.io import write_h5ad as csr
from biocolab_accessor.io import write_h5ad as h5ad
from biocolab_accessor.io.matrix_blocks import Source, row_blocks
from biocolab_accessor.io.write_h5ad import write_h5ad

OBS = pd.DataFrame({"type": pd.Categorical(["B", None, "T"], ["T", "B"])}, index=["a", "b", "c"])
VAR = pd.DataFrame({"n": [1, 2]}, index=["g", "h"])
MATRIX = sparse.csr_matrix(np.array([[3, 0], [0, 0], [1, 2]], np.float32))
FLOAT = np.dtype(np.float32)


def write(path, matrix=MATRIX, obs=OBS, var=VAR, obsm=None, dtype=FLOAT, **arguments):
    write_h5ad(path, row_blocks(Source(matrix)), obs, var, obsm or {}, dtype=dtype, **arguments)
    return path


@pytest.mark.parametrize("compression", ["gzip", None])
def test_anndata_reads_a_written_file(tmp_path, compression):
    obsm = {"X_umap": np.asfortranarray(np.arange(6.0).reshape(3, 2)), "s": sparse.csr_matrix(np.eye(3)), "t": OBS}
    again = ad.read_h5ad(write(tmp_path / "a.h5ad", obsm=obsm, compression=compression))
    assert (again.X != MATRIX).nnz == 0
    assert again.X.dtype == np.float32
    pd.testing.assert_frame_equal(again.obs, OBS)
    pd.testing.assert_frame_equal(again.var, VAR)
    np.testing.assert_array_equal(again.obsm["X_umap"], obsm["X_umap"])
    np.testing.assert_array_equal(again.obsm["s"].toarray(), np.eye(3))
    pd.testing.assert_frame_equal(again.obsm["t"], OBS)
    assert again.raw is None


def test_encodings_are_known_to_every_reader(tmp_path):
    with h5py.File(write(tmp_path / "a.h5ad", as_raw=True)) as file:
        got, file_raw = {}, file["raw"].attrs["encoding-type"]
        file.visititems(lambda name, item: got.update({name: item.attrs.get("encoding-type")}))
        assert file.attrs["encoding-type"] == "anndata"
        assert file["X"].attrs["shape"].tolist() == [3, 2]
        assert (file["X/indices"].dtype, file["X/indptr"].dtype) == (np.int32, np.int32)
    assert (got["X"], file_raw, got["obs"], got["obs/type"]) == ("csr_matrix", "raw", "dataframe", "categorical")
    assert got["obs/_index"] == got["obs/type/categories"] == "string-array"
    assert {"layers", "obsm", "obsp", "uns", "varm", "varp"} <= set(got)


def test_chunks_are_plain_zlib_with_byte_shuffle(tmp_path):
    with h5py.File(write(tmp_path / "a.h5ad")) as file:
        data = file["X/data"]
        assert (data.compression, data.shuffle, data[:].tolist()) == ("gzip", True, [3, 1, 2])
        _, chunk = data.id.read_direct_chunk((0,))
    shuffled = np.frombuffer(zlib.decompress(chunk), np.uint8).reshape(4, -1)
    np.testing.assert_array_equal(np.ascontiguousarray(shuffled.T).view(np.float32).ravel(), [3, 1, 2])


@pytest.mark.parametrize("compression", ["gzip", None])
def test_tables_layers_and_embeddings_are_compressed_like_the_matrix(tmp_path, compression):
    layers, obsm = {"other": row_blocks(Source(2 * MATRIX))}, {"X_umap": np.ones((3, 2))}
    path = write(tmp_path / "a.h5ad", obsm=obsm, layers=layers, uns={"why": "a test"}, compression=compression)
    with h5py.File(path) as file:
        for name in ("X/data", "layers/other/data", "obs/type/codes", "var/n", "obsm/X_umap"):
            assert file[name].compression == compression, name
            assert file[name].compression_opts == (1 if compression else None), name
    again = ad.read_h5ad(path)
    assert (again.layers["other"] != 2 * MATRIX).nnz == 0
    assert again.layers["other"].dtype == np.float32
    assert again.uns["why"] == "a test"


def test_raw_shares_its_storage_with_x(tmp_path):
    with h5py.File(write(tmp_path / "a.h5ad", as_raw=True)) as file:
        for name in ("X", "var"):
            assert h5py.h5o.get_info(file[name].id).addr == h5py.h5o.get_info(file[f"raw/{name}"].id).addr
            assert isinstance(file.get(f"raw/{name}", getlink=True), h5py.HardLink)
    again = ad.read_h5ad(tmp_path / "a.h5ad")
    assert (again.raw.X != again.X).nnz == 0
    assert again.raw.var_names.tolist() == ["g", "h"]


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 2, 9])
@pytest.mark.parametrize("compression", ["gzip", None])
def test_every_length_around_a_chunk_is_written(tmp_path, monkeypatch, extra, chunks, compression):
    monkeypatch.setattr(csr, "_CHUNK_BYTES", 64)
    n = 16 * chunks + extra
    matrix = sparse.csr_matrix(np.arange(1, n + 1, dtype=np.float32)[:, None])
    obs = pd.DataFrame(index=np.arange(n).astype(str))
    blocks = (matrix[start : start + 5] for start in range(0, n, 5))
    write_h5ad(tmp_path / "a", blocks, obs, VAR[:1], {}, dtype=FLOAT, compression=compression)
    assert ad.read_h5ad(tmp_path / "a").X.toarray().ravel().tolist() == list(range(1, n + 1))


@pytest.mark.parametrize("n_blocks", [1, 2, 5, 40])
def test_the_same_object_gives_the_same_bytes_at_any_speed_of_compression(tmp_path, monkeypatch, n_blocks):
    monkeypatch.setattr(csr, "_CHUNK_BYTES", 4096)
    n = 20_000
    matrix = sparse.csr_matrix(np.random.default_rng(0).poisson(0.5, (n, 3)).astype(np.float32))
    types = pd.Categorical(["B", "T"] * (n // 2))
    obs = pd.DataFrame({"x": np.arange(n), "type": types}, index=np.arange(n).astype(str))
    var = pd.DataFrame({"n": [1, 2, 3]}, index=["g", "h", "i"])
    obsm = {"X_pca": np.random.default_rng(1).random((n, 20))}
    deflate, deflated = csr.deflate_shuffled, {}

    def quick(chunk):
        # Rarely, ISA-L finds other matches in the same chunk: another stream of the same content.
        return deflated.setdefault((chunk.dtype.str, chunk.tobytes()), deflate(chunk))

    def tardy(chunk):
        time.sleep(0.002 * (zlib.crc32(chunk) % 3))  # later chunks overtake some of them
        return quick(chunk)

    for name, how in (("quick", quick), ("tardy", tardy)):
        monkeypatch.setattr(csr, "deflate_shuffled", how)
        blocks = (matrix[rows] for rows in np.array_split(np.arange(n), n_blocks))
        write_h5ad(tmp_path / name, blocks, obs, var, obsm, dtype=FLOAT, as_raw=True, uns={"a": np.arange(9)})
    assert (tmp_path / "quick").read_bytes() == (tmp_path / "tardy").read_bytes()
    again = ad.read_h5ad(tmp_path / "tardy")
    np.testing.assert_array_equal(again.X.toarray(), matrix.toarray())
    pd.testing.assert_frame_equal(again.obs, obs)
    pd.testing.assert_frame_equal(again.var, var)
    np.testing.assert_array_equal(again.obsm["X_pca"], obsm["X_pca"])
    assert again.uns["a"].tolist() == list(range(9))


@pytest.mark.parametrize("shape", [(3, 2), (0, 2), (3, 0)])
def test_matrices_without_values_are_written(tmp_path, shape):
    again = ad.read_h5ad(
        write(tmp_path / "a", sparse.csr_matrix(shape, dtype=np.float32), OBS[: shape[0]], VAR[: shape[1]])
    )
    assert (again.shape, again.X.nnz) == (shape, 0)


def test_a_small_matrix_makes_a_small_file(tmp_path):
    assert write(tmp_path / "a", compression=None).stat().st_size < 50_000


def test_row_pointers_are_int64_if_necessary(tmp_path, monkeypatch):
    monkeypatch.setattr(csr, "_MAX_INT32", 2)
    with h5py.File(write(tmp_path / "a")) as file:
        assert (file["X/indptr"].dtype, file["X/indptr"][:].tolist()) == (np.int64, [0, 1, 1, 3])
        assert file["X/indices"].dtype == np.int32
    assert (ad.read_h5ad(tmp_path / "a").X != MATRIX).nnz == 0


def test_row_pointers_count_beyond_2_to_the_31(tmp_path, monkeypatch):
    """Blocks with a fake length: only the row pointers are real, since the values would take 16 GB."""

    class Endless:
        shape = (1, 2)
        data = np.zeros(0, np.float32)
        indices = np.zeros(0, np.int32)
        indptr = np.array([0, 2**31 - 1], np.int32)

    monkeypatch.setattr(h5ad, "_prepared", lambda blocks, dtype, whole: iter([Endless(), Endless(), Endless()]))
    with h5py.File(write(tmp_path / "a")) as file:
        assert file["X/indptr"][:].tolist() == [0, 2**31 - 1, 2**32 - 2, 3 * (2**31 - 1)]


@pytest.mark.parametrize("broken", ["blocks", "obs", "obsm"])
def test_a_failed_write_leaves_only_the_old_file(tmp_path, broken):
    path = tmp_path / "a.h5ad"
    path.write_bytes(b"mine")

    def blocks():
        yield MATRIX[:1]
        if broken == "blocks":
            raise OSError("gone")
        yield MATRIX[1:]

    obs = OBS.assign(x=[1, "a", None]) if broken == "obs" else OBS
    obsm = {"X": np.array([[object()]] * 3)} if broken == "obsm" else {}
    with pytest.raises((OSError, InvalidValues), match="gone" if broken == "blocks" else broken):
        write_h5ad(path, blocks(), obs, VAR, obsm, dtype=FLOAT)
    assert path.read_bytes() == b"mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5ad"]


def test_an_interrupt_leaves_nothing(tmp_path):
    def blocks():
        yield MATRIX[:1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_h5ad(tmp_path / "a", blocks(), OBS, VAR, {}, dtype=FLOAT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compression", ["lzf", "zstd", 4, "", False])
def test_other_compressions_are_refused(tmp_path, compression):
    with pytest.raises(InvalidArgument, match="'gzip' or None"):
        write(tmp_path / "a", compression=compression)


@pytest.mark.parametrize("rows", [2, 4])
def test_blocks_must_have_the_rows_of_obs(tmp_path, rows):
    with pytest.raises(InvalidArgument, match="do not make up a matrix of 3 x 2"):
        write(tmp_path / "a", sparse.csr_matrix((rows, 2), dtype=np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0.1, 2.0**24 + 1, 1e300])
def test_values_are_never_rounded_silently(tmp_path, value):
    with pytest.raises(InvalidValues, match="cannot hold exactly"):
        write(tmp_path / "a", sparse.csr_matrix(np.array([[value, 0], [0, 0], [0, 0]])))


def test_float_noise_is_removed_from_the_file_and_not_from_the_callers_matrix(tmp_path):
    matrix = sparse.csr_matrix(np.array([[3 + 4e-11, 0], [0, 0], [0, 1 - 4e-11]]))
    again = ad.read_h5ad(write(tmp_path / "a", matrix, whole=True))
    assert again.X.toarray().tolist() == [[3, 0], [0, 0], [0, 1]]
    assert matrix.data.tolist() == [3 + 4e-11, 1 - 4e-11]


@settings(max_examples=40)
@given(
    rows=st.lists(st.lists(st.floats(allow_nan=False, width=32), min_size=3, max_size=3), min_size=1, max_size=30),
    compression=st.sampled_from(["gzip", None]),
)
def test_any_matrix_comes_back_as_it_was(tmp_path_factory, rows, compression):
    matrix = np.array(rows, np.float32)
    obs, var = pd.DataFrame(index=np.arange(len(matrix)).astype(str)), pd.DataFrame(index=["x", "y", "z"])
    path = write(tmp_path_factory.mktemp("any") / "a", matrix, obs, var, compression=compression)
    np.testing.assert_array_equal(ad.read_h5ad(path).X.toarray(), matrix)


def test_text_of_any_dtype_is_written_in_an_encoding_that_every_reader_knows(tmp_path):
    names = pd.Index(["a", "b"], dtype="string")
    obs = pd.DataFrame({"text": pd.array(["x", "y"], "string"), "n": [1, 2]}, index=names)
    obs["label"] = pd.Categorical.from_codes([1, 0], names, ordered=True)
    before = obs.copy(deep=True)
    block = sparse.csr_matrix(np.eye(2, dtype=np.float32))
    write_h5ad(tmp_path / "x.h5ad", [block], obs, obs[[]], {}, dtype=np.dtype(np.float32))
    with h5py.File(tmp_path / "x.h5ad") as file:
        for place in ("obs/_index", "obs/text", "obs/label/categories", "var/_index"):
            assert file[place].attrs["encoding-type"] == "string-array"
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    assert (back.obs["text"].tolist(), back.obs["label"].tolist(), list(back.obs_names)) == (
        ["x", "y"],
        ["b", "a"],
        ["a", "b"],
    )
    assert back.obs["label"].cat.ordered
    pd.testing.assert_frame_equal(obs, before)
