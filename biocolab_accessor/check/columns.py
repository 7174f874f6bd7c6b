"""Columns: what h5ad can hold of a data frame's column, and what has to change for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["Verdict", "judge"]

_LARGEST_EXACT = 2**53


@dataclass(frozen=True)
class Verdict:
    """What becomes of a column.

    Attributes
    ----------
    column
        As it is written; None where it cannot be.
    change
        What is different from the original, empty where nothing is lost or altered but the encoding.
    problem
        Why it cannot be written.
    fix
        What to do about that.
    examples
        Rows or values that show the problem.
    """

    column: pd.Series | None
    change: str = ""
    problem: str = ""
    fix: str = ""
    examples: tuple[str, ...] = ()


def judge(column: pd.Series) -> Verdict:
    """Give a column as h5ad can hold it in its oldest encodings, or say why it cannot.

    Text becomes categorical, as anndata itself would make it; nothing is ever written in the newer nullable encodings,
    which older readers do not know. The column itself is never changed.

    Parameters
    ----------
    column
        One column of obs or var.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _judge_categorical(column)
    if isinstance(dtype, pd.SparseDtype):
        dense = judge(pd.Series(np.asarray(column.array), index=column.index))
        return Verdict(
            dense.column, dense.change or "sparse column made dense", dense.problem, dense.fix, dense.examples
        )
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        return Verdict(column)
    if isinstance(dtype, np.dtype) and dtype.kind in "OU":
        return _judge_objects(column)
    if isinstance(dtype, pd.StringDtype):
        return _judge_objects(column.astype(object))
    if not isinstance(dtype, np.dtype) and (
        pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_string_dtype(dtype)
    ):
        return _judge_nullable(column)
    return Verdict(
        None, problem=f"holds {dtype}, which h5ad cannot hold", fix=f"convert it, {_name(column)}.astype(str)"
    )


def _judge_categorical(column: pd.Series) -> Verdict:
    categories = column.cat.categories
    inner = judge(
        pd.Series(np.asarray(categories, dtype=object) if categories.dtype == object else categories.to_numpy())
    )
    if isinstance(categories.dtype, pd.IntervalDtype) or inner.column is None:
        what = "intervals" if isinstance(categories.dtype, pd.IntervalDtype) else inner.problem
        return Verdict(
            None,
            problem=f"has categories that h5ad cannot hold ({what})",
            fix=f"rename them, {_name(column)}.astype(str)",
            examples=inner.examples or tuple(str(label) for label in categories[:3]),
        )
    if isinstance(categories.dtype, pd.StringDtype):
        plain = pd.Categorical.from_codes(
            column.cat.codes.to_numpy(), categories=pd.Index(list(categories), dtype=object), ordered=column.cat.ordered
        )
        return Verdict(pd.Series(plain, index=column.index))
    return Verdict(column)


def _judge_objects(column: pd.Series) -> Verdict:
    kind = pd.api.types.infer_dtype(column, skipna=True)
    missing = column.isna()
    if kind == "string":
        labels = pd.Categorical(column.where(~missing, None))
        broken = [label for label in labels.categories if "\0" in label or not _is_utf8(label)]
        if broken:
            return Verdict(
                None,
                problem=f"{len(broken)} texts hold a NUL or a broken character",
                fix="replace them",
                examples=tuple(ascii(label) for label in broken[:3]),
            )
        return Verdict(pd.Series(labels, index=column.index))
    if kind == "empty":
        return Verdict(pd.Series(np.nan, index=column.index), change="only missing values: sent as NaN")
    if kind == "boolean":
        return _booleans(column, missing)
    if kind in ("integer", "floating", "mixed-integer-float"):
        return _numbers(column, missing)
    types = Counter(type(value).__name__ for value in column[~missing])
    counted = ", ".join(f"{name} {n:,}" for name, n in types.most_common())
    first = tuple(
        f"{column.index[i]}: {column.iloc[i]!r}"[:80]
        for name in types
        for i in [next(i for i, value in enumerate(column) if type(value).__name__ == name)]
    )[:3]
    what = "mixed types" if len(types) > 1 else "values"
    return Verdict(
        None,
        problem=f"{what} that h5ad cannot hold ({counted})",
        fix=f"convert it, {_name(column)}.astype(str)",
        examples=first,
    )


def _judge_nullable(column: pd.Series) -> Verdict:
    missing = column.isna()
    if pd.api.types.is_bool_dtype(column.dtype):
        return _booleans(column.astype(object), missing)
    if pd.api.types.is_numeric_dtype(column.dtype):
        if not missing.any():
            return Verdict(pd.Series(column.to_numpy(dtype=_numpy_dtype(column)), index=column.index))
        return _numbers(column.astype(object), missing)
    return _judge_objects(column.astype(object).where(~missing, None))


def _booleans(column: pd.Series, missing: pd.Series) -> Verdict:
    if not missing.any():
        return Verdict(pd.Series(column.to_numpy(dtype=bool), index=column.index))
    labels = [None if gone else str(bool(value)) for value, gone in zip(column, missing, strict=True)]
    change = f"booleans with {int(missing.sum()):,} missing: sent as labels 'True' and 'False'"
    return Verdict(pd.Series(pd.Categorical(labels, ["False", "True"]), index=column.index), change=change)


def _numbers(column: pd.Series, missing: pd.Series) -> Verdict:
    present = column[~missing]
    whole = all(isinstance(value, int | np.integer) for value in present)
    largest = max((abs(int(value)) for value in present), default=0) if whole else 0
    if whole and not missing.any() and largest < 2**63:
        return Verdict(pd.Series(column.to_numpy(dtype=np.int64), index=column.index))
    if whole and largest > _LARGEST_EXACT:
        return Verdict(
            None,
            problem=f"whole numbers up to {largest:,}, too large to be exact beside missing values",
            fix=f"fill the missing ones or convert it, {_name(column)}.astype(str)",
        )
    numbers = column.where(~missing, np.nan).to_numpy(dtype=np.float64)
    change = f"whole numbers with {int(missing.sum()):,} missing: sent as floats with NaN" if whole else ""
    return Verdict(pd.Series(numbers, index=column.index), change=change)


def _numpy_dtype(column: pd.Series) -> Any:
    dtype: Any = column.dtype
    return getattr(dtype, "numpy_dtype", None) or (np.int64 if pd.api.types.is_integer_dtype(dtype) else np.float64)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(column: pd.Series) -> str:
    return f"df[{column.name!r}]"
