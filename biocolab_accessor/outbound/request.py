"""Request: everything about a submission but the cells, checked before a byte is sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from biocolab_accessor.bounds import Filters
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.naming import quoted
from biocolab_accessor.species import known_species

__all__ = ["Filters", "StudyRequest"]


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
        Shown with the study. Without a name ``study_id`` is its title; where that is made too, the official clients'
        "TBD".
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
        species = known_species(self.species)
        # Taken once: what is not a list may be there once only.
        several = isinstance(self.authors, Iterable) and not isinstance(self.authors, str)
        authors = tuple(self.authors) if several else (None,)
        if not all(isinstance(author, str) for author in authors):
            msg = f"authors is {quoted(self.authors)}: give a list of names, ['Ada Lovelace']"
            raise InvalidArgument(msg)
        for name in ("group", "study_id", "name", "abstract"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                msg = f"{name} is a {type(value).__name__}: give text"
                raise InvalidArgument(msg)
        study_id = self.study_id if self.study_id is not None else uuid.uuid4().hex
        if not study_id.strip() or len(study_id) > 200 or not study_id.isprintable():
            msg = f"study_id is {quoted(study_id[:40])}: give 1 to 200 printable characters, or None to have one made"
            raise InvalidArgument(msg)
        object.__setattr__(self, "species", species)
        object.__setattr__(self, "id_is_made", self.study_id is None)
        object.__setattr__(self, "study_id", study_id)
        object.__setattr__(self, "authors", authors)

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
                "name": self.name or ("TBD" if self.id_is_made else self.study_id),
                "authors": list(self.authors),
                "abstract": self.abstract,
            },
        }
