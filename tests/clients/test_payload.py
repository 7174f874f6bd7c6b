from __future__ import annotations

import base64
import io

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from biocolab_accessor.clients.payload import csc_from_arrays, csc_from_base64, csc_from_hdf5, decode_array, strings
from biocolab_accessor.errors import InvalidResponse


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
    "options", [{"compression": "gzip"}, {"chunks": (7,)}, {"compression": "lzf", "shuffle": True}]
)
def test_chunked_and_compressed_files_are_read_too(options: dict) -> None:
    matrix = sparse.random(30, 20, 0.3, format="csc", dtype=np.float32, random_state=0)
    np.testing.assert_array_equal(csc_from_hdf5(file_of(matrix, **options), "x").toarray(), matrix.toarray())


def test_contiguous_datasets_are_viewed_and_can_be_written_to() -> None:
    content = file_of(sparse.random(30, 20, 0.3, format="csc", dtype=np.float32, random_state=0))
    matrix = csc_from_hdf5(content, "x")
    assert np.shares_memory(matrix.data, content)
    assert np.shares_memory(matrix.indices, content)
    matrix.data *= 2


def broken(**changes: object) -> dict:
    matrix = sparse.csc_matrix(np.array([[1, 0, 2], [0, 3, 0]], np.float32))
    return {**answer_of(matrix), **changes}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "expected an object"),
        ([], "expected an object"),
        ({"shape": [1, 1]}, "expected an object"),
        (broken(indices=encoded(np.array([0, 1, 2]), "<u4")), "row index lies outside the 2 cells"),
        (broken(indices=encoded(np.array([0, 1, 2**32 - 1]), "<u4")), "row index lies outside"),
        (broken(indices=encoded(np.array([0, 1]), "<u4")), "3 values but 2 indices"),
        (broken(indptr=encoded(np.array([0, 1, 2]), "<u8")), "need 4 column pointers, got 3"),
        (broken(indptr=encoded(np.array([0, 2, 1, 3]), "<u8")), "do not rise"),
        (broken(indptr=encoded(np.array([0, 1, 2, 9]), "<u8")), "do not rise"),
        (broken(indptr=encoded(np.array([1, 1, 2, 3]), "<u8")), "do not rise"),
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


def test_another_shape_than_asked_for_is_an_error() -> None:
    with pytest.raises(InvalidResponse, match="3 genes, expected 2"):
        csc_from_base64(broken(), "x", shape=(None, 2))


def test_signed_indices_below_zero_are_found() -> None:
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
        (replaced("data", shape=(10**12,), dtype="f4", chunks=(1000,)), "announces 4,000,000,000,000 bytes"),
    ],
)
def test_hostile_files_are_refused(write: object, said: str) -> None:
    with pytest.raises(InvalidResponse, match=said):
        csc_from_hdf5(hdf5(write), "get_matrix")


@pytest.mark.parametrize("content", [b"", b"<html></html>", b'{"detail": "x"}'])
def test_what_is_no_hdf5_is_named(content: bytes) -> None:
    with pytest.raises(InvalidResponse, match="not an HDF5 file"):
        csc_from_hdf5(bytearray(content), "get_matrix")


def test_a_truncated_file_is_an_error() -> None:
    content = file_of(sparse.random(300, 20, 0.3, format="csc", dtype=np.float32, random_state=0))
    with pytest.raises(InvalidResponse):
        csc_from_hdf5(content[: len(content) // 2], "get_matrix")


def test_decoded_arrays_can_be_written_to() -> None:
    decode_array(encoded(np.ones(3), "<f4"), "<f4", "x", length=3)[0] = 5


@pytest.mark.parametrize("answer", [None, "abc", [1], {"a": 1}, ["a", None]])
def test_names_must_be_texts(answer: object) -> None:
    with pytest.raises(InvalidResponse, match="list of strings"):
        strings(answer, "barcodes")
