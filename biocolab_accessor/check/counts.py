"""Counts: what each slot of an AnnData holds, and which one goes to the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from anndata import AnnData

from biocolab_accessor.blocks import Slot, filled_slots, source_of
from biocolab_accessor.check.normalised import glimpse
from biocolab_accessor.check.summary import SlotSummary, describe
from biocolab_accessor.errors import EmptyAnnData, InvalidArgument, InvalidValues, NoCounts

__all__ = ["MatrixChoice", "SlotSummary", "choose_matrix", "decide", "describe", "matrix_type"]

# Spliced and unspliced counts are each a part of the counts, so neither stands for them.
_COUNT_LAYERS = {"counts", "count", "raw", "rawcounts", "rawcount", "countsraw", "umi", "umis", "umicounts", "umicount"}

_LOG_KINDS = ("lognorm", "normalized")


@dataclass(frozen=True)
class MatrixChoice:
    """The matrix that goes to the server.

    Attributes
    ----------
    slot
        Which.
    input_matrix_type
        ``"raw"``: counts, which the server log-normalises. ``"normalized"``: taken as it is.
    reason
        Why, in words.
    slots
        What was looked at on the way.
    """

    slot: Slot
    input_matrix_type: Literal["raw", "normalized"]
    reason: str
    slots: tuple[SlotSummary, ...]

    @property
    def chosen(self) -> SlotSummary:
        """The summary of the chosen slot."""
        return next(summary for summary in self.slots if summary.slot == self.slot)


def matrix_type(value: Any) -> Literal["auto", "raw", "normalized"]:
    """The input matrix type given as text or as a member of the official enum.

    Raises
    ------
    InvalidArgument
        It is something else.
    """
    text = getattr(value, "value", value)
    if isinstance(text, str) and text in ("auto", "raw", "normalized"):
        return text  # type: ignore[return-value]
    msg = f"input_matrix_type is {value!r}: give 'auto', 'raw' or 'normalized'"
    raise InvalidArgument(msg)


def choose_matrix(adata: AnnData, input_matrix_type: Any = "auto") -> MatrixChoice:
    """Decide which matrix goes to the server, and as what.

    Counts are looked for in ``layers["counts"]``, ``raw.X``, ``X``, then in other layers by name. Where there are none,
    ``X`` is taken as it is.

    Parameters
    ----------
    adata
        Any AnnData: in memory, view, backed, Dask. It is not changed.
    input_matrix_type
        ``"auto"``; ``"raw"`` to insist on counts; ``"normalized"`` to insist on ``X``. Members of the official enum are
        taken too.

    Returns
    -------
    MatrixChoice
        With a summary of each slot that was looked at.

    Raises
    ------
    NoCounts
        ``"raw"`` was asked for and no slot holds counts; the message says what each holds.
    InvalidValues
        The matrix holds NaN, infinite values or complex numbers, or negative ones where counts are to be.
    EmptyAnnData
        There is no matrix that could be sent.
    InvalidArgument
        ``input_matrix_type`` is something else.

    Examples
    --------
    >>> import anndata as ad, numpy as np
    >>> choose_matrix(ad.AnnData(np.array([[3.0, 0.0], [0.0, 1.0]]))).reason
    'X (2 x 2): counts (whole numbers, max 3)'
    """
    choice = decide(adata, input_matrix_type)
    chosen = choice.chosen
    if chosen.kind == "invalid" or (choice.input_matrix_type == "raw" and chosen.n_negative):
        msg = f"{chosen}. Remove those cells or genes, or mend the values in a copy"
        raise InvalidValues(msg)
    return choice


def decide(adata: AnnData, input_matrix_type: Any = "auto") -> MatrixChoice:
    """As :func:`choose_matrix`, but a matrix with unusable values is chosen, for the report to say so in its place."""
    wanted = matrix_type(input_matrix_type)
    filled = filled_slots(adata)
    if not filled:
        msg = "this AnnData has no matrix: X is None, and so are raw and layers"
        raise EmptyAnnData(msg)
    looked: dict[Slot, SlotSummary] = {}
    x = Slot("X")

    def look(slot: Slot) -> SlotSummary:
        if slot not in looked:
            looked[slot] = describe(source_of(adata, slot), slot)
        return looked[slot]

    def chosen(slot: Slot, kind: Literal["raw", "normalized"], reason: str) -> MatrixChoice:
        return MatrixChoice(slot, kind, reason, tuple(looked.values()))

    if wanted != "normalized":
        candidates = list(_candidates(filled))
        for slot in candidates:
            if look(slot).kind == "counts":
                passed = "; ".join(f"not {other}" for other in looked.values() if other.slot != slot)
                # X needs no reading then, but what it is helps to trust the choice.
                seen = glimpse(source_of(adata, x)) if x in filled and x not in looked else ""
                return chosen(slot, "raw", "; ".join(filter(None, (str(look(slot)), passed, seen and f"X {seen}"))))
        if wanted == "raw":
            # What would be counts but for some values is named for those; true and false are counts if one insists.
            for slot in candidates:
                if look(slot).is_broken_counts or look(slot).kind == "binary":
                    return chosen(slot, "raw", f"{look(slot)}, and 'raw' was asked for")
            raise NoCounts(_no_counts([look(slot) for slot in candidates], filled))
    if x not in filled:
        held = "; ".join(str(summary) for summary in looked.values()) or ", ".join(str(slot) for slot in filled)
        msg = f"X is None, and no other slot holds counts ({held}): put a matrix into X"
        raise EmptyAnnData(msg)
    summary = look(x)
    reason = str(summary) if wanted == "normalized" else f"no counts were found; {summary}"
    if summary.n_negative and Slot("raw.X") in filled and look(Slot("raw.X")).kind in _LOG_KINDS:
        reason += f"; {look(Slot('raw.X'))}"
    return chosen(x, "normalized", reason)


def _candidates(filled: list[Slot]) -> Iterator[Slot]:
    first = [Slot("layer", "counts"), Slot("raw.X"), Slot("X")]
    yield from (slot for slot in first if slot in filled)
    for slot in filled:
        plain = "".join(letter for letter in str(slot.key).casefold() if letter.isalnum())
        if slot.kind == "layer" and slot not in first and plain in _COUNT_LAYERS:
            yield slot


def _no_counts(looked: list[SlotSummary], filled: list[Slot]) -> str:
    held = "; ".join(str(summary) for summary in looked) or "nothing that could be counts"
    seen = {summary.slot for summary in looked}
    others = ", ".join(str(slot) for slot in filled if slot not in seen)
    aside = f" ({others} not looked at, for their names)" if others else ""
    return (
        f"input_matrix_type='raw' was asked for, but no slot holds counts: {held}{aside}. "
        "Put the counts into adata.layers['counts'], or submit with input_matrix_type='normalized'"
    )
