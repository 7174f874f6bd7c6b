from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from biocolab_accessor.errors import InvalidColumn, InvalidNames, InvalidValues
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit.tables import genes_of


class TestExpressionTable:
    def test_a_table_becomes_cells_by_genes(self) -> None:
        table = pd.DataFrame({"A": [1.0, 0], "B": [0, 2]}, index=pd.Index([10, 11], name="cell"))
        adata = table.biocolab.to_anndata()
        assert isinstance(adata.X, sparse.csr_matrix)
        assert adata.X.dtype == np.float32
        assert (list(adata.obs_names), list(adata.var_names)) == (["10", "11"], ["A", "B"])
        np.testing.assert_array_equal(adata.X.toarray(), [[1, 0], [0, 2]])

    @pytest.mark.parametrize("dtype", ["int64", "Int64", "float64", "Float32", "bool", "uint8", "Sparse[float64]"])
    def test_every_numeric_dtype_is_accepted(self, dtype: str) -> None:
        table = pd.DataFrame({"A": [1, 0], "B": [0, 1]}, index=["x", "y"]).astype(dtype)
        np.testing.assert_array_equal(table.biocolab.to_anndata().X.toarray(), [[1, 0], [0, 1]])

    def test_text_columns_are_named(self) -> None:
        with pytest.raises(InvalidColumn, match=r"1 column without real numbers: 'cell_type'.*submit_metadata"):
            pd.DataFrame({"A": [1], "cell_type": ["T"]}).biocolab.to_anndata()

    def test_missing_values_are_counted(self) -> None:
        with pytest.raises(InvalidValues, match=r"2 values are missing \(in columns 'B', 'C'\)"):
            pd.DataFrame({"A": [1, 2], "B": [None, 1], "C": [1, None]}).biocolab.to_anndata()

    def test_complex_numbers_do_not_lose_a_part(self) -> None:
        with pytest.raises(InvalidColumn, match=r"without real numbers: 'A' \(complex128\)"):
            pd.DataFrame({"A": [1 + 2j, 3]}).biocolab.to_anndata()

    def test_counts_beyond_float32_stay_exact_and_are_warned_of(self) -> None:
        table = pd.DataFrame({"A": [2**24 + 1, 3], "B": [0, 1]}, index=["x", "y"])
        assert table.biocolab.to_anndata().X.toarray().tolist() == [[2**24 + 1, 0], [3, 1]]
        report = table.biocolab.check()
        assert [finding.code for finding in report.warnings] == ["BC304"]

    @pytest.mark.parametrize("large", [2.0**24 + 1, 2.0**53 + 2, 1e39, 1e300, -1e39])
    def test_large_numbers_in_a_table_with_fractions_stay_exact(self, large: float) -> None:
        adata = pd.DataFrame({"A": [large, 0.5]}, index=["x", "y"]).biocolab.to_anndata()
        assert adata.X.dtype == np.float64
        assert adata.X.toarray().tolist() == [[large], [0.5]]

    def test_infinite_values_are_kept_for_the_check(self) -> None:
        table = pd.DataFrame({"A": [np.inf, 0.1]}, index=["x", "y"])
        np.testing.assert_array_equal(table.biocolab.to_anndata().X.toarray(), np.float32([[np.inf], [0.1]]))
        assert not table.biocolab.check().ok

    def test_values_beyond_float32_are_not_called_infinite(self) -> None:
        report = pd.DataFrame({"A": [1e300, 0.5]}, index=["x", "y"]).biocolab.check()
        assert [finding.code for finding in report.errors] == ["BC312"]

    def test_a_missing_name_does_not_become_text(self) -> None:
        table = pd.DataFrame([[1, 2], [3, 4]], index=["x", np.nan], columns=["A", np.nan])
        found = table.biocolab.check().errors
        assert [(finding.code, finding.path) for finding in found] == [("BC102", "obs_names"), ("BC102", "var_names")]

    def test_a_sparse_table_is_never_made_dense(self) -> None:
        counts = sparse.random(4000, 3000, density=0.01, format="csr", dtype=np.float32, random_state=0)
        table = pd.DataFrame.sparse.from_spmatrix(counts)
        tracemalloc.start()
        try:
            adata = table.biocolab.to_anndata()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (counts != adata.X).nnz == 0
        assert peak < 48e6 < counts.shape[0] * counts.shape[1] * 8  # bytes of it all as numbers of 8 bytes

    def test_several_index_levels_are_rejected(self) -> None:
        with pytest.raises(InvalidNames, match="2 levels"):
            pd.DataFrame([[1]], index=pd.MultiIndex.from_tuples([("a", "b")])).biocolab.to_anndata()

    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    def test_a_table_is_checked_like_an_anndata(self) -> None:
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
    def test_the_genes_are_found_in_the_column_of_scanpy(self, table: pd.DataFrame, server: Sandbox) -> None:
        assert list(table.biocolab.expression_summary()["gene"].unique()) == ["CD3D", "LYZ"]

    def test_a_column_can_be_named(self, server: Sandbox) -> None:
        table = pd.DataFrame({"names": ["x"], "mine": ["CD3D"]})
        assert set(table.biocolab.expression_summary("mine")["gene"]) == {"CD3D"}
        with pytest.raises(InvalidColumn, match="no column 'yours'"):
            table.biocolab.expression_summary("yours")

    def test_numbers_are_not_gene_names(self) -> None:
        with pytest.raises(InvalidColumn, match="does not hold gene names: give their column"):
            pd.DataFrame({"x": [1]}).biocolab.expression_summary()

    def test_a_repeated_column_is_rejected(self) -> None:
        twice = pd.DataFrame([["CD3D", "LYZ"]], columns=["gene", "gene"])
        levels = pd.DataFrame([["CD3D", "LYZ"]], columns=pd.MultiIndex.from_product([["gene"], ["x", "y"]]))
        for table in (twice, levels):
            for column in (None, "gene"):
                with pytest.raises(InvalidColumn, match="the table has 2 columns 'gene': give the genes in one"):
                    genes_of(table, column)

    def test_a_column_can_have_a_number_as_its_name(self) -> None:
        assert genes_of(pd.DataFrame({0: ["CD3D", "LYZ"]}), 0) == ["CD3D", "LYZ"]  # type: ignore[arg-type]
