"""Matrix choice: what each slot of an AnnData holds, which one goes to the server, and how large it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from biocolab_accessor.check.matrix_stats import (
    Filled,
    Margins,
    SlotSummary,
    describe,
    describe_filled,
    describe_whole,
    filled_of,
    glimpse,
)
from biocolab_accessor.check.slot_comparison import (
    Conflict,
    amount,
    covers,
    equal_arrays,
    is_plausible,
    kept_share,
    lacking,
    only,
    same_arrays,
    scattered,
    traces,
)
from biocolab_accessor.errors import EmptyAnnData, InvalidArgument, InvalidValues, NoCounts
from biocolab_accessor.io.matrix_blocks import Slot, filled_slots, source_of
from biocolab_accessor.messages import counted, quoted

__all__ = [
    "MatrixChoice",
    "bytes_of",
    "choose_matrix",
    "decide",
    "describe",
    "matrix_type",
    "server_bytes",
    "stored_dtype",
]

_COUNT_LAYERS = {"counts", "count", "raw", "rawcounts", "rawcount", "countsraw", "umi", "umis", "umicounts", "umicount"}

# Each of these is a part of the counts, so it neither stands for them nor is it lacking in them.
_PART_WORDS = {
    "spliced", "unspliced", "ambiguous", "spanning", "mature", "nascent", "exon", "exonic", "intron", "intronic",
    "labeled", "unlabeled",
}  # fmt: skip

_PARTS = {*_PART_WORDS, "new", "old", "sl", "su", "ul", "uu"}

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
    filled
        Its cells and genes that have values, where that was measured.
    conflicts
        Slots that have values which the chosen one lacks, so that it cannot be told which one is meant.
    apart
        The same where it is not certain that something is lacking.
    corrected
        The same where counts were removed or not drawn, so that nothing has to be lacking.
    unnamed
        Slots that hold whole numbers and were not taken, since they are not named like counts.
    """

    slot: Slot
    input_matrix_type: Literal["raw", "normalized"]
    reason: str
    slots: tuple[SlotSummary, ...]
    filled: Filled | None = field(default=None, compare=False, repr=False)
    conflicts: tuple[Conflict, ...] = ()
    apart: tuple[Conflict, ...] = ()
    corrected: tuple[Conflict, ...] = ()
    unnamed: tuple[Slot, ...] = ()

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
    msg = f"input_matrix_type is {quoted(value)}: give 'auto', 'raw' or 'normalized'"
    raise InvalidArgument(msg)


def choose_matrix(adata: AnnData, input_matrix_type: Any = "auto") -> MatrixChoice:
    """Decide which matrix goes to the server, and as what.

    Counts are looked for in ``layers["counts"]``, ``raw.X``, ``X``, then in other layers by name. What is found is
    compared with every other slot that holds whole numbers: where another one has the same counts and more, it is
    taken. Where there are no counts, ``X`` is taken as it is.

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
        The matrix holds NaN, infinite values or complex numbers, or negative ones where counts are to be; or it lacks
        cells or genes that another slot, with other values, has counts for.
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
    for conflict in choice.conflicts:
        msg = f"{choice.slot} {conflict.message}. {conflict.fix}"
        raise InvalidValues(msg)
    return choice


def decide(adata: AnnData, input_matrix_type: Any = "auto") -> MatrixChoice:
    """As :func:`choose_matrix`, but a matrix with unusable values is chosen, for the report to say so in its place."""
    wanted = matrix_type(input_matrix_type)
    filled = filled_slots(adata)
    if not filled:
        msg = "this AnnData has no matrix: X is None, and so are raw and layers"
        raise EmptyAnnData(msg)
    looks = _Looks(adata, filled)
    x = Slot("X")
    if wanted != "normalized":
        candidates = list(_candidates(filled))
        for slot in candidates:
            if looks.at(slot).kind == "counts":
                return _compared(adata, slot, looks)
        if wanted == "raw":
            # What would be counts but for some values is named for those; true and false are counts if one insists.
            for slot in candidates:
                if looks.at(slot).is_broken_counts or looks.at(slot).kind == "binary":
                    return looks.choice(slot, "raw", f"{looks.at(slot)}, and 'raw' was asked for")
            raise NoCounts(_no_counts(looks))
    if x not in filled:
        raise EmptyAnnData(_no_x(looks, wanted))
    summary = looks.at(x)
    reason = str(summary) if wanted == "normalized" else f"no counts were found; {summary}"
    if summary.n_negative and Slot("raw.X") in filled and looks.at(Slot("raw.X")).kind in _LOG_KINDS:
        reason += f"; {looks.at(Slot('raw.X'))}"
    if wanted == "normalized":
        return looks.choice(x, "normalized", reason)
    whole = [slot for slot in looks.others() if _holds_whole_numbers(adata, slot)]
    if whole:
        reason += f"; {_listed(whole)} hold{'s' * (len(whole) == 1)} whole numbers, not taken for the name"
    unnamed = tuple(slot for slot in whole if not _is_part(slot))
    apart = () if summary.n_negative else _genes_of_raw(adata, x)
    return replace(looks.choice(x, "normalized", reason), unnamed=unnamed, apart=apart)


class _Looks:
    """What was looked at so far."""

    def __init__(self, adata: AnnData, filled: list[Slot]) -> None:
        self.adata, self.filled = adata, filled
        self.seen: dict[Slot, SlotSummary] = {}
        self._margins: dict[Slot, Filled] = {}
        self._fractional: set[Slot] = set()

    def at(self, slot: Slot) -> SlotSummary:
        if slot not in self.seen:
            summary, filled = describe_filled(source_of(self.adata, slot), slot)
            self._note(slot, summary, filled)
        return self.seen[slot]

    def whole(self, slot: Slot) -> bool:
        """Whether these are whole numbers, which of others ends the reading soon."""
        if slot in self._fractional:
            return False
        if slot not in self.seen:
            summary, filled = describe_filled(source_of(self.adata, slot), slot, whole=True)
            if summary is None:
                self._fractional.add(slot)
                return False
            self._note(slot, summary, filled)
        return self.seen[slot].kind == "counts" or (self.seen[slot].is_broken_counts and not self.seen[slot].n_nan)

    def _note(self, slot: Slot, summary: SlotSummary | None, filled: Filled | None) -> None:
        assert summary is not None
        self.seen[slot] = summary
        if filled is not None:
            self._margins[slot] = filled

    def readable(self, slots: list[Slot]) -> tuple[list[Slot], list[Slot]]:
        """Slots that can be compared, and those that are damaged: what is not sent must not stop a submission."""
        good = []
        for slot in slots:
            try:
                if self.whole(slot):
                    self.margins(slot)
            except InvalidValues:
                self.seen.pop(slot, None)
            else:
                good.append(slot)
        return good, [slot for slot in slots if slot not in good]

    def margins(self, slot: Slot) -> Filled:
        if slot not in self._margins:
            self._margins[slot] = filled_of(source_of(self.adata, slot), self.at(slot).nnz)
        return self._margins[slot]

    def copy(self, slot: Slot, original: Slot) -> None:
        """Take note that one slot holds the same as another one."""
        self._note(slot, replace(self.at(original), slot=slot), self.margins(original))

    def others(self) -> list[Slot]:
        """Layers that are not named like counts."""
        named = set(_candidates(self.filled))
        return [slot for slot in self.filled if slot not in named]

    def choice(self, slot: Slot, kind: Literal["raw", "normalized"], reason: str) -> MatrixChoice:
        return MatrixChoice(slot, kind, reason, tuple(self.seen.values()), self._margins.get(slot))


def _compared(adata: AnnData, first: Slot, looks: _Looks) -> MatrixChoice:
    """The slot that has all counts of the first one; it keeps its place where no other one has more."""
    taken, left = first, dict[Slot, Margins]()
    conflicts, apart, corrected, notes = list[Conflict](), list[Conflict](), list[Conflict](), list[Slot]()
    fits = all(source_of(adata, slot).shape == slot.shape(adata) for slot in looks.filled)  # else there is an error
    rivals = [slot for slot in looks.filled if slot != first and not _is_part(slot)] if fits else []
    own = source_of(adata, first)
    rivals = [slot for slot in rivals if not same_arrays(source_of(adata, slot), own)]
    for slot in rivals:
        if slot not in looks.seen and equal_arrays(source_of(adata, slot), own):
            looks.copy(slot, first)
    rivals, damaged = looks.readable(rivals)
    whole = [slot for slot in rivals if looks.whole(slot)]
    if looks.at(first).maximum > 1:
        # Marks of zero and one are not counts; where all are one they say nothing.
        marks = [slot for slot in whole if looks.at(slot).maximum == 1 and not looks.at(slot).n_negative]
        whole = [slot for slot in whole if slot not in marks]
        rivals = [s for s in rivals if s not in marks or looks.at(s).nnz < looks.at(s).shape[0] * looks.at(s).shape[1]]
    for slot in sorted((slot for slot in whole if looks.at(slot).kind == "counts"), key=lambda s: looks.at(s).nnz):
        if _has_more(looks.at(slot), looks.at(taken)) and covers(adata, slot, taken):
            lacks = lacking(adata, (taken, looks.margins(taken)), (slot, looks.margins(slot)))
            if (share := scattered(adata, (taken, looks.margins(taken)), slot)) is not None:
                values = f"has values in {_percent(share)} of the places where {slot} has some"
                corrected.append(_corrected(taken, slot, lacks, values))
                continue
            left[taken] = lacks
            taken = slot
    known = {*left, *(conflict.slot for conflict in corrected)}
    for slot in [slot for slot in (first, *whole) if slot != taken and slot not in known]:
        lacks = lacking(adata, (taken, looks.margins(taken)), (slot, looks.margins(slot)))
        if any(lacks):
            pair = (taken, looks.margins(taken)), (slot, looks.margins(slot))
            share = kept_share(adata, *pair) if looks.at(slot).kind == "counts" else None
            if share is None:
                conflicts.append(_conflict(adata, taken, slot, lacks, looks))
            else:
                corrected.append(_corrected(taken, slot, lacks, f"has {_percent(share)} of the counts of {slot}"))
        elif looks.at(slot).kind == "counts":
            notes.append(slot)
    if rivals and any(looks.margins(taken).empty):
        for slot in [slot for slot in rivals if slot not in whole]:
            found = traces(adata, taken, looks.margins(taken), slot)
            if found is None:
                continue
            lacks = Margins(found.cells, found.genes)
            if found.remains is not None and is_plausible(found.remains):
                share = found.remains.own / found.remains.others
                corrected.append(
                    _corrected(
                        taken, slot, lacks, f"has values in {_percent(share)} of the places where {slot} has some"
                    )
                )
            else:
                (conflicts if found.alike else apart).append(_traced(taken, slot, lacks))
    passed = [
        f"not {summary}{_less(left[summary.slot], taken) if summary.slot in left else ''}"
        for summary in looks.seen.values()
        if summary.slot != taken and summary.slot not in notes
    ]
    if notes:
        passed.append(f"{_listed(notes)} hold{'s' * (len(notes) == 1)} whole numbers too, of no other cells and genes")
    # X needs no more reading then, but what it is helps to trust the choice.
    x = Slot("X")
    seen = glimpse(source_of(adata, x)) if x in looks.filled and x not in looks.seen else ""
    passed += [f"{slot} not looked at, for it is damaged" for slot in damaged]
    parts = [slot for slot in looks.filled if _is_part(slot)]
    if parts:
        passed.append(f"{_listed(parts)} not looked at, for being a part of the counts by name")
    if taken.kind != "raw.X" and Slot("raw.X") not in whole:
        apart += _genes_of_raw(adata, taken)
    choice = looks.choice(taken, "raw", "; ".join(filter(None, (str(looks.at(taken)), *passed, seen and f"X {seen}"))))
    return replace(choice, conflicts=tuple(conflicts), apart=tuple(apart), corrected=tuple(corrected))


def _has_more(one: SlotSummary, other: SlotSummary) -> bool:
    return (one.nnz, one.shape[1]) > (other.nnz, other.shape[1])


def _less(lacks: Margins, taken: Slot) -> str:
    what = f"no values for {amount(lacks)} of" if any(lacks) else "fewer values than"
    return f", which has {what} {taken} and the same elsewhere"


def _conflict(adata: AnnData, taken: Slot, slot: Slot, lacks: Margins, looks: _Looks) -> Conflict:
    other = looks.at(slot)
    back = lacking(adata, (slot, looks.margins(slot)), (taken, looks.margins(taken)))
    turn = f", and values for {amount(back)} that {slot} lacks" if any(back) else ""
    what = str(other).partition(": ")[2]
    message = f"has no counts for {amount(lacks)} that {slot} has values for{turn}; {slot}: {what}"
    instead = f"to send {slot}: {only(slot, taken)}"
    if other.kind != "counts":
        instead = f"to send {slot}, fix its values first, and {only(slot, taken)}"
    fix = f"Their values differ, so that neither replaces the other. In a copy, to send {taken}: {only(taken, slot)}; "
    fix += instead
    return Conflict(slot, message, sum(lacks), fix)


def _corrected(taken: Slot, slot: Slot, lacks: Margins, has: str) -> Conflict:
    none = f" and none for {amount(lacks)}" if any(lacks) else ""
    message = f"{has}{none}, as corrected or downsampled counts have"
    return Conflict(slot, message, max(1, sum(lacks)), f"To send {slot} instead, in a copy: {only(slot, taken)}")


def _percent(share: float) -> str:
    return f"{min(100 * share, 99.9):.3g} %"


def _traced(taken: Slot, slot: Slot, lacks: Margins) -> Conflict:
    message = f"has no counts for {amount(lacks)} that {slot} has values for; {slot} holds no whole numbers"
    ways = {"X": "adata", "raw.X": "adata.raw.to_adata()"}
    way = f"submit {ways[slot.kind]}" if slot.kind in ways else f"use a copy with copy.X = copy.{slot}, and submit it"
    return Conflict(
        slot, message, sum(lacks), f"Put the counts of all into {taken} of a copy, or {way} with input_matrix_type="
        "'normalized'"
    )  # fmt: skip


def _genes_of_raw(adata: AnnData, taken: Slot) -> tuple[Conflict, ...]:
    """Genes of ``raw`` that stay behind, where it holds no counts."""
    if adata.raw is None or adata.raw.var_names.equals(adata.var_names):
        return ()
    number = int((~adata.raw.var_names.isin(adata.var_names)).sum())
    if not number:
        return ()
    fix = "To send all genes, submit adata.raw.to_adata()"
    message = f"has none of {counted(number, 'gene')} of raw.X, which {'is' if number == 1 else 'are'} not sent"
    return (Conflict(Slot("raw.X"), message, number, fix),)


def _plain(slot: Slot) -> str:
    return "".join(letter for letter in str(slot.key).casefold() if letter.isalnum())


def _is_part(slot: Slot) -> bool:
    words = re.split(r"[\W_]+", str(slot.key).casefold())  # such as spliced_counts
    return slot.kind == "layer" and (_plain(slot) in _PARTS or not _PART_WORDS.isdisjoint(words))


def is_named_counts(slot: Slot) -> bool:
    """Whether a layer is named like counts."""
    return slot.kind == "layer" and _plain(slot) in _COUNT_LAYERS


def _candidates(filled: list[Slot]) -> Iterator[Slot]:
    first = [Slot("layer", "counts"), Slot("raw.X"), Slot("X")]
    yield from (slot for slot in first if slot in filled)
    yield from (slot for slot in filled if slot not in first and is_named_counts(slot))


def _holds_whole_numbers(adata: AnnData, slot: Slot) -> bool:
    source = source_of(adata, slot)
    seen = glimpse(source)
    if seen:
        return seen == "holds whole numbers"
    summary = describe_whole(source, slot)
    return summary is not None and summary.kind == "counts"


def _listed(slots: list[Slot]) -> str:
    return ", ".join(map(str, slots))


def _no_x(looks: _Looks, wanted: str) -> str:
    if wanted == "normalized":
        held = f"{_listed(looks.filled)} not looked at"
        return f"X is None, and input_matrix_type='normalized' sends X ({held}): put a matrix into X of a copy"
    held = "; ".join(str(looks.at(slot)) for slot in looks.filled if slot not in looks.others())
    others = [looks.at(slot) for slot in looks.others()]
    if any(summary.kind == "counts" for summary in others):
        held = "; ".join(filter(None, (held, _unnamed(others))))
        return f"X is None, and no slot that is named like counts holds them ({held}). {_renaming(others)}"
    held = "; ".join(filter(None, (held, *map(str, others))))
    return f"X is None, and no other slot holds counts ({held}): put a matrix into X"


def _no_counts(looks: _Looks) -> str:
    held = "; ".join(str(summary) for summary in looks.seen.values()) or "nothing that could be counts"
    others = [looks.at(slot) for slot in looks.others()]
    if any(summary.kind == "counts" for summary in others):
        held = "; ".join((*(str(s) for s in looks.seen.values() if s not in others), _unnamed(others)))
        return (
            f"input_matrix_type='raw' was asked for, but no slot that is named like counts holds them: {held}. "
            f"{_renaming(others)}, or submit with input_matrix_type='normalized'"
        )
    held = "; ".join(filter(None, (held, *map(str, others)))) if others else held
    return (
        f"input_matrix_type='raw' was asked for, but no slot holds counts: {held}. "
        "Put the counts into adata.layers['counts'], or submit with input_matrix_type='normalized'"
    )


def _unnamed(others: list[SlotSummary]) -> str:
    return "; ".join(f"{other}{', not taken for its name' if other.kind == 'counts' else ''}" for other in others)


def _renaming(others: list[SlotSummary]) -> str:
    whole = [summary.slot for summary in others if summary.kind == "counts"]
    best = next((slot for slot in whole if not _is_part(slot)), whole[0])
    return f"If {best} holds the counts, in a copy: copy.layers['counts'] = copy.{best}"


_LARGEST_FLOAT32_INTEGER = 2**24

_INDEX_BYTES = 4

# Counts, log-normalised values, and one of them by the other axis; each with its indices.
_MATRICES_AT_ONCE = 3

# What a usual pipeline scales for its PCA: two thousand variable genes, once before and once after.
_DENSE_BYTES_EACH_CELL = 2 * 2_000 * 4


def stored_dtype(summary: SlotSummary, *, raw: bool) -> np.dtype[Any]:
    """Float32, which is what the servers carry, where that is exact; else what the matrix has."""
    dtype = np.dtype(summary.dtype)
    if summary.fits_float32 or (raw and summary.maximum <= _LARGEST_FLOAT32_INTEGER):
        return np.dtype(np.float32)
    return np.dtype(np.float64) if dtype.kind == "f" else dtype


def bytes_of(summary: SlotSummary, obs: pd.DataFrame, obsm: Iterable[Any]) -> int:
    """Estimate of the bytes of all files before compression.

    Parameters
    ----------
    summary
        Of the matrix that is sent.
    obs, obsm
        What goes along.
    """
    itemsize = stored_dtype(summary, raw=summary.kind in ("counts", "binary")).itemsize
    matrix = summary.nnz * (itemsize + _INDEX_BYTES) + summary.shape[0] * _INDEX_BYTES
    tables = _frame_bytes(obs) + 8 * summary.shape[1]
    for value in obsm:
        tables += _value_bytes(value)
    return int(matrix + tables)


def server_bytes(summary: SlotSummary) -> int:
    """Rough memory of a server that normalises the matrix and computes embeddings, as the sandbox does."""
    return _MATRICES_AT_ONCE * summary.nnz * (4 + _INDEX_BYTES) + summary.shape[0] * _DENSE_BYTES_EACH_CELL


def _value_bytes(value: Any) -> int:
    if isinstance(value, pd.DataFrame):
        return _frame_bytes(value)
    if sparse.issparse(value):
        return int(value.nnz * (value.dtype.itemsize + _INDEX_BYTES) + value.shape[0] * _INDEX_BYTES)
    return int(getattr(value, "nbytes", 0))


def _frame_bytes(frame: pd.DataFrame) -> int:
    # Together with the index they would be put under one list of names, which pandas 3 makes text of or fails.
    return int(frame.index.memory_usage() + frame.memory_usage(index=False).sum())
