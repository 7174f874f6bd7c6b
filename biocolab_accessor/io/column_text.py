"""Column text: dates, intervals, mixed and other values as text that distinguishes them."""

from __future__ import annotations

import datetime as dt
import re
import uuid
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype, is_object_dtype, pandas_dtype

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.io.text_values import CLOSED, DAY, UNITS, parse, unit_of
from biocolab_accessor.io.values import is_plain
from biocolab_accessor.messages import natural_key, quoted

__all__ = ["TextForm", "as_text", "category_texts", "needs_text"]

_MOST_READ_AGAIN = 1_000
_PLAIN = ("string", "integer", "floating", "boolean", "empty")
_TIMES = ("datetime", "datetime64", "timedelta", "timedelta64", "period", "interval")


@dataclass(frozen=True)
class TextForm:
    """A column as text."""

    column: pd.Series  # categories of text, in the order of the values; missing values stay missing
    change: str  # the original type, and that it is sent as text
    # As one types it, for text_values.parsed: "'period[M]'". "dtype" if only the column has it; empty if it stays text.
    dtype: str
    ambiguous: int = 0  # number of labels that stand for different values


def as_text(column: pd.Series) -> TextForm | None:
    """A column of dates, intervals, objects and the like as text; None if text cannot represent one of its values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _of_categories(column)
    if isinstance(column.dtype, pd.SparseDtype):
        column = pd.Series(np.asarray(column.array), index=column.index)
    if _is_typed(column.dtype):
        return _of_dtype(column)
    return _of_objects(column)


def category_texts(categories: pd.Index[Any]) -> list[str]:
    """The text of each category, as submitted."""
    if isinstance(categories.dtype, pd.IntervalDtype) or _is_typed(categories.dtype):
        with_text = _texts(categories)
        if with_text is not None:
            return with_text
    if categories.dtype == object and infer_dtype(categories) not in _PLAIN:
        found = [_object_text(value) for value in categories]
        return [str(value) if text is None else text[1] for value, text in zip(categories, found, strict=True)]
    return [str(category) for category in categories]


def needs_text(column: pd.Series) -> bool:
    """Whether a column has a dtype that neither h5ad nor the protocol supports, so that it is sent as text."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = dtype.categories
        if categories.dtype == object:
            return infer_dtype(categories) not in _PLAIN
        return _is_typed(categories.dtype) or needs_text(pd.Series(categories))
    if _is_typed(dtype):
        return True
    if isinstance(dtype, pd.SparseDtype):
        return _is_typed(dtype.subtype)
    if is_object_dtype(dtype) or isinstance(dtype, pd.ArrowDtype):
        objects = column.dropna().astype(object)
        return len(objects) > 0 and infer_dtype(objects) not in (*_PLAIN, "mixed-integer-float")
    return False


def _is_typed(dtype: Any) -> bool:
    if isinstance(dtype, np.dtype):
        return dtype.kind in "mMc"
    return isinstance(dtype, pd.DatetimeTZDtype | pd.PeriodDtype | pd.IntervalDtype)


def _of_dtype(column: pd.Series, said: str = "") -> TextForm | None:
    dtype = column.dtype
    codes, values = pd.factorize(column)
    values = pd.Index(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from pandas, about business days as periods
        texts = _texts(values)
        if texts is None:
            return None
        order = _order(values)
    place = np.append(np.argsort(order), -1)
    labels = pd.Index([texts[i] for i in order], dtype=object)
    iso = " in ISO 8601" if getattr(dtype, "kind", "") in "mM" else ""
    return TextForm(
        _labelled(place[codes], labels, column), f"{said or dtype}: sent as text{iso}", _dtype_text(dtype), ambiguous=0
    )


def _of_categories(column: pd.Series) -> TextForm | None:
    categories = column.cat.categories
    form = as_text(pd.Series(categories, dtype=object if categories.dtype == object else categories.dtype))
    if form is None:
        return None
    inner = form.column.cat
    texts = list(dict.fromkeys(inner.categories[code] for code in inner.codes))
    place = {text: code for code, text in enumerate(texts)}
    codes = np.array([place[inner.categories[code]] for code in inner.codes] + [-1], np.intp)
    labels = pd.Index(texts, dtype=object)
    what, _, rest = form.change.partition(": sent as text")
    intervals = isinstance(categories.dtype, pd.IntervalDtype)
    what = "intervals, as from pd.cut" if intervals else f"categories of {what}"
    renewed = _labelled(codes[column.cat.codes.to_numpy()], labels, column, ordered=bool(column.cat.ordered))
    return TextForm(renewed, f"{what}: sent as text{rest}", "" if form.ambiguous else "dtype", form.ambiguous)


def _of_objects(column: pd.Series) -> TextForm | None:
    objects = column.astype(object)
    missing = np.asarray(objects.isna(), bool)
    present = objects[~missing]
    types = Counter(type(value).__name__ for value in present)
    said = ", ".join(f"{name} {number:,}" for name, number in types.most_common())
    said = f"{'mixed types' if len(types) > 1 else 'values'} ({said})"
    # First, because pandas 3 infers a string dtype from objects, which rejects lone surrogates.
    times = column.dtype == object and infer_dtype(present, skipna=False) in _TIMES
    inferred = objects.infer_objects() if times else objects
    if _is_typed(inferred.dtype) and (len(types) == 1 or getattr(inferred.dtype, "kind", "") in "mM"):
        return _of_dtype(inferred, said)
    spoken = [_object_text(value) for value in present]
    families: dict[str, dict[str, None]] = {}
    for found in spoken:
        if found is None or not is_plain(found[1]):
            return None
        families.setdefault(found[1], {})[found[0]] = None
    twice = {text: list(kinds) for text, kinds in families.items() if len(kinds) > 1}
    labels = pd.Index(sorted(families, key=natural_key), dtype=object)
    place = {label: code for code, label in enumerate(labels)}
    codes = np.full(len(objects), -1, np.intp)
    codes[~missing] = [place[found[1]] for found in spoken if found is not None]
    change = f"{said}: sent as text"
    if twice:
        text, kinds = next(iter(twice.items()))
        stand = "label stands" if len(twice) == 1 else "labels stand"
        change += f"; {len(twice):,} {stand} for values that differ, such as {quoted(text)} for {' and '.join(kinds)}"
    only = {kind for kinds in families.values() for kind in kinds}
    dtype = _dtype_text(column.dtype) if column.dtype != object else ""
    if not dtype and only in ({"date"}, {"complex"}):
        dtype = {"date": "'datetime64[s]'", "complex": "'complex128'"}[only.pop()]
    return TextForm(_labelled(codes, labels, column), change, "" if twice else dtype, len(twice))


def _labelled(codes: NDArray[np.intp], labels: pd.Index[Any], like: pd.Series, *, ordered: bool = False) -> pd.Series:
    return pd.Series(pd.Categorical.from_codes(codes, labels, ordered=ordered), index=like.index, name=like.name)


def _dtype_text(dtype: Any) -> str:
    """A dtype as one types it; ``dtype`` if its name does not identify it."""
    try:
        return quoted(str(dtype)) if pandas_dtype(str(dtype)) == dtype else "dtype"
    except (TypeError, ValueError, NotImplementedError):
        return "dtype"


def _order(values: pd.Index[Any]) -> NDArray[np.intp]:
    if getattr(values.dtype, "kind", "") == "c":
        array = values.to_numpy()
        return np.lexsort((array.imag, array.real))
    return np.asarray(values.argsort(), np.intp)


def _texts(values: pd.Index[Any]) -> list[str] | None:
    """Values of one dtype as text; None if the text would not restore each of them."""
    dtype = values.dtype
    if isinstance(dtype, pd.IntervalDtype):
        ends = [category_texts(pd.Index(end)) for end in (values.left, values.right)]  # type: ignore[attr-defined]
        if str(dtype.subtype).startswith(("float", "int", "uint")):
            ends = [[repr(value) for value in end.tolist()] for end in (values.left, values.right)]  # type: ignore[attr-defined]
        signs = next(signs for signs, closed in CLOSED.items() if closed == dtype.closed)
        texts = [f"{signs[0]}{left}, {right}{signs[1]}" for left, right in zip(*ends, strict=True)]
    elif isinstance(dtype, pd.PeriodDtype):
        texts = [str(value) for value in values]
    elif isinstance(dtype, pd.DatetimeTZDtype):
        texts = _zoned(values)
    elif dtype.kind == "M":
        texts = _dates(values.to_numpy())
    elif dtype.kind == "m":
        texts = [_duration(value, unit_of(dtype)) for value in values.to_numpy().astype(np.int64).tolist()]
    else:
        texts = [str(value) for value in values.to_numpy().astype(np.complex128).tolist()]
    # If there are many values only a sample is parsed again: all are formatted the same way.
    some = np.unique(np.linspace(0, max(len(values) - 1, 0), min(len(values), _MOST_READ_AGAIN)).astype(np.intp))
    try:
        again = pd.Index(parse([texts[i] for i in some], dtype))
    except InvalidColumn:
        return None
    same = again.dtype == dtype and again.equals(values[some])
    return texts if same and len(set(texts)) == len(texts) else None


def _dates(values: NDArray[Any], *, whole: bool = True) -> list[str]:
    # NumPy formats the year -5 with three digits.
    texts = [re.sub(r"^-(\d{3})-", r"-0\1-", text) for text in np.datetime_as_string(values).tolist()]
    texts = [text.rstrip("0").rstrip(".") if "." in text else text for text in texts]
    # Dates without a time if all values are at midnight.
    if whole and all("T" not in text or text.endswith("T00:00:00") for text in texts):
        return [text.partition("T")[0] for text in texts]
    return texts


def _zoned(values: Any) -> list[str]:
    here, there = values.tz_localize(None).to_numpy(), values.tz_convert("UTC").tz_localize(None).to_numpy()
    each = UNITS[unit_of(here.dtype)]
    gaps = (here.view(np.int64) - there.view(np.int64)).tolist()
    if any(gap % each for gap in gaps):
        here, gaps = there, [0] * len(gaps)
    return [f"{text}{_offset(int(gap // each))}" for text, gap in zip(_dates(here, whole=False), gaps, strict=True)]


def _offset(seconds: int) -> str:
    minutes, rest = divmod(abs(seconds), 60)
    text = f"{'-' if seconds < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{rest:02d}" if rest else text


def _duration(number: int, unit: str) -> str:
    each = int(UNITS[unit])
    seconds, part = divmod(abs(number), each)
    days, seconds = divmod(seconds, DAY)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    digits = f".{part:0{len(str(each)) - 1}d}".rstrip("0").rstrip(".") if each > 1 else ""
    clock = [f"{hours}H" * bool(hours), f"{minutes}M" * bool(minutes), f"{seconds}{digits}S" * bool(seconds or part)]
    text = f"{f'{days}D' * bool(days)}{'T' * any(clock)}{''.join(clock)}"
    return f"{'-' if number < 0 else ''}P{text or 'T0S'}"


def _object_text(value: Any) -> tuple[str, str] | None:
    """The type of an object and its text; None for objects without a text form, such as a list."""
    if isinstance(value, Enum) and not isinstance(value, str):
        return None
    for kinds, name, text in _KINDS:
        if isinstance(value, kinds):
            try:
                return name, text(value)
            except (ValueError, OverflowError, TypeError, InvalidColumn):
                return None
    return None


def _float(value: Any) -> str:
    return repr(float(value)) if float(value) == value else str(value)


def _time(value: Any) -> str:
    return _dates(np.array([np.datetime64(value)]).astype("M8[ns]"), whole=False)[0]


def _interval(value: pd.Interval) -> str:
    found = _texts(pd.Index(pd.arrays.IntervalArray([value])))
    if found is None:
        raise ValueError
    return found[0]


_KINDS: tuple[tuple[Any, str, Callable[[Any], str]], ...] = (
    (str, "str", str.__str__),
    (bytes, "bytes", lambda value: value.decode()),
    (bool | np.bool_, "bool", lambda value: str(bool(value))),
    (np.timedelta64, "duration", lambda value: _timedelta_text(pd.Timedelta(value))),
    (int | np.integer, "int", lambda value: str(int(value))),
    (float | np.floating, "float", _float),
    (complex | np.complexfloating, "complex", lambda value: str(complex(value))),
    (Decimal, "Decimal", str),
    (Fraction, "Fraction", str),
    (dt.datetime, "datetime", lambda value: value.isoformat()),
    (dt.date, "date", lambda value: value.isoformat()),
    (dt.time, "time", lambda value: value.isoformat()),
    (np.datetime64, "datetime", _time),
    (dt.timedelta, "duration", lambda value: _timedelta_text(pd.Timedelta(value))),
    (pd.Interval, "interval", _interval),
    (uuid.UUID, "UUID", str),
    (PurePath, "path", str),
)


def _timedelta_text(value: pd.Timedelta) -> str:
    return _duration(int(value.to_numpy().astype(np.int64)), value.unit)
