"""Quality of cells is measured as servers measure it, and each bound names the cells that it removes."""

import numpy as np

from biocolab_accessor.check.filters import Quality, failing, measure, mitochondrial
from biocolab_accessor.io.matrix_blocks import Source
from biocolab_accessor.protocol import Filters


def test_counts_genes_and_mitochondrial_share_are_measured_for_each_cell():
    quality = measure(Source(np.array([[6, 3, 1], [0, 0, 2]])), mitochondrial(["CD3D", "LYZ", "mt-Co1"]))
    assert [values.tolist() for values in quality] == [[10, 2], [3, 1], [0.1, 1]]


def test_each_given_bound_names_the_cells_that_it_removes():
    quality = Quality(np.array([10.0, 2.0]), np.array([3, 1]), np.array([0.1, 0.5]))
    fails = failing(Filters(min_counts=5, mt_percentage=50), quality)
    assert {name: cells.tolist() for name, cells in fails.items()} == {
        "min_counts": [False, True],
        "mt_percentage": [False, False],
    }
