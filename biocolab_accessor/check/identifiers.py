"""Identifiers: what the names of genes are, and of which species they seem to be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biocolab_accessor.check.name_list import NameList

__all__ = ["ENSEMBL", "Identifiers", "Species", "identify"]

Species = Literal["human", "mouse", "others"]


def _line(group: str, after: str = "") -> re.Pattern[str]:
    """A pattern for whole lines, of which it finds the group.

    Each looks at all names at once, one in a line: a call for each of 64,000 names takes longer than all the rest.
    """
    return re.compile(rf"\n({group}){after}(?=\n)")


ENSEMBL = r"ENS([A-Z]{3,4})?G\d{11}(\.\d+)?"
"""Ensembl's id of a gene: letters for its species, none for human, and maybe a version."""
_ENSEMBL = _line(ENSEMBL)
_HUMAN, _MOUSE = "", "MUS"

# Genes of human are written CD3D, of mouse and rat Cd3d. A name of few letters, a clone or a Riken gene says neither.
_UPPER = _line(r"[A-Z][0-9]*[A-Z][A-Z0-9-]*")
_CAPITALISED = _line(r"[A-Z][a-z]{2,}[a-z0-9-]*|[A-Z][a-z]+[0-9][a-z0-9-]*|mt-[A-Z][a-z]+[0-9a-z]*")
_FEWEST = 20
_MOST_UPPER, _MOST_CAPITALISED = 0.9, 0.7
_ENOUGH = 5_000

_MONTH = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec"
# Not in lower case, for sep-1 and dec-1 are genes of a worm. A power of ten is what becomes of a Riken gene such as
# 2310009E13Rik, cut short.
# The look ahead spares most names the alternatives.
_MANGLED = _line(
    r"(?=[\dADFJMNOS])(?:"
    rf"\d{{1,2}}-(?:{_MONTH}|{_MONTH.upper()})|(?:{_MONTH})-\d{{1,2}}"
    r"|\d{4}[-/]\d{1,2}[-/]\d{1,2}(?: 00:00:00)?|\d{1,2}/\d{1,2}/(?:\d{2}|\d{4})"
    r"|\d(?:\.\d+)?E\+\d{2})"
)
# Days since 1900 of the years 2001 to 2031, in which names such as MARCH1 were taken for a day.
_FIRST_DAY, _LAST_DAY = 36_892, 48_213

_DIGITS = _line(r"\d+")
_GENOME = _line("GRCh3[78]|GRCm3[89]|hg19|hg38|mm9|mm10|mm39", after=r"_+\w.*")
_MITOCHONDRIAL = _line("[Mm][Tt]-.*")


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


def identify(names: Iterable[Any] | NameList) -> Identifiers:
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
    given = names if isinstance(names, NameList) else NameList(names)
    texts, lines = given.texts, given.lines
    first, second = given.letter(0), given.letter(1)
    ids = _ENSEMBL.findall(lines)
    # Most names begin otherwise, which their first letters tell in a fraction of the time.
    few = given.those(
        (first >= 0x80)  # digits of other scripts
        | _any_of("0123456789", first)
        | (_any_of("ADFJMNOS", first) & _any_of("abcdefghijklmnopqrstuvwxyz", second))
    )
    digits = _DIGITS.findall(few)
    mangled = _MANGLED.findall(few)
    if digits and len(digits) <= max(2, len(texts) // 100):  # else they are numbers of another database
        mangled += [name for name in digits if len(name) == 5 and _FIRST_DAY <= int(name) <= _LAST_DAY]
    species, evidence = _by_ensembl(Counter(prefix for _, prefix, _ in ids))
    if species is None:
        species, evidence = _by_letters(texts)
    return Identifiers(
        number=len(texts),
        ensembl=tuple(name for name, _, _ in ids),
        versioned=tuple(name for name, _, version in ids if version),
        mitochondrial=tuple(_MITOCHONDRIAL.findall(given.those(_any_of("Mm", first) & _any_of("Tt", second)))),
        mangled=tuple(mangled),
        numeric=len(digits),
        genomes=tuple(Counter(_GENOME.findall(lines) if "_" in lines else ()).most_common()),
        species=species,
        evidence=evidence,
    )


def _any_of(letters: str, found: NDArray[np.uint8]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(letters.encode())] = True
    is_one: NDArray[np.bool_] = table[found]
    return is_one


def _by_ensembl(prefixes: Counter[str]) -> tuple[Species | None, str]:
    if not prefixes:
        return None, ""
    prefix, number = prefixes.most_common(1)[0]
    if number < _FEWEST or number < _MOST_UPPER * prefixes.total():
        return None, ""
    species: Species = "human" if prefix == _HUMAN else "mouse" if prefix == _MOUSE else "others"
    return species, f"{number:,} ids start with ENS{prefix}G"


def _by_letters(texts: list[str]) -> tuple[Species | None, str]:
    # Some thousand names from all over the list say what all of them would.
    some = texts[:: max(1, len(texts) // _ENOUGH)]
    lines = "\n".join(["", *some, ""])
    looked_at = f" of {len(some):,} looked at" if len(some) < len(texts) else ""
    # Ids of any species are in upper case, but for those with a version, which no pattern here takes.
    n_ids = sum(not version for _, _, version in _ENSEMBL.findall(lines))
    upper, capitalised = len(_UPPER.findall(lines)) - n_ids, len(_CAPITALISED.findall(lines))
    said = upper + capitalised
    if said < _FEWEST:
        return None, ""
    if upper >= _MOST_UPPER * said:
        return "human", f"{upper:,} names{looked_at} are in upper case, as CD3D"
    if capitalised >= _MOST_CAPITALISED * said:
        return "mouse", f"{capitalised:,} names{looked_at} are capitalised, as Cd3d"
    return None, ""
