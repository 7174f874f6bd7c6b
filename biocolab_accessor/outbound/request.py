"""Request: everything about a submission but the cells, checked before a byte is sent."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.naming import did_you_mean, listing

__all__ = ["SPECIES", "Bounds", "Filters", "StudyRequest"]

SPECIES = ("human", "mouse", "primate", "others")
"""What the servers know."""

_NO_CAP = 1e9  # what the official client sends for "no upper bound"


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
    >>> Filters(min_genes=200, mt_percentage=20).on_the_wire()["mt_percentage"]
    0.2
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
            if isinstance(value, bool | str) or not _is_finite(value) or value < 0:
                msg = f"{name} is {value!r}: give a number of 0 or more, or None for no bound"
                raise InvalidArgument(msg)
        if self.mt_percentage is not None and self.mt_percentage > 100:
            msg = f"mt_percentage is {self.mt_percentage!r}: it is in percent, from 0 to 100"
            raise InvalidArgument(msg)
        for low, high in (("min_counts", "max_counts"), ("min_genes", "max_genes")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                msg = f"{low} ({least}) is above {high} ({most}): no cell would be left"
                raise InvalidArgument(msg)

    def on_the_wire(self) -> dict[str, float]:
        """The bounds as the servers take them; mitochondrial share as a fraction."""
        return {
            "min_counts": _number(self.min_counts, 0),
            "min_genes": _number(self.min_genes, 0),
            "max_counts": _number(self.max_counts, _NO_CAP),
            "max_genes": _number(self.max_genes, _NO_CAP),
            "mt_percentage": _number(self.mt_percentage, 100) / 100,
        }


@dataclass(frozen=True)
class StudyRequest:
    """What the new study shall be.

    Attributes
    ----------
    group
        Id or displayed name of the group.
    study_id
        The id that people will see. Made here (uuid4) where it is not given, so that a repeated request means the same
        study.
    name, authors, abstract, species
        Shown with the study.
    filters
        Which cells to keep.
    skip_dimred
        Keep the object's own embeddings and clusters, compute none.
    id_is_made
        Whether ``study_id`` was made here.

    Raises
    ------
    InvalidArgument
        Something is of the wrong kind or not known to the servers.
    """

    group: str = "personal"
    study_id: str | None = None
    name: str | None = None
    authors: Sequence[str] = ()
    abstract: str = ""
    species: str = "human"
    filters: Filters = field(default_factory=Filters)
    skip_dimred: bool = False
    id_is_made: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        species = getattr(self.species, "value", self.species)
        if species not in SPECIES:
            msg = f"species is {species!r}{did_you_mean(str(species), SPECIES)}: give one of {listing(SPECIES)}"
            raise InvalidArgument(msg)
        if isinstance(self.authors, str) or not all(isinstance(author, str) for author in self.authors):
            msg = f"authors is {self.authors!r}: give a list of names, ['Ada Lovelace']"
            raise InvalidArgument(msg)
        for name in ("group", "study_id", "name", "abstract"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                msg = f"{name} is a {type(value).__name__}: give text"
                raise InvalidArgument(msg)
        study_id = self.study_id if self.study_id is not None else uuid.uuid4().hex
        if not study_id.strip() or len(study_id) > 200 or not study_id.isprintable():
            msg = f"study_id is {study_id[:40]!r}: give 1 to 200 printable characters, or None to have one made"
            raise InvalidArgument(msg)
        object.__setattr__(self, "species", species)
        object.__setattr__(self, "id_is_made", self.study_id is None)
        object.__setattr__(self, "study_id", study_id)
        object.__setattr__(self, "authors", tuple(self.authors))

    def body(self, group_id: str) -> dict[str, Any]:
        """The part of a submit call's body that all of them share."""
        return {
            "species": self.species,
            "group_id": group_id,
            "filter_params": self.filters.on_the_wire(),
            "subsample": -1,
            "skip_dimred": self.skip_dimred,
            "study_info": {
                "study_hash_id": self.study_id,
                "name": self.name or "TBD",
                "authors": list(self.authors),
                "abstract": self.abstract,
            },
        }


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def _number(value: Any, default: float) -> float:
    if value is None:
        return default
    # NumPy scalars are not JSON; whole numbers stay whole.
    return int(value) if float(value).is_integer() else float(value)
