"""Names of files on a server: safe everywhere, and all different."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from biocolab_accessor.platforms import safe_file_name

__all__ = ["distinct", "safe_name"]

_LONGEST = 100
# By their endings servers tell what files are: of .tsv.gz both.
_ENDING = re.compile(r"(?:\.[A-Za-z0-9]{1,10}){1,2}\Z")


def safe_name(name: str) -> str:
    """A name of characters that mean nothing to any shell, server or file system; it keeps its ending.

    Examples
    --------
    >>> safe_name("../T cells; rm"), safe_name("样本.h5ad"), safe_name("con")
    ('T_cells_rm', 'batch.h5ad', 'con_')
    """
    name = unicodedata.normalize("NFC", name)  # macOS may list é as two characters
    found = _ENDING.search(name)
    ending = found[0] if found else ""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.removesuffix(ending)).strip("._")[: _LONGEST - len(ending)]
    return safe_file_name((stem or "batch") + ending)  # some are devices of Windows


def distinct(names: Sequence[str], folders: Sequence[str] | None = None) -> list[str]:
    """Safe names, all different even where upper and lower case are the same.

    Parameters
    ----------
    names
        File names with or without an ending.
    folders
        For each the name of its folder, put in front of a name that is taken; a number follows where that is in vain.

    Examples
    --------
    >>> distinct(["x.h5ad", "X.h5ad", "x.h5ad"], ["a", "b", "b"])
    ['x.h5ad', 'b_X.h5ad', 'b_x_2.h5ad']
    """
    taken: set[str] = set()
    result = []
    for i, name in enumerate(names):
        candidate = base = safe_name(name)
        if candidate.casefold() in taken and folders and folders[i]:
            candidate = base = safe_name(f"{folders[i]}_{name}")
        stem, dot, ending = base.partition(".")
        number = 2
        while candidate.casefold() in taken:
            candidate = f"{stem}_{number}{dot}{ending}"
            number += 1
        taken.add(candidate.casefold())
        result.append(candidate)
    return result
