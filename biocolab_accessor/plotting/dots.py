"""Dots: dot plots and heatmaps of tables, with legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from biocolab_accessor.errors import InvalidArgument, UnknownGene
from biocolab_accessor.messages import did_you_mean, listing, quoted
from biocolab_accessor.plotting.style import axes_of, expect_cmap, figure_of, inches_from_corner, label_width

# scanpy.pl.DotPlot (seen with 1.11 and 1.12) switches off the constrained layout of a caller's figure, so that names
# are cut off, and leaves the caller's axes empty.

_CELL = 0.3  # inches
_LEGEND = 1.5
_LEAST_HEIGHT = 3.3
_LARGEST_DOT = 0.85  # of a cell
_COLUMNS = ("gene", "cell_type", "mean", "rate")


def expression_dotplot(
    summary: pd.DataFrame,
    *,
    genes: Sequence[str] | None = None,
    cell_types: Sequence[str] | None = None,
    standard_scale: Literal["gene"] | None = "gene",
    swap_axes: bool = False,
    cmap: str = "Reds",
    ax: Axes | None = None,
) -> Figure:
    """Dot plot of an expression summary: cell types against genes, like scanpy's dot plots of groups against genes.

    Parameters
    ----------
    summary
        A table from :func:`biocolab_accessor.expression_summary`: ``gene``, ``cell_type``, ``mean`` (over expressing
        cells), ``rate`` (fraction of cells that express the gene, 0 to 1).
    genes, cell_types
        Names, in the order of the plot; None means all, in the order of the table.
    standard_scale
        ``"gene"`` scales the colors of each gene from its lowest to its highest expression; None does not scale.
    swap_axes
        Whether to put genes in rows.
    cmap
        Name of a matplotlib color map.
    ax
        Axes to draw on; None creates a figure.

    Returns
    -------
    matplotlib.figure.Figure
        The size of a dot is the fraction of cells that express the gene, its color the mean expression over all cells
        of the type.

    Raises
    ------
    InvalidArgument
        The table lacks a column or is empty, or an argument has an invalid value.
    UnknownGene
        The table lacks one of the genes.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     figure = expression_dotplot(bc.expression_summary(["CD3D", "CD79A"]))
    >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
    ['CD3D', 'CD79A']
    """
    lacking = [name for name in _COLUMNS if name not in summary.columns]
    if lacking or summary.empty:
        what = f"has no column {quoted(lacking[0])}" if lacking else "is empty"
        msg = f"the table {what}: give a table from bc.expression_summary(genes)"
        raise InvalidArgument(msg)
    if standard_scale not in ("gene", None):
        msg = f"standard_scale is {quoted(standard_scale)}: give 'gene' or None"
        raise InvalidArgument(msg)
    expect_cmap(cmap)
    columns = _chosen(genes, summary["gene"], "gene")
    rows = _chosen(cell_types, summary["cell_type"], "cell type")
    names = {name: list(map(str, summary[name])) for name in ("gene", "cell_type")}  # clusters may be numbers
    flat = summary.assign(level=summary["mean"] * summary["rate"], **names)
    rate, level = (
        flat.pivot_table(index="cell_type", columns="gene", values=name).reindex(index=rows, columns=columns)
        for name in ("rate", "level")
    )
    title = "mean expression\nin cell type"
    if standard_scale == "gene":
        span = level.max() - level.min()
        level = (level - level.min()) / span.where(span > 0, 1)
        title += " (scaled\nfor each gene)"
    if swap_axes:
        rate, level = rate.T, level.T
    return draw_dots(rate, level, size_title="fraction of cells\nthat express (%)", color_title=title, cmap=cmap, ax=ax)


def draw_dots(
    size: pd.DataFrame,
    color: pd.DataFrame,
    *,
    size_title: str,
    color_title: str,
    limits: tuple[float, float] | None = None,
    cmap: str = "Reds",
    ax: Axes | None = None,
) -> Figure:
    """A dot for each cell of two tables, with an area proportional to ``size`` (0 to 1); missing values have none."""
    target = _prepared(size, ax)
    low, high = _limits(color, limits)
    norm = Normalize(low, high)
    largest = _LARGEST_DOT * 72 * _cell_of(target, size, ax)
    y, x = np.nonzero(size.notna().to_numpy() & color.notna().to_numpy())
    target.scatter(
        x,
        y,
        s=size.to_numpy(np.float64)[y, x] * largest**2,
        c=color.to_numpy(np.float64)[y, x],
        cmap=cmap,
        norm=norm,
        edgecolors="#555555",
        linewidths=0.4,
    )
    _color_legend(target, norm, cmap, color_title)
    shown = [0.2, 0.4, 0.6, 0.8, 1.0]
    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=largest * share**0.5, color="#888888")
        for share in shown
    ]
    target.legend(
        handles,
        [f"{100 * share:.0f}" for share in shown],
        title=size_title,
        loc="upper left",
        bbox_to_anchor=(0.08, -1.45),
        bbox_transform=inches_from_corner(target),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
        labelspacing=max(0.35, largest / 8 - 1),  # in font sizes, so that the largest dots do not touch
    )
    return figure_of(target)


def draw_heatmap(
    values: pd.DataFrame,
    *,
    title: str,
    limits: tuple[float, float] | None = None,
    cmap: str = "viridis",
    ax: Axes | None = None,
) -> Figure:
    """A colored square for each value of a table, with the highest of each row framed; missing ones are white."""
    target = _prepared(values, ax)
    norm = Normalize(*_limits(values, limits))
    numbers = values.to_numpy(np.float64)
    target.imshow(np.ma.masked_invalid(numbers), cmap=cmap, norm=norm, aspect="auto", interpolation="nearest")
    for row, best in enumerate(np.nanmax(numbers, axis=1)):
        for column in np.flatnonzero(numbers[row] == best):
            target.plot(column, row, marker="s", markersize=7, fillstyle="none", color="white", markeredgewidth=1.5)
    _color_legend(target, norm, cmap, title)
    return figure_of(target)


def _prepared(table: pd.DataFrame, ax: Axes | None) -> Axes:
    """Axes with the names of rows and columns."""
    n_rows, n_columns = table.shape
    rows, columns = [str(name) for name in table.index], [str(name) for name in table.columns]
    width = max(_CELL * n_columns, 1.0) + label_width(rows) + _LEGEND + 0.3
    height = max(_CELL * n_rows, _LEAST_HEIGHT) + label_width(columns) * 0.9 + 0.3
    target = axes_of(ax, width, height)
    target.set_xticks(range(n_columns), columns, rotation=90)
    target.set_yticks(range(n_rows), rows)
    target.set_xlim(-0.6, n_columns - 0.4)
    target.set_ylim(n_rows - 0.4, -0.6)
    return target


def _cell_of(target: Axes, table: pd.DataFrame, ax: Axes | None) -> float:
    """Size of a table's cell in inches."""
    if ax is None:
        return _CELL
    box = target.get_window_extent()
    dpi = figure_of(target).dpi
    # The layout of a caller's figure is not final, and labels will take some of its space.
    return 0.75 * float(min(box.width / dpi / table.shape[1], box.height / dpi / table.shape[0], 2 * _CELL))


def _limits(values: pd.DataFrame, limits: tuple[float, float] | None) -> tuple[float, float]:
    if limits is not None:
        return limits
    numbers = values.to_numpy(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    return (float(min(numbers.min(), 0.0)), float(numbers.max()) or 1.0) if len(numbers) else (0.0, 1.0)


def _color_legend(target: Axes, norm: Normalize, cmap: str, title: str) -> None:
    place = target.inset_axes((0.12, -0.85, 1.1, 0.12), transform=inches_from_corner(target))
    bar: Any = figure_of(target).colorbar(ScalarMappable(norm, cmap), cax=place, orientation="horizontal")
    bar.outline.set_linewidth(0.5)
    place.set_title(title, fontsize="small", loc="left")
    place.tick_params(labelsize="small")


def _chosen(wanted: Sequence[str] | None, there: pd.Series, what: str) -> list[str]:
    known = list(dict.fromkeys(map(str, there)))
    if wanted is None:
        return known
    names = list(dict.fromkeys([wanted] if isinstance(wanted, str) else map(str, wanted)))
    if not names:
        msg = f"no {what}s to plot: give names, or None for all"
        raise InvalidArgument(msg)
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            msg = f"the table has no {what} {quoted(name)}{near}; it has {listing(known)}"
            raise UnknownGene(msg) if what == "gene" else InvalidArgument(msg)
    return names
