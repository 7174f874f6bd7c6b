"""Analysis: looking at an object before it is sent, and naming what is in it."""

from __future__ import annotations

from biocolab_accessor.accessors.base import AnnDataPart

__all__ = ["Analysis"]


class Analysis(AnnDataPart):
    """Previews, annotation and pictures."""
