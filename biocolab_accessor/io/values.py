"""Values: columns as the numbers and texts that travel, and which numbers another dtype holds exactly.

The one rule for what is checked, pushed and pulled. The metadata of BBrowserX and Talk2Data travel as JSON: every whole
number of 64 bits and every finite float64, exactly. Embeddings, matrices and the metadata of BioFlex travel as float32.
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

__all__ = [
    "Loss",
    "Wire",
    "carried",
    "changed_beyond_rounding",
    "encode",
    "integers",
    "is_plain",
    "kept",
    "labelled",
    "loss",
    "numbers",
    "numbers_in",
    "shared_dtype",
    "table_of",
    "text_index",
]

Wire = Literal["json", "float32"]

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|-?\.[0-9]+")

_EXACT = 2**53  # up to which float64 holds every whole number


@dataclass(frozen=True)
class Loss:
    """What is not the same in another dtype.

    Attributes
    ----------
    count
        How many values.
    example
        The first of them and what becomes of it.
    """

    count: int
    example: str


def carried(values: NDArray[Any], wire: Wire) -> NDArray[np.bool_]:
    """Which numbers arrive as they are; NaN, which is a missing value, does.

    Examples
    --------
    >>> carried(np.array([2**24, 2**24 + 1]), "float32").tolist()
    [True, False]
    >>> carried(np.array([2**64 - 1], np.uint64), "json").tolist(), carried(np.array([np.inf]), "json").tolist()
    ([True], [False])
    """
    if wire == "float32":
        return kept(values, np.float32)
    if values.dtype.kind != "f":
        return np.ones(values.shape, bool)
    return np.asarray(kept(values, np.float64) & ~np.isinf(values))


def changed_beyond_rounding(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers are not only rounded in float32, to about seven digits: whole ones, and those beyond its range.

    Floats from 2⁵³ on are whole in any case, so that a digit less is no more than rounding.

    Examples
    --------
    >>> changed_beyond_rounding(np.array([0.1, 16_777_217.0, 1e300, 1e-300, 0.5, np.nan])).tolist()
    [False, True, True, True, False, False]
    """
    changed = ~kept(values, np.float32)
    if values.dtype.kind != "f" or not changed.any():
        return changed
    some = values[changed]
    with np.errstate(over="ignore", under="ignore"):
        single = some.astype(np.float32).astype(some.dtype)
    whole = (np.rint(some) == some) & (np.abs(some) <= _EXACT)
    # Below the least normal number of float32 digits are lost, too.
    outside = ~np.isfinite(single) | (np.abs(some) < np.finfo(np.float32).tiny)
    changed[changed] = whole | outside
    return changed


def loss(values: NDArray[Any], dtype: DTypeLike) -> Loss | None:
    """How many values another dtype does not hold as they are, and one of them; None where it holds all.

    Examples
    --------
    >>> loss(np.array([1, 16_777_217]), np.float32)
    Loss(count=1, example='16777217 as 16777216')
    """
    same = kept(values, dtype)
    if same.all():
        return None
    first = values[~same].reshape(-1)[:1]
    with np.errstate(all="ignore"):
        other = first.astype(dtype)
    whole = first.dtype.kind in "iu" and np.isfinite(other).all()
    # Of float32 all digits: in the shortest ones it would look the same.
    shown = f"{int(other[0])}" if whole else f"{other.astype(np.float64)[0]!s}"
    return Loss(int((~same).sum()), f"{first[0]!s} as {shown}")


def kept(values: NDArray[Any], dtype: DTypeLike) -> NDArray[np.bool_]:
    """Which numbers are the same in another dtype, compared as numbers and not after a cast back, which may wrap.

    NaN is the same in any float, and in nothing else.

    Parameters
    ----------
    values
        Bools, whole numbers or floats, of any shape.
    dtype
        Another such dtype.

    Examples
    --------
    >>> kept(np.array([2**64 - 1, 1], np.uint64), np.float64).tolist(), kept(np.array([-1]), np.uint64).tolist()
    ([False, True], [False])
    """
    wanted = np.dtype(dtype)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    if wanted.kind == "b":
        return np.asarray((values == 0) | (values == 1))
    if values.dtype.kind == "f":
        return _kept_floats(values, wanted)
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
        same = _kept_floats(cast, large.dtype)
        same[same] = cast[same].astype(large.dtype) == large[same]
        result[~result] = same
    return np.asarray(result)


def _kept_floats(values: NDArray[Any], wanted: np.dtype[Any]) -> NDArray[np.bool_]:
    if wanted.kind == "f":
        if np.can_cast(values.dtype, wanted):
            return np.ones(values.shape, bool)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            same = np.asarray(values.astype(wanted) == values)
        return same if same.all() else np.asarray(same | np.isnan(values))
    if values.dtype.itemsize < 8:
        values = values.astype(np.float64)
    limits = np.iinfo(wanted)
    # The end is a power of two, which a float holds, as it does not hold the largest number itself.
    inside = (values >= float(limits.min)) & (values < 2.0 * (limits.max // 2 + 1))
    return np.asarray(inside & (np.floor(values) == values))


def integers(values: Sequence[int]) -> NDArray[Any] | None:
    """Whole numbers as int64, or as uint64 where they need it; None where neither holds them.

    Examples
    --------
    >>> integers([1, 2**63]).dtype, integers([-1, 2**63])
    (dtype('uint64'), None)
    """
    least, most = min(values, default=0), max(values, default=0)
    for dtype in (np.int64, np.uint64):
        limits = np.iinfo(dtype)
        if limits.min <= least and most <= limits.max:
            return np.array(values, dtype=dtype)
    return None


def numbers(values: Sequence[float | None]) -> pd.Series | None:
    """Numbers of JSON as a column that has each exactly; None where no dtype does.

    Whole numbers are int64 (uint64 from 2⁶³ on), others float64. Where some are missing they are floats with NaN, or
    pandas' nullable whole numbers from 2⁵³ on, where floats are not exact. Beyond 64 bits whole
    numbers are floats in any case.

    Raises
    ------
    OverflowError
        A number is beyond what a float holds.

    Examples
    --------
    >>> [numbers(values).dtype.name for values in ([1, 2**63], [1, None], [2**53 + 1, None], [1, 0.5])]
    ['uint64', 'float64', 'Int64', 'float64']
    """
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
    """Texts as the numbers that they are, read exactly (pandas' own reading may be off by the last digit).

    None where one of them is no number as programs write it. What begins with a zero, or has more digits than a number
    keeps, is a label.

    Examples
    --------
    >>> numbers_in(["1", "0.1", "1e-05"]), numbers_in(["007", "1"])
    ([1, 0.1, 1e-05], None)
    """
    found: list[float] = []
    for text in texts:
        if _NUMBER.fullmatch(text) is None:
            return None
        found.append(int(text) if text.removeprefix("-").isdecimal() else float(text))
    return found


def shared_dtype(columns: Sequence[pd.Series], *, gaps: bool) -> str | None:
    """The dtype in which columns of numbers, one below the other, keep every value.

    Parameters
    ----------
    columns
        Of numbers; missing ones are NaN or NA.
    gaps
        Whether rows are added that have no value.

    Returns
    -------
    str or None
        An empty text where pandas' own choice does it; None where no dtype does.

    Examples
    --------
    >>> shared_dtype([pd.Series([1]), pd.Series([2**63], dtype="uint64")], gaps=False)
    'uint64'
    >>> shared_dtype([pd.Series([2**53 + 1]), pd.Series([0.5])], gaps=False) is None
    True
    """
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
