"""Columns that h5ad cannot hold are named with types, rows and a mending."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import biocolab_accessor as bc
from biocolab_accessor import errors


def make(n=2, **obs):
    names = [f"c{i}" for i in range(n)]
    return AnnData(np.ones((n, 1), np.float32), pd.DataFrame(obs, index=names), pd.DataFrame(index=["g"]))


def test_mixed_types_are_told_with_counts_and_first_rows():
    (found,) = bc.check(make(3, x=pd.Series([1, 2, "late"], index=["c0", "c1", "c2"], dtype=object)))
    assert (found.code, found.path, found.error) == ("BC201", "obs['x']", errors.InvalidColumn)
    assert found.message == "mixed types that h5ad cannot hold (int 2, str 1)"
    assert found.examples == ("c0: 1", "c2: 'late'")
    assert found.fix == "Convert it: adata.obs['x'] = adata.obs['x'].astype(str)"


def test_columns_of_var_are_checked_too():
    adata = make()
    adata.var["when"] = pd.to_datetime(["2020-01-01"])
    (found,) = bc.check(adata)
    assert (found.path, found.code) == ("var['when']", "BC201")
    assert "adata.var['when'].astype(str)" in found.fix


def test_what_is_sent_in_another_form_is_noted():
    (found,) = bc.check(make(x=[None, None]))
    assert (found.code, found.severity, found.message) == ("BC202", "note", "only missing values: sent as NaN")


def test_more_labels_than_the_servers_can_number_are_a_warning():
    n = 65_536
    numbers = np.arange(n)
    adata = make(
        n, first=numbers, many=pd.Categorical(numbers), most=pd.Categorical(np.minimum(numbers, n - 2)), id=numbers
    )
    adata.var["of_a_gene"] = pd.Categorical([1], numbers)
    (found,) = bc.check(adata)
    assert (found.code, found.severity, found.path, found.count) == ("BC203", "warning", "obs['many']", n)
    assert found.message == "65,536 labels; the servers can number 65,535"
    assert found.fix == "Leave the column out of a copy if it is an id of each cell"


def test_an_unknown_batch_column_is_an_error_with_near_names():
    (found,) = bc.check(make(sample=["a", "b"]), batch_key="Sample")
    assert found.code == "BC204"
    assert "did you mean 'sample'?" in found.message


def test_cells_without_a_batch_are_an_error():
    (found,) = bc.check(make(sample=["a", None]), batch_key="sample")
    assert (found.path, found.count, found.examples) == ("obs['sample']", 1, ("'c1'",))
    with pytest.raises(errors.InvalidColumn, match="1 cell without a batch"):
        bc.check(make(sample=["a", None]), batch_key="sample").raise_for_errors()


def test_a_batch_column_that_is_there_twice_is_an_error():
    adata = make(a=["u", "v"], b=["u", "v"])
    adata._obs.columns = ["s", "s"]
    assert {found.code for found in bc.check(adata, batch_key="s").errors} == {"BC104", "BC204"}


def test_an_order_is_told_of_columns_of_cells_that_have_one():
    ordered = pd.Categorical(["b", "a"], ["b", "a"], ordered=True)
    adata = make(
        first=[1, 2], plain=pd.Categorical(["x", "y"]), one=pd.Categorical(["x", "x"], ordered=True), stage=ordered
    )
    adata.var["of_genes"] = pd.Categorical(["b"], ordered=True)
    found = [found for found in bc.check(adata) if found.code == "BC205"]
    assert [(each.path, each.message) for each in found] == [
        ("obs['stage']", "ordered labels (b < a); the servers keep no order")
    ]
