"""Messages: names and values as people read them, near names, warnings at the user's own line, and HTML tables."""

from __future__ import annotations

import difflib
import inspect
import re
import warnings
from collections.abc import Iterable
from html import escape

import numpy as np

__all__ = [
    "about_megabytes",
    "counted",
    "did_you_mean",
    "facts_table",
    "listing",
    "natural_key",
    "quoted",
    "shown",
    "warn",
]

# What a terminal obeys or a reader does not see: controls, marks of direction, signs of no width, and half characters.
_UNSEEN = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def about_megabytes(n_bytes: int) -> str:
    """An estimate of a size, for people.

    Examples
    --------
    >>> about_megabytes(5_712_345), about_megabytes(7_000)
    ('about 5.7 MB', 'less than 0.1 MB')
    """
    return f"about {n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e5 else "less than 0.1 MB"


def counted(number: int, noun: str) -> str:
    """A number and what it is of: one or several.

    Examples
    --------
    >>> counted(1, "gene"), counted(1200, "gene")
    ('1 gene', '1,200 genes')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def did_you_mean(name: object, known: Iterable[str], *, limit: int = 3) -> str:
    """A clause ``" (did you mean 'CD3D'?)"`` with the nearest known names, or an empty string.

    Nearest is the name in other capitals, else those of several words of which it is one, and those spelled alike.

    Examples
    --------
    >>> did_you_mean("cd3d", ["CD3D", "MS4A1"])
    " (did you mean 'CD3D'?)"
    >>> did_you_mean("leiden", ["Leiden clustering", "phase"])
    " (did you mean 'Leiden clustering'?)"
    """
    name = str(name)
    names, wanted = list(known), name.casefold()
    by_case = [k for k in names if k.casefold() == wanted]
    by_word = [k for k in names if wanted and wanted in k.casefold() and wanted in re.split(r"[\W_]+", k.casefold())]
    alike = difflib.get_close_matches(name, names, n=limit, cutoff=0.6)
    near = by_case or list(dict.fromkeys([*by_word, *alike]))[:limit]
    return f" (did you mean {' or '.join(quoted(k) for k in near)}?)" if near else ""


def listing(names: Iterable[object], *, limit: int = 8) -> str:
    """Names for a message: ``'a', 'b', … and 3 more``."""
    every = [quoted(n) for n in names]
    more = f", … and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


def natural_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts cluster 2 before cluster 10, as anndata sorts the categories that it makes of text.

    Examples
    --------
    >>> sorted(["10", "T2", "2", "T10"], key=natural_key)
    ['2', '10', 'T2', 'T10']
    """
    parts = re.split(r"([0-9]+)", text)
    # Digits by their number first: int() refuses more than some thousand of them.
    numbers = [part.lstrip("0") if i % 2 else part for i, part in enumerate(parts)]
    return [(len(part) if i % 2 else 0, part) for i, part in enumerate(numbers)], text


def quoted(value: object, *, escape: bool = False) -> str:
    """A name or value as one writes it, also where it is a scalar of NumPy.

    Parameters
    ----------
    value
        Anything.
    escape
        Write what is not ASCII as escapes.

    Examples
    --------
    >>> import numpy as np
    >>> quoted(np.str_("nan")), quoted((np.int64(3), "a"))
    ("'nan'", "(3, 'a')")
    """
    plain = _plain(value)
    return ascii(plain) if escape else repr(plain)


def shown(text: object, *, lines: bool = False) -> str:
    r"""A text that came from elsewhere, safe to show: what would not be seen, or be obeyed, is written as escapes.

    Parameters
    ----------
    text
        Anything; its text is taken.
    lines
        Whether it may be of several lines, with tabs in them.

    Examples
    --------
    >>> print(shown("a\x1b[2Jb\u202ec"), shown("two\nlines"))
    a\x1b[2Jb\u202ec two\nlines
    >>> shown("two\nlines", lines=True) == "two\nlines"
    True
    """
    text = str(text)
    if text.isprintable():
        return text
    return _UNSEEN.sub(lambda found: found[0] if lines and found[0] in "\n\t" else ascii(found[0])[1:-1], text)


def _plain(value: object) -> object:
    if type(value) in {tuple, list, set, frozenset}:
        return type(value)(map(_plain, value))  # type: ignore[call-arg, call-overload]
    if type(value) is dict:
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str) and type(value) is not str:
        return str.__str__(value)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return np.frompyfunc(_plain, 1, 1)(value) if value.ndim else _plain(value.item())
    if isinstance(value, np.generic):
        # Times are more readable as their text, and long doubles have no item of Python's.
        is_plain = isinstance(value, np.number | np.bool_ | np.bytes_) and not isinstance(value, np.longdouble)
        return value.item() if is_plain else str(value)
    return value


_PACKAGE = __name__.partition(".")[0]


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of something the user should know, by the line that called the package, however deep this is.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warn("look out")
    >>> caught[0].category.__name__, str(caught[0].message)
    ('UserWarning', 'look out')
    """
    frame, depth, outermost = inspect.currentframe(), 0, 0
    while frame is not None:
        depth += 1
        # Not the nearest frame of others: a with block of ours has one of contextlib between two of ours.
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] == _PACKAGE:
            outermost = depth
        frame = frame.f_back
    warnings.warn(shown(message, lines=True), category, stacklevel=outermost + 1)


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
