"""Style: colors of categories, and figures that pyplot does not know."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import did_you_mean, quoted

__all__ = [
    "KEPT",
    "MISSING",
    "REMOVED",
    "Picture",
    "axes_of",
    "category_colors",
    "expect_cmap",
    "figure_of",
    "inches_from_corner",
    "label_width",
]

# Okabe and Ito's colours, which stay apart for colour-blind eyes; black is left to text and lines.
_FEW = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")

MISSING = "#D3D3D3"
"""Of cells without a value, as scanpy has it."""

KEPT, REMOVED = _FEW[0], _FEW[5]


def category_colors(
    categories: Sequence[str], palette: Mapping[str, str] | Sequence[str] | None = None
) -> dict[str, str]:
    """A colour for each category.

    Parameters
    ----------
    categories
        In order.
    palette
        Colours by category, or in the order of the categories such as ``adata.uns["leiden_colors"]``. None takes up to
        seven that colour-blind eyes can tell apart, and scanpy's for more.

    Raises
    ------
    InvalidArgument
        The palette has too few colours, or something in it is none.

    Examples
    --------
    >>> category_colors(["T", "B"], ["red", "blue"])
    {'T': 'red', 'B': 'blue'}
    """
    from matplotlib.colors import is_color_like

    if isinstance(palette, str):
        msg = f"palette is the text {quoted(palette)}: give a list of colours, or a dict of them by category"
        raise InvalidArgument(msg)
    if palette is None:
        return dict(zip(categories, _default(len(categories)), strict=False))
    by_name = palette if isinstance(palette, Mapping) else dict(zip(categories, palette, strict=False))
    given = {str(name): color for name, color in by_name.items()}  # categories that are numbers are text here
    missing = [name for name in categories if name not in given]
    if missing:
        msg = f"palette has no colour for {quoted(missing[0])} ({len(given)} colours for {len(categories)} categories)"
        raise InvalidArgument(msg)
    wrong = [color for color in given.values() if not is_color_like(color)]
    if wrong:
        msg = f"palette has {quoted(wrong[0])}, which is not a colour: give names or '#rrggbb'"
        raise InvalidArgument(msg)
    return {name: given[name] for name in categories}


def expect_cmap(cmap: Any) -> None:
    """Refuse the name of a colour map that matplotlib does not have.

    Raises
    ------
    InvalidArgument
        There is none of that name.
    """
    from matplotlib import colormaps

    if isinstance(cmap, str) and cmap not in colormaps:
        msg = f"cmap is {quoted(cmap)}{did_you_mean(cmap, colormaps)}: give the name of a colour map of matplotlib"
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
    """A figure with a place in a notebook of its own.

    Figures that pyplot makes are kept open by it, and shown at the end of a cell whether they were asked for or not.
    This one is shown where it is the value of a cell, also where no inline backend has been set up.
    """

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", bbox_inches="tight")
        return data.getvalue()


def axes_of(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes to draw on: those given, else the only ones of a new picture of this many inches."""
    if ax is not None:
        return ax
    return Picture(figsize=(width, height), layout="constrained").add_subplot()


def figure_of(ax: Axes) -> Figure:
    """The whole figure that axes belong to, also where they are in a part of it."""
    figure: Any = ax.get_figure(root=True)
    return figure  # type: ignore[no-any-return]


def inches_from_corner(ax: Axes) -> Transform:
    """Coordinates in inches from the upper right corner of axes, so that a legend keeps its size beside any plot."""
    corner: Any = ax.transAxes  # annotated as affine only, and used for whatever it is
    return figure_of(ax).dpi_scale_trans + ScaledTranslation(1, 1, corner)


def label_width(labels: Any) -> float:
    """Inches that the longest of some labels takes, about."""
    return _INCHES_PER_CHARACTER * max((len(str(label)) for label in labels), default=0)
