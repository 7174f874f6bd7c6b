"""Rules about names: barcodes, features, columns and keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.errors import InvalidNames


def _sent_var(context: Context) -> tuple[str, pd.DataFrame]:
    """The var that goes with the chosen matrix."""
    if context.choice is not None and context.choice.slot.kind == "raw.X":
        return "raw.var", context.adata.raw.var
    return "var", context.adata.var


def _unwritable(name: Any) -> str:
    """Why HDF5 or h5ad cannot hold a name; empty where it can."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not text"
    if not name.strip():
        return "is empty"
    if "\0" in name:
        return "holds a NUL"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "holds a broken character"
    return ""


def _unwritable_key(name: Any) -> str:
    if reason := _unwritable(name):
        return reason
    if "/" in name:
        return "holds a '/', which makes a folder in HDF5"
    return "is a '.', which means the folder itself in HDF5" if name in (".", "..") else ""


@rule("BC101", "error", InvalidNames)
def duplicate_barcodes(context: Context) -> Iterator[Finding]:
    """Cells of one name cannot be told apart on the server."""
    names = context.adata.obs_names
    if not names.is_unique:
        twice = names[names.duplicated()].unique()
        yield found(
            "obs_names",
            f"{len(twice):,} barcodes occur more than once",
            count=len(twice),
            examples=tuple(repr(name) for name in twice[:3]),
            fix="Make them unique: adata.obs_names_make_unique(), or put the sample into the name",
        )


@rule("BC102", "error", InvalidNames)
def unwritable_names(context: Context) -> Iterator[Finding]:
    """Barcodes and features must be text that HDF5 can hold."""
    path, var = _sent_var(context)
    for where, names in (("obs_names", context.adata.obs_names), (f"{path}_names".replace("var_", "var."), var.index)):
        bad = [(name, reason) for name in names if isinstance(name, str) and (reason := _unwritable(name))]
        if bad:
            yield found(
                where,
                f"{len(bad):,} names cannot be written",
                count=len(bad),
                examples=tuple(f"{name!a} {reason}" for name, reason in bad[:3]),
                fix="Rename them",
            )


@rule("BC103", "warning", InvalidNames)
def duplicate_features(context: Context) -> Iterator[Finding]:
    """Genes of one name are sent as they are; the server may take the first of them for all."""
    path, var = _sent_var(context)
    if not var.index.is_unique:
        twice = var.index[var.index.duplicated()].unique()
        yield found(
            f"{path} names",
            f"{len(twice):,} features occur more than once",
            count=len(twice),
            examples=tuple(repr(name) for name in twice[:3]),
            fix="They are sent as they are; to tell them apart use adata.var_names_make_unique()",
        )


@rule("BC104", "error", InvalidNames)
def unwritable_columns(context: Context) -> Iterator[Finding]:
    """Column names that h5ad cannot hold, or that would come back as something else."""
    path, var = _sent_var(context)
    for where, frame in (("obs", context.adata.obs), (path, var)):
        names = list(frame.columns)
        for name in names:
            reason = _unwritable_key(name) or ("is the name that h5ad uses for the index" if name == "_index" else "")
            if reason:
                fix = f"Rename it: adata.{where}.rename(columns={{{name!r}: …}})"
                yield found(f"{where}[{name!a}]", f"the column name {reason}", fix=fix)
        twice = sorted({repr(name) for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            yield found(
                where, "columns of the same name", count=len(twice), examples=tuple(twice[:3]), fix="Rename them"
            )


@rule("BC105", "error", InvalidNames)
def unwritable_keys(context: Context) -> Iterator[Finding]:
    """Keys of obsm that write without an error and cannot be read back."""
    for key in context.adata.obsm:
        if reason := _unwritable_key(key):
            fix = f"Rename it: adata.obsm['…'] = adata.obsm.pop({key!r})"
            yield found(f"obsm[{key!a}]", f"the key {reason}", fix=fix)


@rule("BC106", "error", InvalidNames)
def barcode_column(context: Context) -> Iterator[Finding]:
    """A column named like the servers' barcode column would take its place."""
    for name in context.adata.obs.columns:
        if isinstance(name, str) and name.casefold() == "barcodes":
            fix = f"Rename it: adata.obs.rename(columns={{{name!r}: 'barcode_2'}})"
            yield found(f"obs[{name!r}]", "the servers use this name for the cells' barcodes", fix=fix)
