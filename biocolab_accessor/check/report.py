"""Report: what a check found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, overload

import pandas as pd

from biocolab_accessor.errors import CheckFailed

__all__ = ["Finding", "Report"]

Severity = Literal["error", "warning", "note"]
_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes
    ----------
    code
        Stable name of the rule, ``"BC201"``.
    severity
        ``"error"`` stands in the way of a submission, ``"warning"`` may surprise later, ``"note"`` is for information.
    path
        Where, as one writes it: ``obs['batch']``, ``layers['counts']``.
    message
        What.
    count
        How many values or names it concerns.
    examples
        A few of them.
    fix
        What to do.
    error
        The error class that stands for it.
    """

    code: str
    severity: Severity
    path: str
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()
    fix: str = ""
    error: type[CheckFailed] = CheckFailed

    def __str__(self) -> str:
        examples = f" ({', '.join(self.examples)})" if self.examples else ""
        fix = f". {self.fix}" if self.fix else ""
        return f"{self.code} {self.severity} {self.path}: {self.message}{examples}{fix}"


class Report(Sequence[Finding]):
    """All findings of a check, errors first.

    Parameters
    ----------
    findings
        In any order.
    """

    def __init__(self, findings: Sequence[Finding] = ()) -> None:
        self._findings = tuple(sorted(findings, key=lambda finding: (_ORDER[finding.severity], finding.code)))

    @overload
    def __getitem__(self, index: int) -> Finding: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Finding]: ...

    def __getitem__(self, index: int | slice) -> Finding | Sequence[Finding]:
        return self._findings[index]

    def __len__(self) -> int:
        return len(self._findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that stand in the way of a submission."""
        return tuple(finding for finding in self if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that may surprise later."""
        return tuple(finding for finding in self if finding.severity == "warning")

    def to_frame(self) -> pd.DataFrame:
        """The findings as a data frame: code, severity, path, message, count, examples, fix."""
        columns = ["code", "severity", "path", "message", "count", "examples", "fix"]
        rows = [[getattr(finding, name) for name in columns] for finding in self]
        return pd.DataFrame(rows, columns=columns)

    def raise_for_errors(self) -> None:
        """Raise the error that stands for the first finding of that severity, if there is one.

        Raises
        ------
        CheckFailed
            One of its subclasses; the message holds all errors, ``.report`` the whole report.
        """
        if not self.errors:
            return
        lines = "\n".join(f"  {finding}" for finding in self.errors)
        number = len(self.errors)
        msg = f"this object cannot be sent, {number} error{'s' if number > 1 else ''}:\n{lines}"
        raise self.errors[0].error(msg, self)

    def __repr__(self) -> str:
        if not self:
            return "Report: nothing found, ready to be sent"
        head = f"Report: {len(self.errors)} errors, {len(self.warnings)} warnings"
        return "\n".join([head, *(f"  {finding}" for finding in self)])

    def _repr_html_(self) -> str:
        if not self:
            return "<p>Report: nothing found, ready to be sent</p>"
        cells = "".join(
            "<tr>"
            + "".join(
                f"<td style='text-align:left'>{escape(str(text))}</td>"
                for text in (f.code, f.severity, f.path, f.message + "; ".join(("", *f.examples)), f.fix)
            )
            + "</tr>"
            for f in self
        )
        head = "".join(
            f"<th style='text-align:left'>{name}</th>" for name in ("code", "severity", "where", "what", "fix")
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>"
