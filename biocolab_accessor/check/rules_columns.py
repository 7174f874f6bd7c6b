"""Rules about the columns of obs and var."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from biocolab_accessor.check.columns import judge
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.check.rules_names import _sent_var
from biocolab_accessor.errors import InvalidColumn
from biocolab_accessor.naming import did_you_mean, listing

_MOST_CATEGORIES = 65_535


def _columns(context: Context) -> Iterator[tuple[str, pd.Series]]:
    path, var = _sent_var(context)
    for where, frame in (("obs", context.adata.obs), (path, var)):
        for position, name in enumerate(frame.columns):
            yield f"{where}[{name!r}]", frame.iloc[:, position]


@rule("BC201", "error", InvalidColumn)
def unwritable_values(context: Context) -> Iterator[Finding]:
    """Values that h5ad cannot hold: mixed types, lists, dates, intervals."""
    for path, column in _columns(context):
        verdict = judge(column)
        if verdict.column is None:
            fix = verdict.fix.replace("df[", f"adata.{path.split('[')[0]}[")
            yield found(path, verdict.problem, examples=verdict.examples, fix=fix[:1].upper() + fix[1:])


@rule("BC202", "note")
def changed_values(context: Context) -> Iterator[Finding]:
    """Values that are sent in another form than they have here."""
    for path, column in _columns(context):
        if change := judge(column).change:
            yield found(path, change)


@rule("BC203", "warning")
def too_many_categories(context: Context) -> Iterator[Finding]:
    """The servers number labels with 16 bits."""
    for path, column in _columns(context):
        if not path.startswith("obs["):
            continue
        is_text = isinstance(column.dtype, pd.CategoricalDtype | pd.StringDtype) or column.dtype == object
        if not is_text or len(column) <= _MOST_CATEGORIES:
            continue
        number = column.astype(str).nunique()
        if number > _MOST_CATEGORIES:
            fix = "Leave it out if it is an id of each cell"
            yield found(path, f"{number:,} labels; the servers can number {_MOST_CATEGORIES:,}", count=number, fix=fix)


@rule("BC204", "error", InvalidColumn)
def batch_column(context: Context) -> Iterator[Finding]:
    """The batches must be named for every cell."""
    key, obs = context.batch_key, context.adata.obs
    if key is None:
        return
    if key not in obs.columns:
        near = did_you_mean(str(key), [str(name) for name in obs.columns])
        yield found("obs", f"there is no column {key!r}{near} for batch_key; it has {listing(obs.columns)}")
    elif missing := int(obs[key].isna().sum()):
        fix = "Fill it, or leave those cells out"
        yield found(f"obs[{key!r}]", f"{missing:,} cells have no batch", count=missing, fix=fix)
