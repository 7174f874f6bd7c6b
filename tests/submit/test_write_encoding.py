"""Encoded copies of obs, var and obsm use the oldest encodings, list their changes, and leave the original alone."""

import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata.io import read_elem, write_elem
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.submit.write import encoded_frame, encoded_obsm, rows_of

OLD = {"array", "string-array", "categorical", "dataframe"}


def through_a_file(frame, path):
    with h5py.File(path, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write_elem(file, "t", frame)
        found = {file["t"].attrs["encoding-type"]}
        file["t"].visititems(lambda _, item: found.add(item.attrs.get("encoding-type")))
        assert found <= OLD
        return read_elem(file["t"])


def test_a_plain_table_is_shared_and_unchanged():
    frame = pd.DataFrame(
        {"n": [1, 2], "c": pd.Categorical(["b", "a"], pd.Index(["b", "a"], dtype=object))}, index=["x", "y"]
    )
    encoded, changes = encoded_frame(frame, "obs")
    # Names are written as objects, whatever pandas' own dtype of text is.
    pd.testing.assert_frame_equal(encoded, frame, check_index_type=False, check_column_type=False)
    assert (changes, encoded.index.dtype, encoded.columns.dtype) == ([], object, object)
    assert np.shares_memory(encoded["n"].to_numpy(), frame["n"].to_numpy())


def test_every_kind_of_column_is_written_in_the_old_encodings(tmp_path):
    frame = pd.DataFrame(
        {
            "text": ["b", "a"],
            "string": pd.array(["b", None], "string"),
            "int": pd.array([1, None], "Int64"),
            "bool": pd.array([True, None], "boolean"),
            "float": pd.array([1.5, None], "Float32"),
            "none": [None, None],
            "sparse": pd.arrays.SparseArray([0, 1]),
            "half": np.array([1, 2], np.float16),
        },
        index=["x", "y"],
    )
    before = frame.copy(deep=True)
    encoded, changes = encoded_frame(frame, "obs")
    again = through_a_file(encoded, tmp_path / "t")
    assert again["text"].tolist() == ["b", "a"]
    assert again["string"].isna().tolist() == [False, True]
    assert again["int"].fillna(-1).tolist() == [1, -1]
    assert again["bool"].tolist()[0] == "True"
    assert [change.split(":")[0] for change in changes] == [
        "obs['int']", "obs['bool']", "obs['none']", "obs['sparse']",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(frame, before)
    assert frame.dtypes.equals(before.dtypes)


def test_numeric_names_become_text_and_the_change_is_listed():
    encoded, changes = encoded_frame(pd.DataFrame(index=[3, 5]), "var")
    assert encoded.index.tolist() == ["3", "5"]
    assert changes == ["var_names: int converted to text"]


@pytest.mark.parametrize(("name", "kept"), [("cell", "cell"), (None, None), ("x", None), (7, None), ("a/b", None)])
def test_the_index_keeps_a_name_that_can_be_written(tmp_path, name, kept):
    encoded, changes = encoded_frame(pd.DataFrame({"x": [1]}, index=pd.Index(["c"], name=name)), "obs")
    assert through_a_file(encoded, tmp_path / "t").index.name == kept
    assert bool(changes) == (name != kept)


def test_indexes_of_other_kinds_become_text():
    for index in (pd.CategoricalIndex(["b", "a"]), pd.Index(["b", "a"], dtype="string")):
        encoded, changes = encoded_frame(pd.DataFrame(index=index), "obs")
        assert (encoded.index.tolist(), encoded.index.dtype, changes) == (["b", "a"], object, [])


def test_a_column_that_cannot_be_stored_is_left_out_and_mixed_ones_become_text():
    frame = pd.DataFrame({"x": [[1], [2]], "n": [1, 2], "m": [1, "a"]})
    encoded, changes = encoded_frame(frame, "obs")
    assert list(encoded.columns) == ["n", "m"]
    assert (encoded["n"].tolist(), encoded["m"].tolist()) == ([1, 2], ["1", "a"])
    assert changes[0] == "obs['m']: mixed types (int 1, str 1): sent as text"
    assert frame["m"].tolist() == [1, "a"]


def test_a_column_name_that_cannot_be_written_is_an_error():
    with pytest.raises(InvalidColumn, match=r"obs: the column name \('a', 'b'\) is a tuple, not text"):
        encoded_frame(pd.DataFrame({"x": [1]}).set_axis(pd.Index([("a", "b")], tupleize_cols=False), axis=1), "obs")


def make(**obsm):
    return ad.AnnData(np.eye(3, dtype=np.float32), obsm=obsm)


def test_numeric_arrays_sparse_matrices_and_tables_of_obsm_are_sent():
    table = pd.DataFrame({"CD3": [1, 2, 3], "kind": ["a", "b", "a"]}, index=["0", "1", "2"])
    adata = make(X_pca=np.ones((3, 2)), sp=sparse.csc_matrix(np.eye(3)), table=table, half=np.ones((3, 1), np.float16))
    sent, left, changes = encoded_obsm(adata)
    assert sent["X_pca"] is adata.obsm["X_pca"]
    assert isinstance(sent["sp"], sparse.csr_matrix)
    assert sent["table"]["kind"].dtype == "category"
    assert sent["half"].dtype == np.float32
    assert (left, changes) == ({}, [])
    assert adata.obsm["table"]["kind"].dtype == table["kind"].dtype


def test_keys_that_servers_use_for_computed_embeddings_are_renamed():
    sent, left, _ = encoded_obsm(make(umap=np.ones((3, 2)), PCA=np.ones((3, 2)), X_umap=np.ones((3, 2))))
    assert list(sent) == ["umap~biocolab", "PCA~biocolab", "X_umap"]
    assert left == {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.ones((3, 2, 2)), "3 dimensions"),
        (np.ones((3, 0)), "no columns"),
        (np.ones((3, 1), complex), "complex128"),
        (np.array([["a"], ["b"], ["c"]]), "<U1"),
        (pd.DataFrame({"x": [[1], [2], [3]]}, index=["0", "1", "2"]), "column 'x': values that h5ad cannot hold"),
        (pd.DataFrame({None: [1, 2, 3]}, index=["0", "1", "2"]), "is a NoneType, not text"),
        (pd.DataFrame({0: [1, 2, 3], "0": 1}, index=["0", "1", "2"]), "columns with the same name"),
        (pd.DataFrame(index=["0", "1", "2"]), "no columns"),
    ],
)
def test_an_unsupported_part_of_obsm_is_left_out_with_a_reason(value, reason):
    sent, left, _ = encoded_obsm(make(x=value))
    assert sent == {}
    assert reason in left["x"]


def test_unsafe_names_are_replaced_and_the_change_is_listed():
    table = pd.DataFrame({"a/b": [1, 2, 3], 0: [1, 2, 3]}, index=["0", "1", "2"])
    adata = make()
    adata.obsm._data |= {"x/y": np.ones((3, 2)), "t": table}
    sent, left, changes = encoded_obsm(adata)
    assert list(sent) == ["x%2Fy~biocolab", "t"]
    assert list(sent["t"].columns) == ["a%2Fb~biocolab", "0"]
    assert changes == ["obsm['t']['a/b']: sent as 'a%2Fb~biocolab'", "obsm['t'][0]: sent as '0'"]
    assert (left, list(adata.obsm), list(table.columns)) == ({}, ["x/y", "t"], ["a/b", 0])


def test_two_keys_of_one_name_are_not_sent_as_one():
    adata = make()
    adata.obsm._data |= {1: np.ones((3, 2)), "1": np.zeros((3, 2))}
    sent, left, _ = encoded_obsm(adata)
    assert (list(sent), left) == (["1"], {"1": "has the name of another key"})


def test_a_lazy_embedding_is_computed():
    array = pytest.importorskip("dask.array")
    assert encoded_obsm(make(x=array.ones((3, 2), chunks=1))).sent["x"].tolist() == np.ones((3, 2)).tolist()


def test_rows_are_selected_in_the_given_order():
    rows = np.array([2, 0])
    assert rows_of(np.arange(3), rows).tolist() == [2, 0]
    assert rows_of(pd.DataFrame({"x": [5, 6, 7]}), rows)["x"].tolist() == [7, 5]
    assert rows_of(sparse.csr_matrix(np.eye(3)), rows).toarray()[:, 2].tolist() == [1, 0]
    assert rows_of(rows, None) is rows


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
cells = st.one_of(
    st.lists(st.none() | text, min_size=4, max_size=4),
    st.lists(st.none() | st.booleans(), min_size=4, max_size=4),
    st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=4, max_size=4),
    st.lists(st.none() | st.floats(-1e15, 1e15), min_size=4, max_size=4),
)


@settings(max_examples=100)
@given(columns=st.dictionaries(st.sampled_from("abcdef"), cells), nullable=st.booleans())
def test_any_table_of_clean_columns_is_written_and_read_back(tmp_path_factory, columns, nullable):
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()}, index=range(4))
    if nullable:
        frame = frame.convert_dtypes()
    before = frame.copy(deep=True)
    again = through_a_file(encoded_frame(frame, "obs")[0], tmp_path_factory.mktemp("any") / "t")
    for name in frame:
        for was, now in zip(frame[name], again[name], strict=True):
            if pd.isna(was):
                assert pd.isna(now)
            else:
                assert now == was or now == str(was)
    pd.testing.assert_frame_equal(frame, before)


def test_embeddings_get_dtypes_that_files_have_and_narrowing_is_listed():
    adata = ad.AnnData(np.eye(3, dtype="float32"))
    adata.obsm["half"] = np.array([[0.1, 2], [3, 4], [5, 6]], np.float16)
    adata.obsm["long"] = np.ones((3, 2), np.longdouble)
    adata.obsm["table"] = pd.DataFrame({"a/b": [1, 2, 3]}, index=adata.obs_names)
    adata.obsm["other"] = pd.DataFrame({"c/d": [1, 2, 3]}, index=adata.obs_names)
    adata.obsm["double"] = np.ones((3, 2))
    adata.obsm["sparse"] = sparse.csc_matrix(np.eye(3))
    sent, left, changes = encoded_obsm(adata)
    assert not left
    assert {key: str(sent[key].dtype) for key in ("half", "long", "double", "sparse")} == {
        "half": "float32", "long": "float64", "double": "float64", "sparse": "float64",
    }  # fmt: skip
    np.testing.assert_array_equal(sent["half"], adata.obsm["half"].astype(np.float32))
    assert sent["sparse"].format == "csr"
    assert changes == [
        f"obsm['long']: {np.dtype(np.longdouble)} sent as float64",
        "obsm['table']['a/b']: sent as 'a%2Fb~biocolab'",
        "obsm['other']['c/d']: sent as 'c%2Fd~biocolab'",
    ]


@pytest.mark.parametrize("order", ["C", "F"])
def test_booleans_in_obsm_are_sent_as_0_and_1(order):
    inside = np.array([[True, False], [False, False], [True, True]], order=order)
    sent, left, _ = encoded_obsm(make(inside=inside, sparse=sparse.csr_matrix(inside)))
    assert (sent["inside"].dtype, left) == (np.float32, {})
    assert sent["inside"].tolist() == [[1, 0], [0, 0], [1, 1]]
    assert sent["sparse"].dtype == bool  # of which servers take nothing, so that it stays what it is
