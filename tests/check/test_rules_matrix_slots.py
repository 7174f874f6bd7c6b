"""Entries of obsm and other slots that are not sent, or that a file cannot hold, are reported."""

import datetime
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor import errors
from tests.builders import set_matrix

COUNTS = np.array([[3, 0], [0, 1]], np.float32)


def make(**arguments):
    return ad.AnnData(COUNTS.copy(), **arguments)


def findings(adata, code):
    return [found for found in bc.check(adata) if found.code == code]


def test_slots_that_the_servers_do_not_read_are_noted():
    adata = make(
        uns={"a": 1}, layers={"log": np.log1p(COUNTS)}, varm={"PCs": COUNTS}, obsp={"n": sparse.eye(2).tocsr()}
    )
    (found,) = findings(adata, "BC501")
    assert (found.severity, found.count, found.changed) == ("note", 4, False)
    assert found.path == "layers, uns, varm, obsp"
    assert found.examples == ("layers['log']", "uns['a']", "varm['PCs']", "obsp['n']")
    assert findings(make(), "BC501") == []


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ({"a/b": 1}, "uns['x']['a/b']", "contains a '/'"),
        ({"": 1}, "uns['x']['']", "is empty"),
        ({".": 1}, "uns['x']['.']", "means the group itself"),
        ({"a\0": 1}, "uns['x']['a\\x00']", "holds a NUL"),
        ({3: 1}, "uns['x'][3]", "is a int"),
        ({"deep": {"er": {1, 2}}}, "uns['x']['deep']['er']", "is a set"),
        ((1, 2), "uns['x']", "is a tuple"),
        (b"bytes", "uns['x']", "is a bytes"),
        (object(), "uns['x']", "is a object"),
        (Path("a"), "uns['x']", "Path"),
        (datetime.datetime(2020, 1, 1), "uns['x']", "is a datetime"),
        ([{"a": 1}], "uns['x']", "is a list of dict"),
        ([1, "a"], "uns['x']", "would all become text"),
        ("a\0b", "uns['x']", "holds a NUL"),
        (pd.DataFrame({"m": [1, "a"]}), "uns['x']['m']", "mixed types"),
        (pd.Series([1, 2]), "uns['x']", "is a Series"),
        (np.array([1, "a"], object), "uns['x']", "mixed types"),
    ],
)
def test_entries_that_break_write_h5ad_are_noted_with_their_place(value, path, reason):
    (found,) = findings(make(uns={"x": value}), "BC502")
    assert (found.severity, found.path) == ("note", path)
    assert reason in found.message


@pytest.mark.parametrize(
    "value",
    [
        None, 1, 1.5, True, "text", [1, 2], ["a", "b"], np.arange(3), np.array(["a", "b"]), {"a": {"b": [1]}},
        pd.DataFrame({"a": ["x"]}), pd.Categorical(["a"]), sparse.eye(2).tocsr(), np.float32(1),
        np.array(["a"], object),
        pd.array([1, None], "Int64"), ad.AnnData(COUNTS), np.array([(1, "a")], dtype=[("n", int), ("s", "U1")]),
    ],
)  # fmt: skip
def test_entries_that_a_file_can_hold_are_not_reported(value, tmp_path):
    adata = make(uns={"x": value})
    assert findings(adata, "BC502") == []
    adata.write_h5ad(tmp_path / "a.h5ad")
    ad.read_h5ad(tmp_path / "a.h5ad")


@pytest.mark.parametrize("name", ["varm", "obsp", "varp", "layers"])
def test_keys_of_other_slots_that_break_files_are_noted(name):
    adata = make()
    getattr(adata, name)._data["a/b"] = COUNTS
    (found,) = findings(adata, "BC502")
    assert found.path == f"{name}['a/b']"


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("obsm", "2 cells"), ("varm", "2 genes"), ("obsp", "2 cells x 2 cells"), ("varp", "2 genes x 2 genes"),
        ("layers", "2 cells x 2 genes"),
    ],
)  # fmt: skip
def test_an_entry_of_wrong_length_is_an_error_that_names_it(name, needs):
    adata = make()
    getattr(adata, name)._data["k"] = np.ones((3, 5))
    (found,) = bc.check(adata)
    assert (found.code, found.severity, found.error) == ("BC503", "error", errors.InvalidValues)
    assert (found.path, found.message) == (f"{name}['k']", f"its shape is 3 x 5, but the object has {needs}")
    with pytest.raises(errors.InvalidValues, match="BC503"):
        adata.biocolab.submit()


@pytest.mark.parametrize("axis", ["obs", "var"])
def test_a_table_with_other_row_names_is_an_error(axis):
    adata = make()
    names = getattr(adata, f"{axis}_names")
    getattr(adata, f"{axis}m")._data["k"] = pd.DataFrame({"a": [1.0, 2.0]}, index=names[::-1])
    (found,) = bc.check(adata)
    assert (found.code, found.path) == ("BC503", f"{axis}m['k']")
    assert "row names, or their order, differ from" in found.message


def test_a_matrix_of_another_shape_is_an_error():
    adata = make()
    set_matrix(adata, np.ones((3, 2), np.float32))
    (found,) = findings(adata, "BC503")
    assert (found.path, found.message) == ("X", "its shape is 3 x 2, but the object has 2 x 2")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.ones((2, 2, 2)), "3 dimensions"),
        (np.ones((2, 0)), "no columns"),
        (np.array([["a"], ["b"]]), "<U1"),
        (pd.DataFrame({"x": [[1], "a"]}, index=["0", "1"]), "mixed types"),
        (pd.DataFrame(index=["0", "1"]), "no columns"),
    ],
)
def test_entries_of_obsm_that_are_not_sent_are_a_warning(value, reason):
    adata = make(obsm={"x": value})
    (found,) = findings(adata, "BC504")
    assert (found.severity, found.path) == ("warning", "obsm['x']")
    assert reason in found.message
    assert [line for line in adata.biocolab.submit(dry_run=True).left_out if "obsm['x']" in line]


def test_tables_and_sparse_matrices_of_obsm_are_noted_to_stay_in_the_file():
    frame = pd.DataFrame({"CD3": [1, 2]}, index=["0", "1"])
    (found,) = findings(make(obsm={"protein": frame, "X_umap": COUNTS, "s": sparse.csr_matrix(COUNTS)}), "BC505")
    assert (found.severity, found.path, found.count) == ("note", "obsm['protein'], obsm['s']", 2)
    assert findings(make(obsm={"X_umap": COUNTS}), "BC505") == []


def test_a_view_is_checked_without_a_copy():
    adata = make(layers={"log": np.log1p(COUNTS)}, uns={"a/b": 1})[:1]
    assert {found.code for found in bc.check(adata)} == {"BC311", "BC501", "BC502"}
    assert adata.is_view


def test_a_file_and_the_object_in_it_have_the_same_notes(tmp_path):
    adata = make(
        uns={"a": 1, "b": {"c": 2}}, varm={"PCs": COUNTS}, obsp={"n": sparse.eye(2).tocsr()}, varp={"v": COUNTS}
    )
    adata.write_h5ad(tmp_path / "a.h5ad")
    (found,) = findings(tmp_path / "a.h5ad", "BC501")
    assert found == findings(adata, "BC501")[0]
    assert found.examples == ("uns['a']", "uns['b']", "varm['PCs']", "obsp['n']", "varp['v']")
