"""Verify: what a study says of columns after they were sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.exchange.dtypes import restore, take
from biocolab_accessor.inbound.parts import StudyParts
from biocolab_accessor.naming import quoted
from biocolab_accessor.notice import notice

__all__ = ["verified"]


def verified(cells: pd.DataFrame, parts: StudyParts, rows: NDArray[np.intp]) -> list[str]:
    """Fetch columns that were sent; a changed value is warned of, another dtype is noted.

    Parameters
    ----------
    cells
        What was sent.
    parts
        The study.
    rows
        (len(cells),) rows of the cells in the study.

    Returns
    -------
    list of str
        Notes for the report.
    """
    listed = set(parts.fields)
    changed = [f"{quoted(name)} is not listed by the study" for name in cells.columns if name not in listed]
    back = parts.metadata([name for name in cells.columns if name in listed])
    others: list[str] = []
    for name in back.columns:
        sent, came = cells[name].reset_index(drop=True), take(back[name], rows)
        try:
            difference = _difference(sent, restore(came, sent.dtype))
        except InvalidColumn as error:
            difference = str(error)
        if difference:
            changed.append(f"{quoted(name)} comes back changed: {difference}")
        elif otherwise := _otherwise(back[name].dtype, sent.dtype):
            others.append(f"{quoted(name)} {otherwise}")
    for line in changed:
        notice(f"study {quoted(parts.study_id)}: {line}")
    if others:
        changed.append(f"without pull_metadata(dtypes=report.dtypes) these come back otherwise: {', '.join(others)}")
    return changed


def _otherwise(came: Any, sent: Any) -> str:
    """How a column comes back without its dtype; empty where it comes back as it was."""
    if not isinstance(sent, pd.CategoricalDtype):
        return "" if came == sent else f"({sent}) as {came}"
    if sent.ordered or not isinstance(came, pd.CategoricalDtype):
        return f"({'ordered ' if sent.ordered else ''}category) as {came}"
    categories = list(sent.categories)
    if not all(isinstance(category, str) for category in categories):
        return f"(category of {sent.categories.dtype}) as category of texts"
    # What only other cells of the study have is none of this column's.
    there = list(came.categories[came.categories.isin(categories)])
    if there == categories:
        return ""
    # Scanpy colours categories by their place.
    kept = list(sent.categories[sent.categories.isin(there)])
    return "with fewer categories" if there == kept else "with its categories in another order"


def _difference(sent: pd.Series, came: pd.Series) -> str:
    missing = np.asarray(sent.isna(), bool)
    equal = (sent == came).astype("boolean").fillna(value=False)
    same = np.asarray(equal, bool) | (missing & np.asarray(came.isna(), bool))
    if same.all():
        return ""
    first = int(np.flatnonzero(~same)[0])
    return f"{int((~same).sum()):,} values differ, such as {quoted(sent.iloc[first])} as {quoted(came.iloc[first])}"
