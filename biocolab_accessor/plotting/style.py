"""Style: colors of categories, and figures that pyplot does not manage."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import did_you_mean, quoted

# Okabe and Ito's color-blind safe palette, without black, which is for text and lines.
_FEW = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
MISSING = "#D3D3D3"
"""Color of cells without a value, as in scanpy."""

KEPT, REMOVED = _FEW[0], _FEW[5]


def category_colors(
    categories: Sequence[str], palette: Mapping[str, str] | Sequence[str] | None = None
) -> dict[str, str]:
    """A color for each category; by default color-blind safe ones for up to seven categories, and scanpy's for more."""
    from matplotlib.colors import is_color_like

    if isinstance(palette, str):
        msg = f"palette is the string {quoted(palette)}: give a list of colors, or a dict of colors by category"
        raise InvalidArgument(msg)
    if palette is None:
        return dict(zip(categories, _default(len(categories)), strict=False))
    by_name = palette if isinstance(palette, Mapping) else dict(zip(categories, palette, strict=False))
    given = {str(name): color for name, color in by_name.items()}  # numeric categories are strings here
    missing = [name for name in categories if name not in given]
    if missing:
        msg = f"palette has no color for {quoted(missing[0])} ({len(given)} colors for {len(categories)} categories)"
        raise InvalidArgument(msg)
    wrong = [color for color in given.values() if not is_color_like(color)]
    if wrong:
        msg = f"palette has {quoted(wrong[0])}, which is not a color: give names or '#rrggbb'"
        raise InvalidArgument(msg)
    return {name: given[name] for name in categories}


def expect_cmap(cmap: Any) -> None:
    """Raise InvalidArgument for the name of a color map that matplotlib does not have."""
    from matplotlib import colormaps

    if isinstance(cmap, str) and cmap not in colormaps:
        msg = f"cmap is {quoted(cmap)}{did_you_mean(cmap, colormaps)}: give the name of a matplotlib color map"
        raise InvalidArgument(msg)


def _default(count: int) -> Sequence[str]:
    if count <= len(_FEW):
        return _FEW
    from scanpy.plotting import palettes

    for colors in (palettes.default_20, palettes.default_28, palettes.default_102):
        if count <= len(colors):
            return list(colors)
    return [palettes.default_102[i % len(palettes.default_102)] for i in range(count)]


_INCHES_PER_CHARACTER = 0.082


class Picture(Figure):
    """A figure that a notebook displays as the value of a cell."""

    # pyplot keeps its figures open, and a notebook displays them at the end of any cell. This one needs no inline
    # backend and is displayed only as the value of a cell.

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", bbox_inches="tight")
        return data.getvalue()


def axes_of(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or else the only ones of a new figure of this size in inches."""
    if ax is not None:
        return ax
    return Picture(figsize=(width, height), layout="constrained").add_subplot()


def figure_of(ax: Axes) -> Figure:
    """The top-level figure of axes, even if they are in a subfigure."""
    figure: Any = ax.get_figure(root=True)
    return figure  # type: ignore[no-any-return]


def inches_from_corner(ax: Axes) -> Transform:
    """Coordinates in inches from the upper right corner of axes, so that a legend has the same size for any plot."""
    corner: Any = ax.transAxes  # annotated as affine only, but any transform works
    return figure_of(ax).dpi_scale_trans + ScaledTranslation(1, 1, corner)


def label_width(labels: Any) -> float:
    """Approximate width of the longest label in inches."""
    return _INCHES_PER_CHARACTER * max((len(str(label)) for label in labels), default=0)
