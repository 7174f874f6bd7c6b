"""Provenance: the origin of an AnnData, stored in ``uns["biocolab"]``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anndata import AnnData

from biocolab_accessor.errors import UnknownStudy
from biocolab_accessor.io.names import unescaped
from biocolab_accessor.messages import listing

__all__ = ["KEY", "names_of_embeddings", "origin_of", "original_names", "origins_in", "read_provenance"]

KEY = "biocolab"
_PACKAGES = ("biocolab_accessor", "anndata", "bioflex", "bioturing-connector")


def origin_of(**facts: Any) -> dict[str, Any]:
    """Facts as values that h5ad can hold, without None, with package versions and the time."""
    return {
        **{name: value for name, value in facts.items() if value is not None},
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def original_names(fields: Mapping[str, str], embeddings: Mapping[str, str]) -> dict[str, dict[str, str]] | None:
    """Original names of escaped fields and embeddings, under ``"obs"`` and ``"obsm"``; None if no name was escaped."""
    found = {"obs": _original_names(fields), "obsm": _original_names(embeddings, embedding=True)}
    return {where: names for where, names in found.items() if names} or None


def names_of_embeddings(keys: Mapping[str, str]) -> dict[str, str] | None:
    """The server's name for each key of obsm, without those of :func:`original_names`; None if empty."""
    again = _original_names(keys, embedding=True)
    return {key: _printable(name) for name, key in keys.items() if name not in again} or None


def read_provenance(adata: AnnData) -> Mapping[str, Any]:
    """The content of ``uns["biocolab"]``, or UnknownStudy if the object does not come from one study."""
    facts = adata.uns.get(KEY)
    if not isinstance(facts, Mapping) or "study_id" not in facts:
        several = facts.get("studies") if isinstance(facts, Mapping) else None
        why = (
            f"contains {len(several)} studies ({listing(unescaped(name) for name in several)})"
            if isinstance(several, Mapping)
            else "does not say which study it came from (uns['biocolab'] is missing)"
        )
        msg = f"this AnnData {why}: use bc.study(study_id)"
        raise UnknownStudy(msg)
    return facts


def origins_in(adata: AnnData) -> list[Mapping[str, Any]]:
    """The provenance of each study of an object, which may come from a collection; UnknownStudy if it has none."""
    facts = adata.uns.get(KEY)
    several = facts.get("studies") if isinstance(facts, Mapping) else None
    if isinstance(several, Mapping) and several:
        origins = list(several.values())
        if all(isinstance(origin, Mapping) and "study_id" in origin for origin in origins):
            return origins
    return [read_provenance(adata)]


def _original_names(names: Mapping[str, str], *, embedding: bool = False) -> dict[str, str]:
    return {
        name: _printable(original)
        for name, original in names.items()
        if name != original and unescaped(name, embedding=embedding) == original
    }


def _printable(name: str) -> str:
    """The name, escaped as in a Python literal if it has unprintable characters, which not all files can store."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
