"""Matrix choice: what each slot of an AnnData holds, which one is sent, and how large it is."""

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
    is_likely,
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

_COUNT_LAYERS = {"counts", "count", "raw", "rawcounts", "rawcount", "countsraw", "umi", "umis", "umicounts", "umicount"}

# Layers of these names hold a part of the counts: they are neither the counts nor missing from them.
_PART_WORDS = {
    "spliced", "unspliced", "ambiguous", "spanning", "mature", "nascent", "exon", "exonic", "intron", "intronic",
    "labeled", "unlabeled",
}  # fmt: skip

_PARTS = {*_PART_WORDS, "new", "old", "sl", "su", "ul", "uu"}
_LOG_KINDS = ("lognorm", "normalized")


@dataclass(frozen=True)
class MatrixChoice:
    """The matrix to send, and why it was chosen."""

    slot: Slot
    # "raw" for counts, which the server log-normalizes; "normalized" for values that it takes unchanged.
    input_matrix_type: Literal["raw", "normalized"]
    reason: str
    slots: tuple[SlotSummary, ...]  # all slots that were read for the choice
    filled: Filled | None = field(default=None, compare=False, repr=False)  # cells and genes with values, if measured
    # Slots with values that the chosen one lacks: it is not clear which one to send,
    conflicts: tuple[Conflict, ...] = ()
    # the chosen one may lack nothing,
    apart: tuple[Conflict, ...] = ()
    # or counts were removed or downsampled, and nothing is missing.
    corrected: tuple[Conflict, ...] = ()
    unnamed: tuple[Slot, ...] = ()  # slots of whole numbers that are not named like counts

    @property
    def chosen(self) -> SlotSummary:
        """The summary of the chosen slot."""
        return next(summary for summary in self.slots if summary.slot == self.slot)


def matrix_type(value: Any) -> Literal["auto", "raw", "normalized"]:
    """The input matrix type from a string or a member of the official enum, else an InvalidArgument."""
    text = getattr(value, "value", value)
    if isinstance(text, str) and text in ("auto", "raw", "normalized"):
        return text  # type: ignore[return-value]
    msg = f"input_matrix_type is {quoted(value)}: use 'auto', 'raw' or 'normalized'"
    raise InvalidArgument(msg)


def choose_matrix(adata: AnnData, input_matrix_type: Any = "auto") -> MatrixChoice:
    """Choose the matrix to send, and whether it is sent as raw or normalized."""
    choice = decide(adata, input_matrix_type)
    chosen = choice.chosen
    if chosen.kind == "invalid" or (choice.input_matrix_type == "raw" and chosen.n_negative):
        msg = f"{chosen}. Fix the values, or drop those cells or genes, in a copy"
        raise InvalidValues(msg)
    for conflict in choice.conflicts:
        msg = f"{choice.slot} {conflict.message}. {conflict.fix}"
        raise InvalidValues(msg)
    return choice


def decide(adata: AnnData, input_matrix_type: Any = "auto") -> MatrixChoice:
    """As :func:`choose_matrix`, but a matrix with unusable values is chosen too, since the report explains them."""
    # Counts are searched in layers["counts"], raw.X and X, then in other layers by name. The first match is compared
    # with every other slot of whole numbers, and one that has the same counts and more replaces it. Without counts, X
    # is sent unchanged.
    wanted = matrix_type(input_matrix_type)
    filled = filled_slots(adata)
    if not filled:
        msg = "this AnnData has no matrix: X is None, and raw and layers are empty"
        raise EmptyAnnData(msg)
    looks = _Looks(adata, filled)
    x = Slot("X")
    if wanted != "normalized":
        candidates = list(_candidates(filled))
        for slot in candidates:
            if looks.at(slot).kind == "counts":
                return _compared(adata, slot, looks)
        if wanted == "raw":
            # Counts with some bad values are chosen, so that the report can name these; "raw" also accepts booleans.
            for slot in candidates:
                if looks.at(slot).is_broken_counts or looks.at(slot).kind == "binary":
                    return looks.choice(slot, "raw", f"{looks.at(slot)}, and input_matrix_type is 'raw'")
            raise NoCounts(_no_counts(looks))
    if x not in filled:
        raise EmptyAnnData(_no_x(looks, wanted))
    summary = looks.at(x)
    reason = str(summary) if wanted == "normalized" else f"found no counts; {summary}"
    if summary.n_negative and Slot("raw.X") in filled and looks.at(Slot("raw.X")).kind in _LOG_KINDS:
        reason += f"; {looks.at(Slot('raw.X'))}"
    if wanted == "normalized":
        return looks.choice(x, "normalized", reason)
    whole = [slot for slot in looks.others() if _holds_whole_numbers(adata, slot)]
    if whole:
        reason += f"; {_listed(whole)} hold{'s' * (len(whole) == 1)} whole numbers, but not under a name for counts"
    unnamed = tuple(slot for slot in whole if not _is_part(slot))
    apart = () if summary.n_negative else _genes_of_raw(adata, x)
    return replace(looks.choice(x, "normalized", reason), unnamed=unnamed, apart=apart)


class _Looks:
    """Slots that were read so far, with their summaries."""

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
        """Whether a slot holds whole numbers; the first fraction ends the reading."""
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
        """Slots that can be compared, and damaged ones: a slot that is not sent must not stop a submission."""
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
        """Record that a slot holds the same values as another one."""
        self._note(slot, replace(self.at(original), slot=slot), self.margins(original))

    def others(self) -> list[Slot]:
        """Layers that are not named like counts."""
        named = set(_candidates(self.filled))
        return [slot for slot in self.filled if slot not in named]

    def choice(self, slot: Slot, kind: Literal["raw", "normalized"], reason: str) -> MatrixChoice:
        return MatrixChoice(slot, kind, reason, tuple(self.seen.values()), self._margins.get(slot))


def _compared(adata: AnnData, first: Slot, looks: _Looks) -> MatrixChoice:
    """The first slot, or another one that has the same counts and more."""
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
        # Flags of zero and one are not counts, and flags that are all one say nothing.
        marks = [slot for slot in whole if looks.at(slot).maximum == 1 and not looks.at(slot).n_negative]
        whole = [slot for slot in whole if slot not in marks]
        rivals = [s for s in rivals if s not in marks or looks.at(s).nnz < looks.at(s).shape[0] * looks.at(s).shape[1]]
    for slot in sorted((slot for slot in whole if looks.at(slot).kind == "counts"), key=lambda s: looks.at(s).nnz):
        if _has_more(looks.at(slot), looks.at(taken)) and covers(adata, slot, taken):
            lacks = lacking(adata, (taken, looks.margins(taken)), (slot, looks.margins(slot)))
            if (kept := scattered(adata, (taken, looks.margins(taken)), slot)) is not None:
                values = f"has values in {_percent(kept.share)} of the places where {slot} has values"
                (corrected if kept.likely else apart).append(_corrected(taken, slot, lacks, values, kept.likely))
                continue
            left[taken] = lacks
            taken = slot
    known = {*left, *(conflict.slot for conflict in (*corrected, *apart))}
    for slot in [slot for slot in (first, *whole) if slot != taken and slot not in known]:
        lacks = lacking(adata, (taken, looks.margins(taken)), (slot, looks.margins(slot)))
        if any(lacks):
            pair = (taken, looks.margins(taken)), (slot, looks.margins(slot))
            kept = kept_share(adata, *pair) if looks.at(slot).kind == "counts" else None
            if kept is None:
                conflicts.append(_conflict(adata, taken, slot, lacks, looks))
            else:
                has = f"has {_percent(kept.share)} of the counts of {slot}"
                (corrected if kept.likely else apart).append(_corrected(taken, slot, lacks, has, kept.likely))
        elif looks.at(slot).kind == "counts":
            notes.append(slot)
    if rivals and any(looks.margins(taken).empty):
        for slot in [slot for slot in rivals if slot not in whole]:
            found = traces(adata, taken, looks.margins(taken), slot)
            if found is None:
                continue
            lacks = Margins(found.cells, found.genes)
            if found.remains is not None and is_plausible(found.remains):
                share, likely = found.remains.own / found.remains.others, is_likely(found.remains)
                has = f"has values in {_percent(share)} of the places where {slot} has values"
                (corrected if likely else apart).append(_corrected(taken, slot, lacks, has, likely))
            else:
                (conflicts if found.alike else apart).append(_traced(taken, slot, lacks, looks))
    passed = [
        f"not {summary}{_less(left[summary.slot], taken) if summary.slot in left else ''}"
        for summary in looks.seen.values()
        if summary.slot != taken and summary.slot not in notes
    ]
    if notes:
        passed.append(
            f"{_listed(notes)} hold{'s' * (len(notes) == 1)} whole numbers too, but covers no further cells or genes"
        )
    # The choice does not depend on X then, but a word about X makes it easier to trust.
    x = Slot("X")
    seen = glimpse(source_of(adata, x)) if x in looks.filled and x not in looks.seen else ""
    passed += [f"{slot} not compared, because it is damaged" for slot in damaged]
    parts = [slot for slot in looks.filled if _is_part(slot)]
    if parts:
        passed.append(f"{_listed(parts)} not compared (a part of the counts, by name)")
    if taken.kind != "raw.X" and Slot("raw.X") not in whole:
        apart += _genes_of_raw(adata, taken)
    choice = looks.choice(taken, "raw", "; ".join(filter(None, (str(looks.at(taken)), *passed, seen and f"X {seen}"))))
    return replace(choice, conflicts=tuple(conflicts), apart=tuple(apart), corrected=tuple(corrected))


def _has_more(one: SlotSummary, other: SlotSummary) -> bool:
    return (one.nnz, one.shape[1]) > (other.nnz, other.shape[1])


def _less(lacks: Margins, taken: Slot) -> str:
    what = f"has no values for {amount(lacks)} of" if any(lacks) else "has fewer values than"
    return f", which {what} {taken} and is equal elsewhere"


def _conflict(adata: AnnData, taken: Slot, slot: Slot, lacks: Margins, looks: _Looks) -> Conflict:
    other = looks.at(slot)
    back = lacking(adata, (slot, looks.margins(slot)), (taken, looks.margins(taken)))
    turn = f", but values for {amount(back)} that {slot} lacks" if any(back) else ""
    what = str(other).partition(": ")[2]
    message = f"has no counts for {amount(lacks)} that {slot} has values for{turn}; {slot}: {what}"
    instead = f"to send {slot}: {only(slot, taken)}"
    if other.kind != "counts":
        instead = f"to send {slot}, fix its values first, and {only(slot, taken)}"
    fix = f"Their values differ, so neither can replace the other. In a copy, to send {taken}: {only(taken, slot)}; "
    fix += instead
    return Conflict(slot, message, sum(lacks), fix)


def _corrected(taken: Slot, slot: Slot, lacks: Margins, has: str, likely: bool) -> Conflict:
    none = f" and no values for {amount(lacks)}" if any(lacks) else ""
    why = "like corrected or downsampled counts" if likely else "which a correction may explain, but chance cannot"
    message = f"{has}{none}, {why}"
    return Conflict(slot, message, max(1, sum(lacks)), f"To send {slot} instead, in a copy: {only(slot, taken)}")


def _percent(share: float) -> str:
    return f"{min(100 * share, 99.9):.3g} %"


def _traced(taken: Slot, slot: Slot, lacks: Margins, looks: _Looks) -> Conflict:
    what = "holds only zeros and ones" if slot in looks.seen and looks.whole(slot) else "does not hold whole numbers"
    message = f"has no counts for {amount(lacks)} that {slot} has values for; {slot} {what}"
    ways = {"X": "adata", "raw.X": "adata.raw.to_adata()"}
    way = f"submit {ways[slot.kind]}" if slot.kind in ways else f"set copy.X = copy.{slot} in a copy, and submit it"
    return Conflict(
        slot, message, sum(lacks), f"Put all counts into {taken} of a copy, or {way} with input_matrix_type="
        "'normalized'"
    )  # fmt: skip


def _genes_of_raw(adata: AnnData, taken: Slot) -> tuple[Conflict, ...]:
    """Genes of ``raw`` that are not sent, because it does not hold counts."""
    if adata.raw is None or adata.raw.var_names.equals(adata.var_names):
        return ()
    number = int((~adata.raw.var_names.isin(adata.var_names)).sum())
    if not number:
        return ()
    fix = "To send all genes, submit adata.raw.to_adata()"
    message = f"lacks {counted(number, 'gene')} of raw.X, which {'is' if number == 1 else 'are'} not sent"
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
        held = f"{_listed(looks.filled)} not read"
        return f"X is None, but input_matrix_type='normalized' sends X ({held}): put a matrix into X of a copy"
    held = "; ".join(str(looks.at(slot)) for slot in looks.filled if slot not in looks.others())
    others = [looks.at(slot) for slot in looks.others()]
    if any(summary.kind == "counts" for summary in others):
        held = "; ".join(filter(None, (held, _unnamed(others))))
        return f"X is None, and no slot that is named like counts holds counts ({held}). {_renaming(others)}"
    held = "; ".join(filter(None, (held, *map(str, others))))
    return f"X is None, and no other slot holds counts ({held}): put a matrix into X of a copy"


def _no_counts(looks: _Looks) -> str:
    held = "; ".join(str(summary) for summary in looks.seen.values()) or "no slot is named like counts"
    others = [looks.at(slot) for slot in looks.others()]
    if any(summary.kind == "counts" for summary in others):
        held = "; ".join((*(str(s) for s in looks.seen.values() if s not in others), _unnamed(others)))
        return (
            f"input_matrix_type is 'raw', but no slot that is named like counts holds counts: {held}. "
            f"{_renaming(others)}, or submit with input_matrix_type='normalized'"
        )
    held = "; ".join(filter(None, (held, *map(str, others)))) if others else held
    return (
        f"input_matrix_type is 'raw', but no slot holds counts: {held}. "
        "Put the counts into adata.layers['counts'], or submit with input_matrix_type='normalized'"
    )


def _unnamed(others: list[SlotSummary]) -> str:
    return "; ".join(f"{other}{', but not named like counts' if other.kind == 'counts' else ''}" for other in others)


def _renaming(others: list[SlotSummary]) -> str:
    whole = [summary.slot for summary in others if summary.kind == "counts"]
    best = next((slot for slot in whole if not _is_part(slot)), whole[0])
    return f"If {best} holds the counts, in a copy: copy.layers['counts'] = copy.{best}"


_LARGEST_FLOAT32_INTEGER = 2**24
_INDEX_BYTES = 4

# Counts, log-normalized values, and one of them by the other axis; each with its indices.
_MATRICES_AT_ONCE = 3

# A usual pipeline scales two thousand variable genes for its PCA: values before and after.
_DENSE_BYTES_EACH_CELL = 2 * 2_000 * 4


def stored_dtype(summary: SlotSummary, *, raw: bool) -> np.dtype[Any]:
    """Float32, which servers use, if that is exact; else the dtype of the matrix."""
    dtype = np.dtype(summary.dtype)
    if summary.fits_float32 or (raw and summary.maximum <= _LARGEST_FLOAT32_INTEGER):
        return np.dtype(np.float32)
    return np.dtype(np.float64) if dtype.kind == "f" else dtype


def bytes_of(summary: SlotSummary, obs: pd.DataFrame, obsm: Iterable[Any]) -> int:
    """Estimated bytes of all files before compression: the matrix, obs and embeddings."""
    itemsize = stored_dtype(summary, raw=summary.kind in ("counts", "binary")).itemsize
    matrix = summary.nnz * (itemsize + _INDEX_BYTES) + summary.shape[0] * _INDEX_BYTES
    tables = _frame_bytes(obs) + 8 * summary.shape[1]
    for value in obsm:
        tables += _value_bytes(value)
    return int(matrix + tables)


def server_bytes(summary: SlotSummary) -> int:
    """Rough memory that a server needs to normalize the matrix and compute embeddings, as the sandbox does."""
    return _MATRICES_AT_ONCE * summary.nnz * (4 + _INDEX_BYTES) + summary.shape[0] * _DENSE_BYTES_EACH_CELL


def _value_bytes(value: Any) -> int:
    if isinstance(value, pd.DataFrame):
        return _frame_bytes(value)
    if sparse.issparse(value):
        return int(value.nnz * (value.dtype.itemsize + _INDEX_BYTES) + value.shape[0] * _INDEX_BYTES)
    return int(getattr(value, "nbytes", 0))


def _frame_bytes(frame: pd.DataFrame) -> int:
    # With index=True the result is labeled by all names at once, which pandas 3 converts to text or fails on.
    return int(frame.index.memory_usage() + frame.memory_usage(index=False).sum())
