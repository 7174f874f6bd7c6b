"""Text values: parse text as dates, durations, periods, intervals and numbers."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import pandas_dtype

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.messages import counted, listing, quoted

__all__ = ["CLOSED", "DAY", "UNITS", "parse", "parsed", "unit_of"]

DAY = 86_400
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units per second."""

CLOSED = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}
"""The brackets of an interval, and pandas' name for them."""

_DATE = re.compile(r"(-?\d+-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?(Z|[+-]\d\d:\d\d(?::\d\d)?)?")
_DURATION = re.compile(r"(-?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,9}))?S)?)?")
_INTERVAL = re.compile(r"([\[(])(.+), (.+)([\])])", re.DOTALL)


def parsed(column: pd.Series, dtype: Any) -> pd.Series:
    """Text (categories) as values of a dtype, exactly; InvalidColumn if a text does not fit."""
    codes = np.asarray(column.cat.codes)
    used = np.unique(codes[codes >= 0])
    values = parse([str(column.cat.categories[code]) for code in used], dtype)
    place = np.full(len(column.cat.categories) + 1, -1, np.intp)
    place[used] = np.arange(len(used))
    rows = place[codes]
    missing = rows < 0
    if isinstance(dtype, np.dtype) and dtype.kind in "iu" and missing.any():
        nullable = str(dtype).replace("int", "Int").replace("uI", "UI")
        msg = f"{int(missing.sum()):,} cells have no value, which {dtype} cannot hold: give '{nullable}'"
        raise InvalidColumn(msg)
    try:
        if isinstance(values, np.ndarray):
            taken = pd.api.extensions.take(values, rows, allow_fill=bool(missing.any()))
        else:
            taken = values.take(rows, allow_fill=bool(missing.any()))
    except (TypeError, ValueError) as error:
        msg = f"{int(missing.sum()):,} cells have no value, which {dtype} cannot hold"
        raise InvalidColumn(msg) from error
    result = pd.Series(taken)
    if result.dtype != dtype:
        msg = f"{int(missing.sum()):,} cells have no value, which {dtype} cannot hold: give '{result.dtype}'"
        raise InvalidColumn(msg)
    return result


def unit_of(dtype: Any) -> str:
    """The unit of a datetime or timedelta dtype."""
    return str(np.datetime_data(dtype)[0])


def parse(texts: Sequence[str], dtype: Any) -> Any:
    """An array of a dtype from texts, none of them missing."""
    if isinstance(dtype, pd.ArrowDtype):
        return _arrow(texts, dtype)
    if isinstance(dtype, pd.IntervalDtype):
        return _intervals(texts, dtype)
    if isinstance(dtype, pd.PeriodDtype):
        return _periods(texts, dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = _moments(texts, dtype.unit, dtype, zoned=True)
        return pd.DatetimeIndex(moments).tz_localize("UTC").tz_convert(dtype.tz).array
    if dtype.kind == "M":
        return pd.array(_moments(texts, unit_of(dtype), dtype, zoned=False), dtype=dtype)
    if dtype.kind == "m":
        numbers = _each(texts, lambda text: _length(text, unit_of(dtype)), dtype, "durations in ISO 8601")
        return pd.array(np.array(numbers, np.int64).view(dtype), dtype=dtype)
    if dtype.kind == "c":
        values = np.array(_each(texts, complex, dtype, "complex numbers"), np.complex128)
        with np.errstate(over="ignore"):
            return _same(values, values.astype(dtype), texts, dtype)
    numbers = _each(texts, _whole, dtype, "whole numbers")
    try:
        return pd.array(numbers, dtype=dtype) if not isinstance(dtype, np.dtype) else np.array(numbers, dtype)
    except (OverflowError, TypeError, ValueError) as error:
        msg = f"some values are beyond {dtype}"
        raise InvalidColumn(msg) from error


def _each(texts: Iterable[str], read: Callable[[str], Any], dtype: Any, what: str) -> list[Any]:
    values, strange = [], []
    for text in texts:
        try:
            values.append(read(text))
        except (ValueError, ArithmeticError, TypeError):
            strange.append(text)
    if strange:
        msg = f"categories cannot be converted to {dtype}: {listing(strange, limit=3)} are not {what}"
        raise InvalidColumn(msg)
    return values


def _same(values: Any, cast: Any, texts: Sequence[str], dtype: Any) -> Any:
    changed = [text for text, was, now in zip(texts, values, cast, strict=True) if was != now]
    if changed:
        msg = f"{counted(len(changed), 'value')} would change in {dtype}, such as {listing(changed, limit=3)}"
        raise InvalidColumn(msg)
    return cast


def _moments(texts: Sequence[str], unit: str, dtype: Any, *, zoned: bool) -> NDArray[Any]:
    def read(text: str) -> tuple[np.datetime64, int]:
        found = _DATE.fullmatch(text)
        if found is None or (found[3] is not None) != zoned:
            raise ValueError
        return np.datetime64(found[1] + (f"T{found[2]}" if found[2] else "")), _seconds(found[3] or "Z")

    what = f"dates in ISO 8601 with{'' if zoned else 'out'} an offset from UTC"
    wide = _each(texts, read, dtype, what)
    there = [(moment, _in_unit(moment, unit)) for moment, _ in wide]
    _same([was for was, _ in there], [now.astype(was.dtype) for was, now in there], texts, dtype)
    moved = [
        int(now.astype(np.int64)) - shift * int(UNITS[unit]) for (_, now), (_, shift) in zip(there, wide, strict=True)
    ]
    try:
        return np.array(moved, np.int64).view(f"M8[{unit}]")
    except OverflowError as error:
        msg = f"some values are beyond {dtype}"
        raise InvalidColumn(msg) from error


def _in_unit(moment: Any, unit: str) -> Any:
    """A moment in another unit; NaT, which equals nothing, if it is out of range."""
    try:
        return moment.astype(f"M8[{unit}]")
    except OverflowError:  # raised by new NumPy; old NumPy wraps around
        return np.array("NaT", f"M8[{unit}]")[()]


def _seconds(offset: str) -> int:
    if offset == "Z":
        return 0
    hours, minutes, seconds = map(int, [*offset[1:].split(":"), "0"][:3])
    return (-1 if offset[0] == "-" else 1) * (hours * 3600 + minutes * 60 + seconds)


def _length(text: str, unit: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None or text.endswith(("P", "T")):
        raise ValueError
    sign, days, hours, minutes, seconds, part = (group or "" for group in found.groups())
    whole = int(days or 0) * DAY + int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    each = int(UNITS[unit])
    number, rest = divmod(int(part.ljust(9, "0") or 0) * each, 10**9)
    number += whole * each
    if rest or number >= 2**63:
        raise ValueError
    return -number if sign else number


def _whole(text: str) -> int:
    number = int(text)
    if str(number) != text:
        raise ValueError
    return number


def _periods(texts: Sequence[str], dtype: pd.PeriodDtype) -> Any:
    def read(text: str) -> pd.Period:
        value = pd.Period(text, freq=dtype.freq)  # type: ignore[arg-type]
        if str(value) != text:
            raise ValueError
        return value

    return pd.PeriodIndex(_each(texts, read, dtype, f"periods of {dtype.freq.freqstr}"), dtype=dtype).array


def _intervals(texts: Sequence[str], dtype: pd.IntervalDtype) -> Any:
    def read(text: str) -> tuple[str, str]:
        found = _INTERVAL.fullmatch(text)
        if found is None or CLOSED[found[1] + found[4]] != dtype.closed:
            raise ValueError
        return found[2], found[3]

    ends = _each(texts, read, dtype, f"intervals that are closed {quoted(dtype.closed)}")
    subtype = pandas_dtype(dtype.subtype)
    sides = [[end[side] for end in ends] for side in (0, 1)]
    if isinstance(subtype, np.dtype) and subtype.kind == "f":
        bounds = [np.array(_each(side, float, dtype, "numbers"), subtype) for side in sides]
    else:
        bounds = [parse(side, subtype) for side in sides]
    left, right = bounds
    closed: Any = dtype.closed
    return pd.arrays.IntervalArray.from_arrays(left, right, closed, dtype=dtype)


def _arrow(texts: Sequence[str], dtype: pd.ArrowDtype) -> Any:
    name = str(dtype.pyarrow_dtype)
    unit, zone = (re.findall(r"\[(\w+)(?:, tz=(.+))?\]", name) or [("", "")])[0]
    if name.startswith("timestamp"):
        base = pd.DatetimeTZDtype(unit, zone) if zone else np.dtype(f"M8[{unit}]")
        objects = list(pd.Series(parse(texts, base)))
    elif name.startswith("duration"):
        objects = list(pd.Series(parse(texts, np.dtype(f"m8[{unit}]"))))
    elif name.startswith(("decimal", "date32", "time")):
        reader: Any = {"dec": Decimal, "dat": dt.date.fromisoformat, "tim": dt.time.fromisoformat}[name[:3]]
        objects = _each(texts, reader, dtype, name)
    elif name.startswith(("int", "uint")):
        objects = _each(texts, _whole, dtype, "whole numbers")
    else:
        msg = f"categories cannot be converted to {dtype}"
        raise InvalidColumn(msg)
    try:
        values: Any = pd.array(objects, dtype=dtype)  # type: ignore[call-overload]
    except (ValueError, TypeError, OverflowError, NotImplementedError) as error:
        msg = f"categories cannot be converted to {dtype}: {error}"
        raise InvalidColumn(msg) from error
    return _same(objects, values, texts, dtype)
