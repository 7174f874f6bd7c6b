"""Sent objects: the last submission of each AnnData in this session."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from anndata import AnnData

if TYPE_CHECKING:
    import pandas as pd

    from biocolab_accessor.submit.submission import Submission

__all__ = ["remember_sent", "submission_of", "submission_with_cells"]


class _Sent(NamedTuple):
    adata: weakref.ref[AnnData]
    obs_names: pd.Index[Any]  # shared with the object, and immutable
    var_names: pd.Index[Any]
    submission: Submission


# By the id of the object: an AnnData has no hash. Reading, setting and popping a key are atomic, so that threads need
# no lock, which the callback of a weak reference could not wait for.
_sent: dict[int, _Sent] = {}


def remember_sent(adata: AnnData, submission: Submission) -> None:
    """Remember where an object went, for as long as it lives."""
    key = id(adata)

    def drop(reference: weakref.ref[AnnData]) -> None:
        known = _sent.get(key)
        if known is not None and known.adata is reference:
            _sent.pop(key, None)

    _sent[key] = _Sent(weakref.ref(adata, drop), adata.obs_names, adata.var_names, submission)


def submission_of(adata: AnnData) -> Submission | None:
    """The last submission of an object; None if it has none or got other cells or genes since."""
    known = _sent.get(id(adata))
    if known is None or id(known.adata()) != id(adata):
        return None
    if known.obs_names.equals(adata.obs_names) and known.var_names.equals(adata.var_names):
        return known.submission
    _sent.pop(id(adata), None)
    return None


def submission_with_cells(adata: AnnData) -> Submission | None:
    """The last submission of another object that has all cells of this one, such as the object that it is a part of."""
    known = reversed(list(_sent.values()))
    return next((each.submission for each in known if adata.obs_names.isin(each.obs_names).all()), None)
