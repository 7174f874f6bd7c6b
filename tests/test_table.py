from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from biocolab_accessor.errors import InvalidColumn, InvalidNames, InvalidValues
from biocolab_accessor.sandbox.server import Sandbox


class TestExpressionTable:
    def test_it_becomes_cells_by_genes(self) -> None:
        table = pd.DataFrame({"A": [1.0, 0], "B": [0, 2]}, index=pd.Index([10, 11], name="cell"))
        adata = table.biocolab.to_anndata()
        assert isinstance(adata.X, sparse.csr_matrix)
        assert adata.X.dtype == np.float32
        assert (list(adata.obs_names), list(adata.var_names)) == (["10", "11"], ["A", "B"])
        np.testing.assert_array_equal(adata.X.toarray(), [[1, 0], [0, 2]])

    @pytest.mark.parametrize("dtype", ["int64", "Int64", "float64", "Float32", "bool", "uint8", "Sparse[float64]"])
    def test_every_kind_of_number_is_taken(self, dtype: str) -> None:
        table = pd.DataFrame({"A": [1, 0], "B": [0, 1]}, index=["x", "y"]).astype(dtype)
        np.testing.assert_array_equal(table.biocolab.to_anndata().X.toarray(), [[1, 0], [0, 1]])

    def test_text_columns_are_named(self) -> None:
        with pytest.raises(InvalidColumn, match=r"1 columns hold no numbers: 'cell_type'.*submit_metadata"):
            pd.DataFrame({"A": [1], "cell_type": ["T"]}).biocolab.to_anndata()

    def test_missing_values_are_counted(self) -> None:
        with pytest.raises(InvalidValues, match=r"2 values are missing \(in columns 'B', 'C'\)"):
            pd.DataFrame({"A": [1, 2], "B": [None, 1], "C": [1, None]}).biocolab.to_anndata()

    def test_levels_are_refused(self) -> None:
        with pytest.raises(InvalidNames, match="2 levels"):
            pd.DataFrame([[1]], index=pd.MultiIndex.from_tuples([("a", "b")])).biocolab.to_anndata()

    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    def test_it_is_checked_like_an_anndata(self) -> None:
        report = pd.DataFrame({"A": [1, 2]}, index=["x", "x"]).biocolab.check()
        assert [finding.code for finding in report.errors] == ["BC101"]


class TestListOfGenes:
    @pytest.mark.parametrize(
        "table",
        [
            pd.DataFrame({"names": ["CD3D", "LYZ", "CD3D"], "scores": [1, 2, 3]}),
            pd.DataFrame({"x": [1, 2]}, index=["CD3D", "LYZ"]),
        ],
    )
    def test_it_is_found_where_scanpy_puts_it(self, table: pd.DataFrame, server: Sandbox) -> None:
        assert list(table.biocolab.expression_summary()["gene"].unique()) == ["CD3D", "LYZ"]

    def test_a_column_can_be_named(self, server: Sandbox) -> None:
        table = pd.DataFrame({"names": ["x"], "mine": ["CD3D"]})
        assert set(table.biocolab.expression_summary("mine")["gene"]) == {"CD3D"}
        with pytest.raises(InvalidColumn, match="no column 'yours'"):
            table.biocolab.expression_summary("yours")

    def test_numbers_are_no_genes(self) -> None:
        with pytest.raises(InvalidColumn, match="no gene names"):
            pd.DataFrame({"x": [1]}).biocolab.expression_summary()
