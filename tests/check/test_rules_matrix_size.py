"""The size of a large submission is noted."""

import re

import numpy as np
from anndata import AnnData
from scipy import sparse

import biocolab_accessor as bc


def test_a_large_matrix_is_noted_with_its_size_and_what_a_server_needs():
    matrix = sparse.csr_matrix(
        (np.ones(7_000_000, np.float32), np.tile(np.arange(70, dtype=np.int32), 100_000), np.arange(0, 7_000_001, 70)),
        shape=(100_000, 70),
    )
    (found,) = (found for found in bc.check(AnnData(matrix)) if found.code == "BC601")
    assert (found.severity, found.changed) == ("note", False)
    assert re.fullmatch(  # names are larger in pandas 3
        "100,000 cells x 70 genes, 7,000,000 nonzero values: about (57|58|59|60) MB before compression. To "
        r"normalize it and compute embeddings, a server needs about 1\.8 GB of memory",
        found.message,
    )


def test_the_size_of_a_small_matrix_is_not_noted():
    assert [found for found in bc.check(AnnData(np.eye(3, dtype=np.float32))) if found.code == "BC601"] == []
