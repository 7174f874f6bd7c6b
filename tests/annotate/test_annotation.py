from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from biocolab_accessor.clients.bioflex import Database
from biocolab_accessor.errors import InvalidArgument, UnknownField


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
        with pytest.raises(InvalidArgument, match="n_types is 0, but must be an integer of 1 or more"):
            result.plot(n_types=0)

    def test_show_markers_in_their_order(self, other: ad.AnnData, database: Database) -> None:
        result = other.biocolab.annotate(
            "louvain", markers={"4": ["MS4A1", "NOPE", "CD79A", "CD3D"]}, database=database
        )
        axes = result.plot_markers("4", n_genes=2).axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["MS4A1", "CD79A"]
        assert len(result.plot_markers(4).axes[0].get_xticklabels()) == 3
        with pytest.raises(UnknownField, match="cluster '5' not found"):
            result.plot_markers("5")
        assert len(result.plot_markers(np.int64(4)).axes[0].get_xticklabels()) == 3
        with pytest.raises(InvalidArgument, match="n_genes is 0"):
            result.plot_markers(n_genes=0)

    def test_numbers_that_are_not_integers_are_refused(self, other: ad.AnnData, database: Database) -> None:
        result = other.biocolab.annotate("louvain", markers={"4": ["CD79A"]}, database=database)
        with pytest.raises(InvalidArgument, match=r"n_genes is 1\.5, but must be an integer of 1 or more"):
            result.plot_markers(n_genes=1.5)
        with pytest.raises(InvalidArgument, match="n_types is '2', but must be an integer of 1 or more"):
            result.plot(n_types="2")

    def test_of_unknown_markers_are_refused(self, other: ad.AnnData, database: Database) -> None:
        result = other.biocolab.annotate("louvain", markers={"3": ["NOPE"], "4": ["CD79A"]}, database=database)
        with pytest.raises(InvalidArgument, match="the database lacks all markers of clusters '3'"):
            result.plot_markers("3")

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

    def test_html_and_plot_gray_clusters_that_most_markers_do_not_support(
        self, other: ad.AnnData, database: Database
    ) -> None:
        result = other.biocolab.annotate("louvain", markers={"3": ["NKG7", "GNLY"], "4": ["<b>"]}, database=database)
        for support, grayed in ((0.49, {"3", "4"}), (0.5, {"4"})):
            result.table.loc[result.table["cluster"] == "3", "support"] = support
            rows = result._repr_html_().split("<tr")[2:]
            assert {row.split("<td style='text-align:left'>")[1][0] for row in rows if "opacity" in row[:30]} == grayed
            names = result.plot().axes[0].get_yticklabels()
            assert {name.get_text() for name in names if name.get_alpha()} == grayed - {"4"}
