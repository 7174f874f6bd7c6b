"""Match: local cells joined with the cells of a study by barcode."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from biocolab_accessor.errors import InvalidArgument, InvalidColumn, InvalidNames, UnknownName, UnknownStudy
from biocolab_accessor.messages import did_you_mean, facts_table, listing, quoted
from biocolab_accessor.protocol import Source
from biocolab_accessor.studies.catalog import study, study_of_origin
from biocolab_accessor.studies.provenance import read_provenance, submission_of, submission_with_cells
from biocolab_accessor.studies.study import Study
from biocolab_accessor.submit.submission import Submission, call_of


@dataclass(frozen=True)
class MatchReport:
    """The result of a join by barcode or gene name, and what it wrote.

    Attributes
    ----------
    study_id
        Id of the study; empty if genes of two objects were joined.
    matched
        Number of cells that are both here and in the study.
    only_here, only_there
        Number of cells that are only here, and only in the study.
    examples_here, examples_there
        A few barcodes of each.
    written
        Columns of obs, keys of obsm, or fields of the study that were written.
    notes
        Differences to the other side, and the reasons for them.
    dtypes
        After a push: the local dtype of each field, for ``pull_metadata(dtypes=)``.

    Examples
    --------
    >>> MatchReport("pbmc", matched=2, only_here=1, only_there=0, examples_here=("AAAC-1",), written=("obs['leiden']",))
    MatchReport: study 'pbmc'
      matched     2
      only here   1  'AAAC-1'
      only there  0
      written     obs['leiden']
    """

    study_id: str
    matched: int
    only_here: int
    only_there: int
    examples_here: tuple[str, ...] = ()
    examples_there: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    dtypes: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def complete(self) -> bool:
        """Whether both sides have the same cells."""
        return not self.only_here and not self.only_there

    def _rows(self) -> list[tuple[str, str]]:
        def some(count: int, examples: Sequence[str]) -> str:
            more = ", …" if examples and count > len(examples) else ""
            return f"{count:,}" + (f"  {', '.join(map(quoted, examples))}{more}" if count else "")

        return [
            ("matched", f"{self.matched:,}"),
            ("only here", some(self.only_here, self.examples_here)),
            ("only there", some(self.only_there, self.examples_there)),
            ("written", ", ".join(self.written) or "nothing"),
            *(("note", note) for note in self.notes),
        ]

    def __repr__(self) -> str:
        lines = [f"  {name:<10}  {text}" for name, text in self._rows()]
        what = f"study {quoted(self.study_id)}" if self.study_id else "genes of both objects"
        return "\n".join([f"MatchReport: {what}", *lines])

    def _repr_html_(self) -> str:
        title = f"Cells here and in study {self.study_id}" if self.study_id else "Genes here and in the sender's object"
        return facts_table(title, self._rows())


OBS_REMEDY = "Put the study's names into a column of obs and give its name as on=."
_EXAMPLES = 3
_LOOKED_AT_HERE = 1_000
_LOOKED_AT_THERE = 100_000
_MOST = 0.5

Barcodes: TypeAlias = "pd.Index[Any]"


@dataclass(frozen=True)
class Match:
    """Local cells as rows of a study; barcodes are unique on both sides."""

    study_id: str
    here: Barcodes
    there: Barcodes
    rows: NDArray[np.intp]  # (len(here),): the row in the study, -1 if the study lacks the cell

    @property
    def found(self) -> NDArray[np.bool_]:
        """(len(here),) whether the study has the cell."""
        return self.rows >= 0

    @property
    def lacking(self) -> int:
        """Number of local cells that the study lacks."""
        return int((self.rows < 0).sum())

    def rows_only_there(self) -> NDArray[np.intp]:
        """Rows of the study that are not here."""
        unmet = np.ones(len(self.there), bool)
        unmet[self.rows[self.found]] = False
        return np.flatnonzero(unmet)

    def report(
        self, *, written: Sequence[str], notes: Sequence[str] = (), dtypes: Mapping[str, Any] | None = None
    ) -> MatchReport:
        """The match in numbers and examples."""
        others = self.rows_only_there()
        # Few matches are seldom intended. Finding a reason takes a while for many cells.
        few = 2 * self.lacking > len(self.here)
        hint = _difference(self.here[~self.found], self.there[others]) if few else ""
        return MatchReport(
            self.study_id,
            matched=int(self.found.sum()),
            only_here=self.lacking,
            only_there=len(others),
            examples_here=tuple(map(str, self.here[~self.found][:_EXAMPLES])),
            examples_there=tuple(map(str, self.there[others[:_EXAMPLES]])),
            written=tuple(written),
            notes=(*notes, *([hint] if hint else [])),
            dtypes=dict(dtypes or {}),
        )


def barcodes_of(adata: AnnData, on: str | None) -> Barcodes:
    """Barcodes of an object: its obs_names, or a column of obs with the study's names."""
    obs: pd.DataFrame = adata.obs
    if on is None:
        return obs.index
    if on not in obs.columns:
        msg = f"obs has no column {quoted(on)}{did_you_mean(str(on), map(str, obs.columns))}"
        raise InvalidColumn(msg)
    names: Barcodes = pd.Index(obs[on].astype(object), name=None)
    if absent := int(obs[on].isna().sum()):
        column = f"adata.obs[{quoted(on)}]"
        msg = (
            f"{column} has no barcode for {absent:,} cells. If the study lacks these cells, fill in other names: "
            f"{column} = {column}.astype(object).fillna(adata.obs_names.to_series())"
        )
        raise InvalidColumn(msg)
    return names


def match(here: Barcodes, there: Sequence[str], study_id: str, *, remedy: str) -> Match:
    """Join local barcodes with the unique ones of a study; ``remedy`` is the advice if no cell matches."""
    names = pd.Index(here, dtype=object)
    if isinstance(here, pd.MultiIndex) or not all(isinstance(name, str) for name in names):
        msg = "cells are joined by barcode, but not all names here are strings: df.set_index('barcode column')"
        raise InvalidNames(msg)
    if not names.is_unique:
        twice = names[names.duplicated()].unique()
        msg = (
            f"{len(twice):,} barcodes occur more than once here: {listing(twice, limit=3)}. "
            "They cannot be matched to cells of the study: drop or rename them first"
        )
        raise InvalidNames(msg)
    study_names: Barcodes = pd.Index(np.array(there, object))
    found = Match(study_id, names, study_names, study_names.get_indexer(names))
    if not found.found.any():
        hint = _difference(names, study_names)
        ours, theirs = listing(names, limit=_EXAMPLES) or "none", listing(study_names, limit=_EXAMPLES) or "none"
        msg = (
            f"none of the {len(names):,} cells here are among the {len(study_names):,} of study {quoted(study_id)}. "
            f"Here: {ours}; there: {theirs}. {hint[:1].upper()}{hint[1:]}{' ' if hint else ''}{remedy}"
        )
        raise UnknownName(msg)
    return found


def _difference(here: Barcodes, there: Barcodes) -> str:
    """A sentence about the change of names that would match most cells one to one, or an empty string."""
    # A sample of cells is enough; trimming all names of a large study would take a minute.
    ours, theirs = here[:: len(here) // _LOOKED_AT_HERE + 1], there[:_LOOKED_AT_THERE]
    # Assumes that the same fraction of the names outside the sample would match.
    needed = max(1.0, _MOST * len(ours) * len(theirs) / max(1, len(there)))
    most, sentence = 0, ""
    plain = {name: name for name in theirs}
    for what, trim in _TRIMS:
        trimmed = {trim(name): name for name in theirs}
        # If two cells have the same trimmed name, a match need not be the same cell.
        distinct = len(trimmed) == len(theirs)
        ways: list[tuple[Callable[[str], str], dict[str, str], bool]]
        ways = [(trim, plain, True), (str, trimmed, distinct), (trim, trimmed, distinct)]
        for change, known, one_to_one in ways:
            keys = [(name, change(name)) for name in ours] if one_to_one else []
            pairs = [
                (name, known[key])
                for name, key in keys
                if key in known and not _share_number_only(name, key, known[key])
            ]
            if len(pairs) > most and len(pairs) >= needed and (change is str or _is_distinct(here, change)):
                most, (a, b) = len(pairs), pairs[0]
                sentence = f"names seem to differ by {what}: is {quoted(a)} here {quoted(b)} there?"
        if most == len(ours):
            break
    return sentence


def _is_distinct(names: Barcodes, change: Callable[[str], str]) -> bool:
    looked_at = names[:_LOOKED_AT_THERE]
    return len({change(name) for name in looked_at}) == len(looked_at)


# Numbers, wells, bins and numbered cells, which any two samples have: 12, A3, cell_12, 01_02_03, 00012_00034-1.
_NUMBERED = re.compile(r"[A-Za-z]*_?\d{1,5}(?:[-_]\d+)*_?")


def _share_number_only(here: str, key: str, there: str) -> bool:
    """Whether two names have only a number or a well in common, as cells of any two samples do."""
    other_case = here.casefold() == there.casefold()
    return here != key != there and not other_case and _NUMBERED.fullmatch(key) is not None


def _without(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda name: compiled.sub("", name, count=1)


def _barcode_in(pattern: str) -> Callable[[str], str]:
    """The last nucleotide barcode in a name; the name itself if it has none."""
    compiled = re.compile(pattern)

    def barcode(name: str) -> str:
        found = compiled.findall(name)
        return found[-1] if found else name

    return barcode


# velocyto writes sample:ACGTx, Seurat GSM1_ACGT-1_1, other tools ACGT-1-0-1 or ACGT-1__s1.
_SEQUENCE = r"(?<![A-Za-z0-9])[ACGTN]{8,}"

_TRIMS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("upper and lower case", str.casefold),
    ("a number at the end", _without(r"[-_.]\d+$")),
    ("the text before the barcode", _without(r"^.*[_:#](?=.)")),
    ("the text before the barcode", _without(r"^[^-_:#]*[-_:#](?=.)")),
    ("the text after the barcode", _without(r"[-_:#][^-_:#]*$")),
    ("the text after the barcode", _without(r"__[^_].*$")),  # Parse names wells, 01_02_03__s1
    ("the text around the barcode", _barcode_in(rf"{_SEQUENCE}-\d+(?![A-Za-z0-9])")),
    ("the text around the barcode", _barcode_in(rf"{_SEQUENCE}(?=x?(?![A-Za-z0-9]))")),
)

Target = Study | Submission | str


def study_meant(target: Target, *, group: str | None, species: str, source: Source) -> Study:
    """The study of an argument: itself, of a submission, or by id."""
    if isinstance(target, str):
        try:
            return study(target, source=source, species=species, group=group)
        except UnknownStudy as error:
            if error.line:
                error.line += "  # give it as study=, or give its source and species with the id"
            raise
    if isinstance(target, Submission):
        return target.study()
    if isinstance(target, Study):
        return target
    msg = f"study is a {type(target).__name__}: give a study, a submission, or the id of a study"
    raise InvalidArgument(msg)


def origin_or(
    adata: AnnData, target: Target | None, *, group: str | None, species: str, source: Source, writes: bool = False
) -> Study:
    """As :func:`study_meant`; None means the study that the object became or came from."""
    if target is not None:
        return study_meant(target, group=group, species=species, source=source)
    if group is not None:
        msg = f"group is {quoted(group)}, but study is not given: give the id of a study in the group as study="
        raise InvalidArgument(msg)
    return study_of_object(adata, writes=writes)


def study_of_object(adata: AnnData, *, writes: bool = False) -> Study:
    """The study that an object was last submitted as in this session, or else the one that it was fetched from."""
    # Where data is written, a submission has to be named: it must not replace the study that the object came from.
    submission = None if writes else submission_of(adata)
    if submission is not None:
        return submission.study()
    try:
        origin = read_provenance(adata)
    except UnknownStudy as error:
        msg = f"{error}, or give study=: a study, a submission, or the id of a study"
        line = ""
        if writes and (own := submission_of(adata)) is not None:
            msg = (
                f"this AnnData was submitted as {quoted(own.study_id)}, but was not fetched from a study: "
                "to write into the study that it became, give it as study="
            )
            line = "{call}({arguments}study={it}.biocolab.study)"
        if not writes:
            msg += (
                ". (An object is known by its last submission in this session, until its cells or genes change; "
                "copies are other objects)"
            )
        if not writes and (other := submission_with_cells(adata)) is not None:
            msg += f". The cells of this one were submitted as {quoted(other.study_id)}"
            line = f"{call_of(other.task_id, other.source)}.study()  # give it as study="
        raise UnknownStudy(msg, line=line) from error
    return study_of_origin(origin)
