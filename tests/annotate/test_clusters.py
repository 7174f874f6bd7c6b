from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import biocolab_accessor as bc
from biocolab_accessor.annotate.lookup import summaries_of
from biocolab_accessor.clients.bioflex import Database
from biocolab_accessor.errors import InvalidArgument, UnknownField, UnknownGene
from biocolab_accessor.sandbox.server import Sandbox
from tests.conftest import assert_equal_objects

_SEED = 0


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    """PBMC 68k with its log-normalised values."""
    whole = sc.datasets.pbmc68k_reduced()
    return ad.AnnData(whole.raw.X, obs=whole.obs, var=pd.DataFrame(index=whole.raw.var_names))


@pytest.fixture(scope="module")
def in_database(cells: ad.AnnData) -> np.ndarray:
    return np.random.default_rng(_SEED).permutation(cells.n_obs) < cells.n_obs // 2


@pytest.fixture(scope="module")
def other(cells: ad.AnnData, in_database: np.ndarray) -> ad.AnnData:
    """The half that the database does not have."""
    return cells[~in_database].copy()


@pytest.fixture(scope="module")
def database(cells: ad.AnnData, in_database: np.ndarray, server: Sandbox) -> Database:
    """A database that holds nothing but one half; those for human hold the whole."""
    server.add_study("half_of_pbmc68k", cells[in_database].copy(), species="primate", cell_type="bulk_labels")
    return bc.database("primate")


class TestOtherCellsOfRealStudies:
    def test_most_clusters_get_the_type_that_most_of_their_cells_have(
        self, other: ad.AnnData, database: Database
    ) -> None:
        truth = other.obs.groupby("louvain", observed=True)["bulk_labels"].agg(lambda labels: labels.mode()[0])
        best = other.biocolab.annotate("louvain", database=database).best
        right = [best[cluster] == truth[cluster] for cluster in truth.index]
        assert len(right) == 11
        assert np.mean(right) > 0.7

    def test_most_cell_types_are_recognised(self, other: ad.AnnData, database: Database) -> None:
        best = other.biocolab.annotate("bulk_labels", database=database).best
        assert len(best) == 10
        assert (best == best.index).mean() > 0.7

    def test_where_it_is_wrong_it_is_less_sure(self, other: ad.AnnData, database: Database) -> None:
        table = other.biocolab.annotate("bulk_labels", database=database).table
        first = table[table["rank"] == 1]
        right = (first["cell_type"] == first["cluster"]).to_numpy()
        assert first["uncertainty"][~right].mean() > first["uncertainty"][right].mean() + 0.1

    def test_cells_without_order_have_no_type(self, other: ad.AnnData, database: Database) -> None:
        """Markers drawn at random score as chance does."""
        genes = np.random.default_rng(3).choice(other.var_names, 200, replace=False)
        table = other.biocolab.annotate("louvain", markers={"0": list(genes)}, n_genes=200, database=database).table
        assert abs(table["score"].mean() - 0.5) < 1e-9
        assert table["score"].max() < 0.75


class TestTheResult:
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
        named = adata.biocolab.annotate("louvain", database=database, gene_symbols="symbol")
        assert named.best.to_dict() == other.biocolab.annotate("louvain", database=database).best.to_dict()


class TestLookup:
    def test_unknown_genes_are_sorted_out_in_few_requests(
        self, other: ad.AnnData, database: Database, server: Sandbox
    ) -> None:
        names = [str(name) for name in other.var_names[:40]]
        genes = [gene for i, name in enumerate(names) for gene in ([name, f"NOPE{i}"] if i % 4 == 0 else [name])]
        before = len(server.requests)
        summary, missing = summaries_of(genes, database)
        assert missing == [f"NOPE{i}" for i in range(0, 40, 4)]
        assert list(dict.fromkeys(summary["gene"])) == names
        assert len(server.requests) - before <= 4

    def test_a_gene_that_is_only_proposed_is_not_taken_for_missing(self, database: Database) -> None:
        summary, missing = summaries_of(["cd79a", "CD79A", "CD3D"], database)
        assert missing == ["cd79a"]
        assert set(summary["gene"]) == {"CD79A", "CD3D"}

    def test_a_refusal_that_names_no_gene_is_narrowed_down(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask = type(database).get_celltypes_expression_summary

        def refuse(self: Database, names: list[str]) -> object:
            try:
                return ask(self, names)
            except UnknownGene:
                raise UnknownGene("gene not found") from None

        monkeypatch.setattr(type(database), "get_celltypes_expression_summary", refuse)
        summary, missing = summaries_of(["CD3D", "NOPE", "CD79A", "NEITHER", "LYZ"], database)
        assert missing == ["NOPE", "NEITHER"]
        assert set(summary["gene"]) == {"CD3D", "CD79A", "LYZ"}


class TestRefusals:
    def test_say_what_to_give(self, other: ad.AnnData, database: Database) -> None:
        annotate = other.biocolab.annotate
        with pytest.raises(UnknownField, match="did you mean 'louvain'"):
            annotate("louvian", database=database)
        with pytest.raises(InvalidArgument, match="n_genes is 0"):
            annotate("louvain", n_genes=0, database=database)
        with pytest.raises(InvalidArgument, match="key_added is 'louvain'"):
            annotate("louvain", key_added="louvain", database=database)
        with pytest.raises(InvalidArgument, match="no cells to write"):
            annotate(markers={"0": ["CD3D"]}, key_added="x", database=database)
        with pytest.raises(UnknownGene, match=r"none of the 2 marker genes 'cd3d', 'NOPE'.*did you mean 'CD3D'"):
            annotate("louvain", markers={"0": ["cd3d", "NOPE"]}, database=database)
        with pytest.raises(InvalidArgument, match="no cluster of 'louvain' has a marker"):
            annotate("louvain", markers={"0": []}, database=database)


class TestPictures:
    def test_show_clusters_against_types(self, other: ad.AnnData, database: Database) -> None:
        result = other.biocolab.annotate("louvain", database=database)
        for kind in ("dot", "heatmap"):
            axes = result.plot(kind=kind).axes[0]
            assert [label.get_text() for label in axes.get_yticklabels()] == list(result.best.index)
            assert axes.get_ylabel() == "louvain"
            columns = [label.get_text() for label in axes.get_xticklabels()]
            assert columns[0] == result.best.iloc[0]
            assert set(columns) == set(other.obs["bulk_labels"].cat.categories)
        assert len(result.plot(n_types=1).axes[0].get_xticklabels()) == result.best.nunique()
        with pytest.raises(InvalidArgument, match="give 'dot' or 'heatmap'"):
            result.plot(kind="pie")

    def test_show_markers_in_their_order(self, other: ad.AnnData, database: Database) -> None:
        result = other.biocolab.annotate(
            "louvain", markers={"4": ["MS4A1", "NOPE", "CD79A", "CD3D"]}, database=database
        )
        axes = result.plot_markers("4", n_genes=2).axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["MS4A1", "CD79A"]
        with pytest.raises(UnknownField, match="there is no cluster '5'"):
            result.plot_markers("5")

    def test_of_a_summary_take_the_objects_genes(self, other: ad.AnnData, database: Database) -> None:
        few = other[:, ["CD3D", "LYZ"]]
        axes = few.biocolab.plot_expression_summary(database=database, swap_axes=True).axes[0]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["CD3D", "LYZ"]
        with pytest.raises(InvalidArgument, match="765 genes"):
            other.biocolab.plot_expression_summary(database=database)

    def test_and_reprs_name_the_best(self, other: ad.AnnData, database: Database) -> None:
        result = other.biocolab.annotate("louvain", markers={"3": ["NKG7", "GNLY"], "4": ["<b>"]}, database=database)
        text, html = repr(result), result._repr_html_()
        assert "CD56+ NK" in text
        assert "no known marker" in text
        assert "1 unknown" in text
        assert "CD56+ NK" in html
        assert "color:inherit" in html
