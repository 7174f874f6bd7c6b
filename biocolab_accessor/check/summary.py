"""Summary: what the values of one matrix look like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.blocks import Slot, Source, canonical, may_repeat, row_blocks, row_pieces, values, values_of
from biocolab_accessor.check.margins import Filled, Filling
from biocolab_accessor.check.normalised import HIGHEST_LOG, Scaling, scaling_of

__all__ = ["Kind", "SlotSummary", "describe", "describe_filled", "describe_whole"]

# Beyond 2**24 every float32 is whole, so that casting alone would take 2e7 + 0.5 for a count.
_LAST_FRACTION = 2**24
_MOST_NOISE = 1e-3
# Counts that have several values for one place, which is rare, have few of them.
_MOST_REPEATS = 256
# Of scaled values next to none is whole, and about half are negative.
_MOSTLY_WHOLE, _FEW_NEGATIVE = 0.5, 0.1

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
    nnz
        Number of stored values; of a dense matrix, of those that are not zero.
    minimum, maximum
        Over all finite values; zero where there are none.
    n_nan, n_infinite, n_negative
        How many values are NaN, infinite, negative.
    integer
        Whether every finite value is whole, but for noise that float32, the precision of the servers, does not show.
    integer_share
        Share of whole numbers among what is not zero in the million values where the first miss was; 1 without a miss.
    noise
        Largest distance to a whole number, where ``integer``.
    fits_float32
        Whether float32 holds every value exactly.
    scaling
        Which logarithm was taken and which total each cell was scaled to before, where some cells show that.
    """

    slot: Slot
    shape: tuple[int, int]
    dtype: str
    nnz: int
    minimum: float
    maximum: float
    n_nan: int
    n_infinite: int
    n_negative: int
    integer: bool
    integer_share: float
    noise: float
    fits_float32: bool
    scaling: Scaling | None = None

    @property
    def is_real(self) -> bool:
        """Whether the values are numbers at all, and not complex ones."""
        return np.dtype(self.dtype).kind in "fiub"

    @property
    def is_broken_counts(self) -> bool:
        """Whether these would be counts, were it not for NaN, infinite or negative values."""
        bad = self.n_nan + self.n_infinite + self.n_negative
        return self.is_real and self.integer and self.maximum >= 1 and bad > 0

    @property
    def is_mostly_counts(self) -> bool:
        """Whether negative values are the exception among whole numbers, which scaled data have none of."""
        few = self.n_negative <= _FEW_NEGATIVE * max(1, self.nnz)
        return self.is_real and self.maximum >= 1 and (self.integer or (few and self.integer_share >= _MOSTLY_WHOLE))

    @property
    def whole(self) -> str:
        """How many values are whole, in words."""
        share = "whole numbers" if self.integer else f"{100 * self.integer_share:.3g} % whole numbers"
        return f"{share}, max {self.maximum:,.5g}"

    @property
    def kind(self) -> Kind:
        """What the values look like."""
        if self.n_nan or self.n_infinite or not self.is_real:
            return "invalid"
        if self.maximum == 0 and self.minimum == 0:
            return "empty"  # zeros are whole numbers, but no evidence of counts
        if self.dtype == "bool":
            return "binary"
        if self.n_negative:
            return "scaled"
        if self.integer and self.maximum >= 1:
            return "counts"
        return "lognorm" if self.maximum <= HIGHEST_LOG else "normalized"

    def __str__(self) -> str:
        return f"{self.slot} ({self.shape[0]:,} x {self.shape[1]:,}): {self._what()}"

    def _what(self) -> str:
        if not self.is_real:
            return f"{self.dtype} values, which are no real numbers"
        share = f"{100 * self.integer_share:.3g} % whole numbers, max {self.maximum:,.5g}"
        if self.n_negative and not self.integer and self.is_mostly_counts and not self.n_nan + self.n_infinite:
            return f"mostly whole numbers ({share}), {self.n_negative:,} values negative (min {self.minimum:,.3g})"
        if self.n_nan or self.n_infinite:
            counted = [f"{self.n_nan:,} NaN"] if self.n_nan else []
            counted += [f"{self.n_infinite:,} infinite values"] if self.n_infinite else []
            return " and ".join(counted)
        if self.n_negative and self.integer:
            return f"whole numbers, {self.n_negative:,} of them negative (min {self.minimum:,.0f})"
        return {
            "counts": f"counts (whole numbers, max {self.maximum:,.0f})",
            "binary": "true and false",
            "lognorm": f"looks log-normalised ({share}{f'; {self.scaling}' if self.scaling else ''})",
            "normalized": f"no counts, and too large for a log ({share})",
            "scaled": f"looks scaled ({self.n_negative:,} negative values, min {self.minimum:,.3g}; {share})",
            "empty": "all zero",
            "invalid": "",
        }[self.kind]


def describe(matrix: Any, name: Slot | str = "X") -> SlotSummary:
    """Read a matrix once, a million values at a time, and say what it holds.

    Parameters
    ----------
    matrix
        SciPy sparse, NumPy of any order, HDF5 dataset, backed sparse of anndata, Dask; or a
        :class:`~biocolab_accessor.blocks.Source`, which is part of one.
    name
        What to call it.

    Examples
    --------
    >>> import numpy as np
    >>> describe(np.array([[3 + 4e-11, 0.0], [0.0, 1.0]])).kind
    'counts'
    >>> print(describe(np.log1p([[3.0, 0.0], [0.0, 1.0]]), "layers['log']"))
    layers['log'] (2 x 2): looks log-normalised (0 % whole numbers, max 1.3863)
    """
    source = matrix if isinstance(matrix, Source) else Source(matrix)
    slot = name if isinstance(name, Slot) else Slot(name)
    summary = _summary(values(source) if source.dtype.kind in "fiub" else (), source, slot)
    if _may_differ_summed(summary) and may_repeat(source):
        summary = _summary((block.data for block in row_blocks(source)), source, slot)
    return replace(summary, scaling=scaling_of(source)) if summary.kind == "lognorm" else summary


def describe_whole(source: Source, slot: Slot) -> SlotSummary | None:
    """As :func:`describe`, but reading ends at the first piece that has a fraction, and then there is no summary."""
    if source.dtype.kind not in "fiub":
        return None
    tally = _Tally()
    for piece in values(source):
        tally.add(piece)
        if tally.share < 1.0:
            return None
    summary = _summary_of(tally, source, slot)
    if _may_differ_summed(summary) and may_repeat(source):
        summary = _summary((block.data for block in row_blocks(source)), source, slot)
    return summary


def describe_filled(source: Source, slot: Slot, *, whole: bool = False) -> tuple[SlotSummary | None, Filled | None]:
    """As :func:`describe` or :func:`describe_whole`, and which cells and genes have values, if all is read anyway.

    That is so of what is stored dense, computed, or a part. Of sparse matrices the values do, and to know the rest is
    seldom worth the time.
    """
    if source.dtype.kind not in "fiub" or not _is_read_by_rows(source):
        return describe_whole(source, slot) if whole else describe(source, slot), None
    tally, filling = _Tally(), Filling(source.shape)
    for piece in row_pieces(source):
        rows = canonical(piece) if sparse.issparse(piece) else piece
        for some in values_of(rows):
            tally.add(some)
            if whole and tally.share < 1.0:
                return None, None
        filling.add(rows)
    summary = _summary_of(tally, source, slot)
    if summary.kind == "lognorm" and not whole:
        summary = replace(summary, scaling=scaling_of(source))
    return summary, filling.filled


def _is_read_by_rows(source: Source) -> bool:
    stored = isinstance(source.matrix, CSRDataset | CSCDataset) or sparse.issparse(source.matrix)
    return not stored or source.rows is not None or source.columns is not None


def _may_differ_summed(summary: SlotSummary) -> bool:
    """Whether it would matter if some of the values belonged to one place: sums of counts are counts, within limits."""
    if summary.kind != "counts":
        return summary.kind not in ("binary", "empty", "invalid")
    dtype = np.dtype(summary.dtype)
    limit = _LAST_FRACTION if dtype.kind == "f" else min(_LAST_FRACTION, np.iinfo(dtype).max)
    return summary.maximum > limit / _MOST_REPEATS


def _summary(pieces: Iterable[NDArray[Any]], source: Source, slot: Slot) -> SlotSummary:
    tally = _Tally()
    for piece in pieces:
        tally.add(piece)
    return _summary_of(tally, source, slot)


def _summary_of(tally: _Tally, source: Source, slot: Slot) -> SlotSummary:
    return SlotSummary(
        slot=slot,
        shape=source.shape,
        dtype=str(source.dtype),
        nnz=tally.nnz,
        minimum=tally.low,
        maximum=tally.high,
        n_nan=tally.n_nan,
        n_infinite=tally.n_infinite,
        n_negative=tally.n_negative,
        integer=tally.share == 1.0,
        integer_share=tally.share,
        noise=tally.noise,
        fits_float32=tally.fits,
    )


class _Tally:
    """What has been seen of a matrix so far."""

    def __init__(self) -> None:
        self.low = self.high = self.noise = 0.0
        self.nnz = self.n_nan = self.n_infinite = self.n_negative = 0
        self.share, self.fits = 1.0, True

    def add(self, piece: NDArray[Any]) -> None:
        """Take account of some values."""
        if not len(piece):
            return
        least, most = piece.min(), piece.max()
        # Comparing takes a third of the time that NumPy needs to count numbers, and of counts it is seldom needed.
        self.nnz += len(piece) if least > 0 else int(np.count_nonzero(piece != 0))
        if piece.dtype.kind == "f" and not (np.isfinite(least) and np.isfinite(most)):
            self.n_nan += int(np.isnan(piece).sum())
            self.n_infinite += int(np.isinf(piece).sum())
            piece = piece[np.isfinite(piece)]
            if not len(piece):
                return
            least, most = piece.min(), piece.max()
        self.low, self.high = min(self.low, float(least)), max(self.high, float(most))
        if least < 0:
            self.n_negative += int(np.count_nonzero(piece < 0))
        if piece.dtype.kind == "f":
            self._look_for_fractions(piece)
        elif piece.dtype.kind in "iu" and self.fits and max(-int(least), int(most)) > 2**24:
            self.fits = False

    def _look_for_fractions(self, piece: NDArray[Any]) -> None:
        narrow = piece.dtype.itemsize <= 4
        if self.share < 1.0 and (narrow or not self.fits):
            return
        with np.errstate(over="ignore", under="ignore"):
            single = piece if narrow else piece.astype(np.float32)
        if not narrow and self.fits:
            self.fits = bool((single == piece).all())
        if self.share < 1.0:
            return
        nearest = np.rint(piece)
        whole = single == nearest
        if narrow:
            self.share = _share(whole, piece)
            return
        off = np.abs(piece - nearest)
        whole |= np.abs(nearest) > _LAST_FRACTION  # there float32 leaves out whole numbers too
        self.share = _share(whole & (off <= _MOST_NOISE), piece)
        if self.share == 1.0:
            self.noise = max(self.noise, float(off.max()))


def _share(whole: NDArray[np.bool_], piece: NDArray[Any]) -> float:
    """Share of whole numbers among what is not zero: a sparse matrix kept dense would seem whole otherwise."""
    if whole.all():
        return 1.0
    other = piece != 0
    return float(np.count_nonzero(whole & other) / np.count_nonzero(other))
