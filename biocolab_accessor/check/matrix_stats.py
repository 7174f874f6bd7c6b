"""Matrix statistics: what the values of a matrix look like, and which cells and genes are empty."""

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

__all__ = [
    "HIGHEST_LOG",
    "Filled",
    "Filling",
    "Kind",
    "Margins",
    "Scaling",
    "SlotSummary",
    "count_empty",
    "describe",
    "describe_filled",
    "describe_whole",
    "filled_of",
    "glimpse",
    "scaling_of",
]

_FIRST_VALUES = 1 << 16

_INDICES_AT_ONCE = 1 << 20

_WORTH_THREADS = 1 << 20


class Margins(NamedTuple):
    """Numbers of cells and genes that are zero throughout."""

    cells: int
    genes: int


class Filled(NamedTuple):
    """Which cells and which genes have at least one value that is not zero."""

    cells: NDArray[np.bool_]
    genes: NDArray[np.bool_]

    @property
    def empty(self) -> Margins:
        """The numbers of the others."""
        return Margins(*(int(np.count_nonzero(~axis)) for axis in self))


def count_empty(source: Source, nnz: int) -> Margins:
    """Count cells and genes without any value.

    Parameters
    ----------
    source
        A matrix of finite real numbers.
    nnz
        How many of its values are not zero; where all stored ones are, most of it need not be looked at.

    Raises
    ------
    InvalidValues
        A sparse matrix is damaged.

    Examples
    --------
    >>> import numpy as np
    >>> count_empty(Source(np.array([[0, 1, 0], [0, 2, 0]])), 2)
    Margins(cells=0, genes=2)
    """
    return filled_of(source, nnz).empty


def filled_of(source: Source, nnz: int) -> Filled:
    """As :func:`count_empty`, but which ones have values."""
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
    first = matrix.indices[: min(_FIRST_VALUES, nnz)]  # where few genes were measured these have all of them
    expect_within(first, len(seen))
    seen[first] = True
    return Filled(lengths > 0, seen if seen.all() else seen | _measured(matrix))


def _seen_on_disk(matrix: CSRDataset | CSCDataset, nnz: int, length: int) -> NDArray[np.bool_]:
    """Which indices there are; no value is zero, so that none needs to be read."""
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
    """Which cells and genes have values, as far as was read.

    Parameters
    ----------
    shape
        Of the matrix.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.filled = Filled(np.zeros(shape[0], bool), np.zeros(shape[1], bool))
        self._start = 0

    def add(self, piece: Any) -> None:
        """Take account of the next rows, which are canonical where they are sparse."""
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
    """Number of values of each row (or column), where that is known without reading them."""
    if isinstance(matrix, CSRDataset | CSCDataset):
        indptr = matrix.group["indptr"][...]
    elif sparse.issparse(matrix) and matrix.format == "csr":
        indptr = matrix.indptr
    else:
        return None
    lengths: NDArray[Any] = np.diff(indptr)
    return lengths if indptr[-1] == nnz else None


def _measured(matrix: sparse.csr_matrix) -> NDArray[np.bool_]:
    """Whether a column has a value, of ranges of rows side by side: SciPy's product lets other threads run."""

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
    """The same arrays; SciPy's own ``.T`` copies those that are part of larger ones."""
    turned = sparse.csc_matrix(block.shape[::-1], dtype=block.dtype)
    turned.data, turned.indices, turned.indptr = block.data, block.indices, block.indptr
    return turned


def _any(block: sparse.spmatrix) -> NDArray[np.bool_]:
    """Whether a row has a value; what is negative cannot cancel out, and a stored zero is none."""
    if block.data.dtype.kind in "fi" and len(block.data) and block.data.min() < 0:
        block = block.astype(bool)  # not by abs, which leaves the least whole number of a dtype negative
    found: NDArray[np.bool_] = (block @ np.ones(block.shape[1], np.float32)) > 0
    return found


_MOST_CELLS, _FEWEST_CELLS = 200, 10

# Float32 and rounding of the logarithm leave a few millionths; other ways to normalise differ by far more.
_SPREAD = 5e-3

HIGHEST_LOG = 25.0
"""log1p of counts scaled to a few ten thousand stays below, counts of real cells do not; its inverse has no meaning."""


class Scaling(NamedTuple):
    """How counts became what is there: cells scaled to one total, then a logarithm.

    Attributes
    ----------
    logarithm
        ``"log1p"`` or ``"log2(x + 1)"``.
    target_sum
        The total.
    """

    logarithm: str
    target_sum: float

    def __str__(self) -> str:
        return f"{self.logarithm}, target sum ≈ {self.target_sum:,.0f}"


def scaling_of(source: Source) -> Scaling | None:
    """Undo the logarithm for some cells, and see whether they have one total.

    Parameters
    ----------
    source
        A matrix, of which at most 200 cells are read.

    Returns
    -------
    Scaling or None
        None where cells differ in their totals, as they do when genes were left out afterwards, or where single cells
        cannot be read without reading all, as of matrices that are stored by columns.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(1.0, (50, 20)) + np.eye(50, 20)
    >>> print(scaling_of(Source(np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)))))
    log1p, target sum ≈ 10,000
    """
    sample = _sample(source)
    return None if sample is None else _scaling(sample)


def glimpse(source: Source) -> str:
    """What a matrix looks like to judge by some of its cells, in words; empty where that cannot be said.

    Parameters
    ----------
    source
        A matrix, of which at most 200 cells are read.
    """
    sample = _sample(source)
    if sample is None or not sample.nnz:
        return ""
    values = sample.data
    if not np.isfinite(values).all():
        return "holds values that are not finite"
    if (np.rint(values) == values).all():
        return "holds whole numbers"
    if values.min() < 0:
        return "looks scaled"
    if found := _scaling(sample):
        return f"looks normalised ({found})"
    return "looks log-normalised" if values.max() <= HIGHEST_LOG else "looks normalised, without a logarithm"


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
        :class:`~biocolab_accessor.io.matrix_blocks.Source`, which is part of one.
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
