"""Plotting: matplotlib figures that pyplot does not manage; nothing is displayed, and no global state changes."""

from biocolab_accessor.plotting.dots import expression_dotplot

__all__ = ["expression_dotplot"]
