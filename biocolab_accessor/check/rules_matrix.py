"""Rules about the matrix that would be sent."""

from __future__ import annotations

from collections.abc import Iterator

from biocolab_accessor.blocks import Slot
from biocolab_accessor.check.report import Finding
from biocolab_accessor.check.rules import Context, found, rule
from biocolab_accessor.errors import EmptyAnnData, InvalidValues

_LARGEST_FLOAT32_INTEGER = 2**24


@rule("BC301", "error", EmptyAnnData)
def empty(context: Context) -> Iterator[Finding]:
    """There must be cells and genes."""
    choice = context.choice
    n_obs, n_vars = choice.slot.shape(context.adata) if choice else context.adata.shape
    if not n_obs or not n_vars:
        what = " and ".join(word for number, word in ((n_obs, "cells"), (n_vars, "genes")) if not number)
        yield found(str(choice.slot) if choice else "X", f"there are no {what} ({n_obs:,} x {n_vars:,})")


@rule("BC302", "error", InvalidValues)
def not_finite(context: Context) -> Iterator[Finding]:
    """Missing and infinite values have no place in a matrix on the server."""
    if context.choice is None:
        return
    summary = context.choice.chosen
    if summary.dtype.startswith(("complex", "object")):
        yield found(str(summary.slot), f"holds {summary.dtype} values: only real numbers can be sent")
    for number, what in ((summary.n_nan, "NaN"), (summary.n_infinite, "infinite values")):
        if number:
            fix = "Remove those cells or genes, or fill the values in a copy"
            yield found(str(summary.slot), f"{number:,} {what}", count=number, fix=fix)


@rule("BC303", "error", InvalidValues)
def negative_counts(context: Context) -> Iterator[Finding]:
    """Whole numbers below zero, or a layer named counts with negative or missing values, are broken counts."""
    for summary in context.choice.slots if context.choice else ():
        if summary.whole and summary.n_negative and context.choice and summary.slot == context.choice.slot:
            yield found(
                str(summary.slot),
                f"whole numbers, {summary.n_negative:,} of them negative: counts cannot be",
                count=summary.n_negative,
                fix="Look at how they came about; scaled data would not be whole numbers",
            )
        elif summary.slot == Slot("layer", "counts") and summary.kind in ("invalid", "scaled"):
            yield found(
                str(summary.slot),
                f"is named counts, but {str(summary).partition(': ')[2]}",
                count=summary.n_nan + summary.n_infinite + summary.n_negative,
                fix="Mend it, or rename the layer to send another matrix",
            )


@rule("BC304", "warning")
def beyond_float32(context: Context) -> Iterator[Finding]:
    """The servers carry counts as float32, which is exact up to 16,777,216."""
    choice = context.choice
    if choice and choice.input_matrix_type == "raw" and choice.chosen.maximum > _LARGEST_FLOAT32_INTEGER:
        message = f"counts up to {choice.chosen.maximum:,.0f}; the servers carry them exactly up to 16,777,216 only"
        yield found(str(choice.slot), message)


@rule("BC305", "warning")
def scaled_matrix(context: Context) -> Iterator[Finding]:
    """A scaled matrix is taken as it is, which is seldom what one wants to see on the server."""
    choice = context.choice
    if choice and choice.input_matrix_type == "normalized" and choice.chosen.kind == "scaled":
        better = next((str(s.slot) for s in choice.slots if s.kind in ("lognorm", "normalized")), "")
        fix = f"{better} looks log-normalised: to send that, use a copy with it as X" if better else ""
        count = choice.chosen.n_negative
        yield found(str(choice.slot), f"{count:,} negative values, looks scaled; sent as it is", count=count, fix=fix)


@rule("BC306", "note")
def float_noise(context: Context) -> Iterator[Finding]:
    """Counts that are off a whole number by float noise are sent as whole numbers."""
    choice = context.choice
    if choice and choice.input_matrix_type == "raw" and choice.chosen.noise > 0:
        off = choice.chosen.noise
        yield found(str(choice.slot), f"counts are off whole numbers by up to {off:.1g}: sent as whole numbers")
