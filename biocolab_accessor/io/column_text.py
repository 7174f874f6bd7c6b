"""Column text: dates, intervals, mixed and other values as text that distinguishes them, and text read as values."""

from __future__ import annotations

import datetime as dt
import re
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
from biocolab_accessor.io.values import is_plain
from biocolab_accessor.messages import counted, listing, natural_key, quoted

_MOST_READ_AGAIN = 1_000
_PLAIN = ("string", "integer", "floating", "boolean", "empty")
_TIMES = ("datetime", "datetime64", "timedelta", "timedelta64", "period", "interval")

_DAY = 86_400  # seconds
# Units per second.
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

# The brackets of an interval, and pandas' name for them.
_CLOSED = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}

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
    missing = int((rows < 0).sum())
    refusal = f"{missing:,} cells have no value, which {dtype} cannot hold"
    if isinstance(dtype, np.dtype) and dtype.kind in "iu" and missing:
        nullable = str(dtype).replace("int", "Int").replace("uI", "UI")
        msg = f"{refusal}: give '{nullable}'"
        raise InvalidColumn(msg)
    try:
        if isinstance(values, np.ndarray):
            taken = pd.api.extensions.take(values, rows, allow_fill=missing > 0)
        else:
            taken = values.take(rows, allow_fill=missing > 0)
    except (TypeError, ValueError) as error:
        raise InvalidColumn(refusal) from error
    result = pd.Series(taken)
    if result.dtype != dtype:
        msg = f"{refusal}: give '{result.dtype}'"
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
        int(now.astype(np.int64)) - shift * int(_UNITS[unit]) for (_, now), (_, shift) in zip(there, wide, strict=True)
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
    whole = int(days or 0) * _DAY + int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    each = int(_UNITS[unit])
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
        if found is None or _CLOSED[found[1] + found[4]] != dtype.closed:
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


@dataclass(frozen=True)
class TextForm:
    """A column as text."""

    column: pd.Series  # categories of text, in the order of the values; missing values stay missing
    change: str  # the original type, and that it is sent as text
    # As one types it, for parsed: "'period[M]'". "dtype" if only the column has it; empty if it stays text.
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
        signs = next(signs for signs, closed in _CLOSED.items() if closed == dtype.closed)
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
    each = _UNITS[unit_of(here.dtype)]
    gaps = (here.view(np.int64) - there.view(np.int64)).tolist()
    if any(gap % each for gap in gaps):
        here, gaps = there, [0] * len(gaps)
    return [f"{text}{_offset(int(gap // each))}" for text, gap in zip(_dates(here, whole=False), gaps, strict=True)]


def _offset(seconds: int) -> str:
    minutes, rest = divmod(abs(seconds), 60)
    text = f"{'-' if seconds < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{text}:{rest:02d}" if rest else text


def _duration(number: int, unit: str) -> str:
    each = int(_UNITS[unit])
    seconds, part = divmod(abs(number), each)
    days, seconds = divmod(seconds, _DAY)
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
