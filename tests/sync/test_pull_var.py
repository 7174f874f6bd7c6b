"""Columns of var come back by gene name."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.errors import InvalidArgument, UnknownField, UnknownName
from biocolab_accessor.sandbox.server import Sandbox

SYMBOLS = ["CD3D", "TBCE", "LYZ", None, "TBCE", "MS4A1"]
IDS = [f"ENSG{i:011d}" for i in range(6)]


def sender() -> ad.AnnData:
    var = pd.DataFrame(
        {
            "symbol": pd.Series(SYMBOLS, dtype=object).to_numpy(),
            "n_cells": np.arange(6, dtype=np.int16),
            "mean": np.linspace(0, 1, 6, dtype=np.float32),
            "variable": [True, False] * 3,
            "kind": pd.Categorical(list("aabbab"), ["b", "a"], ordered=True),
            "seen": pd.to_datetime(["2026-01-01"] * 6),
            "length": pd.array([1, None, 3, 4, 5, 6], dtype="Int32"),
        },
        index=IDS,
    )
    return ad.AnnData(np.eye(6, dtype=np.float32) + 1, var=var)


def fetched(names: list[str]) -> ad.AnnData:
    return ad.AnnData(var=pd.DataFrame({"feature": names}, index=names))


def test_every_column_of_var_comes_back_in_its_dtype_and_in_the_order_of_the_genes() -> None:
    adata, again = sender(), fetched(IDS[::-1])
    report = again.biocolab.pull_var(adata)
    expected = adata.var.iloc[::-1]
    pd.testing.assert_frame_equal(again.var[expected.columns], expected)
    assert list(again.var) == ["feature", *expected.columns]
    assert (report.matched, report.only_here, report.only_there, report.notes) == (6, 0, 0, ())
    assert repr(report).startswith("MatchReport: genes of both objects")


def test_genes_that_the_sender_lacks_get_a_missing_value_and_the_change_is_said() -> None:
    adata, again = sender(), fetched([*IDS, "NEW"])
    report = again.biocolab.pull_var(adata)
    dtypes = {name: str(again.var[name].dtype) for name in adata.var if name != "symbol"}
    assert dtypes == {
        "n_cells": "float64", "mean": "float32", "variable": "boolean", "kind": "category",
        "seen": str(adata.var["seen"].dtype), "length": "Int32",
    }  # fmt: skip
    assert again.var.loc["NEW", list(adata.var)].isna().all()
    assert again.var["n_cells"].tolist()[:6] == [0, 1, 2, 3, 4, 5]
    assert report.notes == (
        "'n_cells' is float64: the sender lacks 1 gene",
        "'variable' is boolean: the sender lacks 1 gene",
    )


def test_columns_are_only_replaced_when_that_is_wanted_and_nothing_changes_on_an_error() -> None:
    adata, again = sender(), fetched(IDS)
    again.var["n_cells"] = -1
    assert "n_cells" not in " ".join(again.biocolab.pull_var(adata).written)
    with pytest.raises(InvalidArgument, match="var has columns 'n_cells' already"):
        again.biocolab.pull_var(adata, ["n_cells"])
    assert again.var["n_cells"].tolist() == [-1] * 6
    again.biocolab.pull_var(adata, "n_cells", overwrite=True)
    assert again.var["n_cells"].tolist() == list(range(6))
    with pytest.raises(UnknownField, match=r"no column 'kin'.*did you mean 'kind'"):
        again.biocolab.pull_var(adata, ["kin"])
    with pytest.raises(InvalidArgument, match="sender is a str"):
        again.biocolab.pull_var("x")
    with pytest.raises(UnknownName, match=r"none of the 1 genes here.*'OTHER'.*on="):
        fetched(["OTHER"]).biocolab.pull_var(adata)


def test_raw_var_is_used_where_it_has_more_of_the_genes() -> None:
    adata = sender()
    adata.raw = adata.copy()
    part = adata[:, :2].copy()
    again = fetched(IDS)
    report = again.biocolab.pull_var(part, "mean")
    assert again.var["mean"].equals(adata.var["mean"])
    assert report.notes == ("from the sender's raw.var",)


def test_symbols_are_sent_from_a_column_and_the_rest_of_var_comes_back(server: Sandbox) -> None:
    adata = sender()
    plan = adata.biocolab.submit(gene_symbols="symbol", dry_run=True)
    assert plan.gene_symbols == "symbol"
    assert plan.changes[0] == (
        "var_names: gene names are taken from var['symbol']; 1 gene without a name there: unchanged; "
        "1 repeated name numbered as by var_names_make_unique ('TBCE')"
    )
    again = adata.biocolab.submit(study_id="symbols", skip_dimred=True, gene_symbols="symbol").study().to_anndata()
    assert list(again.var_names) == ["CD3D", "TBCE", "LYZ", IDS[3], "TBCE-1", "MS4A1"]
    assert list(adata.var_names) == IDS
    again.biocolab.pull_var(adata, on="symbol")
    assert again.var["n_cells"].tolist() == list(range(6))
    assert again.var["kind"].tolist() == list("aabbab")
    with pytest.raises(UnknownField, match=r"var has no column 'symbl' \(did you mean 'symbol'\?\) for gene_symbols"):
        adata.biocolab.submit(gene_symbols="symbl", dry_run=True)


def test_ids_are_warned_of_with_the_call_that_sends_their_symbols(server: Sandbox) -> None:
    adata = sender()[:, [0, 1, 2, 5]].copy()
    with pytest.warns(UserWarning, match=r"BC403 .*submit\(gene_symbols='symbol'\)"):
        adata.biocolab.submit(study_id="ids", skip_dimred=True)
    plan = adata.biocolab.submit(gene_symbols="symbol", dry_run=True)
    assert not [found for found in plan.report if found.code == "BC403"]
