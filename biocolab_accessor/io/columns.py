"""Columns: what h5ad can store of a column, and how to convert the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique

from biocolab_accessor.errors import UnknownField
from biocolab_accessor.io.column_text import TextForm, as_text, needs_text
from biocolab_accessor.io.names import key_as_text, unwritable_text
from biocolab_accessor.io.values import integers as whole_numbers
from biocolab_accessor.io.values import loss
from biocolab_accessor.messages import counted, did_you_mean, listing, naturally_sorted, quoted


@dataclass(frozen=True)
class Verdict:
    """How a column is written."""

    column: pd.Series | None  # as written; None if it cannot be
    change: str = ""  # what differs from the original; empty if only the encoding does
    problem: str = ""  # why it cannot be written
    fix: str = ""  # what to do about the problem
    examples: tuple[str, ...] = ()  # rows or values with the problem
    count: int = 1  # number of values with the change or problem
    as_text: bool = False  # sent as text, because h5ad cannot store its values


Verdicts = dict[str, list[tuple[Any, Verdict]]]
"""For each table (``obs``, ``var``, ``obsm['key']``) the name of each column, and the verdict on it."""


def judge_each(frame: pd.DataFrame, where: str) -> list[tuple[Any, Verdict]]:
    """The name of each column of a table, and the verdict on it."""
    return [(name, judge(frame.iloc[:, position], where)) for position, name in enumerate(frame.columns)]


def as_frame(table: Any) -> pd.DataFrame:
    """A table (obs or var) as a data frame; a lazy one is read."""
    return table if isinstance(table, pd.DataFrame) else table.to_memory()


def chosen_columns(obs: pd.DataFrame, names: Sequence[str] | None) -> pd.DataFrame:
    """The columns of obs with these names, in the order of obs; None means all."""
    if names is None:
        return obs
    return obs.loc[:, [key_as_text(name) in names for name in obs.columns]]


def named_by(
    var: pd.DataFrame, column: str | None, where: str, argument: str = "gene_symbols"
) -> tuple[pd.DataFrame, str]:
    """A var whose index is one of its columns, and the change in words; None changes nothing."""
    if column is None:
        return var, ""
    if not isinstance(column, str) or not isinstance(var.get(column), pd.Series):
        near = did_you_mean(str(column), map(str, var.columns))
        msg = f"{where} has no column {quoted(column)}{near} for {argument}; it has {listing(var.columns) or 'none'}"
        raise UnknownField(msg)
    symbols = var[column].astype(object)
    absent = np.asarray(symbols.isna() | (symbols.astype(str).str.strip() == ""), bool)
    names = pd.Index(np.where(absent, var.index.astype(object), symbols.astype(str)), dtype=object)
    repeated = names.duplicated()
    change = f"{where}_names: gene names are taken from {where}[{quoted(column)}]"
    if absent.any():
        change += f"; {counted(int(absent.sum()), 'gene')} without a name there: unchanged"
    if repeated.any():
        twice = listing(names[repeated].unique(), limit=3)
        change += f"; {counted(int(repeated.sum()), 'repeated name')} numbered as by var_names_make_unique ({twice})"
        names = pd.Index(make_index_unique(names), dtype=object)
    return var.set_axis(names, axis=0), change


def labels_of(column: pd.Series) -> pd.Series:
    """A column as strings, as batches are named: missing values become ``nan``."""
    if needs_text(column) and (form := as_text(column)) is not None:
        column = form.column  # as submitted
    try:
        labels = column.astype(str)
    except ValueError:  # such as bytes that are not UTF-8
        labels = pd.Series([str(value) for value in column], column.index, dtype=object)
    return labels.mask(column.isna(), "nan")


def batches_of(column: pd.Series) -> tuple[pd.Series, list[str]]:
    """The label of each cell, and the labels in the order of the categories, else of first appearance."""
    labels = labels_of(column)
    first = labels
    if isinstance(column.dtype, pd.CategoricalDtype):
        # From one cell of each: a category alone may print differently, such as 0.1 in float32.
        codes, places = np.unique(column.cat.codes.to_numpy(), return_index=True)
        first = labels.iloc[np.append(places[codes >= 0], places[codes < 0])]
    return labels, list(dict.fromkeys(first))


def judge(column: pd.Series, where: str = "obs") -> Verdict:
    """A column as h5ad stores it in its oldest encodings, else as text, or the reason why neither is possible."""
    # Text becomes categorical, as in anndata. The newer nullable encodings are never used: older readers lack them.
    verdict = plain_verdict(column, where)
    if verdict.column is not None or (form := as_text(column)) is None:
        return verdict
    if form.column.isna().all():
        return Verdict(pd.Series(np.nan, index=column.index), "only missing values: sent as NaN", count=len(column))
    fix, number = _restoring_line(column, where, form), int(form.column.notna().sum())
    return Verdict(
        form.column.rename(None), form.change, fix=fix, examples=verdict.examples, count=number, as_text=True
    )


def _restoring_line(column: pd.Series, where: str, form: TextForm) -> str:
    """The line that restores a column that was sent as text; columns of var cannot be restored."""
    name = key_as_text(column.name)
    if where != "obs" or name is None:
        return ""
    if not form.dtype:
        return "It stays text when the study is fetched"
    dtype = f"adata.obs[{quoted(column.name)}].dtype" if form.dtype == "dtype" else form.dtype
    pulled = f"pull_metadata([{quoted(name)}], overwrite=True, dtypes={{{quoted(name)}: {dtype}}})"
    return f"To restore it: again.biocolab.{pulled}"


def plain_verdict(column: pd.Series, where: str = "obs") -> Verdict:
    """Like :func:`judge`, but without conversion to text."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _judge_categories(column, where)
    if isinstance(dtype, pd.SparseDtype):
        dense = plain_verdict(pd.Series(np.asarray(column.array), index=column.index, name=column.name), where)
        if dense.column is None:
            return dense
        return Verdict(dense.column, dense.change or "sparse column made dense", count=dense.count)
    if isinstance(dtype, np.dtype):
        return _judge_objects(column, where) if dtype.kind in "OUT" else numeric_verdict(column, where)
    if isinstance(dtype, pd.StringDtype):
        return _judge_objects(column.astype(object), where)
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype | pd.DatetimeTZDtype):
        return _refused(column, where, f"holds {dtype}, which h5ad cannot hold")
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        return _judge_nullable(column, where)
    # Arrow strings and other extension types are converted to objects.
    return _judge_objects(column.astype(object), where)


def numeric_verdict(column: pd.Series, where: str) -> Verdict:
    """The verdict for a column with a NumPy dtype."""
    dtype: Any = column.dtype
    if dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize in (4, 8)):
        return Verdict(column)
    if dtype.kind == "f":
        wider = np.dtype(np.float32 if dtype.itemsize == 2 else np.float64)
        if dtype.itemsize == 2:
            return Verdict(column.astype(wider))
        lost = loss(column.to_numpy(), wider)
        rounded = f", which rounds {counted(lost.count, 'value')} ({lost.example})" if lost else ""
        with np.errstate(over="ignore", under="ignore"):
            return Verdict(column.astype(wider), f"{dtype}: sent as float64{rounded}", count=len(column))
    return _refused(column, where, f"holds {dtype}, which h5ad cannot hold")


def _judge_categories(column: pd.Series, where: str) -> Verdict:
    categories = column.cat.categories
    labels_dtype = object if categories.dtype == object else None  # pandas 3 would infer a string dtype, or fail
    inner = plain_verdict(pd.Series(categories.to_numpy(), dtype=labels_dtype))
    if isinstance(categories.dtype, pd.IntervalDtype | pd.PeriodDtype) or inner.column is None:
        what = inner.problem or f"{categories.dtype}"
        if isinstance(categories.dtype, pd.IntervalDtype):
            what = "intervals, as from pd.cut"
        problem = f"has categories that h5ad cannot hold ({what})"
        return _refused(column, where, problem, inner.examples, len(categories))
    # For pandas, categories of strings and of objects differ even if they are equal.
    labels = inner.column
    if isinstance(labels.dtype, pd.CategoricalDtype):
        index = pd.Index(list(labels), dtype=object)
    else:
        index = pd.Index(labels.to_numpy())
    if isinstance(categories.dtype, np.dtype) and categories.dtype == index.dtype:
        return Verdict(column)
    codes = column.cat.codes.to_numpy()
    renewed = pd.Categorical.from_codes(codes, categories=index, ordered=column.cat.ordered)
    return Verdict(pd.Series(renewed, index=column.index))


def _judge_objects(column: pd.Series, where: str) -> Verdict:
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind == "string":
        return _text(column, where)
    missing = column.isna()
    if kind == "mixed" and missing.any() and pd.api.types.infer_dtype(column[~missing]) == "string":
        return _text(column.where(~missing, None), where)  # NaT among strings is missing as well
    if kind == "empty" or missing.all():
        return Verdict(pd.Series(np.nan, index=column.index), "only missing values: sent as NaN", count=len(column))
    if kind == "boolean":
        return _booleans(column, missing)
    if kind in ("integer", "floating", "mixed-integer-float"):
        return _numbers(column, missing, where)
    types = Counter(type(value).__name__ for value in column[~missing])
    counted = ", ".join(f"{name} {number:,}" for name, number in types.most_common())
    first: dict[str, str] = {}
    for label, value, gone in zip(column.index, column, missing, strict=True):
        if not gone and (name := type(value).__name__) not in first:
            first[name] = f"{label}: {_shown(value)}"
    what = "mixed types" if len(types) > 1 else "values"
    problem = f"{what} that h5ad cannot hold ({counted})"
    return _refused(column, where, problem, tuple(first.values())[:3], sum(types.values()))


def _text(column: pd.Series, where: str) -> Verdict:
    # With factorize, which does not convert: the string dtype of pandas 3 rejects lone surrogates.
    codes, labels = pd.factorize(column.to_numpy(dtype=object))
    categories = pd.Index(naturally_sorted(labels), dtype=object)
    broken = [label for label in categories if unwritable_text(label)]
    if broken:
        problem = f"{len(broken):,} texts hold a NUL or half of a surrogate pair"
        return _refused(column, where, problem, tuple(quoted(label, escape=True) for label in broken[:3]), len(broken))
    place = np.append(categories.get_indexer(pd.Index(labels, dtype=object)), -1)
    return Verdict(pd.Series(pd.Categorical.from_codes(place[codes], categories), index=column.index))


def _judge_nullable(column: pd.Series, where: str) -> Verdict:
    missing = column.isna()
    if pd.api.types.is_bool_dtype(column.dtype):
        return _booleans(column.astype(object), missing)
    if missing.any():
        return _numbers(column.astype(object), missing, where)
    dtype = np.dtype(getattr(column.dtype, "numpy_dtype", object))
    if dtype.kind == "O":  # Arrow decimals and other extension types
        return _judge_objects(column.astype(object), where)
    return numeric_verdict(pd.Series(column.to_numpy(dtype=dtype), index=column.index), where)


def _booleans(column: pd.Series, missing: pd.Series) -> Verdict:
    if not missing.any():
        return Verdict(pd.Series(column.to_numpy(dtype=bool), index=column.index))
    labels = [None if gone else str(bool(value)) for value, gone in zip(column, missing, strict=True)]
    number = int(missing.sum())
    change = f"booleans with {number:,} missing: sent as labels 'True' and 'False'"
    return Verdict(pd.Series(pd.Categorical(labels, ["False", "True"]), index=column.index), change, count=number)


def _numbers(column: pd.Series, missing: pd.Series, where: str) -> Verdict:
    """Numbers in an object column, or a nullable column with missing values."""
    present = column[~missing]
    integers = [int(value) for value in present if isinstance(value, int | np.integer)]
    whole, number = len(integers) == len(present), int(missing.sum())
    least, most = min(integers, default=0), max(integers, default=0)
    if whole and not number:
        array = whole_numbers(integers)
        if array is not None:
            return Verdict(pd.Series(array, index=column.index))
    inexact = [value for value in (least, most) if not _is_exact(value)] or [v for v in integers if not _is_exact(v)]
    if inexact:
        problem = f"whole numbers such as {_shown(inexact[0])}, which no float holds exactly"
        return _refused(column, where, problem, count=len(inexact))
    numbers = np.array([np.nan if gone else float(v) for v, gone in zip(column, missing, strict=True)])
    why = f"with {number:,} missing: sent as floats with NaN" if number else "beyond 64 bits: sent as floats"
    return Verdict(
        pd.Series(numbers, index=column.index), f"whole numbers {why}" if whole else "", count=max(number, 1)
    )


def _refused(
    column: pd.Series, where: str, problem: str, examples: tuple[str, ...] = (), count: int | None = None
) -> Verdict:
    place = f"adata.{where}[{quoted(column.name)}]"
    # astype(str) would convert missing values to the string "None".
    fix = f"Convert it: {place} = {place}" + (
        ".map(str, na_action='ignore')" if column.isna().any() else ".astype(str)"
    )
    if "surrogate" in problem:
        fix = f"Replace them in {place}"
    if not examples and len(column):
        examples = tuple(f"{label}: {_shown(value)}" for label, value in column.head(2).items())
    return Verdict(None, problem=problem, fix=fix, examples=examples, count=len(column) if count is None else count)


def _shown(value: Any) -> str:
    """A value in a message: short, and never an error."""
    try:
        text = f"{value:,}" if type(value) is int else quoted(value, escape=isinstance(value, str))
    except Exception:  # noqa: BLE001  # any error in a foreign __repr__, or int with more than 4,300 digits
        return type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_exact(number: int) -> bool:
    """Whether a float represents this integer exactly."""
    try:
        return int(float(number)) == number
    except OverflowError:
        return False
