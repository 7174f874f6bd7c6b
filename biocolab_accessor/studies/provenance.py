"""Provenance: where an AnnData came from, kept in ``uns["biocolab"]``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anndata import AnnData

from biocolab_accessor.errors import UnknownStudy
from biocolab_accessor.io.names import unescaped
from biocolab_accessor.messages import listing

__all__ = ["KEY", "names_of_embeddings", "origin_of", "read_provenance", "undone"]

KEY = "biocolab"

_PACKAGES = ("biocolab_accessor", "anndata", "bioflex", "bioturing-connector")


def origin_of(**facts: Any) -> dict[str, Any]:
    """Facts as values that h5ad can hold, with package versions and the time; those that are None are left out."""
    return {
        **{name: value for name, value in facts.items() if value is not None},
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def undone(fields: Mapping[str, str], embeddings: Mapping[str, str]) -> dict[str, dict[str, str]] | None:
    """Which names travelled under others, as values that h5ad can hold; None where none did.

    Parameters
    ----------
    fields, embeddings
        For each name on the server the column of obs, or key of obsm, that it became.

    Returns
    -------
    dict or None
        ``"obs"`` and ``"obsm"``: for each name that was undone what it is again; what cannot be printed of it as Python
        writes it, since files cannot hold all of that.

    Examples
    --------
    >>> undone({"donor%2Fage~biocolab": "donor/age", "sex": "sex"}, {"UMAP": "X_umap"})
    {'obs': {'donor%2Fage~biocolab': 'donor/age'}}
    """
    found = {"obs": _undone(fields), "obsm": _undone(embeddings, embedding=True)}
    return {where: names for where, names in found.items() if names} or None


def names_of_embeddings(keys: Mapping[str, str]) -> dict[str, str] | None:
    """For each key of obsm what the server calls it, without those of :func:`undone`; None where there are none."""
    again = _undone(keys, embedding=True)
    return {key: _printable(name) for name, key in keys.items() if name not in again} or None


def read_provenance(adata: AnnData) -> Mapping[str, Any]:
    """What ``uns["biocolab"]`` says.

    Raises
    ------
    UnknownStudy
        The object does not come from one study, or no longer says so.
    """
    facts = adata.uns.get(KEY)
    if not isinstance(facts, Mapping) or "study_id" not in facts:
        several = facts.get("studies") if isinstance(facts, Mapping) else None
        why = (
            f"is of {len(several)} studies ({listing(unescaped(name) for name in several)})"
            if isinstance(several, Mapping)
            else "does not say which study it came from (uns['biocolab'] is missing)"
        )
        msg = f"this AnnData {why}: use bc.study(study_id)"
        raise UnknownStudy(msg)
    return facts


def _undone(names: Mapping[str, str], *, embedding: bool = False) -> dict[str, str]:
    return {
        name: _printable(original)
        for name, original in names.items()
        if name != original and unescaped(name, embedding=embedding) == original
    }


def _printable(name: str) -> str:
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
