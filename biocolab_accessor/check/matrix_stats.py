"""Matrix statistics: which kind of values a matrix holds, and which of its cells and genes are empty."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.concurrency import THREADS, each, shares
from biocolab_accessor.io.matrix_blocks import (
    Slot,
    Source,
    canonical,
    expect_whole,
    expect_within,
    may_repeat,
    row_blocks,
    row_pieces,
    values,
    values_of,
)

_FIRST_VALUES = 1 << 16
_INDICES_AT_ONCE = 1 << 20
_WORTH_THREADS = 1 << 20


class Margins(NamedTuple):
    """Numbers of cells and genes that are all zero."""

    cells: int
    genes: int


class Filled(NamedTuple):
    """Which cells and genes have at least one nonzero value."""

    cells: NDArray[np.bool_]
    genes: NDArray[np.bool_]

    @property
    def empty(self) -> Margins:
        """The numbers of cells and genes without one."""
        return Margins(*(int(np.count_nonzero(~axis)) for axis in self))


def filled_of(source: Source, nnz: int) -> Filled:
    """Which cells and genes have values; a damaged sparse matrix raises InvalidValues."""
    # If nnz shows that no stored value is zero, most of the matrix need not be read.
    matrix, rows, columns = source
    whole = rows is None and columns is None
    expect_whole(matrix)
    if whole and sparse.issparse(matrix) and matrix.format == "csc":
        return Filled(*reversed(filled_of(Source(matrix.T), nnz)))  # the same arrays, read as rows
    lengths = _line_lengths(matrix, nnz) if whole else None
    if lengths is None:
        return _by_pieces(source)
    if isinstance(matrix, CSCDataset):
        return Filled(_seen_on_disk(matrix, nnz, source.shape[0]), lengths > 0)
    if isinstance(matrix, CSRDataset):
        return Filled(lengths > 0, _seen_on_disk(matrix, nnz, source.shape[1]))
    seen = np.zeros(source.shape[1], bool)
    first = matrix.indices[: min(_FIRST_VALUES, nnz)]  # with few genes, these include all of them
    expect_within(first, len(seen))
    seen[first] = True
    return Filled(lengths > 0, seen if seen.all() else seen | _measured(matrix))


def _seen_on_disk(matrix: CSRDataset | CSCDataset, nnz: int, length: int) -> NDArray[np.bool_]:
    """Which indices occur; no stored value is zero, so values need not be read."""
    seen = np.zeros(length, bool)
    indices = matrix.group["indices"]
    for start in range(0, nnz, _INDICES_AT_ONCE):
        some = indices[start : min(start + _INDICES_AT_ONCE, nnz)]
        expect_within(some, length)
        seen[some] = True
        if seen.all():
            break
    return seen


class Filling:
    """Which cells and genes have values, in the rows that were read so far."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.filled = Filled(np.zeros(shape[0], bool), np.zeros(shape[1], bool))
        self._start = 0

    def add(self, piece: Any) -> None:
        """Add the next rows; sparse ones must be canonical."""
        cells, genes = self.filled
        if sparse.issparse(piece):
            has, measured = _any(piece), _any(_transposed(piece))
        else:
            filled = np.asarray(piece) != 0
            has, measured = filled.any(axis=1), filled.any(axis=0)
        cells[self._start : self._start + len(has)] = has
        genes |= measured
        self._start += len(has)


def _by_pieces(source: Source) -> Filled:
    filling = Filling(source.shape)
    for piece in row_pieces(source):
        filling.add(canonical(piece) if sparse.issparse(piece) else piece)
    return filling.filled


def _line_lengths(matrix: Any, nnz: int) -> NDArray[Any] | None:
    """Number of values of each row (or column); None if that takes reading them."""
    if isinstance(matrix, CSRDataset | CSCDataset):
        indptr = matrix.group["indptr"][...]
    elif sparse.issparse(matrix) and matrix.format == "csr":
        indptr = matrix.indptr
    else:
        return None
    lengths: NDArray[Any] = np.diff(indptr)
    return lengths if indptr[-1] == nnz else None


def _measured(matrix: sparse.csr_matrix) -> NDArray[np.bool_]:
    """Whether each column has a value, in threads for ranges of rows: SciPy's product releases the GIL."""

    def one(first: int, last: int) -> NDArray[np.bool_]:
        low, high = matrix.indptr[first], matrix.indptr[last]
        part = sparse.csr_matrix((last - first, matrix.shape[1]), dtype=matrix.dtype)
        part.data, part.indices = matrix.data[low:high], matrix.indices[low:high]
        part.indptr = matrix.indptr[first : last + 1] - low
        expect_within(part.indices, matrix.shape[1])
        return _any(_transposed(part))

    if matrix.nnz < _WORTH_THREADS:
        return one(0, matrix.shape[0])
    with ThreadPoolExecutor(THREADS, "biocolab-margins") as pool:
        parts = each(pool, one, *zip(*shares(matrix.indptr), strict=True))
    found: NDArray[np.bool_] = np.logical_or.reduce(parts)
    return found


def _transposed(block: sparse.csr_matrix) -> sparse.csc_matrix:
    """The transpose with the same arrays; SciPy's ``.T`` copies those that are part of larger ones."""
    turned = sparse.csc_matrix(block.shape[::-1], dtype=block.dtype)
    turned.data, turned.indices, turned.indptr = block.data, block.indices, block.indptr
    return turned


def _any(block: sparse.spmatrix) -> NDArray[np.bool_]:
    """Whether each row has a value; negative values do not cancel out, and stored zeros do not count."""
    if block.data.dtype.kind in "fi" and len(block.data) and block.data.min() < 0:
        block = block.astype(bool)  # not abs, which leaves the least integer of a dtype negative
    found: NDArray[np.bool_] = (block @ np.ones(block.shape[1], np.float32)) > 0
    return found


_MOST_CELLS, _FEWEST_CELLS = 200, 10

# Float32 and rounding of the logarithm leave a few millionths. Other ways to normalize differ by far more.
_SPREAD = 5e-3
HIGHEST_LOG = 25.0
"""log1p of counts scaled to some ten thousand stays below; counts of real cells do not, and expm1 would overflow."""


class Scaling(NamedTuple):
    """How counts were normalized: each cell scaled to one total, then a logarithm."""

    logarithm: str  # "log1p" or "log2(x + 1)"
    target_sum: float

    def __str__(self) -> str:
        return f"{self.logarithm}, target sum ≈ {self.target_sum:,.0f}"


def scaling_of(source: Source) -> Scaling | None:
    """The logarithm and the total of at most 200 cells; None if they have no common total.

    That is so if genes were left out afterwards, and of matrices stored by columns, where single cells cannot be read.
    """
    sample = _sample(source)
    return None if sample is None else _scaling(sample)


def glimpse(source: Source) -> str:
    """What a matrix seems to hold, in words, judging by at most 200 cells; empty if it is not clear."""
    sample = _sample(source)
    if sample is None or not sample.nnz:
        return ""
    values = sample.data
    if not np.isfinite(values).all():
        return "holds NaN or infinite values"
    if (np.rint(values) == values).all():
        return "holds whole numbers"
    if values.min() < 0:
        return "looks scaled"
    if found := _scaling(sample):
        return f"looks normalized ({found})"
    return "looks log-normalized" if values.max() <= HIGHEST_LOG else "looks normalized, without a logarithm"


def _sample(source: Source) -> sparse.csr_matrix | None:
    by_columns = sparse.issparse(source.matrix) and source.matrix.format != "csr"
    if by_columns or isinstance(source.matrix, CSCDataset) or hasattr(source.matrix, "compute"):
        return None
    if source.dtype.kind not in "fiub" or not all(source.shape):
        return None
    rows = np.unique(np.linspace(0, source.shape[0] - 1, _MOST_CELLS).astype(np.intp))
    return sparse.vstack([block.astype(np.float64) for block in row_blocks(source, rows)], format="csr")


def _scaling(sample: sparse.csr_matrix) -> Scaling | None:
    if not sample.nnz or sample.data.min() < 0 or sample.data.max() > HIGHEST_LOG:
        return None
    for logarithm, linear in (("log1p", np.expm1(sample.data)), ("log2(x + 1)", np.exp2(sample.data) - 1)):
        total = _common_total(linear, sample)
        if total is not None:
            return Scaling(logarithm, total)
    return None


def _common_total(values: NDArray[np.float64], sample: sparse.csr_matrix) -> float | None:
    sums = np.asarray(sparse.csr_matrix((values, sample.indices, sample.indptr), sample.shape).sum(axis=1)).ravel()
    sums = sums[sums > 0]
    if len(sums) < _FEWEST_CELLS:
        return None
    middle = float(np.median(sums))
    return middle if np.quantile(np.abs(sums - middle), 0.95) <= _SPREAD * middle else None


# Above 2**24 every float32 is whole, so that a cast alone would accept 2e7 + 0.5 as a count.
_LAST_FRACTION = 2**24
_MOST_NOISE = 1e-3

# Matrices with several values for one place are rare, and have few of them.
_MOST_REPEATS = 256

# Hardly any scaled value is whole, and about half are negative.
_MOSTLY_WHOLE, _FEW_NEGATIVE = 0.5, 0.1

Kind = Literal["counts", "binary", "lognorm", "normalized", "scaled", "empty", "invalid"]


@dataclass(frozen=True)
class SlotSummary:
    """What a slot holds."""

    slot: Slot
    shape: tuple[int, int]  # cells and genes
    dtype: str
    nnz: int  # nonzero values
    # Of the finite values, and of zero: a matrix without negative values has the minimum zero.
    minimum: float
    maximum: float
    n_nan: int
    n_infinite: int
    n_negative: int
    # Every finite value is whole, up to noise that does not show in float32, the precision of the servers.
    integer: bool
    # Share of whole numbers among the nonzero values of the first piece (up to a million) with a fraction, else 1.
    integer_share: float
    noise: float  # largest distance to a whole number, if integer
    fits_float32: bool  # float32 holds every value exactly
    scaling: Scaling | None = None  # if some cells show which logarithm and total were used

    @property
    def is_real(self) -> bool:
        """Whether the values are real numbers or booleans."""
        return np.dtype(self.dtype).kind in "fiub"

    @property
    def is_broken_counts(self) -> bool:
        """Whether these would be counts without their NaN, infinite and negative values."""
        bad = self.n_nan + self.n_infinite + self.n_negative
        return self.is_real and self.integer and self.maximum >= 1 and bad > 0

    @property
    def is_mostly_counts(self) -> bool:
        """Whether negative values are the exception among whole numbers, unlike in scaled data."""
        few = self.n_negative <= _FEW_NEGATIVE * max(1, self.nnz)
        return self.is_real and self.maximum >= 1 and (self.integer or (few and self.integer_share >= _MOSTLY_WHOLE))

    @property
    def whole(self) -> str:
        """The share of whole numbers and the maximum, in words."""
        share = "whole numbers" if self.integer else f"{100 * self.integer_share:.3g} % whole numbers"
        return f"{share}, max {self.maximum:,.5g}"

    @property
    def kind(self) -> Kind:
        """Which kind of values the slot seems to hold."""
        if self.n_nan or self.n_infinite or not self.is_real:
            return "invalid"
        if self.maximum == 0 and self.minimum == 0:
            return "empty"  # zeros are whole numbers, but do not show counts
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
            return f"{self.dtype} values, which are not real numbers"
        share = f"{100 * self.integer_share:.3g} % whole numbers, max {self.maximum:,.5g}"
        if self.n_negative and not self.integer and self.is_mostly_counts and not self.n_nan + self.n_infinite:
            return f"mostly whole numbers ({share}), {self.n_negative:,} negative values (min {self.minimum:,.3g})"
        if self.n_nan or self.n_infinite:
            counted = [f"{self.n_nan:,} NaN"] if self.n_nan else []
            counted += [f"{self.n_infinite:,} infinite values"] if self.n_infinite else []
            return " and ".join(counted)
        if self.n_negative and self.integer:
            return f"whole numbers, {self.n_negative:,} of them negative (min {self.minimum:,.0f})"
        return {
            "counts": f"counts (whole numbers, max {self.maximum:,.0f})",
            "binary": "booleans",
            "lognorm": f"looks log-normalized ({share}{f'; {self.scaling}' if self.scaling else ''})",
            "normalized": f"not counts, and too large for logarithms ({share})",
            "scaled": f"looks scaled ({self.n_negative:,} negative values, min {self.minimum:,.3g}; {share})",
            "empty": "all zero",
            "invalid": "",
        }[self.kind]


def describe(matrix: Any, name: Slot | str = "X") -> SlotSummary:
    """The summary of a matrix of any kind that anndata holds, read once, a million values at a time."""
    source = matrix if isinstance(matrix, Source) else Source(matrix)
    slot = name if isinstance(name, Slot) else Slot(name)
    summary = _summary(values(source) if source.dtype.kind in "fiub" else (), source, slot)
    if _may_differ_summed(summary) and may_repeat(source):
        summary = _summary((block.data for block in row_blocks(source)), source, slot)
    return replace(summary, scaling=scaling_of(source)) if summary.kind == "lognorm" else summary


def describe_whole(source: Source, slot: Slot) -> SlotSummary | None:
    """As :func:`describe`, but None at the first piece with a fraction, which ends the reading."""
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
    """As :func:`describe` or :func:`describe_whole`, with the cells and genes that have values if all is read by rows.

    Dense and computed matrices, and parts of others, are. Of sparse ones only the values are read, and the rest is
    rarely worth the time.
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
    """Whether adding up several values of one place could change the kind: sums of counts are counts, within limits."""
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
    """The statistics of the values that were read so far."""

    def __init__(self) -> None:
        self.low = self.high = self.noise = 0.0
        self.nnz = self.n_nan = self.n_infinite = self.n_negative = 0
        self.share, self.fits = 1.0, True

    def add(self, piece: NDArray[Any]) -> None:
        """Add some values."""
        if not len(piece):
            return
        least, most = piece.min(), piece.max()
        # A comparison takes a third of the time that NumPy needs to count values, and counts rarely need either.
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
        whole |= np.abs(nearest) > _LAST_FRACTION  # above, float32 skips whole numbers too
        self.share = _share(whole & (off <= _MOST_NOISE), piece)
        if self.share == 1.0:
            self.noise = max(self.noise, float(off.max()))


def _share(whole: NDArray[np.bool_], piece: NDArray[Any]) -> float:
    """Share of whole numbers among nonzero values: with its zeros, a sparse matrix stored dense would look whole."""
    if whole.all():
        return 1.0
    other = piece != 0
    return float(np.count_nonzero(whole & other) / np.count_nonzero(other))
