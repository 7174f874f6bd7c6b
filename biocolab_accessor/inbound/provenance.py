"""Provenance: where an AnnData came from, kept in ``uns["biocolab"]``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anndata import AnnData

from biocolab_accessor.errors import UnknownStudy

__all__ = ["KEY", "origin_of", "read_provenance"]

KEY = "biocolab"

_PACKAGES = ("biocolab_accessor", "anndata", "bioflex", "bioturing-connector")


def origin_of(**facts: Any) -> dict[str, Any]:
    """Facts as values that h5ad can hold, with package versions and the time; those that are None are left out."""
    return {
        **{name: value for name, value in facts.items() if value is not None},
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_provenance(adata: AnnData) -> Mapping[str, Any]:
    """What ``uns["biocolab"]`` says.

    Raises
    ------
    UnknownStudy
        The object does not come from a study, or no longer says so.
    """
    facts = adata.uns.get(KEY)
    if not isinstance(facts, Mapping) or "study_id" not in facts:
        msg = "this AnnData does not say which study it came from (uns['biocolab'] is missing); use bc.study(…)"
        raise UnknownStudy(msg)
    return facts


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
