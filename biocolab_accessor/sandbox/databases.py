"""Databases: the ones that a sandbox's BioFlex lists."""

from __future__ import annotations

__all__ = ["DATABASE_ID", "SPECIES", "VERSIONS"]

DATABASE_ID = "5010c7d573ae4ff2b9691422b99aa2cd"
"""One id for all, as with the real server."""

VERSIONS = [("human", 1), ("human", 2), ("human", 3), ("mouse", 1), ("primate", 1)]
"""Species and version; the versions of a species hold the same studies here."""

SPECIES = tuple(dict.fromkeys(species for species, _ in VERSIONS))
"""Species that there is a database of."""
