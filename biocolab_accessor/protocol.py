"""Protocol: species, units, servers, sources, study types and filters that the servers accept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

import numpy as np

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.messages import did_you_mean, listing, quoted


def argument_names(given: Any, what: str) -> list[str]:
    """Names from an argument, a string or several strings in one dimension, in their order."""
    # A table is refused: Python would iterate over its column names.
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
    return [str(name) for name in names]  # no numpy.str_ in var_names


SPECIES = ("human", "mouse", "primate", "others")
"""All that the servers know; for any other species they return an empty list without an error."""


def known_species(species: Any) -> str:
    """The name of a species, from the name or the SDK's enum member."""
    name = getattr(species, "value", species)
    if not isinstance(name, str) or name not in SPECIES:
        msg = f"species is {quoted(name)}{did_you_mean(str(name), SPECIES)}: give one of {listing(SPECIES)}"
        raise InvalidArgument(msg)
    return str(name)


NO_CAP = 1e9
"""What the official client sends for "no upper bound"; the server still removes a cell that exceeds it."""

_IN_ORDER = ("min_counts", "max_counts", "min_genes", "max_genes", "mt_percentage")


class Bounds(TypedDict, total=False):
    """Some bounds by argument name, so that a type checker accepts ``submit(**bounds)``."""

    min_counts: float
    min_genes: float
    max_counts: float
    max_genes: float
    mt_percentage: float


@dataclass(frozen=True)
class Filters:
    """Which cells the server keeps. None means no bound; bounds are inclusive."""

    # Sums of counts and numbers of expressed genes of a cell; the largest mitochondrial share in percent, 0 to 100.
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
                msg = f"{name} is {quoted(value)}: must be a non-negative number, or None for no bound"
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
        """One of the bounds, with thousands separators."""
        value = self.given[name]
        return f"{name}={value:,}" if isinstance(value, int) else f"{name}={value:,g}"

    @property
    def given(self) -> dict[str, float]:
        """The bounds that are not None."""
        return {name: _number(value, 0) for name in _IN_ORDER if (value := getattr(self, name)) is not None}

    @property
    def limits_mitochondrial(self) -> bool:
        """Whether cells are removed for their percentage of mitochondrial counts."""
        return self.mt_percentage is not None and self.mt_percentage < 100

    def on_the_wire(self) -> dict[str, float]:
        """The bounds as the servers take them; the mitochondrial percentage becomes a fraction."""
        return {
            "min_counts": _number(self.min_counts, 0),
            "min_genes": _number(self.min_genes, 0),
            "max_counts": _number(self.max_counts, NO_CAP),
            "max_genes": _number(self.max_genes, NO_CAP),
            "mt_percentage": _number(self.mt_percentage, 100) / 100,
        }


def is_finite(value: Any) -> bool:
    """Whether a value is a number, and neither infinite nor NaN."""
    try:
        return getattr(value, "ndim", 0) == 0 and math.isfinite(value)  # not a column of pandas
    except (TypeError, OverflowError):
        return False


def _number(value: Any, default: float) -> float:
    if value is None:
        return default
    # JSON cannot encode NumPy scalars; integers stay integers.
    return int(value) if float(value).is_integer() else float(value)


Unit = Literal["raw", "lognorm"]

UNITS: tuple[Unit, ...] = get_args(Unit)
"""What the values of a matrix are."""

Format = Literal["csr", "csc", "dense"]

# Units that have a second name.
_SYNONYMS: dict[Unit, str] = {"raw": "counts"}
_SPELLINGS: dict[str, Unit] = {**{unit: unit for unit in UNITS}, **{name: unit for unit, name in _SYNONYMS.items()}}


def listed_units() -> str:
    """The units on the wire, for a message."""
    return " or ".join(map(quoted, UNITS))


def unit_name(unit: Any, what: str = "unit") -> str:
    """The unit on the wire, such as ``raw`` (or ``counts``), from the name or the SDK's enum member."""
    text = getattr(unit, "value", unit)
    if not isinstance(text, str) or text not in _SPELLINGS:
        each = [quoted(name) + (f" (the {_SYNONYMS[name]})" if name in _SYNONYMS else "") for name in UNITS]
        msg = f"{what} is {quoted(unit)}: give {' or '.join(each)}"
        raise InvalidArgument(msg)
    return _SPELLINGS[text]


Server = Literal["bbrowserx", "talk2data"]

SERVERS: tuple[Server, ...] = get_args(Server)
"""Servers with groups, to which studies are submitted."""

Source = Literal["bioflex", "bbrowserx", "talk2data"]

SOURCES: tuple[Source, ...] = get_args(Source)
"""Servers with studies."""

TITLES: dict[Source, str] = {"bioflex": "BioFlex", "bbrowserx": "BBrowserX", "talk2data": "Talk2Data"}
"""Names of the servers as people read them."""

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
"""Study types that BBrowserX and Talk2Data accept: name, and number on the wire."""
