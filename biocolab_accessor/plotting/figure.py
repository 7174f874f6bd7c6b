"""Figure: a matplotlib figure that pyplot does not know, and that a notebook shows all the same."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation, Transform

__all__ = ["Picture", "axes_of", "figure_of", "inches_from_corner", "label_width"]

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
