from __future__ import annotations

import base64
import io
import re
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor import concurrency
from biocolab_accessor.clients import arrays
from biocolab_accessor.clients.arrays import csc_from_arrays, csc_from_base64, csc_from_hdf5, decode_array, strings
from biocolab_accessor.clients.bioflex import stripes_of_file
from biocolab_accessor.errors import InvalidResponse, TooLarge
from biocolab_accessor.io import memory
from biocolab_accessor.io.transpose import PEAK


def encoded(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(array.astype(dtype).tobytes()).decode()


def answer_of(matrix: sparse.csc_matrix) -> dict:
    return {
        "shape": list(matrix.shape),
        "data": encoded(matrix.data, "<f4"),
        "indices": encoded(matrix.indices, "<u4"),
        "indptr": encoded(matrix.indptr, "<u8"),
    }


def file_of(matrix: sparse.csc_matrix, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array, dtype in (
            ("data", matrix.data, "<f4"),
            ("indices", matrix.indices, "<u4"),
            ("indptr", matrix.indptr, "<u8"),
        ):
            file.create_dataset(name, data=array.astype(dtype), **options)
        file["shape"] = np.array(matrix.shape, "<u8")
    return np.frombuffer(bytearray(buffer.getvalue()), np.uint8)


matrices = st.builds(
    lambda n, m, seed: sparse.random(n, m, 0.4, format="csc", dtype=np.float32, random_state=seed),
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(0, 1000),
)


@given(matrices)
def test_any_matrix_survives_base64(matrix: sparse.csc_matrix) -> None:
    found = csc_from_base64(answer_of(matrix), "x", shape=matrix.shape)
    assert found.dtype == np.float32
    assert found.indices.dtype == np.int32
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())


@given(matrices)
def test_any_matrix_survives_hdf5(matrix: sparse.csc_matrix) -> None:
    np.testing.assert_array_equal(csc_from_hdf5(file_of(matrix), "x").toarray(), matrix.toarray())


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"chunks": (7,)},
        {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (5,)},
        {"shuffle": True, "chunks": (5,)},
        {"fletcher32": True, "chunks": (3,)},
    ],
)
def test_chunked_and_compressed_files_are_read_too(options: dict) -> None:
    matrix = sparse.random(30, 20, 0.3, format="csc", dtype=np.float32, random_state=0)
    np.testing.assert_array_equal(csc_from_hdf5(file_of(matrix, **options), "x").toarray(), matrix.toarray())


@pytest.mark.skipif(not memory._CAN_RELEASE, reason="the system takes no memory back")
@pytest.mark.parametrize("options", [{"compression": "gzip", "shuffle": True}, {"chunks": (500,)}])
def test_inflated_arrays_can_be_released_while_the_matrix_is_transposed(options: dict) -> None:
    matrix = sparse.csc_matrix(np.arange(1, 600_001, dtype=np.float32).reshape(1000, 600))
    found = csc_from_hdf5(file_of(matrix, **options), "x")
    assert found.data[-1] == 600_000
    for array in (found.data, found.indices):
        memory.release(array)
        assert not array.any()


def test_the_memory_budget_covers_the_inflated_arrays_and_the_file() -> None:
    matrix = sparse.csc_matrix(np.arange(1, 600_001, dtype=np.float32).reshape(1000, 600))
    content = file_of(matrix, compression="gzip")
    needed = len(content) + int(PEAK * (matrix.data.nbytes + matrix.indices.nbytes + 8 * len(matrix.indptr)))
    with bc.settings.override(memory_budget=needed):
        csc_from_hdf5(content, "x")
    with bc.settings.override(memory_budget=needed - 1), pytest.raises(TooLarge, match="ask for genes="):
        csc_from_hdf5(content, "x")


def test_contiguous_datasets_are_viewed_and_can_be_written_to() -> None:
    content = file_of(sparse.random(30, 20, 0.3, format="csc", dtype=np.float32, random_state=0))
    matrix = csc_from_hdf5(content, "x")
    assert np.shares_memory(matrix.data, content)
    assert np.shares_memory(matrix.indices, content)
    matrix.data *= 2


_BASE64 = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@given(
    st.text("AQg/+=", max_size=40)
    | st.text("AQ=é \n-", max_size=12)
    | st.builds(base64.b64encode, st.binary()).map(bytes.decode),
    st.sampled_from([4, 8, 12, 1 << 20]),
)
@example("AAAA=", 4)
@example("AAAA====", 8)
@example("AA==AAAA", 4)
@example("AAAAA===", 1 << 20)
def test_valid_base64_is_decoded_whatever_the_piece_size_and_invalid_base64_is_refused(text: str, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BASE64_PIECE", piece)
        if _BASE64.fullmatch(text):
            assert decode_array(text, "<u1", "x").tobytes() == base64.b64decode(text)
        else:
            with pytest.raises(InvalidResponse, match="x: not valid base64"):
                decode_array(text, "<u1", "x")


def test_an_array_is_decoded_once_and_can_be_written_to() -> None:
    array = np.arange(2_000_000, dtype=np.float32)
    text = encoded(array, "<f4")
    tracemalloc.start()
    try:
        found = decode_array(text, "<f4", "x", length=len(array))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found, array)
    assert peak < 1.4 * array.nbytes  # the pieces, plus the array on systems without lazy pages
    found += 1


def broken(**changes: object) -> dict:
    matrix = sparse.csc_matrix(np.array([[1, 0, 2], [0, 3, 0]], np.float32))
    return {**answer_of(matrix), **changes}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "expected an object"),
        ([], "expected an object"),
        ({"shape": [1, 1]}, "expected an object"),
        (broken(indices=encoded(np.array([0, 1, 2]), "<u4")), "row index is outside the 2 cells"),
        (broken(indices=encoded(np.array([0, 1, 2**32 - 1]), "<u4")), "row index is outside"),
        (broken(indices=encoded(np.array([0, 1]), "<u4")), "3 values but 2 indices"),
        (broken(indptr=encoded(np.array([0, 1, 2]), "<u8")), "need 4 column pointers, got 3"),
        (broken(indptr=encoded(np.array([0, 2, 1, 3]), "<u8")), "do not increase"),
        (broken(indptr=encoded(np.array([0, 1, 2, 9]), "<u8")), "do not increase"),
        (broken(indptr=encoded(np.array([1, 1, 2, 3]), "<u8")), "do not increase"),
        (broken(shape=[2]), "not two numbers"),
        (broken(shape=[2, -3]), "not two numbers"),
        (broken(shape=["2", 3]), "not two numbers"),
        (broken(shape=[2, 10**30]), "not two numbers"),
        (broken(shape=[2, True]), "not two numbers"),
        (broken(data="?!"), "not valid base64"),
        (broken(data=base64.b64encode(b"abc").decode()), "whole number of values"),
        (broken(data=5), "expected a base64 string"),
        (broken(indices=encoded(np.array([0, 0, 0]), "<u4"), indptr=encoded(np.array([0, 3, 3, 3]), "<u8")), "twice"),
    ],
)
def test_contradictions_are_found_before_any_c_code_sees_them(answer: object, said: str) -> None:
    with pytest.raises(InvalidResponse, match=said):
        csc_from_base64(answer, "query_genes of X")


def test_a_different_shape_than_requested_is_an_error() -> None:
    with pytest.raises(InvalidResponse, match="3 genes, expected 2"):
        csc_from_base64(broken(), "x", shape=(None, 2))


def test_negative_indices_are_an_error() -> None:
    with pytest.raises(InvalidResponse, match="outside"):
        csc_from_arrays(np.ones(1, "f4"), np.array([-1], "i4"), np.array([0, 1]), [2, 1], "x")


def hdf5(write: object) -> np.ndarray:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in ("data", "indices", "indptr", "shape"):
            file[name] = np.zeros(2, "u8") if name == "shape" else np.zeros(1, "u4")
        write(file)
    return np.frombuffer(bytearray(buffer.getvalue()), np.uint8)


def replaced(name: str, **options: object) -> object:
    def write(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return write


def external_link(file: h5py.File) -> None:
    del file["data"]
    file["data"] = h5py.ExternalLink("/etc/passwd", "/x")


def external_storage(file: h5py.File) -> None:
    del file["data"]
    file.create_dataset("data", shape=(4,), dtype="u4", external=[("/etc/passwd", 0, 16)])


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (external_link, "no dataset 'data' of its own"),
        (external_storage, "another file"),
        (lambda file: file.pop("indptr"), "no dataset 'indptr'"),
        (replaced("data", data=np.zeros((2, 2), "f4")), "2-d"),
        (replaced("data", data=np.array([b"x"])), "S1"),
        (replaced("data", shape=(10**12,), dtype="f4", chunks=(1000,)), "declares 4,000,000,000,000 bytes"),
    ],
)
def test_hostile_files_are_refused(write: object, said: str) -> None:
    with pytest.raises(InvalidResponse, match=said):
        csc_from_hdf5(hdf5(write), "get_matrix")


@pytest.mark.parametrize("content", [b"", b"<html></html>", b'{"detail": "x"}'])
def test_an_answer_that_is_not_hdf5_is_named(content: bytes) -> None:
    with pytest.raises(InvalidResponse, match="not an HDF5 file"):
        csc_from_hdf5(bytearray(content), "get_matrix")


def test_a_truncated_file_is_an_error() -> None:
    content = file_of(sparse.random(300, 20, 0.3, format="csc", dtype=np.float32, random_state=0))
    with pytest.raises(InvalidResponse):
        csc_from_hdf5(content[: len(content) // 2], "get_matrix")


def test_decoded_arrays_can_be_written_to() -> None:
    decode_array(encoded(np.ones(3), "<f4"), "<f4", "x", length=3)[0] = 5


@pytest.mark.parametrize("answer", [None, "abc", [1], {"a": 1}, ["a", None]])
def test_names_must_be_strings(answer: object) -> None:
    with pytest.raises(InvalidResponse, match="list of strings"):
        strings(answer, "barcodes")


def virtual(file: h5py.File) -> None:
    del file["data"]
    layout = h5py.VirtualLayout((4,), "u4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("data", layout)


def soft_loop(file: h5py.File) -> None:
    del file["indices"]
    file["indices"] = h5py.SoftLink("/other")
    file["other"] = h5py.SoftLink("/indices")


def root_itself(file: h5py.File) -> None:
    del file["indptr"]
    file["indptr"] = file["/"]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (virtual, "another file"),
        (soft_loop, "no dataset 'indices' of its own"),
        (root_itself, "no dataset 'indptr' of its own"),
        (replaced("data", data=np.zeros(4, "i4"), scaleoffset=4), r"filters \[6\]"),
        (replaced("indices", shape=(10**9,), dtype="u4"), "declares 4,000,000,000 bytes but stores 0"),
        (replaced("data", shape=(2,), dtype=h5py.vlen_dtype("i4")), "declares 32 bytes but stores 0"),
        (replaced("data", data=h5py.Empty("f4")), "not 1-d numbers"),
        (replaced("data", shape=(9,), maxshape=(None,), chunks=(10**8,), dtype="f4", compression="gzip"), "declares"),
        (replaced("shape", data=np.zeros(1000, "u8")), "1,000 numbers, not two"),
        (replaced("shape", data=np.array([np.nan, 1])), "not two numbers"),
    ],
)
def test_traps_are_refused_before_they_are_read(write: object, said: str, tmp_path: Path) -> None:
    content = hdf5(write)
    with pytest.raises(InvalidResponse, match=said):
        csc_from_hdf5(content, "get_matrix")
    (tmp_path / "x.h5").write_bytes(content.tobytes())
    with pytest.raises(InvalidResponse, match=said):
        list(stripes_of_file(tmp_path / "x.h5", "get_matrix", 10))


def test_filters_that_hdf5_has_a_plugin_for_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(hdf5(replaced("data", data=np.zeros(8, "u4"), compression="lzf")).tobytes())
    # The id of LZF is replaced by that of a plugin, which HDF5 would search for in a folder from the environment.
    assert content.count((32000).to_bytes(2, "little")) == 1
    content = content.replace((32000).to_bytes(2, "little"), (32001).to_bytes(2, "little"))
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    with pytest.raises(InvalidResponse, match=r"filters \[32001\]"):
        csc_from_hdf5(content, "get_matrix")


def test_a_decompression_bomb_is_refused_by_the_memory_budget() -> None:
    content = hdf5(replaced("data", data=np.zeros(30_000_000, "f4"), compression="gzip", chunks=(1_000_000,)))
    assert len(content) < 500_000
    with bc.settings.override(memory_budget=50_000_000), pytest.raises(TooLarge, match=r"168\.1 MB"):
        csc_from_hdf5(content, "get_matrix")


def test_a_chunk_larger_than_its_dataset_is_refused_without_allocating_it() -> None:
    content = hdf5(replaced("data", data=np.ones(9, "f4"), maxshape=(None,), chunks=(10**7,), compression="gzip"))
    with pytest.raises(InvalidResponse, match="9 values is in chunks of 10,000,000"):
        csc_from_hdf5(content, "get_matrix")


def test_memory_is_not_allocated_for_cells_that_a_server_only_announces() -> None:
    answer = answer_of(sparse.random(30, 20, 0.3, format="csc", dtype=np.float32, random_state=0))
    with bc.settings.override(memory_budget=50_000_000), pytest.raises(TooLarge, match="shape cannot be right"):
        csc_from_base64({**answer, "shape": [2**40, 20]}, "query_genes")


def test_overlapping_arrays_are_refused() -> None:
    """Sorting one would change the other after it was checked."""
    content = hdf5(lambda file: [replaced("data", data=np.arange(50, dtype="u4"))(file), file["data"].id.get_offset()])
    with h5py.File(io.BytesIO(content.tobytes())) as file:
        data, indices = (file[name].id.get_offset() for name in ("data", "indices"))
    own = indices.to_bytes(8, "little")
    assert content.tobytes().count(own) == 1
    moved = content.tobytes().replace(own, data.to_bytes(8, "little"))
    with pytest.raises(InvalidResponse, match="two datasets of the HDF5 file overlap"):
        csc_from_hdf5(bytearray(moved), "get_matrix")


def test_unaligned_values_are_copied() -> None:
    matrix = sparse.random(30, 20, 0.3, format="csc", dtype=np.float32, random_state=0)
    whole = file_of(matrix)
    shifted = np.empty(len(whole) + 1, np.uint8)[1:]
    shifted[:] = whole
    found = csc_from_hdf5(shifted, "x")
    assert found.data.flags.aligned
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<f2"])
def test_other_number_types_become_float32(dtype: str) -> None:
    matrix = sparse.csc_matrix(np.array([[1, 0, 2], [0, 3, 0]], np.float32))
    content = file_of(matrix)
    buffer = io.BytesIO(content.tobytes())
    with h5py.File(buffer, "r+") as file:
        replaced("data", data=matrix.data.astype(dtype))(file)
        replaced("indices", data=matrix.indices.astype(">i8"))(file)
    found = csc_from_hdf5(bytearray(buffer.getvalue()), "x")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())


@pytest.mark.parametrize("keep", [0, 3, 100, 2000])
def test_a_truncated_file_on_disk_is_an_error(tmp_path: Path, keep: int) -> None:
    whole = file_of(sparse.random(300, 20, 0.3, format="csc", dtype=np.float32, random_state=0), compression="gzip")
    (tmp_path / "x.h5").write_bytes(whole.tobytes()[:keep])
    with pytest.raises(InvalidResponse):
        list(stripes_of_file(tmp_path / "x.h5", "get_matrix", 10))


def test_a_damaged_chunk_with_a_checksum_is_an_error() -> None:
    matrix = sparse.random(30, 20, 0.3, format="csc", dtype=np.float32, random_state=0)
    content = file_of(matrix, fletcher32=True, chunks=(21,))
    with h5py.File(io.BytesIO(content.tobytes())) as file:
        place = file["data"].id.get_chunk_info(0).byte_offset
    content[place + 5] ^= 1
    with pytest.raises(InvalidResponse, match="checksum"):
        csc_from_hdf5(content, "get_matrix")


@pytest.mark.parametrize("length", [0, 1, 3, 4])
def test_a_chunk_shorter_than_its_checksum_is_an_error_and_not_a_crash(length: int) -> None:
    """The filter of HDF5 itself reads in front of such a chunk."""

    def write(file: h5py.File) -> None:
        replaced("data", shape=(4,), dtype="f4", chunks=(4,), fletcher32=True)(file)
        file["data"].id.write_direct_chunk((0,), b"\1" * max(length, 1))

    with pytest.raises(InvalidResponse, match=r"checksum|declares"):
        csc_from_hdf5(hdf5(write), "get_matrix")


@given(matrices, st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_large_matrices_are_checked_on_threads_with_the_same_result(
    matrix: sparse.csc_matrix, n_threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shuffled = matrix.copy()
    for gene in range(matrix.shape[1]):
        own = slice(*matrix.indptr[gene : gene + 2])
        order = rng.permutation(own.stop - own.start)
        shuffled.indices[own], shuffled.data[own] = matrix.indices[own][order], matrix.data[own][order]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_WORTH_THREADS", 0)
        patch.setattr(concurrency, "THREADS", n_threads)
        for sent in (matrix, shuffled):
            found = csc_from_base64(answer_of(sent), "x", shape=matrix.shape)
            assert found.has_canonical_format
            np.testing.assert_array_equal(found.indices, matrix.indices)
            np.testing.assert_array_equal(found.data, matrix.data)
        twice = [gene for gene in range(matrix.shape[1]) if np.diff(matrix.indptr)[gene] > 1]
        if twice:
            start = matrix.indptr[twice[-1]]
            shuffled.indices[start] = shuffled.indices[start + 1]
            with pytest.raises(InvalidResponse, match="a gene contains the same cell twice"):
                csc_from_base64(answer_of(shuffled), "x", shape=matrix.shape)


def test_rows_of_a_gene_may_be_in_any_order() -> None:
    answer = broken(indices=encoded(np.array([1, 0, 0]), "<u4"), indptr=encoded(np.array([0, 2, 2, 3]), "<u8"))
    found = csc_from_base64(answer, "x")
    np.testing.assert_array_equal(found.toarray(), np.array([[3, 0, 2], [1, 0, 0]], np.float32))
    assert found.has_sorted_indices


@pytest.mark.parametrize("name", ["indices", "indptr"])
def test_fractional_indices_are_refused(name: str, tmp_path: Path) -> None:
    matrix = sparse.random(6, 4, 0.5, format="csc", dtype=np.float32, random_state=0)
    path = tmp_path / "x.h5"
    path.write_bytes(file_of(matrix).tobytes())
    with h5py.File(path, "r+") as file:
        values = file[name][()].astype("<f8")
        del file[name]
        file[name] = values
    content = np.frombuffer(bytearray(path.read_bytes()), np.uint8)
    with pytest.raises(InvalidResponse, match=f"{name} is a 1-d array of float64"):
        csc_from_hdf5(content, "x")
    with pytest.raises(InvalidResponse, match=f"{name} is a 1-d array of float64"):
        list(stripes_of_file(path, "x", 100))


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("indptr", [0, 1, 2], "3 genes need 4 column pointers, got 3"),
        ("indptr", [0, 5, 2, 3], "do not increase from 0 to 3"),
        ("indptr", [1, 1, 2, 3], "do not increase from 0 to 3"),
        ("indptr", [0, 1, 2, 9], "do not increase from 0 to 3"),
        ("data", [1, 2], "2 values but 3 indices"),
        ("indices", [0, 1, 2], "a row index is outside the 2 cells"),
    ],
)
def test_an_inconsistent_file_on_disk_is_refused(name: str, values: list[int], said: str, tmp_path: Path) -> None:
    content = file_of(sparse.csc_matrix(np.array([[1, 0, 2], [0, 3, 0]], np.float32)))
    path = tmp_path / "x.h5"
    path.write_bytes(content.tobytes())
    with h5py.File(path, "r+") as file:
        dtype = file[name].dtype
        del file[name]
        file[name] = np.array(values, dtype)
    with pytest.raises(InvalidResponse, match=said):
        list(stripes_of_file(path, "x", 2))
