"""Violins: distributions of QC measures by batch, with the bounds of filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, NullLocator
from numpy.typing import NDArray

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.plotting.style import KEPT, REMOVED, Picture, label_width

_MOST_POINTS = 20_000
_MOST_BATCHES = 500
_MOST_FOR_DENSITY = 5_000
_LEAST_TICKS = 3
_SCATTER_HEIGHT = 3.6
_BOUNDS_OF = {
    "counts": ("min_counts", "max_counts"),
    "genes": ("min_genes", "max_genes"),
    "mt_percent": (None, "mt_percentage"),
}


def plot_filters(
    qc: pd.DataFrame,
    kept: NDArray[np.bool_],
    bounds: Mapping[str, float],
    *,
    suggestions: pd.DataFrame | None = None,
    colors: Sequence[str] | None = None,
    what: str = "counts",
) -> Figure:
    """Violins of counts, genes and mitochondrial percentage by batch, and a scatter plot of counts against genes."""
    # At most 20,000 cells are drawn as points, a random sample if there are more. qc has columns batch (categorical),
    # counts, genes and mt_percent; bounds that are not given are not drawn.
    batches = list(qc["batch"].cat.categories)
    if len(batches) > _MOST_BATCHES:
        msg = (
            f"there are {len(batches):,} batches, but a figure has room for {_MOST_BATCHES}: "
            "choose another batch_key, or see preview.table"
        )
        raise InvalidArgument(msg)
    row = 0.75 if len(batches) <= 6 else 0.42
    height = max(_SCATTER_HEIGHT, row * len(batches) + 0.9)
    figure = Picture(figsize=(12.5 + min(label_width(batches), 3.0), height), layout="constrained")
    grid = figure.add_gridspec(
        2,
        4,
        width_ratios=[1, 1, 1, 1.15],
        height_ratios=[_SCATTER_HEIGHT, max(height - _SCATTER_HEIGHT, 0.01)],
        hspace=0,
    )
    drawn = _choice(len(qc), _MOST_POINTS)
    none = ": none" if len(qc) and not qc["mt_percent"].any() else ""
    titles = {"counts": f"{what} per cell", "genes": "genes per cell", "mt_percent": f"mitochondrial counts (%){none}"}
    shared: Axes | None = None
    for column, (measure, title) in enumerate(titles.items()):
        ax = figure.add_subplot(grid[:, column], sharey=shared)
        shared = shared or ax
        _rows(ax, qc, measure, kept, drawn, colors)
        scale = _Scale.of(qc[measure]) if measure != "mt_percent" else _Scale(linear=True)
        scale.apply(ax, "x", qc[measure])
        if measure == "mt_percent":
            ax.set_xlim(min(ax.get_xlim()[0], -0.05), max(ax.get_xlim()[1], 1.0))
        low, high = _BOUNDS_OF[measure]
        _draw_bounds(ax, bounds, low, high)
        if suggestions is not None:
            _draw_suggestions(ax, suggestions, low, high, len(batches))
        ax.set_xlabel(title)
        ax.tick_params("y", length=0, labelleft=column == 0)
    assert shared is not None
    shared.set_yticks(range(len(batches)), [_shortened(label) for label in batches])
    shared.set_ylim(len(batches) - 0.4, -0.6)
    _scatter(
        figure.add_subplot(grid[0 if height > _SCATTER_HEIGHT + 1 else slice(None), 3]), qc, kept, drawn, bounds, what
    )
    n_kept = int(kept.sum())
    title = f"{n_kept:,} of {len(qc):,} cells kept; vertical marks: medians"
    title += "" if suggestions is None else "; dotted: suggested by MAD"
    title += "" if len(drawn) == len(qc) else f"; points: {len(drawn):,} random cells"
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    return figure


class _Scale:
    """An axis: linear, or logarithmic above one so that it can show zeros."""

    def __init__(self, *, linear: bool) -> None:
        self.linear = linear

    @classmethod
    def of(cls, values: pd.Series) -> _Scale:
        return cls(linear=not len(values) or bool(values.min() < 0) or bool(values.max() <= 0))

    def there(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self.linear else np.where(values < 1, values, 1 + np.log10(np.maximum(values, 1)))

    def back(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self.linear else np.where(values < 1, values, 10.0 ** (np.maximum(values, 1) - 1))

    def apply(self, ax: Axes, axis: str, values: pd.Series) -> None:
        if not len(values):
            return
        inner = self.there(np.array([values.min(), values.max()], np.float64))
        margin = 0.05 * max(inner[1] - inner[0], 0.1)
        low, high = inner[0] - margin, inner[1] + margin
        if values.min() >= 0:
            low = max(low, -0.05)
        if not self.linear:
            (ax.set_xscale if axis == "x" else ax.set_yscale)("symlog", linthresh=1, linscale=1 / np.log(10))
            which = ax.xaxis if axis == "x" else ax.yaxis
            which.set_major_locator(_RoundNumbers())
            which.set_major_formatter(FuncFormatter(lambda value, _: _brief(value)))
            which.set_minor_locator(NullLocator())
        limits = self.back(np.array([low, high]))
        (ax.set_xlim if axis == "x" else ax.set_ylim)(*limits)


class _RoundNumbers(Locator):
    """Ticks of the logarithmic scale, closer for a shorter range; computed when the axis is drawn."""

    def __call__(self) -> list[float]:
        assert self.axis is not None
        low, high = sorted(self.axis.get_view_interval())
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        inside: list[float] = []
        for steps in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), np.arange(1, 10, 0.5), np.arange(1, 10, 0.1)):
            every = np.array([0.0, *(step * 10.0**power for power in range(12) for step in steps)])
            inside = every[(vmin <= every) & (every <= vmax)].tolist()
            if len(inside) >= _LEAST_TICKS:
                break
        return inside


def _brief(value: float) -> str:
    """A short form of a count: ``500``, ``20k``, ``1M``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _rows(
    ax: Axes,
    qc: pd.DataFrame,
    measure: str,
    kept: NDArray[np.bool_],
    drawn: NDArray[np.intp],
    colors: Sequence[str] | None,
) -> None:
    """A row for each batch, with the density above its line and the cells below."""
    from scipy.stats import gaussian_kde

    codes, values = qc["batch"].cat.codes.to_numpy(), qc[measure].to_numpy(np.float64)
    scale = _Scale(linear=True) if measure == "mt_percent" else _Scale.of(qc[measure])
    for code in range(len(qc["batch"].cat.categories)):
        inner = scale.there(values[codes == code])
        if len(inner) > 2 and np.ptp(inner) > 1e-9:
            chosen = inner[_choice(len(inner), _MOST_FOR_DENSITY)]
            if np.ptp(chosen) <= 1e-9:
                continue
            grid = np.linspace(inner.min(), inner.max(), 160)
            density = gaussian_kde(chosen)(grid)
            top = code - 0.45 * density / density.max()
            color = colors[code] if colors else "#9DB4C8"
            ax.fill_between(scale.back(grid), code, top, color=color, alpha=0.85, linewidth=0)
        if len(inner):
            middle = scale.back(np.array([np.median(inner)]))
            ax.plot(middle, [code], marker="|", color="black", markersize=9, zorder=4)
    jitter = np.random.default_rng(0).uniform(0.06, 0.3, len(drawn))
    for stays, color in ((True, KEPT), (False, REMOVED)):
        some = kept[drawn] == stays
        at = drawn[some]
        ax.scatter(values[at], codes[at] + jitter[some], s=3, color=color, alpha=0.55, linewidths=0, rasterized=True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _draw_bounds(ax: Axes, bounds: Mapping[str, float], low: str | None, high: str | None) -> None:
    both = low in bounds and high in bounds
    for name, is_low in ((low, True), (high, False)):
        if name is None or name not in bounds:
            continue
        value = bounds[name]
        first, last = ax.get_xlim()
        if not first < value < last:  # widens the axis to show a bound outside the range of the cells
            ax.set_xlim(min(first, value * 0.8), max(last, value * 1.25))
            first, last = ax.get_xlim()
        ax.axvspan(first if is_low else value, value if is_low else last, color=REMOVED, alpha=0.10, linewidth=0)
        ax.axvline(value, color="black", linestyle="--", linewidth=1)
        ax.text(
            value,
            1.01,
            f"{'min' if is_low else 'max'} {value:,g}{' %' if name == 'mt_percentage' else ''}",
            transform=ax.get_xaxis_transform(),
            ha=("right" if is_low else "left") if both else "center",
            va="bottom",
            fontsize="small",
        )


def _draw_suggestions(ax: Axes, suggestions: pd.DataFrame, low: str | None, high: str | None, n_batches: int) -> None:
    for name in (low, high):
        if name is None:
            continue
        for code, value in enumerate(suggestions[name].to_numpy()[:n_batches]):
            ax.plot([value, value], [code - 0.48, code + 0.35], color="black", linestyle=":", linewidth=1.2)


def _scatter(
    ax: Axes,
    qc: pd.DataFrame,
    kept: NDArray[np.bool_],
    drawn: NDArray[np.intp],
    bounds: Mapping[str, float],
    what: str,
) -> None:
    counts, genes = qc["counts"].to_numpy(), qc["genes"].to_numpy()
    for stays, color, label in ((True, KEPT, "kept"), (False, REMOVED, "removed")):
        at = drawn[kept[drawn] == stays]
        number = int((kept == stays).sum())
        ax.scatter(
            counts[at],
            genes[at],
            s=6,
            color=color,
            alpha=0.6,
            linewidths=0,
            rasterized=True,
            label=f"{label} ({number:,})",
        )
    for axis in ("x", "y"):
        measure = qc["counts" if axis == "x" else "genes"]
        _Scale.of(measure).apply(ax, axis, measure)
    for name in ("min_counts", "max_counts"):
        if name in bounds:
            ax.axvline(bounds[name], color="black", linestyle="--", linewidth=1)
    for name in ("min_genes", "max_genes"):
        if name in bounds:
            ax.axhline(bounds[name], color="black", linestyle="--", linewidth=1)
    ax.set_xlabel(f"{what} per cell")
    ax.set_ylabel("genes per cell")
    ax.legend(loc="lower right", frameon=False, fontsize="small", markerscale=2, handletextpad=0.1)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _choice(count: int, most: int) -> NDArray[np.intp]:
    """All positions, or a reproducible random sample of them."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _shortened(label: Any, most: int = 36) -> str:
    """Both ends of a long name, because sample names often differ only in their last letters."""
    text = str(label)
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"
