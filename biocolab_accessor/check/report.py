"""Report: what a check found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, overload

import pandas as pd

from biocolab_accessor.errors import CheckFailed, public
from biocolab_accessor.messages import counted

Severity = Literal["error", "warning", "note"]
_ORDER = {"error": 0, "warning": 1, "note": 2}
# Colors of the notebook's own theme, light or dark. Elsewhere the color of the text.
_COLORS = {
    "error": "var(--vscode-errorForeground,var(--jp-error-color1,inherit))",
    "warning": "var(--vscode-editorWarning-foreground,var(--jp-warn-color1,inherit))",
    "note": "inherit",
}
_MARKS = {"error": "✗", "warning": "!", "note": "·"}
_READY = ", ready to be sent"
_MOST_PLACES = 3
_MOST_SHOWN = 50


@public
@dataclass(frozen=True)
class Finding:
    """One problem or remark from a check.

    Attributes
    ----------
    code
        Stable name of the rule, such as ``"BC201"``.
    severity
        ``"error"`` blocks a submission, ``"warning"`` may cause surprises later, ``"note"`` is for information.
    path
        Where it is, as you would write it in code: ``obs['batch']``, ``layers['counts']``.
    message
        What was found.
    count
        Number of values or names concerned.
    examples
        A few of them.
    fix
        What to do.
    error
        The error class that is raised for this finding.
    changed
        Whether the data are sent in a different form.
    """

    code: str
    severity: Severity
    path: str
    message: str
    count: int = 1
    examples: tuple[str, ...] = ()
    fix: str = ""
    error: type[CheckFailed] = CheckFailed
    changed: bool = False

    def __str__(self) -> str:
        return f"{self.code} {self.severity} {self.path}: {self.text}"

    @property
    def text(self) -> str:
        """The message with its examples and the fix."""
        examples = f" ({', '.join(self.examples)})" if self.examples else ""
        fix = f". {self.fix}" if self.fix else ""
        return f"{self.message}{examples}{fix}"


@public
class Report(Sequence[Finding]):
    """All findings of a check, errors first.

    Parameters
    ----------
    findings
        The findings, in any order.

    Examples
    --------
    >>> report = Report([Finding("BC302", "error", "X", "3 NaN", fix="Fill them in a copy")])
    >>> report
    Report: 1 error
      BC302  error  X  3 NaN. Fill them in a copy
    >>> report.ok, report.to_frame().shape
    (False, (1, 7))
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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Report) and self._findings == other._findings

    def __hash__(self) -> int:
        return hash(self._findings)

    @property
    def ok(self) -> bool:
        """Whether the report is free of errors."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that block a submission."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that may cause surprises later."""
        return self._of("warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Findings for information, such as data that are sent in a different form."""
        return self._of("note")

    def to_frame(self) -> pd.DataFrame:
        """Return the findings as a data frame: code, severity, path, message, count, examples, fix.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> table = bc.check(ad.AnnData(np.array([[1, np.nan]], dtype="float32"))).to_frame()
        >>> table.loc[table["severity"] == "error", ["code", "path", "count"]].values.tolist()
        [['BC302', 'X', 1]]
        """
        columns = ["code", "severity", "path", "message", "count", "examples", "fix"]
        rows = [[getattr(finding, name) for name in columns] for finding in self]
        return pd.DataFrame(rows, columns=columns)

    def raise_for_errors(self, *, strict: bool = False, of: str = "this object") -> None:
        """Raise the error class of the first error, if the report has errors.

        Parameters
        ----------
        strict
            Treat warnings as errors.
        of
            Name of the checked object in the message, such as a file name.

        Raises
        ------
        CheckFailed
            Or one of its subclasses. The message and ``.report`` hold the whole report.

        Examples
        --------
        >>> import anndata as ad, numpy as np, biocolab_accessor as bc
        >>> try:
        ...     bc.check(ad.AnnData(np.array([[1, np.nan]], dtype="float32"))).raise_for_errors()
        ... except bc.errors.CheckFailed as error:
        ...     error.report.ok
        False
        """
        grave = self.errors or (self.warnings if strict else ())
        if not grave:
            return
        what = "cannot be sent" if self.errors else "has warnings, which check='strict' treats as errors"
        text = repr(self) if self.errors else repr(self).replace(_READY, "", 1)
        msg = f"{of} {what}\n{text}"
        raise grave[0].error(msg, self)

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self if finding.severity == severity)

    def _headline(self) -> str:
        if not self:
            return "Report: no problems found, ready to be sent"
        numbers = [(len(self._of(severity)), severity) for severity in _ORDER]  # type: ignore[arg-type]
        parts = ", ".join(counted(number, name) for number, name in numbers if number)
        return f"Report: {parts}{_READY if self.ok else ''}"

    def __repr__(self) -> str:
        paths = max((min(len(_shown(finding.path)), 28) for finding in self), default=0)
        severities = max((len(finding.severity) for finding in self), default=0)
        lines = [
            f"  {each.code}  {each.severity:<{severities}}  {_safe(f'{_shown(each.path):<{paths}}  {each.text}')}"
            for each in self
        ]
        return "\n".join([self._headline(), *lines])

    def _repr_html_(self) -> str:
        left = "text-align:left;vertical-align:top"
        rows = "".join(
            f"<tr><td style='{left};white-space:nowrap;color:{_COLORS[finding.severity]}'>{_MARKS[finding.severity]} "
            f"{finding.code} {finding.severity}</td>"
            f"<td style='{left}'><code>{escape(_safe(_shown(finding.path)))}</code></td>"
            f"<td style='{left}'>{escape(_safe(finding.text))}</td></tr>"
            for finding in self[:_MOST_SHOWN]
        )
        if (more := len(self) - _MOST_SHOWN) > 0:
            rows += f"<tr><td colspan='3' style='{left}'>… and {more:,} more: see report.to_frame()</td></tr>"
        caption = f"<caption style='{left};color:inherit'>{self._headline()}</caption>"
        return f"<table style='color:inherit'>{caption}<tbody>{rows}</tbody></table>"


def finding(
    code: str, path: str, message: str, fix: str, *, count: int = 1, severity: Severity = "error",
    error: type[CheckFailed] = CheckFailed,
) -> Finding:  # fmt: skip
    """A finding in a file."""
    return Finding(code, severity, path, message, count, fix=fix, error=error)


def _shown(path: str) -> str:
    """A path cut to its first places; :meth:`Report.to_frame` has all of them."""
    places = re.split(r"(?<=\]), ", path)
    return path if len(places) <= _MOST_PLACES else f"{', '.join(places[:2])}, … and {len(places) - 2:,} more"


def _safe(text: str) -> str:
    """Text that can be encoded: a name with half of a surrogate pair must not break the notebook that shows it."""
    return text.encode("utf-8", "backslashreplace").decode()
