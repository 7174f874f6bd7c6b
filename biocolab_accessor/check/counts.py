"""Counts: what each slot of an AnnData holds, and which one goes to the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from anndata import AnnData

from biocolab_accessor.blocks import Slot, slots_of, values
from biocolab_accessor.errors import EmptyAnnData, InvalidArgument, NoCounts

__all__ = ["MatrixChoice", "SlotSummary", "choose_matrix", "describe", "matrix_type"]

# Float noise of whoever computed or wrote the counts: CellTypist's packaged sample is off by up to 4e-11.
_NOISE = 1e-6
# log1p of counts scaled to a few ten thousand stays below this; raw counts of real cells do not.
_HIGHEST_LOG = 25.0
_COUNT_LAYERS = ("raw_counts", "raw", "umi_counts", "umis", "umi", "count")

Kind = Literal["counts", "binary", "lognorm", "normalized", "scaled", "empty", "invalid"]


@dataclass(frozen=True)
class SlotSummary:
    """What a slot holds.

    Attributes
    ----------
    slot
        Which.
    shape
        Cells and genes.
    dtype
        NumPy dtype as text.
    minimum, maximum
        Over all stored finite values; zero where there are none.
    n_nan, n_infinite, n_negative
        How many values are NaN, infinite, negative.
    whole
        Whether every finite value is a whole number, up to float noise.
    noise
        Largest distance to a whole number, where ``whole``.
    """

    slot: Slot
    shape: tuple[int, int]
    dtype: str
    minimum: float
    maximum: float
    n_nan: int
    n_infinite: int
    n_negative: int
    whole: bool
    noise: float

    @property
    def kind(self) -> Kind:
        """What the values look like."""
        if self.n_nan or self.n_infinite or self.dtype.startswith(("complex", "object")):
            return "invalid"
        if self.maximum == 0 and self.minimum == 0:
            return "empty"
        if self.dtype == "bool":
            return "binary"
        if self.whole and not self.n_negative:
            return "counts"
        if self.n_negative:
            return "scaled"
        return "lognorm" if self.maximum <= _HIGHEST_LOG else "normalized"

    def __str__(self) -> str:
        what = {
            "counts": f"counts (whole numbers, max {self.maximum:,.0f})",
            "binary": "true and false",
            "lognorm": f"looks log-normalised (max {self.maximum:.3g})",
            "normalized": f"not whole numbers (max {self.maximum:,.6g})",
            "scaled": f"{self.n_negative:,} negative values, looks scaled (min {self.minimum:.3g})",
            "empty": "all zero",
            "invalid": f"{self.n_nan:,} NaN and {self.n_infinite:,} infinite values",
        }[self.kind]
        if self.dtype.startswith(("complex", "object")):
            what = f"{self.dtype} values"
        return f"{self.slot} ({self.shape[0]:,} x {self.shape[1]:,}): {what}"


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
    if text == "auto" or text == "raw" or text == "normalized":
        return text  # type: ignore[no-any-return]
    msg = f"input_matrix_type is {value!r}: give 'auto', 'raw' or 'normalized'"
    raise InvalidArgument(msg)


def describe(adata: AnnData, slot: Slot) -> SlotSummary:
    """Read a slot once, a million values at a time, and say what it holds.

    Parameters
    ----------
    adata
        Any AnnData: in memory, view, backed, Dask.
    slot
        Which matrix.
    """
    low, high, noise = 0.0, 0.0, 0.0
    n_nan = n_infinite = n_negative = 0
    whole, dtype = True, ""
    for piece in values(adata, slot):
        dtype = dtype or str(piece.dtype)
        if piece.dtype.kind not in "fiub" or not len(piece):
            continue
        if piece.dtype.kind == "f" and not np.isfinite(piece.sum(dtype=np.float64)):
            bad = np.isnan(piece)
            n_nan += int(bad.sum())
            n_infinite += int(np.isinf(piece).sum())
            piece = piece[np.isfinite(piece)]
            if not len(piece):
                continue
        least, most = float(piece.min()), float(piece.max())
        low, high = min(low, least), max(high, most)
        if least < 0:
            n_negative += int((piece < 0).sum())
        if whole and piece.dtype.kind == "f":
            off = float(np.abs(piece - np.rint(piece)).max())
            whole, noise = off <= _NOISE, max(noise, off)
    return SlotSummary(slot, slot.shape(adata), dtype, low, high, n_nan, n_infinite, n_negative, whole, noise)


def choose_matrix(adata: AnnData, input_matrix_type: Any = "auto") -> MatrixChoice:
    """Decide which matrix goes to the server, and as what.

    Counts are looked for in ``layers["counts"]``, ``raw.X``, ``X``, then in other layers by name. Where there are none,
    ``X`` is taken as it is.

    Parameters
    ----------
    adata
        Any AnnData.
    input_matrix_type
        ``"auto"``; ``"raw"`` to insist on counts; ``"normalized"`` to insist on ``X``.

    Raises
    ------
    NoCounts
        ``"raw"`` was asked for and no slot holds counts; the message says what each holds.
    EmptyAnnData
        There is no matrix at all.
    InvalidArgument
        ``input_matrix_type`` is something else.

    Examples
    --------
    >>> import anndata as ad, numpy as np
    >>> choose_matrix(ad.AnnData(np.array([[3.0, 0.0], [0.0, 1.0]]))).reason
    'X (2 x 2): counts (whole numbers, max 3)'
    """
    wanted = matrix_type(input_matrix_type)
    filled = slots_of(adata)
    x = Slot("X")
    if not filled or (wanted != "raw" and x not in filled and len(filled) == 0):
        msg = "this AnnData has no matrix: X is None, and so are raw and layers"
        raise EmptyAnnData(msg)
    looked: list[SlotSummary] = []
    if wanted != "normalized":
        for slot in _candidates(filled):
            looked.append(describe(adata, slot))
            if looked[-1].kind == "counts":
                return MatrixChoice(slot, "raw", str(looked[-1]), tuple(looked))
    if wanted == "raw":
        held = "; ".join(str(summary) for summary in looked) or "nothing that could be counts"
        msg = (
            f"input_matrix_type='raw' was asked for, but no slot holds counts: {held}. "
            "Put the counts into adata.layers['counts'], or submit with input_matrix_type='normalized'"
        )
        raise NoCounts(msg)
    if x not in filled:
        held = "; ".join(str(summary) for summary in looked)
        msg = f"X is None and no other slot holds counts ({held}): put a matrix into X"
        raise EmptyAnnData(msg)
    summary = next((found for found in looked if found.slot == x), None)
    if summary is None:
        summary = describe(adata, x)
        looked.append(summary)
    return MatrixChoice(x, "normalized", f"no counts were found; {summary}", tuple(looked))


def _candidates(filled: list[Slot]) -> Iterator[Slot]:
    first = [Slot("layer", "counts"), Slot("raw.X"), Slot("X")]
    named = [Slot("layer", name) for name in _COUNT_LAYERS]
    yield from (slot for slot in [*first, *named] if slot in filled)
