from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidNames, InvalidValues
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit.tables import genes_of, matrix_type_of_tables


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


class TestMatrixTypeOfTableFiles:
    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            ("3", "raw"),
            ("3.0", "raw"),
            ('"3"', "raw"),
            ("3e2", "raw"),
            ("0", "raw"),
            ("3.5", "normalized"),
            ("-3", "normalized"),
            ("nan", "normalized"),
            ("x", "normalized"),
        ],
    )
    @pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
    def test_whole_numbers_are_counts_wherever_another_value_is(
        self, tmp_path: Path, value: str, kind: str, ending: str
    ) -> None:
        rows = ["gene\tc.1\tc-2", "A-1.5\t0\t7", *["B\t1\t2"] * 3000, f"C\t4\t{value}"]
        path = tmp_path / "x.tsv"
        path.write_bytes((ending or "\n").join(rows).encode() + ending.encode())
        assert matrix_type_of_tables([path])[0] == kind

    @pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
    def test_a_table_with_commas_is_read_as_it_is_sent(self, tmp_path: Path, name: str) -> None:
        text = b'gene,"c,1",c2\n"A,5.5",1,2\n'
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        assert matrix_type_of_tables([tmp_path / name]) == ("raw", "all values are non-negative whole numbers")

    def test_tables_of_both_kinds_are_not_one_study(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_text("gene\tc1\nA\t1\n")
        (tmp_path / "b.tsv").write_text("gene\tc2\nA\t0.5\n")
        with pytest.raises(InvalidArgument, match=r"values of 'b\.tsv' are not counts, .*'raw' or 'normalized'"):
            bc.submit([tmp_path / "a.tsv", tmp_path / "b.tsv"], dry_run=True)
        plan = bc.submit([tmp_path / "a.tsv", tmp_path / "b.tsv"], input_matrix_type="normalized", dry_run=True)
        assert (plan.input_matrix_type, plan.reason) == ("normalized", "")

    @pytest.mark.parametrize("factor", [1, 0.5])
    def test_a_study_of_a_table_has_counts_if_the_table_has(
        self, server: Sandbox, tmp_path: Path, factor: float
    ) -> None:
        values = np.array([[1, 0, 2], [0, 3, 0]]) * factor
        pd.DataFrame(values, index=["CD3D", "LYZ"], columns=["c1", "c2", "c3"]).to_csv(tmp_path / "x.tsv", sep="\t")
        study = bc.submit(tmp_path / "x.tsv", skip_dimred=True).study()
        np.testing.assert_array_equal(study.to_anndata(unit="raw").to_df()[["CD3D", "LYZ"]], values.T)
        lognorm = study.to_anndata(unit="lognorm").to_df()[["CD3D", "LYZ"]].to_numpy()
        wanted = np.log1p(values.T / values.T.sum(axis=1, keepdims=True) * 1e4) if factor == 1 else values.T
        np.testing.assert_allclose(lognorm, wanted, rtol=1e-6)
