from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from biocolab_accessor.plotting.violins import plot_filters


def _drawn(counts: np.ndarray, mt_percent: float = 5.0, **bounds: float) -> Figure:
    n_obs = len(counts)
    qc = pd.DataFrame(
        {
            "batch": pd.Categorical(["all cells"] * n_obs),
            "counts": counts,
            "genes": np.ceil(counts / 2),
            "mt_percent": np.full(n_obs, mt_percent),
        }
    )
    figure = plot_filters(qc, np.ones(n_obs, bool), bounds)
    FigureCanvasAgg(figure).draw()
    return figure


@pytest.mark.parametrize(("low", "high"), [(300, 700), (1000, 1100), (1, 9), (20_000, 90_000), (0, 2_000_000)])
@pytest.mark.parametrize("bounds", [{}, {"max_counts": 3e6, "min_genes": 1.0}])
def test_an_axis_of_counts_has_readable_ticks_for_any_range(low: int, high: int, bounds: dict[str, float]) -> None:
    figure = _drawn(np.linspace(low, high, 50).round(), **bounds)
    for ax in figure.axes[:2]:
        first, last = ax.get_xlim()
        shown = [label for label in ax.get_xticklabels() if first <= label.get_position()[0] <= last]
        assert len(shown) >= 3
        assert len({label.get_text() for label in shown}) == len(shown)
        boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_the_axis_label_says_that_no_cell_has_mitochondrial_counts() -> None:
    counts = np.arange(100, 200)
    assert _drawn(counts, mt_percent=0.0).axes[2].get_xlabel() == "mitochondrial counts (%): none"
    assert _drawn(counts).axes[2].get_xlabel() == "mitochondrial counts (%)"
