"""Plotting: pictures as matplotlib figures that nobody else holds; nothing is shown, no global state changes."""

from biocolab_accessor.plotting.dots import expression_dotplot

__all__ = ["expression_dotplot"]
