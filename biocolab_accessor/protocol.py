"""Protocol: what the servers accept: species, units, servers, sources, study types and filters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import did_you_mean, listing, quoted

__all__ = [
    "NO_CAP",
    "SPECIES",
    "STUDY_TYPES",
    "Bounds",
    "Filters",
    "Format",
    "Unit",
    "argument_names",
    "is_finite",
    "known_species",
    "unit_name",
]


def argument_names(given: Any, what: str) -> list[str]:
    """Names that an argument gives, in their order; one text is one name.

    Parameters
    ----------
    given
        A text, or several in anything of one dimension.
    what
        The argument, for the message.

    Raises
    ------
    InvalidArgument
        It is a table, whose columns Python would take for the names, or something in it is no text.

    Examples
    --------
    >>> argument_names("CD3D", "genes"), argument_names(("CD3D", "CD3E"), "genes")
    (['CD3D'], ['CD3D', 'CD3E'])
    """
    if isinstance(given, str):
        return [str(given)]
    remedy = "give a name, or a list of names"
    if isinstance(given, bytes) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) != 1:
        msg = f"{what} is of type {type(given).__name__}: {remedy}"
        raise InvalidArgument(msg)
    names = list(given)
    if wrong := [name for name in names if not isinstance(name, str)]:
        msg = f"{what} contains {quoted(wrong[0]):.80}, which is not a string: {remedy}"
        raise InvalidArgument(msg)
    return [str(name) for name in names]  # NumPy's own texts are not to be seen in var_names


SPECIES = ("human", "mouse", "primate", "others")
"""What the servers know; of others they list nothing, and say nothing either."""


def known_species(species: Any) -> str:
    """The name of a species that is given by it or by the official member.

    Raises
    ------
    InvalidArgument
        The servers know none of that name.
    """
    name = getattr(species, "value", species)
    if name not in SPECIES:
        msg = f"species is {quoted(name)}{did_you_mean(str(name), SPECIES)}: give one of {listing(SPECIES)}"
        raise InvalidArgument(msg)
    return str(name)


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


def is_finite(value: Any) -> bool:
    """Whether something is a number, and neither infinite nor NaN."""
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False


def _number(value: Any, default: float) -> float:
    if value is None:
        return default
    # NumPy scalars are not JSON; whole numbers stay whole.
    return int(value) if float(value).is_integer() else float(value)


Unit = Literal["raw", "lognorm"]

Format = Literal["csr", "csc", "dense"]

_UNITS = {"raw": "raw", "counts": "raw", "lognorm": "lognorm"}


def unit_name(unit: Any, what: str = "unit") -> str:
    """The wire's name of a unit: ``raw`` (also spelled ``counts``) or ``lognorm``; enum members are taken too.

    Raises
    ------
    InvalidArgument
        It is neither.
    """
    text = getattr(unit, "value", unit)
    if not isinstance(text, str) or text not in _UNITS:
        msg = f"{what} is {quoted(unit)}: give 'raw' (the counts) or 'lognorm'"
        raise InvalidArgument(msg)
    return _UNITS[text]


Server = Literal["bbrowserx", "talk2data"]

Source = Literal["bioflex", "bbrowserx", "talk2data"]

STUDY_TYPES = {
    "bbrowser": 0,
    "h5_10x": 1,
    "h5ad": 2,
    "mtx_10x": 3,
    "bcs": 4,
    "rds": 5,
    "tsv": 6,
    "tile_db": 15,
    "processed_folder": 23,
}
"""Study types that BBrowserX and Talk2Data take, by name and by number on the wire."""
