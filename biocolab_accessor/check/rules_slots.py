"""Rules about obsm, and about what is not sent: uns, varm, obsp, varp and the other layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
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
            has, needs = (" x ".join(f"{number:,}" for number in shape) for shape in shapes)
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


def misfits(adata: AnnData) -> list[Finding]:
    """Slots that no rule can look at: anndata shows nothing of them, or a sparse matrix is not what it says."""
    result = []
    for name in ("obsm", "varm", "obsp", "varp", "layers"):
        try:
            getattr(adata, name)
        except ValueError as error:
            fix = "Set it anew with the cells or genes of the object"
            result.append(Finding("BC503", "error", name, f"cannot be read: {error}", fix=fix, error=InvalidValues))
    for slot in [] if result else filled_slots(adata):
        try:
            expect_whole(source_of(adata, slot).matrix)
        except InvalidValues as error:
            result.append(damage(slot, error))
    return result


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
