"""Output: answers on stdout as table, lines or JSON, and everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from biocolab_accessor.naming import shown

if TYPE_CHECKING:
    from biocolab_accessor.outbound.submission import Submission

__all__ = ["err", "out", "print_json", "print_lines", "print_submission", "print_table", "say"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Row = Mapping[Any, Any]

_IN_ONE_LINE = ("id", "uuid")


def print_json(answer: Any) -> None:
    """An answer for a program: JSON, whatever the width of the terminal; what JSON has no type for is text.

    NaN and infinity, which JSON has not either, are null.
    """
    plain = json.loads(json.dumps(answer, default=_plain), parse_constant=lambda _: None)
    typer.echo(json.dumps(plain, indent=2))


def print_table(rows: Sequence[Row], *, title: str = "", numbers: Sequence[str] = (), empty: str = "") -> None:
    """Rows as a table for people, or tab-separated where nobody watches.

    Parameters
    ----------
    rows
        Each with the same keys; values that are already rich text keep their style.
    title
        Above the table.
    numbers
        Columns that are aligned at their right.
    empty
        Said on stderr where there are no rows.
    """
    if not rows:
        err.print(empty or "nothing there", markup=False)
        return
    if not out.is_terminal:
        for line in (list(rows[0]), *(list(row.values()) for row in rows)):
            typer.echo("\t".join(_one_line(value) for value in line))  # rich makes spaces of tabs
        return
    table = Table(title=shown(title) or None, title_justify="left", header_style="bold", title_style="bold")
    for name in rows[0]:
        # Folded and not cut: an id that lost its end is of no use. In two lines it cannot be copied, so that it is in
        # one where the other columns have as much room.
        one_line = name in _IN_ONE_LINE and 2 * max(len(str(row[name])) for row in rows) <= out.width
        table.add_column(shown(name), overflow="fold", justify="right" if name in numbers else "left", no_wrap=one_line)
    for row in rows:
        table.add_row(*(value if isinstance(value, Text) else Text(shown(value)) for value in row.values()))
    out.print(table)


def print_lines(row: Row) -> None:
    """One answer, a line for each of its parts."""
    width = max(len(name) for name in row)
    for name, value in row.items():
        if value in (None, ""):
            continue
        if out.is_terminal:
            out.print(Text(name.ljust(width), "bold") + f"  {shown(value)}", soft_wrap=True)
        else:
            typer.echo(f"{name}\t{_one_line(value)}")


def print_submission(submission: Submission, *, as_json: bool) -> None:
    """What became of a submission."""
    answer = {
        "study_id": submission.study_id,
        "uuid": submission.study_info.get("uuid", ""),
        "task_id": submission.task_id,
        "status": submission.status,
        "page": submission.url,
    }
    (print_json if as_json else print_lines)(answer)


def say(kind: str, style: str, message: object) -> None:
    """A message on stderr; wrapped between words where somebody reads it, one line where a log does."""
    err.print(Text(kind, style) + Text(f": {shown(message, lines=True)}"), soft_wrap=not err.is_terminal)


def _one_line(value: Any) -> str:
    return shown(" ".join(str(value).split()))


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)  # a NumPy number
    return item() if callable(item) else str(value)
