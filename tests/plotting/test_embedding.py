from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.plotting.embedding import draw_embedding
from biocolab_accessor.plotting.style import MISSING

pytestmark = pytest.mark.smoke


def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(600, 2))


class TestEmbedding:
    def test_every_cell_has_the_color_of_its_category(self) -> None:
        labels = pd.Series(["b", None, "a", "b"])
        at = np.array([[0, 0], [1, 0], [2, 0], [3, 0]], float)
        axes = draw_embedding(at, labels, axis_name="UMAP", palette={"a": "red", "b": "blue"}).axes[0]
        found = {}
        for collection in axes.collections:
            offsets, colors = collection.get_offsets(), collection.get_facecolors()
            found |= {float(x): to_hex(colors[i % len(colors)]) for i, (x, _) in enumerate(offsets)}
        assert found == {0.0: "#0000ff", 1.0: MISSING.lower(), 2.0: "#ff0000", 3.0: "#0000ff"}
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "NA"]

    def test_a_category_named_na_differs_from_missing_values(self) -> None:
        axes = draw_embedding(
            points()[:3], pd.Series(["NA", None, "x"]), axis_name="UMAP", palette=["red", "blue"]
        ).axes[0]
        handles = axes.get_legend().legend_handles
        assert [(each.get_label(), each.get_color()) for each in handles] == [
            ("NA", "red"),
            ("x", "blue"),
            ("NA", MISSING),
        ]

    def test_a_category_that_begins_with_an_underscore_is_in_the_legend(self) -> None:
        axes = draw_embedding(points()[:2], pd.Series(["_a", "b"]), axis_name="UMAP").axes[0]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["_a", "b"]

    def test_given_axes_of_subfigures_are_drawn_on(self) -> None:
        figure = Figure(layout="constrained")
        axes = [part.subplots() for part in figure.subfigures(1, 2)]
        for each, values in zip(axes, (pd.Series(["a", "b"] * 300), pd.Series(np.arange(600))), strict=True):
            assert draw_embedding(points(), values, axis_name="UMAP", ax=each) is figure
            assert sum(len(drawn.get_offsets()) for drawn in each.collections) == 600

    def test_an_unknown_color_map_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="cmap is 'rde'"):
            draw_embedding(points(), None, axis_name="UMAP", cmap="rde")

    def test_the_highest_numbers_lie_on_top(self) -> None:
        values = pd.Series([5.0, np.nan, 1.0, 9.0])
        drawn = draw_embedding(np.arange(8.0).reshape(4, 2), values, axis_name="PC").axes[0].collections[-1]
        assert drawn.get_array().tolist() == [1, 5, 9]

    def test_true_and_false_are_categories(self) -> None:
        axes = draw_embedding(points(), pd.Series([True, False] * 300), axis_name="UMAP").axes[0]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["False", "True"]

    def test_names_are_written_on_the_data(self) -> None:
        at = np.array([[0, 0], [2, 2], [9, 9]], float)
        axes = draw_embedding(at, pd.Series(["a", "a", "b"]), axis_name="UMAP", legend_loc="on data").axes[0]
        assert {text.get_text(): text.get_position() for text in axes.texts} == {"a": (1, 1), "b": (9, 9)}
        assert axes.get_legend() is None

    def test_names_are_written_where_cells_without_a_place_leave_them(self) -> None:
        nan = np.nan
        at = np.array([[0, 0], [2, 2], [nan, nan], [nan, nan]])
        labels = pd.Series(["a", "a", "a", "nowhere"])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            axes = draw_embedding(at, labels, axis_name="UMAP", legend_loc="on data").axes[0]
        assert {text.get_text(): text.get_position() for text in axes.texts} == {"a": (1, 1)}

    def test_dots_have_the_size_and_marker_of_scanpy(self) -> None:
        sc = pytest.importorskip("scanpy")
        theirs = sc.pl.umap(ad.AnnData(obsm={"X_umap": points()}), show=False).collections[0]
        (ours,) = draw_embedding(points(), None, axis_name="UMAP").axes[0].collections
        assert list(ours.get_sizes()) == list(theirs.get_sizes()) == [200]
        assert np.ptp(ours.get_paths()[0].vertices) == np.ptp(theirs.get_paths()[0].vertices)
        (given,) = draw_embedding(points(), None, axis_name="UMAP", size=7).axes[0].collections
        assert list(given.get_sizes()) == [7]

    def test_too_many_categories_are_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="barcode has 600 different values"):
            draw_embedding(points(), pd.Series(np.arange(600).astype(str)), axis_name="UMAP", title="barcode")
        with pytest.raises(InvalidArgument, match="legend_loc is 'left'"):
            draw_embedding(points(), None, axis_name="UMAP", legend_loc="left")
