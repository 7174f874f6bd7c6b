"""Identifiers: what the names of genes are, and of which species they seem to be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Identifiers", "Species", "identify", "is_mitochondrial"]

Species = Literal["human", "mouse", "others"]

_ENSEMBL = re.compile(r"ENS([A-Z]{3,4})?G\d{11}(\.\d+)?")
_HUMAN, _MOUSE = "", "MUS"

# Genes of human are written CD3D, of mouse and rat Cd3d. A name of few letters, a clone or a Riken gene says neither.
_UPPER = re.compile(r"[A-Z][A-Z0-9]*[A-Z][A-Z0-9-]*")
_CAPITALISED = re.compile(r"[A-Z][a-z]{2,}[a-z0-9-]*|[A-Z][a-z]+[0-9][a-z0-9-]*|mt-[A-Z][a-z]+[0-9a-z]*")
_FEWEST = 20
_MOST_UPPER, _MOST_CAPITALISED = 0.9, 0.7

_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec"
# Not in lower case, for sep-1 and dec-1 are genes of a worm.
_DATE = re.compile(
    rf"\d{{1,2}}-(?:{_MONTH}|{_MONTH.upper()})|(?:{_MONTH})-\d{{1,2}}"
    r"|\d{4}[-/]\d{1,2}[-/]\d{1,2}(?: 00:00:00)?|\d{1,2}/\d{1,2}/(?:\d{2}|\d{4})"
)
# What a spreadsheet makes of a Riken gene such as 2310009E13Rik cut short.
_POWER = re.compile(r"\d(?:\.\d+)?E\+\d{2}")
# Days since 1900 of the years 2001 to 2031, in which names such as MARCH1 were taken for a day.
_FIRST_DAY, _LAST_DAY = 36_892, 48_213

_GENOME = re.compile(r"(GRCh3[78]|GRCm3[89]|hg19|hg38|mm9|mm10|mm39)_+(?=\w)")


@dataclass(frozen=True)
class Identifiers:
    """What the names of genes are.

    Attributes
    ----------
    number
        How many there are.
    ensembl
        Those that are Ensembl ids, with or without a version.
    versioned
        Those of them that have one.
    mitochondrial
        Those that filters would count as mitochondrial.
    mangled
        Those that a spreadsheet has made dates or powers of ten of.
    numeric
        How many are whole numbers.
    genomes
        Genomes that stand in front of the names, such as ``"GRCh38"``, and how often.
    species
        Guess, None where the names do not say.
    evidence
        Why.
    """

    number: int
    ensembl: tuple[str, ...]
    versioned: tuple[str, ...]
    mitochondrial: tuple[str, ...]
    mangled: tuple[str, ...]
    numeric: int
    genomes: tuple[tuple[str, int], ...]
    species: Species | None
    evidence: str


def identify(names: Iterable[Any]) -> Identifiers:
    """Look at the names of genes.

    Parameters
    ----------
    names
        Of features; what is no text is passed over.

    Examples
    --------
    >>> found = identify([f"ENSMUSG{i:011d}.2" for i in range(30)] + ["1-Mar", "mt-Nd1"])
    >>> found.species, len(found.versioned), found.mangled, found.mitochondrial
    ('mouse', 30, ('1-Mar',), ('mt-Nd1',))
    """
    texts = [name for name in names if isinstance(name, str)]
    ids = [(name, match) for name in texts if name.startswith("ENS") and (match := _ENSEMBL.fullmatch(name))]
    digits = [name for name in texts if name.isdecimal()]
    genomes = Counter(match[1] for name in texts if (match := _GENOME.match(name)))
    mangled = [name for name in texts if _DATE.fullmatch(name) or _POWER.fullmatch(name)]
    if digits and len(digits) <= max(2, len(texts) // 100):  # else they are numbers of another database
        mangled += [name for name in digits if len(name) == 5 and _FIRST_DAY <= int(name) <= _LAST_DAY]
    species, evidence = _by_ensembl(Counter(match[1] or _HUMAN for _, match in ids))
    if species is None:
        species, evidence = _by_letters(texts)
    return Identifiers(
        number=len(texts),
        ensembl=tuple(name for name, _ in ids),
        versioned=tuple(name for name, match in ids if match[2]),
        mitochondrial=tuple(filter(is_mitochondrial, texts)),
        mangled=tuple(mangled),
        numeric=len(digits),
        genomes=tuple(genomes.most_common()),
        species=species,
        evidence=evidence,
    )


def is_mitochondrial(name: str) -> bool:
    """Whether a filter by mitochondrial genes counts this one, as it does by the ``MT-`` in front."""
    return name[:3].upper() == "MT-"


def _by_ensembl(prefixes: Counter[str]) -> tuple[Species | None, str]:
    if not prefixes:
        return None, ""
    prefix, number = prefixes.most_common(1)[0]
    if number < _FEWEST or number < _MOST_UPPER * prefixes.total():
        return None, ""
    species: Species = "human" if prefix == _HUMAN else "mouse" if prefix == _MOUSE else "others"
    return species, f"{number:,} ids start with ENS{prefix}G"


def _by_letters(names: list[str]) -> tuple[Species | None, str]:
    upper = sum(1 for name in names if _UPPER.fullmatch(name))
    capitalised = sum(1 for name in names if _CAPITALISED.fullmatch(name))
    said = upper + capitalised
    if said < _FEWEST:
        return None, ""
    if upper >= _MOST_UPPER * said:
        return "human", f"{upper:,} names are in upper case, as CD3D"
    if capitalised >= _MOST_CAPITALISED * said:
        return "mouse", f"{capitalised:,} names are capitalised, as Cd3d"
    return None, ""
