from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidNames, InvalidValues, UnknownName
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


class TestMetadataTable:
    @pytest.fixture
    def study(self, counts: object, server: Sandbox) -> object:
        return counts.biocolab.submit(skip_dimred=True).study()

    def test_every_kind_of_value_comes_back_as_it_went(self, study: object) -> None:
        table = pd.DataFrame(
            {
                "text": ["001", "1e5", " 7"] * 20,
                "whole": np.arange(60) + 2**53,
                "real": np.linspace(0, 0.73, 60),
                "truth": [True, False] * 30,
                "label": pd.Categorical(["x", "y"] * 30),
            },
            index=[f"CELL{i}-1" for i in range(59, -1, -1)],
        )
        table.biocolab.submit_metadata(study)
        back = bc.study(study.provenance()["study_uuid"], source="bbrowserx").metadata(list(table.columns))
        back = back.loc[table.index]
        assert list(back["text"]) == list(table["text"])
        np.testing.assert_array_equal(back["whole"], table["whole"])
        assert back["whole"].dtype == np.int64
        np.testing.assert_array_equal(back["real"], table["real"])
        assert list(back["truth"]) == [str(value) for value in table["truth"]]
        assert list(back["label"]) == list(table["label"])

    def test_barcodes_that_the_study_lacks_are_counted(self, study: object) -> None:
        table = pd.DataFrame({"x": ["a", "b"]}, index=["CELL1-1", "NOBODY"])
        with pytest.raises(UnknownName, match=r"1 of 2 barcodes are not in study .*'NOBODY'"):
            table.biocolab.submit_metadata(study)

    @pytest.mark.parametrize(
        ("table", "error", "said"),
        [
            (pd.DataFrame({"x": [1.0, None]}, index=["CELL1-1", "CELL2-1"]), InvalidColumn, "1 missing"),
            (pd.DataFrame({"x": [np.inf]}, index=["CELL1-1"]), InvalidColumn, "infinite"),
            (pd.DataFrame({"x": [["a"]]}, index=["CELL1-1"]), InvalidColumn, "holds list"),
            (pd.DataFrame({"x": pd.to_datetime(["2020-01-01"])}, index=["CELL1-1"]), InvalidColumn, "Timestamp"),
            (pd.DataFrame({"barcodes": ["a"]}, index=["CELL1-1"]), InvalidNames, "take the place"),
            (pd.DataFrame({"x": ["a", "b"]}, index=["CELL1-1"] * 2), InvalidNames, "more than once"),
            (pd.DataFrame({"x": ["a"]}), InvalidNames, "set_index"),
            (pd.DataFrame([["a", "b"]], columns=["x", "x"], index=["CELL1-1"]), InvalidNames, "all different"),
            (pd.DataFrame(index=["CELL1-1"]), InvalidColumn, "no columns"),
        ],
    )
    def test_what_the_protocol_cannot_carry_is_refused(
        self, study: object, table: pd.DataFrame, error: type, said: str
    ) -> None:
        with pytest.raises(error, match=said):
            table.biocolab.submit_metadata(study)

    def test_bioflex_takes_none(self, server: Sandbox) -> None:
        with pytest.raises(InvalidArgument, match="BioFlex"):
            pd.DataFrame({"x": ["a"]}, index=["c"]).biocolab.submit_metadata(bc.study("PBMC68k_reduced"))

    def test_a_study_is_found_by_its_id(self, counts: object, server: Sandbox) -> None:
        counts.biocolab.submit("All members", study_id="by_id", skip_dimred=True)
        pd.DataFrame({"new": ["a"]}, index=["CELL3-1"]).biocolab.submit_metadata("by_id", "All members")
        column = bc.study("by_id", source="bbrowserx").metadata("new")["new"]
        assert column["CELL3-1"] == "a"
        assert column.isna().sum() == 59


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
