from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from biocolab_accessor.errors import InvalidArgument, UnknownGene
from biocolab_accessor.plotting import expression_dotplot
from biocolab_accessor.plotting.colors import MISSING, category_colors
from biocolab_accessor.plotting.dots import draw_dots, draw_heatmap
from biocolab_accessor.plotting.embedding import draw_embedding
from biocolab_accessor.plotting.violins import plot_filters

_LONG = [f"CD{i}+ regulatory cell with a very long name" for i in range(30)]


def table(n_rows: int, n_columns: int, rows: list[str] | None = None) -> pd.DataFrame:
    values = np.random.default_rng(0).random((n_rows, n_columns))
    return pd.DataFrame(
        values, index=rows or [f"r{i}" for i in range(n_rows)], columns=[f"GENE{i}" for i in range(n_columns)]
    )


def summary(types: list[str], genes: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(gene, name, rng.random() * 3, rng.random()) for gene in genes for name in types]
    return pd.DataFrame(rows, columns=["gene", "cell_type", "mean", "rate"])


def qc(batches: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    counts = rng.lognormal(8, 1, 600).round()
    labels = pd.Categorical([batches[i % len(batches)] for i in range(600)], categories=batches)
    frame = pd.DataFrame({"batch": labels, "counts": counts, "genes": counts // 3, "mt_percent": rng.gamma(2, 3, 600)})
    return frame, counts > 1_000


def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(600, 2))


FIGURES: dict[str, Any] = {
    "dots with 30 long names": lambda: draw_dots(
        table(30, 40, _LONG), table(30, 40, _LONG), size_title="fraction of cells (%)", color_title="mean"
    ),
    "dots of one place": lambda: draw_dots(table(1, 1), table(1, 1), size_title="share (%)", color_title="mean"),
    "heat map with 30 long names": lambda: draw_heatmap(table(30, 12, _LONG).T, title="score"),
    "expression": lambda: expression_dotplot(summary(_LONG, ["CD3D", "LYZ"])),
    "embedding with 30 long names": lambda: draw_embedding(
        points(), pd.Series(pd.Categorical([_LONG[i % 30] for i in range(600)])), axis_name="UMAP", title="type"
    ),
    "embedding with numbers": lambda: draw_embedding(
        points(), pd.Series(np.arange(600) * 1e-6), axis_name="UMAP", title="n", unit="expression (lognorm)"
    ),
    "violins of 30 long names": lambda: plot_filters(*qc(_LONG), {"min_counts": 1_000, "max_counts": 1_100}),
    "violins of one": lambda: plot_filters(*qc(["all cells"]), {"min_counts": 1_000, "mt_percentage": 10}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_no_names_lie_on_each_other(name: str) -> None:
    figure: Figure = FIGURES[name]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert len(texts) > 3
    hidden = [label for ax in figure.axes for one in (ax, *ax.child_axes) for label in _hidden(one)]
    for text in texts:
        box = text.get_window_extent()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        # Ticks outside of the limits of an axis have a text too, which is not drawn.
        assert inside or text in hidden, text.get_text()
    for ax in figure.axes:
        boxes = [label.get_window_extent() for label in ax.get_yticklabels() if label.get_text()]
        ordered = sorted(boxes, key=lambda box: box.y0)
        assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(ordered))
        legend = ax.get_legend()
        if legend is not None and not name.startswith("violins"):
            assert not legend.get_window_extent().overlaps(ax.get_window_extent())


def _hidden(ax: Any) -> list[Text]:
    found = []
    for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                found += [tick.label1, tick.label2]
    return found


def test_pyplot_and_its_settings_know_nothing_of_them() -> None:
    before, settings = plt.get_fignums(), dict(mpl.rcParams)
    for make in FIGURES.values():
        make()
    assert plt.get_fignums() == before
    assert dict(mpl.rcParams) == settings


def test_a_notebook_can_show_it_without_any_backend() -> None:
    png = FIGURES["dots of one place"]()._repr_png_()
    assert png.startswith(b"\x89PNG")


def test_colours_are_drawn_without_pyplot() -> None:
    code = (
        "import sys, numpy as np, pandas as pd\n"
        "from biocolab_accessor.plotting.embedding import draw_embedding\n"
        "draw_embedding(np.random.rand(9, 2), pd.Series(list('abcabcabc')), axis_name='UMAP')._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class TestExpression:
    def test_dots_stand_for_rate_and_mean_over_all_cells(self) -> None:
        rows = [("g", "a", 4.0, 0.25), ("g", "b", 2.0, 1.0), ("h", "a", 1.0, 0.5), ("h", "b", 0.0, 0.0)]
        frame = pd.DataFrame(rows, columns=["gene", "cell_type", "mean", "rate"])
        for scaled, colors in (("gene", [0, 1, 1, 0]), (None, [1, 0.5, 2, 0])):
            drawn = expression_dotplot(frame, standard_scale=scaled).axes[0].collections[0]
            np.testing.assert_allclose(drawn.get_offsets(), [[0, 0], [1, 0], [0, 1], [1, 1]])
            np.testing.assert_allclose(drawn.get_array(), colors)
            np.testing.assert_allclose(drawn.get_sizes() / drawn.get_sizes().max(), [0.25, 0.5, 1, 0])

    def test_what_the_database_has_not_measured_has_no_dot(self) -> None:
        rows = [("g", "a", 1.0, 1.0), ("g", "b", 2.0, 1.0), ("h", "a", 1.0, 0.5)]
        frame = pd.DataFrame(rows, columns=["gene", "cell_type", "mean", "rate"])
        assert len(expression_dotplot(frame).axes[0].collections[0].get_offsets()) == 3

    def test_order_is_the_one_asked_for(self) -> None:
        figure = expression_dotplot(summary(["x", "y", "z"], ["A", "B"]), genes=["B", "A"], cell_types=["z", "x"])
        axes = figure.axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["B", "A"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["z", "x"]

    def test_what_is_not_there_is_named(self) -> None:
        frame = summary(["x"], ["CD3D"])
        with pytest.raises(UnknownGene, match="no gene 'CD3' \\(did you mean 'CD3D'"):
            expression_dotplot(frame, genes=["CD3"])
        with pytest.raises(InvalidArgument, match="no cell type 'y'"):
            expression_dotplot(frame, cell_types=["y"])
        with pytest.raises(InvalidArgument, match="has no column 'rate'"):
            expression_dotplot(frame.drop(columns="rate"))
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


class TestColors:
    def test_few_are_told_apart_by_all_eyes_and_many_are_scanpys(self) -> None:
        from scanpy.plotting import palettes

        assert list(category_colors(list("abc")).values()) == ["#0072B2", "#E69F00", "#009E73"]
        for number, theirs in ((8, palettes.default_20), (25, palettes.default_28), (60, palettes.default_102)):
            names = [str(i) for i in range(number)]
            assert list(category_colors(names).values()) == list(theirs[:number])

    def test_those_given_are_kept_to(self) -> None:
        assert category_colors(["a", "b"], {"b": "red", "a": "#00ff00"}) == {"a": "#00ff00", "b": "red"}
        with pytest.raises(InvalidArgument, match="no colour for 'b' \\(1 colours for 2 categories\\)"):
            category_colors(["a", "b"], ["red"])
        with pytest.raises(InvalidArgument, match="'rde', which is no colour"):
            category_colors(["a"], ["rde"])


class TestEmbedding:
    def test_every_cell_has_the_colour_of_its_category(self) -> None:
        labels = pd.Series(["b", None, "a", "b"])
        at = np.array([[0, 0], [1, 0], [2, 0], [3, 0]], float)
        axes = draw_embedding(at, labels, axis_name="UMAP", palette={"a": "red", "b": "blue"}).axes[0]
        found = {}
        for collection in axes.collections:
            offsets, colors = collection.get_offsets(), collection.get_facecolors()
            found |= {float(x): to_hex(colors[i % len(colors)]) for i, (x, _) in enumerate(offsets)}
        assert found == {0.0: "#0000ff", 1.0: MISSING.lower(), 2.0: "#ff0000", 3.0: "#0000ff"}
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "NA"]

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

    def test_too_many_categories_are_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="barcode has 600 different values"):
            draw_embedding(points(), pd.Series(np.arange(600).astype(str)), axis_name="UMAP", title="barcode")
        with pytest.raises(InvalidArgument, match="legend_loc is 'left'"):
            draw_embedding(points(), None, axis_name="UMAP", legend_loc="left")
