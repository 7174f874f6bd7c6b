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
from matplotlib.figure import Figure
from matplotlib.text import Text

from biocolab_accessor.plotting import expression_dotplot
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
def test_no_text_is_cut_off_and_no_labels_overlap(name: str) -> None:
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


def test_figures_change_neither_pyplot_nor_its_settings() -> None:
    before, settings = plt.get_fignums(), dict(mpl.rcParams)
    for make in FIGURES.values():
        make()
    assert plt.get_fignums() == before
    assert dict(mpl.rcParams) == settings


def test_a_notebook_displays_a_figure_without_any_backend() -> None:
    png = FIGURES["dots of one place"]()._repr_png_()
    assert png.startswith(b"\x89PNG")


@pytest.mark.sweeps  # an interpreter of its own
def test_colors_are_drawn_without_pyplot() -> None:
    code = (
        "import sys, numpy as np, pandas as pd\n"
        "from biocolab_accessor.plotting.embedding import draw_embedding\n"
        "draw_embedding(np.random.rand(9, 2), pd.Series(list('abcabcabc')), axis_name='UMAP')._repr_png_()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
