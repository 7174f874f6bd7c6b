"""Rules about the values of obs and var."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.io.columns import batches_of, labels_of
from biocolab_accessor.io.names import batch_names
from biocolab_accessor.io.values import changed_beyond_rounding, exact_in, loss
from biocolab_accessor.messages import counted, did_you_mean, listing, natural_key, quoted

_MOST_CATEGORIES = 65_535
_BATCH = "Batch"


@rule("BC201", "warning", InvalidColumn)
def unwritable_values(context: Context) -> Iterator[Finding]:
    """Columns of values that cannot become text, such as lists and other objects, are left out."""
    for path, verdict in [*context.verdicts, *context.obsm_verdicts]:
        if verdict.column is None:
            message = f"not sent: {verdict.problem}"
            yield found(path, message, count=verdict.count, examples=verdict.examples, fix=verdict.fix)


@rule("BC202", "note", changed=True)
def changed_values(context: Context) -> Iterator[Finding]:
    """Values that are sent in a different form, because h5ad or the servers cannot hold theirs."""
    for path, verdict in context.verdicts:
        if verdict.change and not verdict.as_text:
            yield found(path, verdict.change, count=verdict.count)


@rule("BC208", "warning", InvalidColumn, changed=True)
def values_made_text(context: Context) -> Iterator[Finding]:
    """Dates, durations, periods, intervals and mixed values are sent as text, since h5ad cannot hold them."""
    for path, verdict in [*context.verdicts, *context.obsm_verdicts]:
        if verdict.as_text:
            yield found(path, verdict.change, count=verdict.count, examples=verdict.examples, fix=verdict.fix)


@rule("BC205", "note")
def order_of_labels(context: Context) -> Iterator[Finding]:
    """The servers keep labels as text, without the order of an ordered categorical or a custom order."""
    for path, verdict in context.verdicts:
        column = verdict.column
        if path.startswith("obs[") and column is not None and isinstance(column.dtype, pd.CategoricalDtype):
            labels = [str(label) for label in column.cat.categories]
            kind = column.cat.categories.dtype
            if len(labels) and getattr(kind, "kind", "O") != "O":
                yield found(path, f"labels of dtype {kind}: the servers hold them as text")
            if column.cat.ordered and len(labels) > 1:
                yield found(path, f"ordered labels ({' < '.join(labels[:3])}{' < …' if len(labels) > 3 else ''}): "
                            "the servers do not keep the order")  # fmt: skip
            elif 1 < len(labels) <= _MOST_CATEGORIES and _is_custom(labels):
                yield found(path, f"labels in a custom order ({listing(labels, limit=3)}): BBrowserX and "
                            "Talk2Data return them in natural order")  # fmt: skip


def _is_custom(labels: list[str]) -> bool:
    """Whether the order is custom: pandas sorts categories by their characters, scanpy in natural order."""
    return labels not in (sorted(labels), sorted(labels, key=natural_key))


@rule("BC206", "warning")
def infinite_numbers(context: Context) -> Iterator[Finding]:
    """The file holds infinite numbers, but the servers show and return them as NaN."""
    for path, verdict in context.verdicts:
        column = verdict.column
        if not path.startswith("obs[") or column is None or getattr(column.dtype, "kind", "") != "f":
            continue
        infinite = np.isinf(column.to_numpy())
        if number := int(infinite.sum()):
            names = tuple(quoted(name) for name in column.index[infinite][:3])
            message = f"infinite numbers in {counted(number, 'cell')}: the servers show NaN there"
            yield found(path, message, count=number, examples=names, fix="Replace them with finite numbers in a copy")


@rule("BC210", "warning")
def numbers_changed_in_bioflex(context: Context) -> Iterator[Finding]:
    """BioFlex returns float32, in which large ids and counts become other numbers or infinite."""
    paths, count, examples = [], 0, list[str]()
    for path, values in _numbers_of_obs(context):
        changed = changed_beyond_rounding(values)
        if number := int(np.count_nonzero(changed)):
            paths.append(path)
            count += number
            if lost := loss(values[changed], np.float32):
                examples.append(f"{lost.example} in {path}")
    if paths:
        message = f"BioFlex returns these as float32, which changes {counted(count, 'number')}"
        name = "; ".join(f"copy.{path} = copy.{path}.astype(str)" for path in paths[:1])
        fix = f"To keep ids exact, convert them to text in a copy: {name}"
        yield found(", ".join(paths), message, count=count, examples=tuple(examples[:3]), fix=fix)


@rule("BC209", "note")
def columns_converted_in_bioflex(context: Context) -> Iterator[Finding]:
    """BioFlex returns numbers as float32 and booleans as labels; BBrowserX and Talk2Data keep both unchanged."""
    rounded = dict[str, int]()
    for path, values in _numbers_of_obs(context):
        if number := int(np.count_nonzero(~exact_in(values, np.float32) & ~changed_beyond_rounding(values))):
            rounded[path] = number
    truths, gaps = [], []
    for path, verdict in context.verdicts:
        column = verdict.column
        if not path.startswith("obs[") or column is None:
            continue
        if isinstance(column.dtype, pd.CategoricalDtype):
            if column.isna().any():
                gaps.append(path)
        elif column.dtype == np.bool_:
            truths.append(path)
    if rounded:
        message = "BioFlex returns these as float32, with about seven digits"
        yield found(", ".join(rounded), message, count=sum(rounded.values()))
    if truths:
        message = "BioFlex returns booleans as labels 'True' and 'False'"
        yield found(", ".join(truths), message, count=len(truths))
    if gaps:
        message = "BioFlex does not support missing labels, and returns a label for cells without one"
        yield found(", ".join(gaps), message, count=len(gaps))


def _numbers_of_obs(context: Context) -> Iterator[tuple[str, NDArray[Any]]]:
    """Path and values of each column of obs that is sent as numbers."""
    for path, verdict in context.verdicts:
        column = verdict.column
        if path.startswith("obs[") and column is not None and getattr(column.dtype, "kind", "O") in "fiu":
            yield path, column.to_numpy()


@rule("BC203", "warning")
def too_many_categories(context: Context) -> Iterator[Finding]:
    """The servers store labels in 16 bits, which limits a column to 65,535 of them."""
    for path, verdict in context.verdicts:
        column = verdict.column
        if not path.startswith("obs[") or column is None or not isinstance(column.dtype, pd.CategoricalDtype):
            continue
        number = len(column.cat.categories)
        if number > _MOST_CATEGORIES:
            fix = "If it is an id of each cell, drop the column from a copy"
            message = f"{number:,} labels: the servers support at most {_MOST_CATEGORIES:,}"
            yield found(path, message, count=number, fix=fix)


@rule("BC204", "error", InvalidColumn)
def batch_column(context: Context) -> Iterator[Finding]:
    """The batch column must exist once and have a label for every cell."""
    key, obs = context.batch_key, context.tables["obs"]
    if key is None:
        return
    times = sum(1 for name in obs.columns if isinstance(name, str) and isinstance(key, str) and name == key)
    if times != 1:
        near = did_you_mean(str(key), (name for name in obs.columns if isinstance(name, str)))
        what = f"has no column {quoted(key)}{near}" if not times else f"has {times} columns {quoted(key)}"
        yield found("obs", f"{what} for batch_key; it has {listing(obs.columns)}", fix="Give the name of one column")
    elif missing := int(obs[key].isna().sum()):
        first = tuple(quoted(name) for name in obs.index[obs[key].isna()][:3])
        fix = "Fill the column in a copy, or drop those cells from it"
        message = f"{counted(missing, 'cell')} without a batch"
        yield found(f"obs[{quoted(key)}]", message, count=missing, examples=first, fix=fix)
    elif (verdict := dict(context.verdicts)[f"obs[{quoted(key)}]"]).column is None:
        message = f"cannot be used for batches: {verdict.problem}"
        yield found(f"obs[{quoted(key)}]", message, count=verdict.count, examples=verdict.examples, fix=verdict.fix)


@rule("BC207", "warning")
def batches_of_measured_values(context: Context) -> Iterator[Finding]:
    """Each batch becomes a separate file; a column of measured values makes a batch of nearly every cell."""
    key, obs = context.batch_key, context.tables["obs"]
    column = obs[key] if isinstance(key, str) and key in obs.columns else None
    if not isinstance(column, pd.Series) or column.isna().any():
        return  # BC204 reports these
    cells = labels_of(column).value_counts()
    single = int((cells == 1).sum())
    fix = "Use a column whose values name samples, donors or runs"
    if len(cells) < 2:
        return
    if single > len(cells) / 2:
        which = "each" if single == len(cells) else f"{single:,} of them"
        message = f"{len(cells):,} batches, {which} with a single cell"
        yield found(f"obs[{quoted(key)}]", message, count=single, fix=fix)
    elif getattr(column.dtype, "kind", "") == "f" and (column % 1 != 0).any():
        message = f"{len(cells):,} batches from numbers that are not whole"
        yield found(f"obs[{quoted(key)}]", message, count=len(cells), fix=fix)


@rule("BC211", "note", changed=True)
def renamed_batches(context: Context) -> Iterator[Finding]:
    """Batches have the names of their files, which cannot have every character; the column keeps its values."""
    key, obs = context.batch_key, context.tables["obs"]
    column = obs[key] if isinstance(key, str) and key in obs.columns else None
    if not isinstance(column, pd.Series) or column.isna().any():
        return  # BC204 reports these
    _, labels = batches_of(column)
    renamed = [(label, name) for label, name in zip(labels, batch_names(labels), strict=True) if label != name]
    if renamed:
        message = f"{counted(len(renamed), 'label')} changed as the name of a batch; the column keeps its values"
        examples = tuple(f"{quoted(label)} as {quoted(name)}" for label, name in renamed[:3])
        yield found(f"obs[{quoted(key)}]", message, count=len(renamed), examples=examples)


@rule("BC212", "warning")
def batches_of_before(context: Context) -> Iterator[Finding]:
    """Servers store the batches of a study in the column ``Batch``; one that is there already takes their place."""
    key, obs = context.batch_key, context.tables["obs"]
    if _BATCH not in obs.columns or key == _BATCH:
        return
    if not context.is_batch:
        column = obs[key] if isinstance(key, str) and key in obs.columns else None
        if not isinstance(column, pd.Series) or column.isna().any() or len(batches_of(column)[1]) < 2:
            return
    fix = "Rename it in a copy: copy.obs = copy.obs.rename(columns={'Batch': 'old_batch'})"
    message = "servers store the batches under this name: the study would keep these values instead of the new batches"
    yield found(f"obs[{quoted(_BATCH)}]", message, fix=fix)
