"""How much would be sent is said where it is much."""

import re

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.check.size import bytes_of, server_bytes, stored_dtype
from biocolab_accessor.check.summary import describe


def test_a_large_matrix_is_noted_with_its_size_and_what_a_server_needs():
    matrix = sparse.csr_matrix(
        (np.ones(7_000_000, np.float32), np.tile(np.arange(70, dtype=np.int32), 100_000), np.arange(0, 7_000_001, 70)),
        shape=(100_000, 70),
    )
    (found,) = (found for found in bc.check(AnnData(matrix)) if found.code == "BC601")
    assert (found.severity, found.changed) == ("note", False)
    assert re.fullmatch(
        "100,000 cells x 70 genes, 7,000,000 values that are not zero: about (59|60) MB before compression; a server "
        r"that normalises it and computes embeddings needs some 1\.8 GB of memory",  # names are larger in pandas 3
        found.message,
    )


def test_a_small_one_is_not():
    assert [found for found in bc.check(AnnData(np.eye(3, dtype=np.float32))) if found.code == "BC601"] == []


def test_the_estimate_counts_matrix_tables_and_embeddings():
    summary = describe(sparse.csr_matrix(np.eye(10, dtype=np.float32)))
    alone = bytes_of(summary, pd.DataFrame(index=range(10)), [])
    assert bytes_of(summary, pd.DataFrame(index=range(10)), [np.ones((10, 2))]) == alone + 160
    assert alone >= summary.nnz * 8
    assert server_bytes(summary) > alone


def test_the_stored_dtype_is_float32_where_that_is_exact():
    assert stored_dtype(describe(np.array([[0.5]])), raw=False) == np.float32
    assert stored_dtype(describe(np.array([[0.1]])), raw=False) == np.float64
    assert stored_dtype(describe(np.array([[2**24 + 1]])), raw=True) == np.int64
