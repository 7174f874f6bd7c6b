"""Names: saying which one was probably meant, how many there are, and putting them in order."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["counted", "did_you_mean", "listing", "natural_key"]


def counted(number: int, noun: str) -> str:
    """A number and what it is of: one or several.

    Examples
    --------
    >>> counted(1, "gene"), counted(1200, "gene")
    ('1 gene', '1,200 genes')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def did_you_mean(name: str, known: Iterable[str], *, limit: int = 3) -> str:
    """A clause ``" (did you mean 'CD3D'?)"`` with the nearest known names, or an empty string.

    Examples
    --------
    >>> did_you_mean("cd3d", ["CD3D", "MS4A1"])
    " (did you mean 'CD3D'?)"
    """
    names = list(known)
    by_case = [k for k in names if k.casefold() == name.casefold()]
    near = by_case or difflib.get_close_matches(name, names, n=limit, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(k) for k in near)}?)" if near else ""


def listing(names: Iterable[object], *, limit: int = 8) -> str:
    """Names for a message: ``'a', 'b', … and 3 more``."""
    every = [repr(n) for n in names]
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
