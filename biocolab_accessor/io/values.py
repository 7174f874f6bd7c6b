"""Values: columns as numbers and strings on the wire, and which numbers another dtype represents exactly.

Check, push and pull share these rules. The metadata of BBrowserX and Talk2Data is sent as JSON, which represents every
64-bit integer and every finite float64 exactly. Embeddings, matrices and the metadata of BioFlex are sent as float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.messages import quoted

Wire = Literal["json", "float32"]

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|-?\.[0-9]+")
_EXACT = 2**53  # float64 represents every integer up to this


@dataclass(frozen=True)
class Loss:
    """How many values change in another dtype, with an example."""

    count: int
    example: str


def carried(values: NDArray[Any], wire: Wire) -> NDArray[np.bool_]:
    """Which numbers arrive unchanged; NaN means a missing value and does."""
    if wire == "float32":
        return exact_in(values, np.float32)
    if values.dtype.kind != "f":
        return np.ones(values.shape, bool)
    return np.asarray(exact_in(values, np.float64) & ~np.isinf(values))


def changed_beyond_rounding(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers change in float32 by more than rounding: integers, and numbers out of its range."""
    changed = ~exact_in(values, np.float32)
    if values.dtype.kind != "f" or not changed.any():
        return changed
    some = values[changed]
    with np.errstate(over="ignore", under="ignore"):
        single = some.astype(np.float32).astype(some.dtype)
    # All floats from 2**53 on are integers, so that losing a digit is only rounding.
    whole = (np.rint(some) == some) & (np.abs(some) <= _EXACT)
    # Below the smallest normal float32, digits are lost as well.
    outside = ~np.isfinite(single) | (np.abs(some) < np.finfo(np.float32).tiny)
    changed[changed] = whole | outside
    return changed


def loss(values: NDArray[Any], dtype: DTypeLike) -> Loss | None:
    """How many values another dtype cannot represent exactly, with an example; None if it represents all."""
    same = exact_in(values, dtype)
    if same.all():
        return None
    first = values[~same].reshape(-1)[:1]
    with np.errstate(all="ignore"):
        other = first.astype(dtype)
    whole = first.dtype.kind in "iu" and np.isfinite(other).all()
    # All digits of float32: the shortest repr would look the same.
    shown = f"{int(other[0])}" if whole else f"{other.astype(np.float64)[0]!s}"
    return Loss(int((~same).sum()), f"{first[0]!s} as {shown}")


def exact_in(values: NDArray[Any], dtype: DTypeLike) -> NDArray[np.bool_]:
    """Which numbers are exactly equal in another dtype; NaN is, in any float."""
    # Not by a cast there and back, which may wrap around.
    wanted = np.dtype(dtype)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if wanted.kind == "b":
        return np.asarray((values == 0) | (values == 1))
    if values.dtype.kind == "f":
        return _exact_floats(values, wanted)
    own = np.iinfo(values.dtype)
    result = np.ones(values.shape, bool)
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if limits.min > own.min:
            result &= values >= limits.min
        if limits.max < own.max:
            result &= values <= limits.max
        return result
    most = 2 ** (np.finfo(wanted).nmant + 1)
    if own.max <= most:
        return result
    result = values <= most
    if own.min < 0:
        result &= values >= -most
    large = values[~result]
    if len(large):
        with np.errstate(over="ignore"):
            cast = large.astype(wanted).astype(np.float64)
        same = _exact_floats(cast, large.dtype)
        same[same] = cast[same].astype(large.dtype) == large[same]
        result[~result] = same
    return np.asarray(result)


def _exact_floats(values: NDArray[Any], wanted: np.dtype[Any]) -> NDArray[np.bool_]:
    if wanted.kind == "f":
        if np.can_cast(values.dtype, wanted):
            return np.ones(values.shape, bool)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            same = np.asarray(values.astype(wanted) == values)
        return same if same.all() else np.asarray(same | np.isnan(values))
    if values.dtype.itemsize < 8:
        values = values.astype(np.float64)
    limits = np.iinfo(wanted)
    # A float represents the upper end, a power of two, but not the largest integer below it.
    inside = (values >= float(limits.min)) & (values < 2.0 * (limits.max // 2 + 1))
    return np.asarray(inside & (np.floor(values) == values))


def integers(values: Sequence[int]) -> NDArray[Any] | None:
    """Integers as int64, or as uint64 if necessary; None if neither fits."""
    least, most = min(values, default=0), max(values, default=0)
    for dtype in (np.int64, np.uint64):
        limits = np.iinfo(dtype)
        if limits.min <= least and most <= limits.max:
            return np.array(values, dtype=dtype)
    return None


def numbers(values: Sequence[float | None]) -> pd.Series | None:
    """Numbers from JSON as a column that represents each exactly; None if no dtype does."""
    # Integers are int64, from 2**63 on uint64. With missing values they are float64, or nullable integers if one is
    # beyond 2**53. Beyond 64 bits they are float64; OverflowError if that is too small as well.
    present = [value for value in values if value is not None]
    whole = [value for value in present if isinstance(value, int)]
    every, complete = len(whole) == len(present), len(present) == len(values)
    found = integers(whole) if every and whole else None
    if found is not None and complete:
        return pd.Series(found)
    large = [value for value in whole if not -_EXACT <= value <= _EXACT]
    if every and large and found is not None:
        missing = np.array([value is None for value in values], bool)
        filled = np.zeros(len(values), found.dtype)
        filled[~missing] = found
        return pd.Series(pd.arrays.IntegerArray(filled, missing))
    if any(int(float(value)) != value for value in large) and all(-(2**63) <= value < 2**64 for value in large):
        return None
    return pd.Series(values, dtype=np.float64)


def numbers_in(texts: Iterable[str]) -> list[float] | None:
    """Texts as the numbers that they represent, or None if one is not a number."""
    # A text with a leading zero, or with more digits than a number keeps, is a label. Python's parser is exact; pandas'
    # may be off by the last digit.
    found: list[float] = []
    for text in texts:
        if _NUMBER.fullmatch(text) is None:
            return None
        found.append(int(text) if text.removeprefix("-").isdecimal() else float(text))
    return found


def shared_dtype(columns: Sequence[pd.Series], *, gaps: bool) -> str | None:
    """The dtype that keeps every value of concatenated columns; "" if pandas' choice does, None if no dtype does."""
    # `gaps`: rows without a value are added.
    if len({column.dtype for column in columns}) == 1 and not gaps:
        return ""
    present = [column.dropna() for column in columns]
    whole = [column for column in present if pd.api.types.is_integer_dtype(column.dtype)]
    if all(column.between(-_EXACT, _EXACT).all() for column in whole):
        return ""
    if len(whole) < len(present):
        return None
    gaps = gaps or any(len(some) < len(column) for some, column in zip(present, columns, strict=True))
    found = integers([end for column in whole if len(column) for end in (int(column.min()), int(column.max()))])
    if found is None:
        return None
    return {"int64": "Int64", "uint64": "UInt64"}[str(found.dtype)] if gaps else str(found.dtype)


def encode(column: pd.Series) -> tuple[list[Any], NDArray[np.bool_]]:
    """Values of a column (strings or numbers, without missing ones) and a mask of its missing rows, by dtype."""
    name, missing = column.name, np.asarray(column.isna(), bool)
    present = column[~missing]
    if isinstance(present.dtype, pd.CategoricalDtype):  # first, since is_bool_dtype accepts categories of bools
        labels = np.array(_labels(present.dtype, name), object)
        return labels[present.cat.codes.to_numpy()].tolist() if len(labels) else [], missing
    if is_bool_dtype(present.dtype):
        return np.where(np.asarray(present, bool), "True", "False").tolist(), missing
    if is_numeric_dtype(present.dtype):
        return _numbers(present, name), missing
    texts = present.astype(object).tolist()
    strange = {type(value).__name__ for value in texts if not isinstance(value, str)}
    if strange:
        # astype(str) would convert missing values to the string "None".
        text = "map(str, na_action='ignore')" if missing.any() else "astype(str)"
        fix = "astype('boolean')" if strange == {"bool"} else text
        msg = f"column {quoted(name)} holds {', '.join(sorted(strange))}: convert it, df[{quoted(name)}].{fix}"
        raise InvalidColumn(msg)
    return _utf8(texts, name), missing


def is_plain(text: str) -> bool:
    """Whether a string survives the round trip: it has no NUL and no lone surrogates."""
    # A lone surrogate makes the server's response invalid, and pandas cuts categories at a NUL.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _labels(dtype: pd.CategoricalDtype, name: Any) -> list[str]:
    labels = [str(category) for category in dtype.categories]
    if len(set(labels)) < len(labels):
        msg = f"column {quoted(name)} has different categories with the same text: rename them"
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
    # Old pandas returns nullable numbers as objects, which NumPy converts to floats if some are beyond int64.
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
    """Names as an index in this pandas' string dtype: object before pandas 3."""
    try:
        index: pd.Index[Any] = pd.Index(np.array(names, dtype=object))
        return index
    except UnicodeEncodeError:  # the string dtype of pandas 3 rejects lone surrogates
        return pd.Index(list(names), dtype=object)


def labelled(labels: Iterable[Any], categories: Sequence[str]) -> pd.Categorical[Any]:
    """A categorical of strings; labels outside of the categories are missing."""
    place = {category: code for code, category in enumerate(categories)}
    codes = np.array([place.get(label, -1) for label in labels], np.intp)
    return pd.Categorical.from_codes(codes, categories=text_index(categories))


def table_of(rows: Sequence[Any], columns: list[str] | None = None) -> pd.DataFrame:
    """A data frame from a server's response, with text in this pandas' string dtype if it can represent it."""
    try:
        return pd.DataFrame(rows, columns=columns)
    except UnicodeEncodeError:  # a lone surrogate in one of its columns
        frame = pd.DataFrame(rows, columns=columns, dtype=object)
    for name in frame.columns:
        with suppress(UnicodeEncodeError):
            frame[name] = frame[name].infer_objects()
    return frame
