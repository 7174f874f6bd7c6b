"""Species: what the servers file studies under."""

from __future__ import annotations

from typing import Any

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.naming import did_you_mean, listing, quoted

__all__ = ["SPECIES", "known_species"]

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
    if not isinstance(name, str) or name not in SPECIES:
        msg = f"species is {quoted(name)}{did_you_mean(str(name), SPECIES)}: give one of {listing(SPECIES)}"
        raise InvalidArgument(msg)
    return str(name)
