"""Own study: whether a database holds the study that the cells come from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pandas as pd
from anndata import AnnData

from biocolab_accessor.catalog import PUBLIC_STUDIES
from biocolab_accessor.clients.bioflex import Database, Study
from biocolab_accessor.errors import BiocolabError, TransportError, UnknownStudy
from biocolab_accessor.escape import unescaped
from biocolab_accessor.inbound.metadata import unique_names
from biocolab_accessor.inbound.provenance import KEY
from biocolab_accessor.naming import counted, quoted

__all__ = ["OwnStudy", "own_studies"]

# Each costs one request, and one more where the database has a study of that name.
_MOST_NAMES = 4
_LONGEST_NAME = 200
_COLUMNS = frozenset({"study", "study_id", "dataset", "dataset_id", "accession", "geo_accession", "gse", "series"})
_KEYS = ("study_id", "study", "dataset", "accession", "title")
# Cells that are merely numbered have the names of the cells of any other study.
_NUMBERED = re.compile(r"(?:cell)?[ _.-]?\d+(?:[-_]\d+)*", re.IGNORECASE)
# What people put around a barcode: S1_ACGT-1, ACGT-1-0, ACGT-1_sampleA, S1:ACGTx.
_SEQUENCE = re.compile(r"(?<![A-Za-z0-9])[ACGTN]{12,}(?=x?(?![A-Za-z0-9]))")
_WITH_NUMBER = re.compile(r"(?<![A-Za-z0-9])[ACGTN]{12,}-\d+(?![A-Za-z0-9])")
# Barcodes recur across samples: in a study of very many cells most of any sample's barcodes occur by chance.
_LARGER = 10


@dataclass(frozen=True)
class OwnStudy:
    """A study of a database that holds the cells which were annotated.

    Attributes
    ----------
    study_id, title
        Of the study in the database.
    n_cells
        How many cells of the object are in it, by barcode.
    n_obs
        Number of cells of the object.
    known_by
        ``"provenance"`` where ``uns["biocolab"]`` names this study of this server, ``"barcodes"`` where the object
        names a study like it, and most barcodes of these cells are in it.
    """

    study_id: str
    title: str
    n_cells: int
    n_obs: int
    known_by: Literal["provenance", "barcodes"]

    def __str__(self) -> str:
        source = "uns['biocolab'] names it" if self.known_by == "provenance" else "found by its name and barcodes"
        so = "so the support rests partly on the cells' own labels"
        study = f"study {quoted(self.study_id)} of this database ({source})"
        if not self.n_cells:
            return f"the cells come from {study}, which now has other barcodes, {so}"
        return f"{self.n_cells:,} of {counted(self.n_obs, 'cell')} are in {study}, {so}"


@dataclass(frozen=True)
class _Claim:
    """Cells of the object that are said to be of a study; ``facts`` is their provenance."""

    names: Sequence[str]
    cells: pd.Index[Any]
    facts: Mapping[str, Any]


class _Known(NamedTuple):
    study: Study
    barcodes: Sequence[str]


def own_studies(adata: AnnData, obs: pd.DataFrame, database: Database) -> tuple[list[OwnStudy], list[str]]:
    """Studies of a database that the cells of an object are from, and notes about what could not be looked up.

    BioFlex does not list its studies, so only names that the object itself gives are looked for: in its provenance, in
    columns of obs such as ``study``, and in uns.
    """
    found: dict[str, OwnStudy] = {}
    notes: list[str] = []
    looked_up: dict[str, _Known | None] = {}
    for claim in _claims(adata, obs):
        for name in claim.names:
            if name not in looked_up:
                if len(looked_up) == _MOST_NAMES:
                    notes.append(f"the cells name more than the {_MOST_NAMES} studies that were looked up")
                    return list(found.values()), notes
                try:
                    looked_up[name] = _look_up(name, database)
                except BiocolabError as error:
                    looked_up[name] = None
                    notes.append(f"whether the cells are in study {quoted(name)} could not be looked up: {error}")
                    if isinstance(error, TransportError):
                        return list(found.values()), notes
            known = looked_up[name]
            own = _own(claim, name, known, database, adata.n_obs) if known is not None else None
            if own is not None:
                found.setdefault(own.study_id, own)
                break
    return list(found.values()), notes


def _claims(adata: AnnData, obs: pd.DataFrame) -> Iterator[_Claim]:
    cells = obs.index
    facts = adata.uns.get(KEY)
    if isinstance(facts, Mapping):
        yield _Claim(_usable(facts.get("study_id"), facts.get("title")), cells, facts)
        several = facts.get("studies")
        for key, part in several.items() if isinstance(several, Mapping) else ():
            label = unescaped(str(key))
            own = cells[cells.astype(str).str.endswith(f"-{label}")]
            if isinstance(part, Mapping) and len(own):
                yield _Claim(_usable(part.get("study_id"), part.get("title")), _without(own, label), part)
    for name, column in obs.items():
        if str(name).casefold() in _COLUMNS:
            values = column.to_numpy(object)
            labels = list(dict.fromkeys(value for value in values if isinstance(value, str)))
            for label in labels[: _MOST_NAMES + 1]:
                of_label = [isinstance(value, str) and value == label for value in values]
                yield _Claim(_usable(label), _without(cells[of_label], label), {})
    for key in _KEYS:
        yield _Claim(_usable(adata.uns.get(key)), cells, {})


def _look_up(name: str, database: Database) -> _Known | None:
    try:
        study = database.get_study(name)
    except UnknownStudy:
        return None
    return _Known(study, study.barcodes())


def _own(claim: _Claim, name: str, known: _Known, database: Database, n_obs: int) -> OwnStudy | None:
    """The study of this name if the cells are of it."""
    study, facts = known.study, claim.facts
    # Versions of a database hold the same study under the same id.
    is_same = (
        name == facts.get("study_id")
        and facts.get("source") == "bioflex"
        and facts.get("server") == database.connection.http.host
        and facts.get("species") == database.species
    )
    if not is_same and _is_private(study, facts):
        return None
    # A study with repeated barcodes is fetched with unique ones.
    if is_same:
        there = set(unique_names(known.barcodes))
        n_cells = sum(name in there for name in claim.cells)
        return OwnStudy(str(study.hash_id), str(study.title or ""), n_cells, n_obs, "provenance")
    for form in (str, _numbered_barcode, _barcode):
        here, theirs = [form(name) for name in claim.cells], [form(name) for name in known.barcodes]
        there = set(theirs)
        # Where several cells have one barcode, those that meet need not be the same cell.
        if form is not str and (len(there) < len(theirs) or len(set(here)) < len(here)):
            continue
        if _are_of(set(here), there, len(here), whole="study_id" in facts):
            n_cells = sum(name in there for name in here)
            return OwnStudy(str(study.hash_id), str(study.title or ""), n_cells, n_obs, "barcodes")
    return None


def _numbered_barcode(name: object) -> str:
    """The barcode within a name, with the number of its sample that Cell Ranger gives; else the name."""
    found = _WITH_NUMBER.findall(str(name))
    return found[0] if found else str(name)


def _barcode(name: object) -> str:
    """The barcode within a name; else the name."""
    found = _SEQUENCE.findall(str(name))
    return found[-1] if found else str(name)


def _are_of(here: set[str], there: set[str], n_cells: int, *, whole: bool) -> bool:
    """Whether cells are of a study of the same name, judged by barcodes.

    Parameters
    ----------
    here, there
        Barcodes.
    n_cells
        Number of cells here, more than barcodes where these are repeated.
    whole
        Whether a few cells of a large study are enough, if each of them is in it.
    """
    shared = here & there
    telling = sum(not _NUMBERED.fullmatch(name) for name in shared)
    is_alike = len(there) <= _LARGER * n_cells or (whole and len(shared) == n_cells)
    return 2 * telling > n_cells and is_alike


def _is_private(study: Study, facts: Mapping[str, Any]) -> bool:
    """Whether it is the user's own submission, which a sandbox shows beside those of its databases."""
    uuid = str(facts.get("study_uuid") or "")
    return bool(uuid) and facts.get("group_id") != PUBLIC_STUDIES and study.revision.startswith(uuid)


def _usable(*names: object) -> list[str]:
    """Names that a study may have, each once."""
    texts = [str(name).strip() for name in names if isinstance(name, str)]
    return [name for name in dict.fromkeys(texts) if 0 < len(name) <= _LONGEST_NAME]


def _without(cells: pd.Index[Any], label: str) -> pd.Index[Any]:
    """Barcodes without the label that a concatenation put behind them, where all have it."""
    for ending in (f"-{label}", f"_{label}"):
        if all(isinstance(name, str) and name.endswith(ending) for name in cells):
            bare: pd.Index[Any] = pd.Index([name.removesuffix(ending) for name in cells], dtype=object)
            return bare
    return cells
