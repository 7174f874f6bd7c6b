"""Markup: the small HTML tables that notebooks show, in whatever colours the page has."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from biocolab_accessor.naming import shown

__all__ = ["facts_table"]

_LEFT = "text-align:left"


def facts_table(title: str, facts: Iterable[tuple[str, str]], *, link: tuple[str, str] | None = None) -> str:
    """A table of two columns.

    Parameters
    ----------
    title
        Above the table.
    facts
        Name and text of each row; rows without a text are left out.
    link
        Name and address of a last row, which opens in a page of its own.

    Examples
    --------
    >>> table = facts_table("A & B", [("title", "x < y"), ("authors", "")])
    >>> "A &amp; B" in table, "x &lt; y" in table, "authors" in table
    (True, True, False)
    """
    rows = "".join(_row(name, escape(shown(text, lines=True))) for name, text in facts if text)
    if link is not None:
        address = escape(shown(link[1]))
        rows += _row(link[0], f"<a href='{address}' target='_blank' rel='noopener'>{address}</a>")
    head = f"<thead><tr><th colspan='2' style='{_LEFT}'>{escape(shown(title))}</th></tr></thead>"
    # Colours are the page's own, so that light and dark themes are both readable.
    return f"<table style='color:inherit'>{head}{rows}</table>"


def _row(name: str, content: str) -> str:
    return f"<tr><td style='{_LEFT}'>{escape(shown(name))}</td><td style='{_LEFT}'>{content}</td></tr>"
