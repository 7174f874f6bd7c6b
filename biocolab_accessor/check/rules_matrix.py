"""Rules about matrices: the one to send and its size, embeddings, and slots that are not sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.check.matrix_choice import bytes_of, is_named_counts, server_bytes
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.check.slot_comparison import cells_with_values
from biocolab_accessor.check.slots import is_table, unsendable, unwritable_parts
from biocolab_accessor.errors import EmptyAnnData, InvalidValues
from biocolab_accessor.io.matrix_blocks import Slot, expect_whole, filled_slots, row_blocks, source_of
from biocolab_accessor.io.values import loss
from biocolab_accessor.messages import counted, quoted
from biocolab_accessor.protocol import NO_CAP

_MOST = 3


def first_places(adata: AnnData, slot: Slot, wanted: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> tuple[str, ...]:
    """The first three places of values that ``wanted`` selects, cell by cell; zero must not be selected."""
    genes = adata.raw.var_names if slot.kind == "raw.X" else adata.var_names
    places: list[str] = []
    start = 0
    for block in row_blocks(source_of(adata, slot)):
        for position in np.flatnonzero(wanted(block.data))[: _MOST - len(places)]:
            row = int(np.searchsorted(block.indptr, position, side="right")) - 1
            cell, gene = adata.obs_names[start + row], genes[block.indices[position]]
            places.append(f"cell {quoted(cell)} gene {quoted(gene)}")
        if len(places) == _MOST:
            break
        start += block.shape[0]
    return tuple(places)


_LARGEST_FLOAT32_INTEGER = 2**24

# Log-normalized values are whole only by chance; of counts with a few fractions, most are.
_MOSTLY_WHOLE = 0.5
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


@rule("BC301", "error", EmptyAnnData)
def no_cells_or_genes(context: Context) -> Iterator[Finding]:
    """The matrix must have cells and genes."""
    choice = context.choice
    n_obs, n_vars = choice.slot.shape(context.adata) if choice else context.adata.shape
    if not n_obs or not n_vars:
        what = " and ".join(word for number, word in ((n_obs, "cells"), (n_vars, "genes")) if not number)
        fix = "Check how cells and genes were filtered before"
        yield found(str(choice.slot) if choice else "X", f"has no {what} ({n_obs:,} x {n_vars:,})", fix=fix)


@rule("BC302", "error", InvalidValues)
def unusable_values(context: Context) -> Iterator[Finding]:
    """Servers cannot hold missing, infinite or complex values in a matrix."""
    if context.choice is None:
        return
    summary = context.choice.chosen
    if not summary.is_real:
        fix = "Convert them: adata.X.astype('float32')"
        yield found(str(summary.slot), f"holds {summary.dtype} values: only real numbers can be sent", fix=fix)
    matrix = source_of(context.adata, summary.slot).matrix
    fix = "Fill the values, or drop those cells or genes, in a copy"
    masked = int(np.ma.getmaskarray(matrix).sum()) if isinstance(matrix, np.ma.MaskedArray) else 0
    if masked:
        yield found(str(summary.slot), f"{masked:,} masked values", count=masked, fix=fix)
    for number, what, wanted in (
        (summary.n_nan, "NaN", np.isnan),
        (summary.n_infinite, "infinite values", np.isinf),
    ):
        if number:
            places = first_places(context.adata, summary.slot, wanted)
            yield found(str(summary.slot), f"{number:,} {what}", count=number, examples=places, fix=fix)


@rule("BC303", "error", InvalidValues)
def negative_counts(context: Context) -> Iterator[Finding]:
    """Counts cannot be negative."""
    choice = context.choice
    if choice and choice.input_matrix_type == "raw" and choice.chosen.n_negative:
        yield found(
            str(choice.slot),
            f"{choice.chosen.n_negative:,} negative values (min {choice.chosen.minimum:,.0f}): counts cannot be "
            "negative",
            count=choice.chosen.n_negative,
            examples=first_places(context.adata, choice.slot, lambda values: values < 0),
            fix="Check how these values were produced, or submit with input_matrix_type='normalized'",
        )


@rule("BC304", "warning")
def counts_beyond_float32(context: Context) -> Iterator[Finding]:
    """The servers store counts as float32, which is exact up to 16,777,216."""
    choice = context.choice
    if choice and choice.input_matrix_type == "raw" and choice.chosen.maximum > _LARGEST_FLOAT32_INTEGER:
        message = f"counts up to {choice.chosen.maximum:,.0f}: the servers round counts above 16,777,216"
        if choice.chosen.maximum > NO_CAP:
            message += f", and leave out cells with more than {NO_CAP:,.0f} counts"
        where = first_places(context.adata, choice.slot, lambda values: values > _LARGEST_FLOAT32_INTEGER)
        yield found(str(choice.slot), message, examples=where, fix="Check that these are molecule counts")


@rule("BC305", "warning")
def scaled_matrix(context: Context) -> Iterator[Finding]:
    """A scaled matrix is sent unchanged, which is rarely useful on the server."""
    choice = context.choice
    if choice and choice.input_matrix_type == "normalized" and choice.chosen.n_negative:
        better = next((s.slot for s in choice.slots if s.kind in ("lognorm", "normalized")), None)
        # raw.X may have more genes than X, for example where X was cut to variable ones.
        instead = "submit adata.raw.to_adata()" if better == Slot("raw.X") else "use a copy with it as X"
        fix = (
            f"{better} looks log-normalized: to send it, {instead}"
            if better
            else "Submit counts or log-normalized values"
        )
        count, what = choice.chosen.n_negative, "negative values, looks scaled"
        if choice.chosen.is_mostly_counts:
            low = f"min {choice.chosen.minimum:,.5g}"
            what = f"negative values ({low}) among counts ({choice.chosen.whole}): counts cannot be negative"
            cut = (
                "clip(min=0)" if isinstance(source_of(context.adata, choice.slot).matrix, np.ndarray) else "maximum(0)"
            )
            fix = f"If they stand for zero, in a copy: copy.X = copy.X.{cut}"
        yield found(str(choice.slot), f"{count:,} {what}; sent unchanged", count=count, fix=fix)


@rule("BC314", "warning")
def neither_counts_nor_log(context: Context) -> Iterator[Finding]:
    """Servers treat a matrix without counts as log-normalized, and serve its values unchanged."""
    choice = context.choice
    if not choice or choice.input_matrix_type != "normalized" or choice.chosen.kind not in ("lognorm", "normalized"):
        return
    summary = choice.chosen
    if summary.kind == "lognorm" and (summary.scaling is not None or summary.integer_share < _MOSTLY_WHOLE):
        return
    if summary.maximum > _LARGEST_FLOAT32:
        return  # BC312 reports these
    share = f"{100 * summary.integer_share:.3g} % whole numbers, max {summary.maximum:,.5g}"
    fix = "Put whole counts into layers['counts'], or log-normalize a copy: sc.pp.normalize_total, sc.pp.log1p"
    yield found(str(choice.slot), f"neither counts nor log-normalized ({share}); sent unchanged", fix=fix)


@rule("BC306", "note", changed=True)
def float_noise(context: Context) -> Iterator[Finding]:
    """Counts that differ from whole numbers by float noise are sent as whole numbers."""
    choice = context.choice
    if choice and choice.input_matrix_type == "raw" and choice.chosen.noise > 0:
        off = choice.chosen.noise
        yield found(str(choice.slot), f"counts differ from whole numbers by up to {off:.1g}: sent as whole numbers")


@rule("BC307", "warning")
def all_zero(context: Context) -> Iterator[Finding]:
    """A matrix of zeros holds neither counts nor normalized values."""
    if context.choice and context.choice.chosen.kind == "empty" and all(context.choice.chosen.shape):
        yield found(str(context.choice.slot), "all values are zero", fix="Put the matrix to send into X of a copy")


@rule("BC308", "warning")
def unused_counts(context: Context) -> Iterator[Finding]:
    """A slot that looks or is named like counts is not sent, because some values cannot be counts."""
    choice = context.choice
    for summary in choice.slots if choice else ():
        named = is_named_counts(summary.slot) and summary.kind not in ("counts", "binary")
        if choice and summary.slot != choice.slot and (summary.is_broken_counts or named):
            what = str(summary).partition(": ")[2]
            bad = summary.n_nan + summary.n_infinite + summary.n_negative
            fix = f"{choice.slot} is sent instead; to send {summary.slot}, fix its values in a copy"
            yield found(str(summary.slot), f"not used as counts: {what}", count=max(bad, 1), fix=fix)


@rule("BC309", "warning")
def missing_coordinates(context: Context) -> Iterator[Finding]:
    """Cells without coordinates are missing from the plot of an embedding."""
    for key in context.adata.obsm:
        value = context.adata.obsm[key]
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
            with np.errstate(over="ignore"):  # on the servers they are float32
                there = value.reshape(len(value), -1).astype(np.float32, copy=False)
            cells = int((~np.isfinite(there)).any(axis=1).sum())
            if cells:
                fix = "Fill them, or drop the key, in a copy"
                message = f"{counted(cells, 'cell')} with NaN or infinite coordinates"
                yield found(f"obsm[{quoted(key, escape=True)}]", message, count=cells, fix=fix)


@rule("BC310", "warning")
def empty_cells(context: Context) -> Iterator[Finding]:
    """A cell without counts cannot be normalized, and its place in an embedding means nothing."""
    if context.choice and context.filled and context.empty and context.empty.cells:
        number, slot = context.empty.cells, context.choice.slot
        corrected = {conflict.slot for conflict in context.choice.corrected}  # these hold the removed counts
        others = [other for other in filled_slots(context.adata) if other != slot and other not in corrected]
        elsewhere = cells_with_values(context.adata, others, np.flatnonzero(~context.filled.cells))
        if elsewhere:
            having = ", ".join(f"{counted(cells, 'cell')} in {other}" for other, cells in elsewhere.items())
            message = f"all values of {counted(number, 'cell')} are zero, but not in other slots ({having})"
            fix = f"Put their values into {slot} of a copy. Empty droplets are left out with min_counts=1"
            yield found(str(slot), message, count=number, fix=fix)
            return
        way = ": sc.pp.filter_cells(copy, min_counts=1)" if slot == Slot("X") else " from a copy"  # scanpy reads X only
        fix = f"Drop them{way}, or submit with min_counts=1"
        yield found(str(slot), f"all values of {counted(number, 'cell')} are zero", count=number, fix=fix)


@rule("BC311", "note")
def empty_genes(context: Context) -> Iterator[Finding]:
    """Genes that are zero in all cells are sent, at hardly any cost."""
    if context.choice and context.empty and context.empty.genes:
        number = context.empty.genes
        yield found(str(context.choice.slot), f"all values of {counted(number, 'gene')} are zero", count=number)


@rule("BC312", "error", InvalidValues)
def overflow(context: Context) -> Iterator[Finding]:
    """The servers store float32, in which larger values become infinite."""
    summary = context.choice.chosen if context.choice else None
    if summary and max(-summary.minimum, summary.maximum) > _LARGEST_FLOAT32:
        most = max(-summary.minimum, summary.maximum)
        fix = "Check how these values were produced, and scale or remove them in a copy"
        yield found(str(summary.slot), f"values up to {most:.3g}, beyond float32 (3.4e+38)", fix=fix)


@rule("BC313", "note")
def digits_lost_on_servers(context: Context) -> Iterator[Finding]:
    """Files keep every digit, but the servers keep about seven."""
    choice = context.choice
    message = "the servers keep float32, about seven digits"
    if choice and choice.input_matrix_type == "normalized" and not choice.chosen.fits_float32:
        yield found(str(choice.slot), f"sent with all digits of float64; {message}")
    for key, value in context.adata.obsm.items():
        path = f"obsm[{quoted(key, escape=True)}]"
        if unsendable(key, value) or is_table(value) or sparse.issparse(value):
            continue  # BC504 and BC505 report these
        if not isinstance(value, np.ndarray):
            if not np.can_cast(value.dtype, np.float32):
                yield found(path, f"sent as {value.dtype}; {message}", count=int(np.prod(value.shape)))
        elif lost := loss(value, np.float32):
            text = f"sent as {value.dtype}; {message}, which rounds {counted(lost.count, 'value')}"
            yield found(path, text, count=lost.count, examples=(lost.example,))


@rule("BC315", "error", InvalidValues)
def incomplete_counts(context: Context) -> Iterator[Finding]:
    """Counts that lack cells or genes of another slot would arrive there as zeros."""
    choice = context.choice
    for conflict in choice.conflicts if choice else ():
        yield found(str(choice.slot), conflict.message, count=conflict.number, fix=conflict.fix)  # type: ignore[union-attr]


@rule("BC316", "warning")
def counts_elsewhere(context: Context) -> Iterator[Finding]:
    """Another slot may have counts, cells or genes that the one to send lacks."""
    choice = context.choice
    if choice is None:
        return
    for conflict in choice.apart:
        yield found(str(choice.slot), conflict.message, count=conflict.number, fix=conflict.fix)
    for slot in choice.unnamed:
        fix = f"If these are the counts, in a copy: copy.layers['counts'] = copy.{slot}"
        message = f"holds whole numbers, but is not named like counts; {choice.slot} is sent"
        yield found(str(slot), message, fix=fix)


@rule("BC317", "note")
def fewer_counts(context: Context) -> Iterator[Finding]:
    """Corrected or downsampled counts lack some cells or genes of the original counts, as expected."""
    choice = context.choice
    for conflict in choice.corrected if choice else ():
        yield found(str(choice.slot), conflict.message, count=conflict.number, fix=conflict.fix)  # type: ignore[union-attr]


_SHOWN = 5
_NEVER_SENT = ("uns", "varm", "obsp", "varp")
_AXES = {"obsm": ("obs",), "varm": ("var",), "obsp": ("obs", "obs"), "varp": ("var", "var"), "layers": ("obs", "var")}
_WORDS = {"obs": "cells", "var": "genes"}


@rule("BC501", "note")
def not_sent(context: Context) -> Iterator[Finding]:
    """The servers read one matrix, obs, var names and embeddings, and the rest is not sent."""
    chosen = context.choice.slot if context.choice else None
    left = [str(slot) for slot in filled_slots(context.adata) if slot != chosen]
    left += [f"{name}[{quoted(key, escape=True)}]" for name in _NEVER_SENT for key in _keys(context.adata, name)]
    if left and chosen is not None:
        message = "not sent, because the servers do not read it"
        more = (f"and {len(left) - _SHOWN:,} more",) if len(left) > _SHOWN else ()
        yield found(", ".join(dict.fromkeys(name.partition("[")[0] for name in left)), message,
                    count=len(left), examples=(*left[:_SHOWN], *more))  # fmt: skip


def _keys(adata: AnnData, name: str) -> list[Any]:
    """Keys of a slot, even if it was left in the file."""
    keys = list(getattr(adata, name))
    on_disk = adata.file[name] if not keys and adata.isbacked and name in adata.file else None
    return list(on_disk) if isinstance(on_disk, h5py.Group) else keys


@rule("BC502", "note")
def unwritable_elsewhere(context: Context) -> Iterator[Finding]:
    """Entries that are not sent, but that ``write_h5ad`` cannot write or would change."""
    for name in ("uns", "varm", "obsp", "varp", "layers"):
        slot = getattr(context.adata, name)
        entries = slot if name == "uns" else {key: None for key in slot if key is not None}  # 0.13 has X as layer None
        for path, reason in unwritable_parts(entries, name):
            fix = "It is not sent, but write_h5ad would fail on it or change it"
            yield found(path, reason, fix=fix)


@rule("BC503", "error", InvalidValues)
def wrong_shape(context: Context) -> Iterator[Finding]:
    """The matrix must have the cells of obs and the genes of var."""
    if context.choice is not None:
        slot = context.choice.slot
        shapes = source_of(context.adata, slot).shape, slot.shape(context.adata)
        if shapes[0] != shapes[1]:
            has, needs = map(_by, shapes)
            fix = "Fix it, or drop it from a copy"
            yield found(str(slot), f"its shape is {has}, but the object has {needs}", fix=fix)


@rule("BC505", "note")
def tables_in_obsm(context: Context) -> Iterator[Finding]:
    """Tables and sparse matrices of obsm are written into the file, but servers do not use them as embeddings."""
    obsm = context.adata.obsm
    keys = [
        key for key in obsm if (is_table(obsm[key]) or sparse.issparse(obsm[key])) and not unsendable(key, obsm[key])
    ]
    if keys:
        message = "written into the file, but servers read embeddings from arrays only and do not return it"
        yield found(", ".join(f"obsm[{quoted(key, escape=True)}]" for key in keys), message, count=len(keys))


@rule("BC506", "note", changed=True)
def booleans_in_embeddings(context: Context) -> Iterator[Finding]:
    """Embeddings of booleans are sent as numbers, the only values that servers read."""
    for key, value in context.adata.obsm.items():
        dense = not is_table(value) and not sparse.issparse(value)
        if dense and getattr(value, "dtype", None) == np.bool_ and not unsendable(key, value):
            yield found(f"obsm[{quoted(key, escape=True)}]", "booleans: sent as 0 and 1", count=value.shape[1])


def misfits(adata: AnnData) -> list[Finding]:
    """Slots that rules cannot read, as their cells or genes differ from the object's or a sparse matrix is damaged."""
    result = [finding for name in _AXES for finding in _misfits_of(adata, name)]
    for slot in [] if result else filled_slots(adata):
        try:
            expect_whole(source_of(adata, slot).matrix)
        except InvalidValues as error:
            result.append(damage(slot, error))
    return result


def _misfits_of(adata: AnnData, name: str) -> Iterator[Finding]:
    """Entries of a slot whose cells or genes differ from the object's."""
    whole = adata._adata_ref if adata.is_view else adata  # reading an entry of a view would copy a part of it
    refusal = None
    try:
        entries = getattr(whole, name)
    except ValueError as error:  # with a misfit, anndata 0.12 hides the whole slot and 0.13 shows the misfit
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
            problem = f"its row names, or their order, differ from the {_WORDS[_AXES[name][0]]} of the object"
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
    """The finding for a matrix that cannot be read."""
    fix = "Load the original again; if the error remains, rewrite the matrix with indices from 0"
    return Finding("BC503", "error", str(slot), f"cannot be read: {error}", fix=fix, error=InvalidValues)


@rule("BC504", "warning")
def entries_of_obsm_not_sent(context: Context) -> Iterator[Finding]:
    """Entries of obsm must be two-dimensional and numeric, or a table; others are not sent."""
    for key in context.adata.obsm:
        if reason := unsendable(key, context.adata.obsm[key]):
            fix = "To send it, convert it in a copy to a numeric array of (cells, dimensions) or a table"
            yield found(f"obsm[{quoted(key, escape=True)}]", f"not sent: {reason}", fix=fix)


# Smaller ones take seconds, and the plan has their size.
_WORTH_SAYING = 50e6


@rule("BC601", "note")
def size_of_submission(context: Context) -> Iterator[Finding]:
    """The size of a large submission, and the memory that the server needs for it."""
    if context.choice is None:
        return
    summary = context.choice.chosen
    obsm = context.adata.obsm
    n_bytes = bytes_of(summary, context.tables["obs"], (obsm[key] for key in obsm))
    if n_bytes >= _WORTH_SAYING:
        n_obs, n_vars = summary.shape
        yield found(
            str(summary.slot),
            f"{n_obs:,} cells x {n_vars:,} genes, {summary.nnz:,} nonzero values: about "
            f"{n_bytes / 1e6:,.0f} MB before compression. To normalize it and compute embeddings, a server needs "
            f"about {server_bytes(summary) / 1e9:,.1f} GB of memory",
        )
