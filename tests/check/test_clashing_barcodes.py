"""Barcodes that clash are made unique by a column of any dtype, if one has meaningful labels."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import biocolab_accessor as bc


def make(barcodes, **columns):
    adata = ad.AnnData(np.ones((len(barcodes), 2), np.float32))
    adata._obs = pd.DataFrame(columns, index=barcodes)
    return adata


def clash(adata, **arguments):
    (found,) = (finding for finding in bc.check(adata, **arguments) if finding.code == "BC101")
    return found


@pytest.mark.parametrize("value", [b"\x80", "\ud800", ("a",), None, pd.NaT, 2**70])
def test_barcodes_that_clash_get_the_column_of_samples_whatever_the_columns_hold(value):
    column = pd.Series([value] * 4, list("abab"), dtype=object)
    adata = make(list("abab"), odd=column, sample=["s1", "s1", "s2", "s2"])
    assert "copy.obs['sample']" in clash(adata).fix
    adata._obs["kind"] = pd.Series(pd.Categorical([b"\x80", b"\x81"] * 2), adata._obs.index)
    assert clash(adata, batch_key="kind", min_counts=1).severity == "error"


def test_clashing_barcodes_of_several_levels_are_reported():
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)] * 2)
    adata = make(index, sample=["s1", "s1", "s2", "s2"])
    assert {"BC101", "BC102"} <= {finding.code for finding in bc.check(adata)}
