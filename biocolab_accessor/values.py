"""Values: columns as the numbers and texts that travel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.naming import quoted
from biocolab_accessor.precision import carried, loss

__all__ = ["encode", "is_plain", "labelled", "table_of", "text_index"]


def encode(column: pd.Series) -> tuple[list[Any], NDArray[np.bool_]]:
    """A column as numbers or texts, decided by its dtype and never by what a text looks like.

    Parameters
    ----------
    column
        Numbers, booleans, text, or categories of anything that text can tell apart.

    Returns
    -------
    values
        Those that are not missing; of booleans and categories their labels.
    missing
        (len(column),) which are missing.

    Raises
    ------
    InvalidColumn
        It holds what the protocol cannot carry.
    """
    name, missing = column.name, np.asarray(column.isna(), bool)
    present = column[~missing]
    if isinstance(present.dtype, pd.CategoricalDtype):  # asked first: categories of bools pass for bools
        labels = np.array(_labels(present.dtype, name), object)
        return labels[present.cat.codes.to_numpy()].tolist() if len(labels) else [], missing
    if is_bool_dtype(present.dtype):
        return np.where(np.asarray(present, bool), "True", "False").tolist(), missing
    if is_numeric_dtype(present.dtype):
        return _numbers(present, name), missing
    texts = present.astype(object).tolist()
    strange = {type(value).__name__ for value in texts if not isinstance(value, str)}
    if strange:
        # Where something is missing astype would make the text "None" of it.
        text = "map(str, na_action='ignore')" if missing.any() else "astype(str)"
        fix = "astype('boolean')" if strange == {"bool"} else text
        msg = f"column {quoted(name)} holds {', '.join(sorted(strange))}: convert it, df[{quoted(name)}].{fix}"
        raise InvalidColumn(msg)
    return _utf8(texts, name), missing


def is_plain(text: str) -> bool:
    """Whether a text comes back as it went.

    Half a surrogate pair breaks whatever answers with it, and what follows a NUL is lost on pandas when it makes
    categories.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _labels(dtype: pd.CategoricalDtype, name: Any) -> list[str]:
    labels = [str(category) for category in dtype.categories]
    if len(set(labels)) < len(labels):
        msg = f"column {quoted(name)} has different categories of the same text: rename them"
        raise InvalidColumn(msg)
    return _utf8(labels, name)


def _utf8(texts: list[str], name: Any) -> list[str]:
    if not is_plain("".join(texts)):
        bad = next((text for text in texts if not is_plain(text)), "")
        msg = f"column {quoted(name)} holds text with NUL or half a surrogate pair, such as {quoted(bad)}: correct it"
        raise InvalidColumn(msg)
    return texts


def _numbers(present: pd.Series, name: Any) -> list[Any]:
    dtype = present.dtype
    # Older pandas gives nullable numbers as objects, of which NumPy makes floats where some are beyond int64.
    values = (
        present.to_numpy() if isinstance(dtype, np.dtype) else present.to_numpy(getattr(dtype, "numpy_dtype", None))
    )
    if values.dtype.kind == "f" and values.dtype.itemsize > np.dtype(np.float64).itemsize:
        if lost := loss(values, np.float64):
            msg = (
                f"column {quoted(name)} holds {lost.count:,} numbers with more digits than the protocol carries, such "
                f"as {lost.example}: convert it to float64 or text"
            )
            raise InvalidColumn(msg)
        values = values.astype(np.float64)
    if values.dtype.kind not in "iuf":
        msg = f"column {quoted(name)} holds {dtype}, which the protocol cannot carry: convert it to float64 or text"
        raise InvalidColumn(msg)
    if not carried(values, "json").all():
        msg = f"column {quoted(name)} holds infinite numbers, which the protocol cannot carry: replace them"
        raise InvalidColumn(msg)
    listed: list[Any] = values.tolist()
    return listed


def text_index(names: Sequence[str]) -> pd.Index[Any]:
    """Names as this pandas holds text: as objects until 3, then in a dtype of its own.

    Examples
    --------
    >>> text_index(["a", "b"]).tolist()
    ['a', 'b']
    """
    try:
        index: pd.Index[Any] = pd.Index(np.array(names, dtype=object))
        return index
    except UnicodeEncodeError:  # that dtype has no room for half of a surrogate pair
        return pd.Index(list(names), dtype=object)


def labelled(labels: Iterable[Any], categories: Sequence[str]) -> pd.Categorical[Any]:
    """A categorical of text; what is not one of the categories is missing.

    pandas 3 makes its own dtype of such text, which cannot hold half of a surrogate pair: see :func:`text_index`.

    Examples
    --------
    >>> labelled(["b", None, "a"], ["b", "a"]).codes.tolist()
    [0, -1, 1]
    """
    place = {category: code for code, category in enumerate(categories)}
    codes = np.array([place.get(label, -1) for label in labels], np.intp)
    return pd.Categorical.from_codes(codes, categories=text_index(categories))


def table_of(rows: Sequence[Any], columns: list[str] | None = None) -> pd.DataFrame:
    """A data frame of what a server sent, its text in the dtype of this pandas where that can hold it."""
    try:
        return pd.DataFrame(rows, columns=columns)
    except UnicodeEncodeError:  # half of a surrogate pair in one of its columns
        frame = pd.DataFrame(rows, columns=columns, dtype=object)
    for name in frame.columns:
        with suppress(UnicodeEncodeError):
            frame[name] = frame[name].infer_objects()
    return frame
