"""Rules about names: barcodes, features, columns and keys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.errors import InvalidNames
from biocolab_accessor.io.columns import labels_of
from biocolab_accessor.io.names import escaped, is_barcodes, key_as_text, needs_escape, unwritable_text
from biocolab_accessor.messages import counted, quoted

_NAMES_AT_ONCE = 1 << 15
# A set takes some 60 bytes a name and less time than sorting.
_FIT_A_SET = 1 << 18
_BLANK = re.compile(r"\n\s")
_STAYS_TEXT = "They are still text when the study is fetched; convert them to text in a copy to have both alike"


def unwritable(name: Any) -> str:
    """Why HDF5 cannot hold a name; empty if it can."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not text"
    return unwritable_text(name) if name.strip() else "is empty"


def _is_unique(names: pd.Index) -> bool:
    """As pandas' ``is_unique``, but without the hash table of 40 bytes a name that it keeps with the user's object."""
    if len(names) <= _FIT_A_SET:
        return len(set(names.tolist())) == len(names)
    hashes = np.fromiter(map(hash, names.tolist()), np.int64, len(names))
    hashes.sort()
    return not (hashes[1:] == hashes[:-1]).any() or names.is_unique


def _names(context: Context) -> Iterator[tuple[str, str, pd.Index]]:
    """Path, attribute and index of cells and features."""
    for where, frame in context.tables.items():
        yield f"{where}_names", where, frame.index


@rule("BC101", "error", InvalidNames)
def duplicate_barcodes(context: Context) -> Iterator[Finding]:
    """The server cannot distinguish cells that have the same name."""
    obs = context.tables["obs"]
    twice = _repeated(obs.index)
    if not len(twice):
        return
    fix = "Make them unique: adata.obs_names_make_unique(), or add the sample to each name"
    if (column := _telling_apart(obs, context.batch_key)) is not None:
        fix = (
            f"They only clash between values of obs[{quoted(column)}]. In a copy: "
            f"copy.obs_names = copy.obs[{quoted(column)}].astype(str) + '_' + copy.obs_names"
        )
    yield _found_repeated("obs_names", twice, "barcode", fix)


@rule("BC102", "error", InvalidNames)
def unwritable_names(context: Context) -> Iterator[Finding]:
    """Barcodes and feature names must be numbers, or text that HDF5 can hold."""
    for path, where, names in _names(context):
        bad = [] if _all_fine(names) else [(name, reason) for name in names if (reason := _unspeakable(name))]
        if bad:
            yield found(
                path,
                f"{counted(len(bad), 'name')} that cannot be written",
                count=len(bad),
                examples=tuple(f"{quoted(name, escape=True)} {reason}" for name, reason in bad[:3]),
                fix=f"Rename them: adata.{where}.index = [...]",
            )


@rule("BC103", "warning", InvalidNames)
def duplicate_features(context: Context) -> Iterator[Finding]:
    """Genes with the same name are sent unchanged, but the server may use the first of them for all."""
    for path, where, names in _names(context):
        if where != "obs" and len(twice := _repeated(names)):
            fix = "They are sent unchanged; to make them unique, use adata.var_names_make_unique()"
            yield _found_repeated(path, twice, "feature name", fix)


@rule("BC104", "error", InvalidNames)
def unwritable_columns(context: Context) -> Iterator[Finding]:
    """Column names must be text or whole numbers that HDF5 can hold, and must be unique."""
    for where, frame in context.tables.items():
        for name in frame.columns:
            if key_as_text(name) is None:
                fix = f"Rename it in a copy: adata.{where}.columns = [...]"
                yield found(f"{where}[{quoted(name, escape=True)}]", f"the column name {unwritable(name)}", fix=fix)
        times = Counter(map(str, frame.columns))
        twice = [name for name, number in times.items() if number > 1]
        if twice:
            yield found(
                where,
                "columns with the same name",
                count=len(twice),
                examples=tuple(quoted(name) for name in twice[:3]),
                fix="Rename all but one of them, or drop them from a copy",
            )


@rule("BC105", "warning", changed=True)
def renamed_keys(context: Context) -> Iterator[Finding]:
    """Keys of obsm that h5ad cannot hold, or that servers use for their own embeddings, are sent under another name."""
    yield from _renamed("obsm", context.adata.obsm, embedding=True)


@rule("BC106", "warning", changed=True)
def barcode_column(context: Context) -> Iterator[Finding]:
    """A column named like the barcode column of the servers is sent under another name, or it would replace that."""
    yield from _renamed("obs", filter(is_barcodes, context.tables["obs"].columns))


@rule("BC109", "warning", changed=True)
def renamed_columns(context: Context) -> Iterator[Finding]:
    """Columns whose names h5ad cannot hold are sent under another name; fetching the study restores the original."""
    for where, frame in context.tables.items():
        yield from _renamed(where, (name for name in frame.columns if where != "obs" or not is_barcodes(name)))


@rule("BC110", "note", changed=True)
def column_names_made_text(context: Context) -> Iterator[Finding]:
    """Column names that are numbers are sent as text, since h5ad has only text names, and stay text.

    A mark in the name could restore the number later, as it does for other names, but people would see it on the
    server.
    """
    for where, frame in context.tables.items():
        numbers = [name for name in frame.columns if key_as_text(name) is not None and not isinstance(name, str)]
        if numbers:
            examples = tuple(repr(int(name)) for name in numbers[:3])
            message = "names that are numbers: sent as text"
            yield found(f"{where}.columns", message, count=len(numbers), examples=examples, fix=_STAYS_TEXT)


@rule("BC107", "note", changed=True)
def names_made_text(context: Context) -> Iterator[Finding]:
    """Cell and feature names that are numbers are sent as text and stay text, as column names do (BC110)."""
    for path, _, names in _names(context):
        if names.inferred_type == "string":
            continue
        others = Counter(type(name).__name__ for name in names if not isinstance(name, str))
        if others and not any(_unspeakable(name) for name in names):
            what = ", ".join(f"{number:,} {kind}" for kind, number in others.most_common())
            yield found(path, f"{what}: sent as text", count=sum(others.values()), fix=_STAYS_TEXT)


@rule("BC108", "note", changed=True)
def index_name(context: Context) -> Iterator[Finding]:
    """The index keeps its name, unless a column has the same name or h5ad cannot hold it."""
    for where, frame in context.tables.items():
        name = frame.index.name
        if name is not None and not is_kept(frame):
            yield found(
                f"{where}.index.name",
                f"{quoted(name, escape=True)} is taken by a column or cannot be written: sent without a name",
            )


def is_kept(frame: pd.DataFrame) -> bool:
    """Whether the index of a table can keep its name in h5ad."""
    name = frame.index.name
    return isinstance(name, str) and (is_barcodes(name) or not needs_escape(name)) and name not in frame.columns


def _renamed(where: str, names: Iterable[Any], *, embedding: bool = False) -> Iterator[Finding]:
    for name in names:
        text = key_as_text(name)
        if text is not None and (reason := needs_escape(text, embedding=embedding)):
            fix = "The original name is restored when the study is fetched; to choose another, rename it in a copy"
            sent = escaped(text, embedding=embedding)
            yield found(f"{where}[{quoted(name, escape=True)}]", f"the name {reason}: sent as {quoted(sent)}", fix=fix)


def _all_fine(names: pd.Index) -> bool:
    """Whether all names are valid text; joined, a million barcodes take a tenth of the time of one check each."""
    labels = names.to_numpy(object)
    return all(
        _fine(labels[start : start + _NAMES_AT_ONCE].tolist()) for start in range(0, len(labels), _NAMES_AT_ONCE)
    )


def _fine(names: list[Any]) -> bool:
    try:
        joined = "\n".join(names)
        joined.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    # Only a name that begins with a blank, or with the end of its line, can have nothing else.
    return "\0" not in joined and (_BLANK.search(f"\n{joined}\n") is None or all(map(str.strip, names)))


def _as_text(names: pd.Index) -> pd.Index:
    """Names as a file holds them, where 1 and '1' are the same."""
    return names if names.inferred_type == "string" else pd.Index([str(name) for name in names], dtype=object)


def _repeated(names: pd.Index) -> pd.Index:
    """The names that occur more than once."""
    texts = _as_text(names)
    return texts[:0] if _is_unique(texts) else texts[texts.duplicated()].unique()


def _found_repeated(path: str, twice: pd.Index, what: str, fix: str) -> Finding:
    examples = tuple(quoted(name) for name in twice[:3])
    return found(path, f"{counted(len(twice), f'duplicate {what}')}", count=len(twice), examples=examples, fix=fix)


def _telling_apart(obs: pd.DataFrame, batch_key: str | None) -> Any:
    """The column of labels, such as samples that were joined, within whose values each barcode is unique; or None."""
    barcodes = _as_text(obs.index)
    clash = barcodes.duplicated(keep=False)
    labels = [
        name
        for position, name in enumerate(obs.columns)
        if pd.api.types.is_string_dtype(dtype := obs.dtypes.iloc[position]) or isinstance(dtype, pd.CategoricalDtype)
    ]
    for name in [batch_key, *labels] if isinstance(batch_key, str) and batch_key in obs.columns else labels:
        column = obs.loc[clash, name]
        if isinstance(column, pd.Series):
            # As objects: pandas 3 would convert them to its own text, which cannot hold half of a surrogate pair.
            pairs = pd.DataFrame({"barcode": barcodes[clash], "label": labels_of(column).to_numpy()}, dtype=object)
            # With one label per cell any barcodes would be unique, which says nothing about samples.
            if not pairs.duplicated().any() and pairs["label"].nunique() <= max(2, len(pairs) // 2):
                return name
    return None


def _unspeakable(name: Any) -> str:
    """Why a value cannot become a name; empty if it can, as text and numbers can."""
    if isinstance(name, str):
        return unwritable(name)
    if isinstance(name, bytes | tuple | list | dict):
        return f"is a {type(name).__name__}, not text"
    return "is missing" if bool(pd.isna(name)) else ""
