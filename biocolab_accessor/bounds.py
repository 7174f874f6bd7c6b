"""Bounds: which cells a server is asked to keep, and what of each cell that depends on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.blocks import Source, row_blocks
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.naming import quoted

__all__ = ["NO_CAP", "Bounds", "Filters", "Quality", "failing", "is_finite", "measure", "mitochondrial"]

NO_CAP = 1e9
"""What the official client sends where there is no upper bound; a cell that has more is left out all the same."""
_IN_ORDER = ("min_counts", "max_counts", "min_genes", "max_genes", "mt_percentage")


class Bounds(TypedDict, total=False):
    """Some bounds by the name of the argument, so that a type checker takes ``submit(**bounds)``."""

    min_counts: float
    min_genes: float
    max_counts: float
    max_genes: float
    mt_percentage: float


@dataclass(frozen=True)
class Filters:
    """Which cells the server shall keep. None means no bound; bounds are inclusive.

    Attributes
    ----------
    min_counts, max_counts
        Sum of counts of a cell.
    min_genes, max_genes
        Number of expressed genes of a cell.
    mt_percentage
        Most counts from mitochondrial genes, in percent (0 to 100).

    Raises
    ------
    InvalidArgument
        A bound is not a number, negative, over 100 percent, or a minimum above its maximum.

    Examples
    --------
    >>> filters = Filters(min_genes=200, mt_percentage=20)
    >>> filters.on_the_wire()["mt_percentage"], str(filters)
    (0.2, 'min_genes=200, mt_percentage=20')
    """

    min_counts: float | None = None
    min_genes: float | None = None
    max_counts: float | None = None
    max_genes: float | None = None
    mt_percentage: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.__dict__.items():
            if value is None:
                continue
            if isinstance(value, bool | np.bool_ | str) or not is_finite(value) or value < 0:
                msg = f"{name} is {quoted(value)}: give a number of 0 or more, or None for no bound"
                raise InvalidArgument(msg)
        if self.mt_percentage is not None and self.mt_percentage > 100:
            msg = f"mt_percentage is {quoted(self.mt_percentage)}: it is in percent, from 0 to 100"
            raise InvalidArgument(msg)
        for low, high in (("min_counts", "max_counts"), ("min_genes", "max_genes")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                msg = f"{low} ({least}) is above {high} ({most}): no cell would be left"
                raise InvalidArgument(msg)

    def __str__(self) -> str:
        return ", ".join(map(self.shown, self.given))

    def shown(self, name: str) -> str:
        """One of the bounds as one writes it, with commas."""
        value = self.given[name]
        return f"{name}={value:,}" if isinstance(value, int) else f"{name}={value:,g}"

    @property
    def given(self) -> dict[str, float]:
        """The bounds that are not None."""
        return {name: _number(value, 0) for name in _IN_ORDER if (value := getattr(self, name)) is not None}

    @property
    def limits_mitochondrial(self) -> bool:
        """Whether cells are removed for their share of mitochondrial counts."""
        return self.mt_percentage is not None and self.mt_percentage < 100

    def on_the_wire(self) -> dict[str, float]:
        """The bounds as the servers take them; mitochondrial share as a fraction."""
        return {
            "min_counts": _number(self.min_counts, 0),
            "min_genes": _number(self.min_genes, 0),
            "max_counts": _number(self.max_counts, NO_CAP),
            "max_genes": _number(self.max_genes, NO_CAP),
            "mt_percentage": _number(self.mt_percentage, 100) / 100,
        }


class Quality(NamedTuple):
    """What filters go by.

    Attributes
    ----------
    counts
        Of each cell the sum (float64).
    genes
        How many genes are above zero (int64).
    mt_share
        Which part of the sum is of mitochondrial genes (0 to 1).
    """

    counts: NDArray[np.float64]
    genes: NDArray[np.int64]
    mt_share: NDArray[np.float64]


def mitochondrial(features: Iterable[Any]) -> NDArray[np.bool_]:
    """Which genes the servers take for mitochondrial: those whose names begin with ``MT-``, in upper or lower case."""
    return np.array([str(name).upper().startswith("MT-") for name in features], bool)


def measure(source: Source, mito: NDArray[np.bool_]) -> Quality:
    """Measure each cell as a server does that got the matrix: everything in float32, sums in float64.

    The matrix is read once, some tens of megabytes at a time. Counts with float noise are whole in float32, or they
    would not be taken for counts.

    Parameters
    ----------
    source
        A matrix of finite real numbers.
    mito
        Which genes are mitochondrial.

    Examples
    --------
    >>> measure(Source(np.array([[6, 3, 1], [0, 0, 2]])), mitochondrial(["CD3D", "LYZ", "mt-Co1"])).genes
    array([3, 1])
    """
    n_cells, n_genes = source.shape
    counts, mt_counts = np.zeros(n_cells), np.zeros(n_cells)
    genes = np.zeros(n_cells, np.int64)
    every, of_mito = np.ones(n_genes), mito.astype(np.float64)
    start = 0
    with np.errstate(over="ignore", invalid="ignore"):  # of values that no server could hold the check tells
        for block in row_blocks(source):
            sent = sparse.csr_matrix(block.shape, dtype=np.float32)
            sent.data = block.data.astype(np.float32, copy=False)
            sent.indices, sent.indptr = block.indices, block.indptr
            rows = slice(start, start + block.shape[0])
            counts[rows], mt_counts[rows] = sent @ every, sent @ of_mito
            positive = np.concatenate(([0], np.cumsum(sent.data > 0)))
            genes[rows] = positive[sent.indptr[1:]] - positive[sent.indptr[:-1]]
            start = rows.stop
        return Quality(counts, genes, mt_counts / np.where(counts > 0, counts, 1))


def failing(filters: Filters, quality: Quality) -> dict[str, NDArray[np.bool_]]:
    """Which cells do not keep to each bound: to those that are given, and to the protocol's own caps if any goes over.

    Examples
    --------
    >>> quality = Quality(np.array([10.0, 2.0]), np.array([3, 1]), np.array([0.1, 0.5]))
    >>> {name: cells.tolist() for name, cells in failing(Filters(min_counts=5, mt_percentage=50), quality).items()}
    {'min_counts': [False, True], 'mt_percentage': [False, False]}
    """
    sent = filters.on_the_wire()
    counts, genes, share = quality
    found = {
        "min_counts": (sent["min_counts"] > 0) & (counts < sent["min_counts"]),
        "max_counts": counts > sent["max_counts"],
        "min_genes": (sent["min_genes"] > 0) & (genes < sent["min_genes"]),
        "max_genes": genes > sent["max_genes"],
        "mt_percentage": (sent["mt_percentage"] < 1) & (share > sent["mt_percentage"]),
    }
    return {name: cells for name, cells in found.items() if name in filters.given or cells.any()}


def is_finite(value: Any) -> bool:
    """Whether something is a number, and neither infinite nor NaN."""
    try:
        return getattr(value, "ndim", 0) == 0 and math.isfinite(value)  # not a column of pandas
    except (TypeError, OverflowError):
        return False


def _number(value: Any, default: float) -> float:
    if value is None:
        return default
    # NumPy scalars are not JSON; whole numbers stay whole.
    return int(value) if float(value).is_integer() else float(value)
