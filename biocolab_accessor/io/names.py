"""Names: those that neither h5ad nor a server can hold, as names that they can, and back; and names of files.

Undoing needs no record of what was done, here or on the server: the name itself says it. An escaped name ends in
``~biocolab``, and only what :func:`escaped` gives is ever taken back, so the names of other people's studies stay as
they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from biocolab_accessor.platforms import safe_file_name

__all__ = [
    "computed_embedding",
    "distinct",
    "escaped",
    "is_barcodes",
    "key_as_text",
    "needs_escape",
    "restored",
    "safe_name",
    "sent_name",
    "unescaped",
    "unwritable_key",
    "unwritable_text",
]

_MARK = "~biocolab"

_BARCODES = ("barcodes", "barcode")

# What HDF5, h5ad or the servers take for something else, and why. Compared without case, since the servers do so.
_TAKEN = {
    "_index": "is the name that h5ad uses for the index",
    "__categories": "is a name that old h5ad files use",
    **dict.fromkeys(_BARCODES, "is what the servers call the cells' barcodes"),
}

# What servers compute themselves, by the letters and digits of its name, and where scanpy looks for it.
_COMPUTED = {"umap": "X_umap", "tsne": "X_tsne", "pca": "X_pca"}

# Lone surrogates are half a character, which no encoding can write.
_HOSTILE = re.compile("[%/\0-\x1f\x7f\ud800-\udfff]")


def is_barcodes(name: Any) -> bool:
    """Whether servers take a column of that name for the cells' barcodes.

    Examples
    --------
    >>> is_barcodes("Barcodes"), is_barcodes("barcode"), is_barcodes("batch")
    (True, True, False)
    """
    return isinstance(name, str) and name.casefold() in _BARCODES


def unwritable_key(name: str) -> str:
    """Why HDF5 cannot hold a name of a column or key, or would not give it back; empty where it can."""
    if not name.strip():
        return "is empty"
    if "/" in name:
        return "holds a '/', which makes a folder in HDF5"
    if name in (".", ".."):
        return "means a folder itself in HDF5"
    return unwritable_text(name)


def unwritable_text(text: str) -> str:
    """Why HDF5 cannot hold a text; empty where it can."""
    if "\0" in text:
        return "holds a NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair"
    return ""


def computed_embedding(name: str) -> str | None:
    """The key that scanpy has for an embedding that servers compute themselves; None where the name is of no such one.

    Examples
    --------
    >>> computed_embedding("t-SNE"), computed_embedding("X_tsne"), computed_embedding("spatial")
    ('X_tsne', None, None)
    """
    return _COMPUTED.get(re.sub(r"[^a-z0-9]", "", name.lower()))


def needs_escape(name: str, *, embedding: bool = False) -> str:
    """Why a name of a column or key cannot be kept as it is; empty where it can.

    Parameters
    ----------
    name
        The name.
    embedding
        Whether it is a key of obsm: a server has embeddings of its own, which such a key must not be taken for.

    Examples
    --------
    >>> needs_escape("donor/age")
    "holds a '/', which makes a folder in HDF5"
    >>> needs_escape("donor_age"), needs_escape("UMAP"), needs_escape("UMAP", embedding=True)
    ('', '', 'is what the servers call an embedding of their own')
    """
    if reason := unwritable_key(name) or _TAKEN.get(name.casefold()):
        return reason
    if embedding and computed_embedding(name):
        return "is what the servers call an embedding of their own"
    # Else a name that looks escaped would come back as what it looks like.
    return "ends like a name that was made safe before" if name.endswith(_MARK) else ""


def escaped(name: str, *, embedding: bool = False) -> str:
    """The name under which a column or key is sent: itself where possible.

    Parameters
    ----------
    name, embedding
        As for :func:`needs_escape`.

    Examples
    --------
    >>> escaped("donor/age"), escaped(""), escaped("Barcodes"), escaped("50%")
    ('donor%2Fage~biocolab', '~biocolab', 'Barcodes~biocolab', '50%')
    """
    if not needs_escape(name, embedding=embedding):
        return name
    pattern = _HOSTILE if name.strip() else re.compile(r"[\s\S]")
    return pattern.sub(lambda found: _percent(found[0]), name) + _MARK


def unescaped(name: str, *, embedding: bool = False) -> str:
    """What :func:`escaped` made a name of; every other name is given back as it is.

    Parameters
    ----------
    name, embedding
        As for :func:`escaped`.

    Examples
    --------
    >>> unescaped("donor%2Fage~biocolab"), unescaped("donor%2Fage"), unescaped("donor~biocolab")
    ('donor/age', 'donor%2Fage', 'donor~biocolab')
    """
    if not name.endswith(_MARK):
        return name
    try:
        original = unquote_to_bytes(name.removesuffix(_MARK)).decode("utf-8", "surrogatepass")
    except UnicodeError:
        return name
    return original if escaped(original, embedding=embedding) == name else name


def restored(names: Iterable[str], *, embedding: bool = False) -> dict[str, str]:
    """For each name the one that it had before it was sent.

    A name stays as it came where what it stood for is there as well: nothing ever takes the place of another.

    Parameters
    ----------
    names, embedding
        As for :func:`escaped`.

    Examples
    --------
    >>> restored(["a%2Fb~biocolab", "c"])
    {'a%2Fb~biocolab': 'a/b', 'c': 'c'}
    """
    given = list(names)
    originals = {name: unescaped(name, embedding=embedding) for name in given}
    taken = {name for name, original in originals.items() if name == original}
    # By length, since what a name stands for is shorter, and may itself be the safe name of something.
    for name in sorted(originals.keys() - taken, key=len):
        if originals[name] in taken:
            originals[name] = name
        taken.add(originals[name])
    return originals


def key_as_text(name: Any) -> str | None:
    """A column name or key as text: numbers become what they print, other things have none.

    Examples
    --------
    >>> key_as_text(0), key_as_text("x"), key_as_text(("a", "b"))
    ('0', 'x', None)
    """
    if isinstance(name, str):
        return str(name)
    return str(int(name)) if isinstance(name, int | np.integer) and not isinstance(name, bool) else None


def sent_name(name: Any, *, embedding: bool = False) -> str | None:
    """What a column or key is called on its way, whatever it is called here; None where it cannot be sent.

    Parameters
    ----------
    name, embedding
        As for :func:`escaped`.

    Examples
    --------
    >>> sent_name(0), sent_name("a/b"), sent_name(None)
    ('0', 'a%2Fb~biocolab', None)
    """
    text = key_as_text(name)
    return None if text is None else escaped(text, embedding=embedding)


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


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
