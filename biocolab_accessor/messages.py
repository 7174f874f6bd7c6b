"""Messages: names, values and sizes in errors and warnings, suggestions, and HTML tables."""

from __future__ import annotations

import difflib
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

# Characters that a terminal interprets or a reader cannot see: controls, direction marks, zero width, surrogates.
_UNSEEN = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)

_DIGITS = re.compile(r"([0-9]+)")
_SHAPE = {code: "0" if chr(code) in "0123456789" else "a" for code in range(128)}
_MOST_DIGITS = 4000  # int() refuses more than 4,300


def about_megabytes(n_bytes: int) -> str:
    """An estimated size, such as "about 5.7 MB"."""
    return f"about {n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e5 else "less than 0.1 MB"


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the singular or plural."""
    plural = f"{noun[:-1]}ies" if re.search("[^aeiou]y$", noun) else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def did_you_mean(name: object, known: Iterable[str], *, limit: int = 3) -> str:
    """A clause such as ``" (did you mean 'CD3D'?)"`` with the nearest known names, or an empty string."""
    name = str(name)
    # A name that differs in case wins, then names that contain it as a word, then names that are spelled alike.
    names, wanted = list(known), name.casefold()
    by_case = [k for k in names if k.casefold() == wanted]
    by_word = [k for k in names if wanted and wanted in k.casefold() and wanted in re.split(r"[\W_]+", k.casefold())]
    alike = difflib.get_close_matches(name, names, n=limit, cutoff=0.6)
    near = by_case or list(dict.fromkeys([*by_word, *alike]))[:limit]
    return suggestion(near)


def suggestion(names: Iterable[object]) -> str:
    """The clause ``(did you mean …?)`` for names that were found by the caller; empty without names."""
    near = " or ".join(map(quoted, names))
    return f" (did you mean {near}?)" if near else ""


def listing(names: Iterable[object], *, limit: int = 8) -> str:
    """Names for a message: ``'a', 'b', … and 3 more``."""
    every = [quoted(n) for n in names]
    more = f", … and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more


def natural_key(text: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key that puts cluster 2 before cluster 10, as anndata sorts categories that it makes from text."""
    parts = _DIGITS.split(text)
    # Numbers are compared by length, then as text: int() rejects strings of several thousand digits.
    numbers = [part.lstrip("0") if i % 2 else part for i, part in enumerate(parts)]
    return [(len(part) if i % 2 else 0, part) for i, part in enumerate(numbers)], text


def naturally_sorted(texts: Iterable[str]) -> list[str]:
    """Texts in the order of :func:`natural_key`, which takes a fraction of the time where there are many."""
    plain = sorted(texts)
    if not plain:
        return plain
    # Where all texts have digits in the same places, the plain order is the natural one.
    shape = plain[0].translate(_SHAPE)
    if all(text.translate(_SHAPE) == shape for text in plain):
        return plain
    if len(max(plain, key=len)) > _MOST_DIGITS:
        return sorted(plain, key=natural_key)
    return sorted(plain, key=_numbered)  # stable: "1" and "01" stay in their plain order


def _numbered(text: str) -> list[Any]:
    parts: list[Any] = _DIGITS.split(text)
    parts[1::2] = map(int, parts[1::2])
    return parts


def quoted(value: object, *, escape: bool = False) -> str:
    """The repr of a name or value, without NumPy's type names; `escape` writes non-ASCII characters as escapes."""
    if hasattr(value, "iloc"):  # a table of pandas, whose own repr takes several lines
        return f"a {type(value).__name__}"
    plain = _plain(value)
    return ascii(plain) if escape else repr(plain)


def shown(text: object, *, lines: bool = False) -> str:
    """Text made safe to print: control and invisible characters are escaped (`lines` keeps newlines and tabs)."""
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
        # Times are more readable as text, and item() of a long double is not a Python number.
        is_plain = isinstance(value, np.number | np.bool_ | np.bytes_) and not isinstance(value, np.longdouble)
        return value.item() if is_plain else str(value)
    return value


class Place(NamedTuple):
    """A line of code, as warnings name it."""

    file: str
    line: int
    names: dict[str, Any]  # of the module


_started_at: ContextVar[Place | None] = ContextVar("_started_at", default=None)


def calling_place() -> Place | None:
    """The line that called the package; in a thread, the line whose call started it."""
    found = None
    for frame, _ in traceback.walk_stack(sys._getframe()):
        if is_ours(frame):
            found = frame.f_back
    return _started_at.get() or (found and Place(found.f_code.co_filename, found.f_lineno, found.f_globals))


@contextmanager
def started_at(place: Place | None) -> Iterator[None]:
    """Warnings of this thread point to a place inside the block."""
    token = _started_at.set(place)
    try:
        yield
    finally:
        _started_at.reset(token)


PACKAGE = __name__.partition(".")[0]


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of this package."""
    return str(frame.f_globals.get("__name__")).partition(".")[0] == PACKAGE


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called the package, however deep the call stack is, and from its threads too."""
    place = _started_at.get()
    if place is not None:
        registry = place.names.setdefault("__warningregistry__", {})
        name = str(place.names.get("__name__", place.file))
        warnings.warn_explicit(shown(message, lines=True), category, place.file, place.line, name, registry)
        return
    # The outermost frame of the package, not the nearest foreign one: contextlib may sit between two of our frames.
    frames = enumerate(traceback.walk_stack(sys._getframe()), 1)
    outermost = max(depth for depth, (frame, _) in frames if is_ours(frame))
    warnings.warn(shown(message, lines=True), category, stacklevel=outermost + 1)


_LEFT = "text-align:left"


def facts_table(title: str, facts: Iterable[tuple[str, str]], *, link: tuple[str, str] | None = None) -> str:
    """An HTML table of name and value; rows without a value are omitted, and `link` is a last row."""
    rows = "".join(_row(name, escape(shown(text, lines=True))) for name, text in facts if text)
    if link is not None:
        address = escape(shown(link[1]))
        rows += _row(link[0], f"<a href='{address}' target='_blank' rel='noopener'>{address}</a>")
    head = f"<thead><tr><th colspan='2' style='{_LEFT}'>{escape(shown(title))}</th></tr></thead>"
    # The page sets the colors, so that the table is readable in light and dark themes.
    return f"<table style='color:inherit'>{head}{rows}</table>"


def _row(name: str, content: str) -> str:
    return (
        f"<tr><td style='{_LEFT};white-space:nowrap'>{escape(shown(name))}</td><td style='{_LEFT}'>{content}</td></tr>"
    )
