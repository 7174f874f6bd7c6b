"""Rules about names: barcodes, features, columns and keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd

from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.errors import InvalidNames

_TAKEN = {"_index": "is the name that h5ad uses for the index", "__categories": "is a name that old h5ad files use"}


def unwritable(name: Any) -> str:
    """Why HDF5 cannot hold a name; empty where it can."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not text"
    if not name.strip():
        return "is empty"
    if "\0" in name:
        return "holds a NUL"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair"
    return ""


def unwritable_key(name: Any) -> str:
    """Why a name cannot be that of a column or key in h5ad; empty where it can."""
    if reason := unwritable(name):
        return reason
    if "/" in name:
        return "holds a '/', which makes a folder in HDF5"
    return "means a folder itself in HDF5" if name in (".", "..") else ""


def _names(context: Context) -> Iterator[tuple[str, str, pd.Index]]:
    """Path, accessor in code, and index of cells and features."""
    for where, frame in context.tables.items():
        yield f"{where}_names", where, frame.index


@rule("BC101", "error", InvalidNames)
def duplicate_barcodes(context: Context) -> Iterator[Finding]:
    """Cells of one name cannot be told apart on the server."""
    yield from _duplicates(
        "obs_names",
        context.tables["obs"].index,
        "barcodes",
        "Make them unique: adata.obs_names_make_unique(), or put the sample into the name",
    )


@rule("BC102", "error", InvalidNames)
def unwritable_names(context: Context) -> Iterator[Finding]:
    """Barcodes and features must be text that HDF5 can hold, or numbers."""
    for path, where, names in _names(context):
        bad = [] if _all_fine(names) else [(name, reason) for name in names if (reason := _unspeakable(name))]
        if bad:
            yield found(
                path,
                f"{len(bad):,} names cannot be written",
                count=len(bad),
                examples=tuple(f"{name!a} {reason}" for name, reason in bad[:3]),
                fix=f"Rename them: adata.{where}.index = [...]",
            )


@rule("BC103", "warning", InvalidNames)
def duplicate_features(context: Context) -> Iterator[Finding]:
    """Genes of one name are sent as they are; the server may take the first of them for all."""
    for path, where, names in _names(context):
        if where != "obs":
            fix = "They are sent as they are; to tell them apart use adata.var_names_make_unique()"
            yield from _duplicates(path, names, "features", fix)


@rule("BC104", "error", InvalidNames)
def unwritable_columns(context: Context) -> Iterator[Finding]:
    """Column names that h5ad cannot hold, or that would come back as something else."""
    for where, frame in context.tables.items():
        for name in frame.columns:
            reason = unwritable_key(name) or _TAKEN.get(name, "")
            if reason:
                fix = f"Rename it in a copy: adata.{where}.columns = [...]"
                yield found(f"{where}[{name!a}]", f"the column name {reason}", fix=fix)
        times = Counter(map(str, frame.columns))
        twice = [name for name, number in times.items() if number > 1]
        if twice:
            yield found(
                where,
                "columns of the same name",
                count=len(twice),
                examples=tuple(repr(name) for name in twice[:3]),
                fix="Rename all but one of them, or leave them out",
            )


@rule("BC105", "error", InvalidNames)
def unwritable_keys(context: Context) -> Iterator[Finding]:
    """Keys of obsm that write without an error and cannot be read back."""
    for key in context.adata.obsm:
        if reason := unwritable_key(key):
            fix = f"Rename it: adata.obsm['…'] = adata.obsm.pop({key!a})"
            yield found(f"obsm[{key!a}]", f"the key {reason}", fix=fix)


@rule("BC106", "error", InvalidNames)
def barcode_column(context: Context) -> Iterator[Finding]:
    """A column named like the servers' barcode column would take its place."""
    for name in context.tables["obs"].columns:
        if isinstance(name, str) and name.casefold() == "barcodes":
            fix = f"Rename it: adata.obs.rename(columns={{{name!r}: 'barcode_2'}})"
            yield found(f"obs[{name!r}]", "the servers use this name for the cells' barcodes", fix=fix)


@rule("BC107", "note")
def names_made_text(context: Context) -> Iterator[Finding]:
    """Names that are numbers are sent as text, since h5ad has no others."""
    for path, _, names in _names(context):
        if names.inferred_type == "string":
            continue
        others = Counter(type(name).__name__ for name in names if not isinstance(name, str))
        if others and not any(_unspeakable(name) for name in names):
            what = ", ".join(f"{number:,} {kind}" for kind, number in others.most_common())
            yield found(path, f"{what}: sent as text", count=sum(others.values()))


@rule("BC108", "note")
def index_name(context: Context) -> Iterator[Finding]:
    """The index keeps its name unless that is the name of a column or cannot be written."""
    for where, frame in context.tables.items():
        name = frame.index.name
        if name is not None and not is_kept(frame):
            yield found(f"{where}.index.name", f"{name!a} is taken or cannot be written: sent without it")


def is_kept(frame: pd.DataFrame) -> bool:
    """Whether the index of a table can keep its name in h5ad."""
    name = frame.index.name
    return isinstance(name, str) and not unwritable_key(name) and name not in _TAKEN and name not in frame.columns


def _all_fine(names: pd.Index) -> bool:
    """Whether all names are good text; of a million barcodes this is known in a tenth of the time of asking each."""
    try:
        joined = "\n".join(names)
        joined.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    return "\0" not in joined and all(map(str.strip, names))


def _duplicates(path: str, names: pd.Index, what: str, fix: str) -> Iterator[Finding]:
    if names.inferred_type != "string":
        names = pd.Index([str(name) for name in names], dtype=object)  # 1 and '1' are one name in a file
    if names.is_unique:
        return
    twice = names[names.duplicated()].unique()
    examples = tuple(repr(name) for name in twice[:3])
    yield found(path, f"{what} that occur more than once: {len(twice):,}", count=len(twice), examples=examples, fix=fix)


def _unspeakable(name: Any) -> str:
    """Why something that is no text cannot become a name; empty where it can, as numbers do."""
    if isinstance(name, str):
        return unwritable(name)
    if isinstance(name, bytes | tuple | list | dict):
        return f"is a {type(name).__name__}, not text"
    return "is missing" if bool(pd.isna(name)) else ""
