"""Embedding: scatter plots of cells, colored by a category or a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import quoted
from biocolab_accessor.plotting.style import (
    KEPT,
    MISSING,
    axes_of,
    category_colors,
    expect_cmap,
    figure_of,
    inches_from_corner,
    label_width,
)

# scanpy.pl.embedding (seen with 1.11 and 1.12) leaves categories that begin with "_" out of its legend, fails if there
# are a category "NA" and missing values, and draws its color bar through pyplot's current figure.

LegendLoc = Literal["right margin", "on data", "none"]

_SIDE = 4.0  # inches
_ROW = 0.2
_MOST_ROWS = 18
_MOST_CATEGORIES = 102
_NO_VALUE = "NA"


def draw_embedding(
    coordinates: NDArray[Any],
    values: pd.Series | None,
    *,
    axis_name: str,
    title: str = "",
    unit: str = "",
    palette: Mapping[str, str] | Sequence[str] | None = None,
    cmap: str = "viridis",
    size: float | None = None,
    legend_loc: LegendLoc = "right margin",
    ax: Axes | None = None,
) -> Figure:
    """Scatter plot of the first two coordinates, similar to scanpy's."""
    # Numbers get a color bar, with the highest values on top; other values a legend, in a fixed random order. Cells
    # without a value are gray and lie below.
    if legend_loc not in ("right margin", "on data", "none"):
        msg = f"legend_loc is {quoted(legend_loc)}: give 'right margin', 'on data' or 'none'"
        raise InvalidArgument(msg)
    if size is not None and (isinstance(size, bool) or not isinstance(size, Real) or not 0 < size < np.inf):
        msg = f"size is {quoted(size)}, but must be a positive, finite number, or None"
        raise InvalidArgument(msg)
    expect_cmap(cmap)
    # The size and marker of scanpy's plots; the area of this marker is a quarter of that of "o".
    area = size if size is not None else float(np.clip(120_000 / max(len(coordinates), 1), 0.4, 240))
    dots: dict[str, Any] = {"s": area, "marker": ".", "linewidths": 0, "rasterized": True}
    if values is None:
        target = axes_of(ax, _SIDE, _SIDE)
        target.scatter(coordinates[:, 0], coordinates[:, 1], color=KEPT, **dots)
    elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        target = axes_of(ax, _SIDE + 1.0, _SIDE)
        _draw_numbers(target, coordinates, values.to_numpy(np.float64, na_value=np.nan), unit, cmap, dots)
    else:
        target = _draw_categories(coordinates, _categorical(values, title), palette, legend_loc, ax, dots)
    target.set_title(title)
    target.set_xlabel(f"{axis_name}1")
    target.set_ylabel(f"{axis_name}2")
    target.set_xticks([])
    target.set_yticks([])
    target.autoscale_view()
    return figure_of(target)


def _draw_numbers(
    target: Axes,
    coordinates: NDArray[Any],
    values: NDArray[np.float64],
    unit: str,
    cmap: str,
    dots: Mapping[str, Any],
) -> None:
    has = np.isfinite(values)
    target.scatter(coordinates[~has, 0], coordinates[~has, 1], color=MISSING, **dots)
    order = np.flatnonzero(has)[np.argsort(values[has], kind="stable")]
    points = target.scatter(coordinates[order, 0], coordinates[order, 1], c=values[order], cmap=cmap, **dots)
    if len(order):
        place = target.inset_axes((0.12, -2.0, 0.14, 2.0), transform=inches_from_corner(target))
        bar: Any = figure_of(target).colorbar(points, cax=place, label=unit)
        bar.outline.set_linewidth(0.5)


def _draw_categories(
    coordinates: NDArray[Any],
    labels: pd.Categorical[Any],
    palette: Mapping[str, str] | Sequence[str] | None,
    legend_loc: LegendLoc,
    ax: Axes | None,
    dots: Mapping[str, Any],
) -> Axes:
    names = [str(name) for name in labels.categories]
    colors = category_colors(names, palette)
    codes = np.asarray(labels.codes)
    has = codes >= 0
    entries = [*colors.items(), *([(_NO_VALUE, MISSING)] if not has.all() else [])]
    n_columns = -(-len(entries) // _MOST_ROWS)
    beside = n_columns * (label_width(name for name, _ in entries) + 0.4) + 0.2 if legend_loc == "right margin" else 0.0
    n_rows = -(-len(entries) // n_columns) if entries else 0
    target = axes_of(ax, _SIDE + beside, max(_SIDE, _ROW * n_rows + 0.6))
    target.scatter(coordinates[~has, 0], coordinates[~has, 1], color=MISSING, **dots)
    # If drawn in the order of categories, the last ones would hide the first.
    order = np.random.default_rng(0).permutation(np.flatnonzero(has))
    by_code = to_rgba_array([colors[name] for name in names])
    target.scatter(coordinates[order, 0], coordinates[order, 1], c=by_code[codes[order]], **dots)
    if legend_loc == "on data":
        _write_names(target, coordinates, codes, names)
    elif legend_loc == "right margin":
        handles = [
            Line2D([], [], linestyle="none", marker="o", markersize=6, color=color, label=name)
            for name, color in entries
        ]
        target.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0.08, 0.0),
            bbox_transform=inches_from_corner(target),
            ncols=max(n_columns, 1),
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            fontsize="small",
            handletextpad=0.2,
            columnspacing=1.0,
            labelspacing=0.35,
        )
    return target


def _write_names(target: Axes, coordinates: NDArray[Any], codes: NDArray[Any], names: Sequence[str]) -> None:
    for code, name in enumerate(names):
        cells = coordinates[codes == code, :2]
        cells = cells[np.isfinite(cells).all(axis=1)]
        if len(cells):
            x, y = np.median(cells, axis=0)
            outline = [withStroke(linewidth=2.5, foreground="white")]
            target.text(x, y, name, ha="center", va="center", fontsize="small", weight="bold", path_effects=outline)


def _categorical(values: pd.Series, title: str) -> pd.Categorical[Any]:
    column = values if isinstance(values.dtype, pd.CategoricalDtype) else values.astype("category")
    used = column.cat.remove_unused_categories()
    if len(used.cat.categories) > _MOST_CATEGORIES:
        msg = (
            f"{title or 'the column'} has {len(used.cat.categories):,} different values, too many for distinguishable "
            f"colors: choose a column with at most {_MOST_CATEGORIES}"
        )
        raise InvalidArgument(msg)
    names = [str(name) for name in used.cat.categories]
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}  # 1 and "1" look the same, so they are merged
    codes = used.cat.codes.to_numpy()
    moved = np.where(codes >= 0, np.array([*(place[name] for name in names), -1])[codes], -1)
    return pd.Categorical.from_codes(moved, categories=pd.Index(list(place), dtype=object))
