"""Match report: what a join by barcode found, and what was written by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from biocolab_accessor.markup import facts_table
from biocolab_accessor.naming import quoted

__all__ = ["MatchReport"]


@dataclass(frozen=True)
class MatchReport:
    """What a join by barcode found, and what was written by it.

    Attributes
    ----------
    study_id
        The study.
    matched
        Number of cells that are here and there.
    only_here, only_there
        Number of cells that the study does not have, and that only the study has.
    examples_here, examples_there
        A few barcodes of each.
    written
        Columns of obs, keys of obsm, or fields of the study.
    notes
        What is not as it was on the other side, and why.
    dtypes
        Of a push: the dtype here of each field, as ``pull_metadata(dtypes=)`` takes it.

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
        return "\n".join([f"MatchReport: study {quoted(self.study_id)}", *lines])

    def _repr_html_(self) -> str:
        return facts_table(f"Cells here and in study {self.study_id}", self._rows())
