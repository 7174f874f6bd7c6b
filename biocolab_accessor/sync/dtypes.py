"""Dtypes: fetched columns in their original dtypes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_integer_dtype, is_numeric_dtype, pandas_dtype

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.io.column_text import category_texts, parsed
from biocolab_accessor.io.values import exact_in
from biocolab_accessor.messages import counted, listing, quoted

TRUTH = {"False": False, "True": True}
"""Booleans as sent: the protocol has numbers and strings only."""

_EXACT = 2**53
_EXACT_IN_FLOAT32 = 2**24
_WHOLE = re.compile(r"-?\d{1,99}")


def take(column: pd.Series, rows: NDArray[np.intp]) -> pd.Series:
    """Some rows of a fetched column; -1 gives a missing value."""
    # With missing values, categories stay, numbers become float64 (Int64 or UInt64 if float64 is not exact) and
    # booleans pandas' nullable boolean.
    lacking = rows < 0
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = np.append(column.cat.codes.to_numpy(), -1)[rows]
        return pd.Series(pd.Categorical.from_codes(codes, dtype=column.dtype))
    if not isinstance(column.dtype, np.dtype):  # nullable integers
        return pd.Series(column.array.take(rows, allow_fill=True))
    values = column.to_numpy()
    if not lacking.any():
        return pd.Series(values[rows])
    values = np.append(values, np.zeros(1, values.dtype))[rows]
    if values.dtype.kind == "b":
        return pd.Series(pd.arrays.BooleanArray(values, lacking))
    if values.dtype.kind != "f":
        if (np.abs(values.astype(np.float64)) >= _EXACT).any():
            return pd.Series(pd.arrays.IntegerArray(values, lacking))
        values = values.astype(np.float64)
    values[lacking] = np.nan
    return pd.Series(values)


def restore(column: pd.Series, dtype: Any) -> pd.Series:
    """A fetched column in another dtype with equal values; InvalidColumn, without the column's name, if impossible."""
    try:
        wanted = pandas_dtype(dtype)
    except TypeError as error:
        msg = f"{quoted(dtype)} is not a dtype"
        raise InvalidColumn(msg) from error
    if isinstance(wanted, pd.CategoricalDtype):  # equal dtypes can differ in the order of their categories
        return _as_category(column, wanted)
    if column.dtype == wanted:
        return column
    if column.isna().all() and (is_sent_as_text(wanted) or not is_numeric_dtype(wanted)):
        column = column.astype(object).astype("category")
    if is_sent_as_text(wanted) or _holds_large_integers(column, wanted):
        return parsed(_labels(column), wanted)
    if is_bool_dtype(wanted):
        return _as_bool(column, wanted)
    if is_numeric_dtype(wanted):
        return _as_number(column, wanted)
    if isinstance(column.dtype, pd.CategoricalDtype) and (
        wanted == np.dtype(object) or isinstance(wanted, pd.StringDtype)
    ):
        return column.astype(object).astype(wanted)
    msg = f"values received as {column.dtype} cannot become {wanted}"
    raise InvalidColumn(msg)


def is_sent_as_text(wanted: Any) -> bool:
    """Whether values of a dtype are sent as strings: times, periods, intervals, complex numbers, decimals."""
    if isinstance(wanted, pd.ArrowDtype):
        return str(wanted).startswith(("timestamp", "duration", "date", "time", "decimal"))
    special = pd.DatetimeTZDtype | pd.PeriodDtype | pd.IntervalDtype
    return isinstance(wanted, special) or is_complex_dtype(wanted) or getattr(wanted, "kind", "") in "mM"


def _holds_large_integers(column: pd.Series, wanted: Any) -> bool:
    """Whether labels are integers that float64 cannot hold: only then is a column of integers sent as strings."""
    if not isinstance(column.dtype, pd.CategoricalDtype) or not is_integer_dtype(wanted):
        return False
    labels = column.cat.categories
    if not all(isinstance(label, str) and _WHOLE.fullmatch(label) for label in labels):
        return False
    return any(abs(int(label)) > _EXACT for label in labels)


def _labels(column: pd.Series) -> pd.Series:
    """A column as labels, as it was sent, if a server took them for numbers."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column
    return column.map(_text).astype(object).astype("category")


def _as_category(column: pd.Series, wanted: pd.CategoricalDtype) -> pd.Series:
    if wanted.categories is None:
        return column.astype(pd.CategoricalDtype(ordered=wanted.ordered))
    came = _labels(column)
    texts = category_texts(wanted.categories)
    place = {text: code for code, text in enumerate(texts)}
    labels = list(came.cat.categories)
    used = {labels[code] for code in np.unique(came.cat.codes) if code >= 0}
    if strange := sorted(used - place.keys(), key=str):
        msg = f"values {listing(strange, limit=3)} are not among its categories"
        raise InvalidColumn(msg)
    if twice := [text for text in used if texts.count(text) > 1]:
        alike = [quoted(category) for category, text in zip(wanted.categories, texts, strict=True) if text == twice[0]]
        msg = f"{quoted(twice[0])} stands for several of its categories: {' and '.join(alike)}"
        raise InvalidColumn(msg)
    codes = np.array([place.get(label, -1) for label in labels] + [-1], np.intp)[came.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, dtype=wanted))


def _text(value: Any) -> str | None:
    """A number as the label that a server took for it."""
    if pd.isna(value):
        return None
    return str(int(value)) if value == int(value) and not isinstance(value, bool | np.bool_) else str(value)


def _as_bool(column: pd.Series, wanted: Any) -> pd.Series:
    missing = column.isna()
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = column.astype(object)
        if strange := sorted(set(values[~missing]) - TRUTH.keys(), key=str):
            msg = f"values {listing(strange, limit=3)} are neither 'True' nor 'False'"
            raise InvalidColumn(msg)
        values = values.map(TRUTH)
    else:
        values = column.astype(object)
        if not values[~missing].isin([0, 1]).all():
            msg = "some numbers are neither 0 nor 1"
            raise InvalidColumn(msg)
    if missing.any() and wanted == np.dtype(bool):
        msg = f"{int(missing.sum()):,} cells have no value, which bool cannot hold: give 'boolean'"
        raise InvalidColumn(msg)
    return values.where(~missing, pd.NA).astype("boolean").astype(wanted)


def _as_number(column: pd.Series, wanted: Any) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        msg = f"the values are labels, not numbers, and cannot become {wanted}"
        raise InvalidColumn(msg)
    missing = np.asarray(column.isna(), bool)
    if missing.any() and isinstance(wanted, np.dtype) and wanted.kind in "iu":
        name = str(wanted)
        nullable = name.replace("uint", "UInt") if wanted.kind == "u" else name.replace("int", "Int")
        msg = f"{int(missing.sum()):,} cells have no value, which {name} cannot hold: give '{nullable}'"
        raise InvalidColumn(msg)
    # Casting back does not reveal overflow: -1 in uint64 is -1 again in int64.
    present = column[~missing]
    values, target = present.to_numpy(_number_dtype(column.dtype)), _number_dtype(wanted)
    if column.dtype == np.float32 and target.kind in "iu" and (large := np.abs(values) >= _EXACT_IN_FLOAT32).any():
        # Only BioFlex sends float32: the cast back is exact, but the number was rounded before.
        msg = (
            f"BioFlex sends float32, which rounds whole numbers from {_EXACT_IN_FLOAT32:,} on: "
            f"{counted(int(large.sum()), 'value')}. Pull it from BBrowserX or Talk2Data, or submit ids as text"
        )
        raise InvalidColumn(msg)
    same = exact_in(values, target) if target.kind in "biuf" else None
    if same is None or same.all():
        try:
            cast = column.astype(wanted)
            if same is None:  # dtypes such as Arrow's decimals, which do not overflow silently
                same = np.asarray(cast[~missing].astype(column.dtype) == present, bool)
        except (TypeError, ValueError, OverflowError) as error:
            msg = f"values received as {column.dtype} cannot become {wanted}"
            raise InvalidColumn(msg) from error
    if not same.all():
        examples = listing(present[~same].tolist(), limit=3)
        msg = f"{int((~same).sum()):,} values would change in {wanted}, such as {examples}"
        raise InvalidColumn(msg)
    return cast


def _number_dtype(dtype: Any) -> np.dtype[Any]:
    """NumPy's equivalent of a numeric dtype; object for dtypes such as Arrow's decimals."""
    if isinstance(dtype, pd.SparseDtype):
        return np.dtype(dtype.subtype)
    return np.dtype(dtype if isinstance(dtype, np.dtype) else getattr(dtype, "numpy_dtype", object))
