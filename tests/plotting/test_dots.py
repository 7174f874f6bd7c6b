from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from biocolab_accessor.errors import InvalidArgument, UnknownGene
from biocolab_accessor.plotting import expression_dotplot


def summary(types: list[str], genes: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(gene, name, rng.random() * 3, rng.random()) for gene in genes for name in types]
    return pd.DataFrame(rows, columns=["gene", "cell_type", "mean", "rate"])


class TestExpression:
    def test_dots_stand_for_rate_and_mean_over_all_cells(self) -> None:
        rows = [("g", "a", 4.0, 0.25), ("g", "b", 2.0, 1.0), ("h", "a", 1.0, 0.5), ("h", "b", 0.0, 0.0)]
        frame = pd.DataFrame(rows, columns=["gene", "cell_type", "mean", "rate"])
        for scaled, colors in (("gene", [0, 1, 1, 0]), (None, [1, 0.5, 2, 0])):
            drawn = expression_dotplot(frame, standard_scale=scaled).axes[0].collections[0]
            np.testing.assert_allclose(drawn.get_offsets(), [[0, 0], [1, 0], [0, 1], [1, 1]])
            np.testing.assert_allclose(drawn.get_array(), colors)
            np.testing.assert_allclose(drawn.get_sizes() / drawn.get_sizes().max(), [0.25, 0.5, 1, 0])

    def test_missing_values_have_no_dot(self) -> None:
        rows = [("g", "a", 1.0, 1.0), ("g", "b", 2.0, 1.0), ("h", "a", 1.0, 0.5)]
        frame = pd.DataFrame(rows, columns=["gene", "cell_type", "mean", "rate"])
        assert len(expression_dotplot(frame).axes[0].collections[0].get_offsets()) == 3

    def test_clusters_may_be_numbers(self) -> None:
        rows = [("g", 1, 1.0, 0.5), ("g", 2, 2.0, 0.5)]
        frame = pd.DataFrame(rows, columns=["gene", "cell_type", "mean", "rate"])
        for types in (None, [1, 2], ["1", "2"]):
            axes = expression_dotplot(frame, cell_types=types).axes[0]  # type: ignore[arg-type]
            assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2"]
            np.testing.assert_allclose(axes.collections[0].get_offsets(), [[0, 0], [0, 1]])

    def test_an_unknown_color_map_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="cmap is 'rde'"):
            expression_dotplot(summary(["x"], ["A"]), cmap="rde")

    def test_order_is_the_one_asked_for(self) -> None:
        figure = expression_dotplot(summary(["x", "y", "z"], ["A", "B"]), genes=["B", "A"], cell_types=["z", "x"])
        axes = figure.axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["B", "A"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["z", "x"]

    def test_unknown_names_are_refused(self) -> None:
        frame = summary(["x"], ["CD3D"])
        with pytest.raises(UnknownGene, match="no gene 'CD3' \\(did you mean 'CD3D'"):
            expression_dotplot(frame, genes=["CD3"])
        with pytest.raises(InvalidArgument, match="no cell type 'y'"):
            expression_dotplot(frame, cell_types=["y"])
        with pytest.raises(InvalidArgument, match="has no column 'rate'"):
            expression_dotplot(frame.drop(columns="rate"))
        with pytest.raises(InvalidArgument, match="no genes to plot"):
            expression_dotplot(frame, genes=[])
        with pytest.raises(InvalidArgument, match="is empty"):
            expression_dotplot(frame.iloc[:0])
        with pytest.raises(InvalidArgument, match="standard_scale is 'var'"):
            expression_dotplot(frame, standard_scale="var")

    def test_given_axes_are_drawn_on(self) -> None:
        figure = Figure(figsize=(9, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        assert expression_dotplot(summary(["x"], ["A"]), ax=right) is figure
        assert not left.collections
        assert right.collections
