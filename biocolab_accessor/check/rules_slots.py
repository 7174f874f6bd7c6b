"""Rules about obsm, and about what is not sent: uns, varm, obsp, varp and the other layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.blocks import Slot, filled_slots, source_of
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.check.slots import is_table, unsendable, unwritable_parts
from biocolab_accessor.errors import InvalidValues
from biocolab_accessor.naming import quoted
from biocolab_accessor.soundness import expect_whole

_NEVER_SENT = ("uns", "varm", "obsp", "varp")
_AXES = {"obsm": ("obs",), "varm": ("var",), "obsp": ("obs", "obs"), "varp": ("var", "var"), "layers": ("obs", "var")}
_WORDS = {"obs": "cells", "var": "genes"}


@rule("BC501", "note")
def not_sent(context: Context) -> Iterator[Finding]:
    """The servers read one matrix, obs, var names and embeddings; the rest stays here."""
    chosen = context.choice.slot if context.choice else None
    left = [str(slot) for slot in filled_slots(context.adata) if slot != chosen]
    left += [f"{name}[{quoted(key, escape=True)}]" for name in _NEVER_SENT for key in _keys(context.adata, name)]
    if left and chosen is not None:
        message = "not sent, since the servers read none of it"
        yield found(", ".join(dict.fromkeys(name.partition("[")[0] for name in left)), message,
                    count=len(left), examples=tuple(left[:5]))  # fmt: skip


def _keys(adata: AnnData, name: str) -> list[Any]:
    """Of a slot, also where it was left in the file."""
    keys = list(getattr(adata, name))
    on_disk = adata.file[name] if not keys and adata.isbacked and name in adata.file else None
    return list(on_disk) if isinstance(on_disk, h5py.Group) else keys


@rule("BC502", "note")
def unwritable_elsewhere(context: Context) -> Iterator[Finding]:
    """What is not sent but would break or change a file that one writes of this object."""
    for name in ("uns", "varm", "obsp", "varp", "layers"):
        slot = getattr(context.adata, name)
        entries = slot if name == "uns" else {key: None for key in slot if key is not None}  # 0.13 has X as layer None
        for path, reason in unwritable_parts(entries, name):
            fix = "It is not sent; but write_h5ad would fail on it, or write what comes back as something else"
            yield found(path, reason, fix=fix)


@rule("BC503", "error", InvalidValues)
def wrong_shape(context: Context) -> Iterator[Finding]:
    """The matrix must have the cells of obs and the genes of var; see :func:`misfits` for the rest."""
    if context.choice is not None:
        slot = context.choice.slot
        shapes = source_of(context.adata, slot).shape, slot.shape(context.adata)
        if shapes[0] != shapes[1]:
            has, needs = map(_by, shapes)
            fix = "Mend it, or leave it out of a copy"
            yield found(str(slot), f"its shape is {has}, where the object has {needs}", fix=fix)


@rule("BC505", "note")
def no_coordinates(context: Context) -> Iterator[Finding]:
    """Tables and sparse matrices of obsm go along in the file, but are no embeddings to a server."""
    obsm = context.adata.obsm
    keys = [
        key for key in obsm if (is_table(obsm[key]) or sparse.issparse(obsm[key])) and not unsendable(key, obsm[key])
    ]
    if keys:
        message = "written into the file; servers take embeddings from arrays only, so it does not come back from there"
        yield found(", ".join(f"obsm[{quoted(key, escape=True)}]" for key in keys), message, count=len(keys))


@rule("BC506", "note", changed=True)
def truth_values(context: Context) -> Iterator[Finding]:
    """Servers take embeddings from arrays of numbers."""
    for key, value in context.adata.obsm.items():
        dense = not is_table(value) and not sparse.issparse(value)
        if dense and getattr(value, "dtype", None) == np.bool_ and not unsendable(key, value):
            yield found(f"obsm[{quoted(key, escape=True)}]", "truth values: sent as 0 and 1", count=value.shape[1])


def misfits(adata: AnnData) -> list[Finding]:
    """Slots that no rule can look at: they do not have the object's cells or genes, or a sparse matrix is damaged."""
    result = [finding for name in _AXES for finding in _misfits_of(adata, name)]
    for slot in [] if result else filled_slots(adata):
        try:
            expect_whole(source_of(adata, slot).matrix)
        except InvalidValues as error:
            result.append(damage(slot, error))
    return result


def _misfits_of(adata: AnnData, name: str) -> Iterator[Finding]:
    """Entries of a slot with other cells or genes than the object."""
    whole = adata._adata_ref if adata.is_view else adata  # a look at an entry of a view would copy a part of it
    refusal = None
    try:
        entries = getattr(whole, name)
    except ValueError as error:  # anndata 0.12 shows nothing of a slot with a misfit, and 0.13 shows the misfit
        refusal, entries = error, getattr(whole, f"_{name}")
    needs = tuple(len(getattr(whole, f"{axis}_names")) for axis in _AXES[name])
    names = getattr(whole, f"{_AXES[name][0]}_names")
    found_any = False
    for key in entries:
        value = None if key is None else entries[key]  # None is how anndata 0.13 calls X
        has = tuple(getattr(value, "shape", needs))
        if has[: len(needs)] != needs:
            problem = f"its shape is {_by(has)}, but the object has {_objects(name, needs)}"
        elif isinstance(value, pd.DataFrame) and not value.index.equals(names):
            problem = f"its rows are not named as the {_WORDS[_AXES[name][0]]} of the object are, or in another order"
        else:
            continue
        found_any = True
        yield _misfit(f"{name}[{key!a}]", problem)
    if refusal is not None and not found_any:
        yield _misfit(name, f"cannot be read: {refusal}")


def _misfit(path: str, problem: str) -> Finding:
    fix = "Set it again with the cells or genes of the object, or drop it from a copy"
    return Finding("BC503", "error", path, problem, fix=fix, error=InvalidValues)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(f"{length:,}" for length in shape)


def _objects(name: str, needs: tuple[int, ...]) -> str:
    return " x ".join(f"{length:,} {_WORDS[axis]}" for axis, length in zip(_AXES[name], needs, strict=True))


def damage(slot: Slot, error: InvalidValues) -> Finding:
    """What reading a matrix came upon."""
    fix = "Take it from where it came from once more; if it is the same there, write it anew, with indices from 0"
    return Finding("BC503", "error", str(slot), f"cannot be read: {error}", fix=fix, error=InvalidValues)


@rule("BC504", "warning")
def unsent_embeddings(context: Context) -> Iterator[Finding]:
    """Entries of obsm that are no numbers in two dimensions, nor a table."""
    for key in context.adata.obsm:
        if reason := unsendable(key, context.adata.obsm[key]):
            fix = "To send it, make it a numeric array of (cells, dimensions) or a table in a copy"
            yield found(f"obsm[{quoted(key, escape=True)}]", f"not sent: {reason}", fix=fix)
