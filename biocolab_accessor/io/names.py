"""Names: escape names that h5ad or a server cannot store, restore them, and make file names safe.

No record is needed to restore a name: an escaped name ends in ``~biocolab``. Only names that :func:`escaped` could have
returned are unescaped, so that names in studies from elsewhere do not change.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from biocolab_accessor.platforms import safe_file_name

_MARK = "~biocolab"
_BARCODES = ("barcodes", "barcode")

# Names with a special meaning in h5ad or on the servers. Case is ignored, as on the servers.
_TAKEN = {
    "_index": "is reserved for the index in h5ad files",
    "__categories": "is reserved in old h5ad files",
    **dict.fromkeys(_BARCODES, "is reserved for barcodes on the servers"),
}

# Embeddings that the servers compute: letters and digits of the name, and scanpy's key.
_COMPUTED = {"umap": "X_umap", "tsne": "X_tsne", "pca": "X_pca"}

# Lone surrogates are half a character, which UTF-8 cannot encode.
_HOSTILE = re.compile("[%/\0-\x1f\x7f\ud800-\udfff]")


def is_barcodes(name: Any) -> bool:
    """Whether the servers take a column with this name for the barcodes of the cells."""
    return isinstance(name, str) and name.casefold() in _BARCODES


def unwritable_key(name: str) -> str:
    """Why HDF5 cannot store a column name or key, or would not return it; empty if it can."""
    if not name.strip():
        return "is empty"
    if "/" in name:
        return "contains a '/', which separates groups in HDF5"
    if name in (".", ".."):
        return "means the group itself in HDF5"
    return unwritable_text(name)


def unwritable_text(text: str) -> str:
    """Why HDF5 cannot store a string; empty if it can."""
    if "\0" in text:
        return "holds a NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair"
    return ""


def computed_embedding(name: str) -> str | None:
    """Scanpy's key for an embedding that the servers compute, from any of its spellings; else None."""
    return _COMPUTED.get(re.sub(r"[^a-z0-9]", "", name.lower()))


def needs_escape(name: str, *, embedding: bool = False) -> str:
    """Why a column name or key (of obsm if `embedding`) must be escaped; empty if it need not be."""
    if reason := unwritable_key(name) or _TAKEN.get(name.casefold()):
        return reason
    if embedding and computed_embedding(name):
        return "is reserved for an embedding that the servers compute"
    # Otherwise a name that looks escaped would be unescaped later.
    return "ends like an escaped name" if name.endswith(_MARK) else ""


def escaped(name: str, *, embedding: bool = False) -> str:
    """The name under which a column or key is submitted: unchanged if possible."""
    if not needs_escape(name, embedding=embedding):
        return name
    pattern = _HOSTILE if name.strip() else re.compile(r"[\s\S]")
    return pattern.sub(lambda found: _percent(found[0]), name) + _MARK


def unescaped(name: str, *, embedding: bool = False) -> str:
    """The name that :func:`escaped` was called with; any other name is returned unchanged."""
    if not name.endswith(_MARK):
        return name
    try:
        original = unquote_to_bytes(name.removesuffix(_MARK)).decode("utf-8", "surrogatepass")
    except UnicodeError:
        return name
    return original if escaped(original, embedding=embedding) == name else name


def restored(names: Iterable[str], *, embedding: bool = False) -> dict[str, str]:
    """Original name of each submitted name. A name stays escaped if its original is taken, so no name is lost."""
    given = list(names)
    originals = {name: unescaped(name, embedding=embedding) for name in given}
    taken = {name for name, original in originals.items() if name == original}
    # By length: the original is shorter than its escaped name, and may itself be an escaped name.
    for name in sorted(originals.keys() - taken, key=len):
        if originals[name] in taken:
            originals[name] = name
        taken.add(originals[name])
    return originals


def key_as_text(name: Any) -> str | None:
    """A column name or key as a string: integers are converted, other types become None."""
    if isinstance(name, str):
        return str(name)
    return str(int(name)) if isinstance(name, int | np.integer) and not isinstance(name, bool) else None


def sent_name(name: Any, *, embedding: bool = False) -> str | None:
    """The name under which a column or key is submitted; None if it cannot be."""
    text = key_as_text(name)
    return None if text is None else escaped(text, embedding=embedding)


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


_LONGEST = 100

# Servers recognize files by their extensions, such as .tsv.gz.
_ENDING = re.compile(r"(?:\.[A-Za-z0-9]{1,10}){1,2}\Z")


def safe_name(name: str) -> str:
    """A file name in characters that no shell, server or file system interprets; it keeps its extension."""
    name = unicodedata.normalize("NFC", name)  # macOS may return é as two characters
    found = _ENDING.search(name)
    ending = found[0] if found else ""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.removesuffix(ending)).strip("._")[: _LONGEST - len(ending)]
    return safe_file_name((stem or "batch") + ending)  # some names are devices on Windows


def batch_names(labels: Sequence[str]) -> list[str]:
    """The name of each batch, which becomes a file: other characters for those that file names cannot have."""
    return distinct([label.replace(".", "_") for label in labels])


def distinct(names: Sequence[str], folders: Sequence[str] | None = None) -> list[str]:
    """Safe names, all different, even ignoring case: a taken name gets its folder as a prefix, then a number."""
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
