from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from biocolab_accessor.clients.bioflex import Database
from biocolab_accessor.errors import InvalidArgument, UnknownField, UnknownGene
from tests.conftest import assert_equal_objects


class TestOtherCellsOfRealStudies:
    def test_most_clusters_get_the_type_that_most_of_their_cells_have(
        self, other: ad.AnnData, database: Database
    ) -> None:
        truth = other.obs.groupby("louvain", observed=True)["bulk_labels"].agg(lambda labels: labels.mode()[0])
        best = other.biocolab.annotate("louvain", database=database).best
        right = [best[cluster] == truth[cluster] for cluster in truth.index]
        assert len(right) == 11
        assert np.mean(right) > 0.7

    def test_most_cell_types_are_recognized(self, other: ad.AnnData, database: Database) -> None:
        best = other.biocolab.annotate("bulk_labels", database=database).best
        assert len(best) == 10
        assert (best == best.index).mean() > 0.7

    def test_wrong_annotations_have_less_support(self, other: ad.AnnData, database: Database) -> None:
        table = other.biocolab.annotate("bulk_labels", database=database).table
        first = table[table["rank"] == 1]
        right = (first["cell_type"] == first["cluster"]).to_numpy()
        assert first["uncertainty"][~right].mean() > first["uncertainty"][right].mean() + 0.1

    def test_cells_without_order_have_no_type(self, other: ad.AnnData, database: Database) -> None:
        """Random markers score like chance."""
        genes = np.random.default_rng(3).choice(other.var_names, 200, replace=False)
        table = other.biocolab.annotate("louvain", markers={"0": list(genes)}, n_genes=200, database=database).table
        assert abs(table["score"].mean() - 0.5) < 1e-9
        assert table["score"].max() < 0.75


class TestTheResult:
    def test_markers_that_the_database_mostly_lacks_give_a_warning(self, other: ad.AnnData, database: Database) -> None:
        markers = {"CD19+ B": ["CD79A", "Ms4a1", "Cd79b"], "CD56+ NK": ["Gnly", "Nkg7"]}
        with pytest.warns(UserWarning, match="lacks 4 of the 5 marker genes"):
            found = other.biocolab.annotate("bulk_labels", markers=markers, database=database)
        assert found.best.tolist() == ["CD19+ B", None]

    def test_is_tidy(self, other: ad.AnnData, database: Database) -> None:
        markers = {"0": ["CD3D", "CD3E", "NOPE"], "3": ["NKG7", "GNLY"], "4": ["not_a_gene"]}
        result = other.biocolab.annotate("louvain", markers=markers, database=database)
        table = result.table
        assert list(table.columns)[:4] == ["cluster", "cell_type", "score", "rank"]
        assert table.groupby("cluster", sort=False).size().to_dict() == {"0": 10, "3": 10, "4": 1}
        first = table.drop_duplicates("cluster").set_index("cluster")
        assert first["n_genes"].to_dict() == {"0": 2, "3": 2, "4": 0}
        assert first["genes_missing"].to_dict() == {"0": ("NOPE",), "3": (), "4": ("not_a_gene",)}
        assert first["n_missing"].to_dict() == {"0": 1, "3": 0, "4": 1}
        assert result.best.to_dict() == {"0": first.loc["0", "cell_type"], "3": "CD56+ NK", "4": None}
        assert np.isnan(first.loc["4", "score"])
        assert table["score"].dropna().between(0, 1).all()
        for part in (part for name, part in table.groupby("cluster") if name != "4"):
            assert part["score"].is_monotonic_decreasing
            np.testing.assert_allclose(part["support"].sum(), 1)

    def test_is_written_to_obs_only_when_asked(self, other: ad.AnnData, database: Database) -> None:
        adata = other.copy()
        adata.obs["mine"] = adata.obs["louvain"].astype(str).where(adata.obs["louvain"] != "10")
        before = adata.copy()
        best = adata.biocolab.annotate("mine", database=database).best
        assert_equal_objects(adata, before)
        adata.biocolab.annotate("mine", database=database, key_added="cell_type_guess")
        guess = adata.obs["cell_type_guess"]
        assert guess.dtype == "category"
        assert guess.isna().sum() == adata.obs["mine"].isna().sum() > 0
        assert set(guess[adata.obs["mine"] == "4"]) == {best["4"]}
        del adata.obs["cell_type_guess"]
        assert_equal_objects(adata, before)

    def test_takes_clusters_that_are_numbers(self, other: ad.AnnData, database: Database) -> None:
        adata = other.copy()
        adata.obs["number"] = adata.obs["louvain"].astype(int)
        best = adata.biocolab.annotate("number", database=database).best
        assert list(best.index) == [str(i) for i in range(11)]
        pd.testing.assert_series_equal(
            best.sort_index(),
            other.biocolab.annotate("louvain", database=database).best.sort_index(),
            check_names=False,
        )

    def test_translates_ids_to_symbols(self, other: ad.AnnData, database: Database) -> None:
        adata = other.copy()
        adata.var["symbol"] = adata.var_names
        adata.var_names = [f"ENSG{i:011d}" for i in range(adata.n_vars)]
        with pytest.raises(UnknownGene, match="gene_symbols="):
            adata.biocolab.annotate("louvain", database=database, n_genes=3)
        named = adata.biocolab.annotate("louvain", database=database, gene_symbols="symbol", n_genes=np.int64(25))
        assert named.best.to_dict() == other.biocolab.annotate("louvain", database=database).best.to_dict()


class TestRefusals:
    def test_say_what_to_give(self, other: ad.AnnData, database: Database) -> None:
        annotate = other.biocolab.annotate
        with pytest.raises(UnknownField, match="did you mean 'louvain'"):
            annotate("louvian", database=database)
        with pytest.raises(UnknownField, match="obs has no column 7"):
            annotate(7, database=database)
        with pytest.raises(InvalidArgument, match="n_genes is 0"):
            annotate("louvain", n_genes=0, database=database)
        with pytest.raises(InvalidArgument, match="key_added is 'louvain'"):
            annotate("louvain", key_added="louvain", database=database)
        with pytest.raises(InvalidArgument, match="no clusters to write cell types for"):
            annotate(markers={"0": ["CD3D"]}, key_added="x", database=database)
        with pytest.raises(UnknownGene, match=r"none of the 2 marker genes 'cd3d', 'NOPE'.*did you mean 'CD3D'"):
            annotate("louvain", markers={"0": ["cd3d", "NOPE"]}, database=database)
        with pytest.raises(InvalidArgument, match="no cluster of 'louvain' has a marker"):
            annotate("louvain", markers={"0": []}, database=database)
