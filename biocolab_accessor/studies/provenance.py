"""Provenance: the origin of an AnnData, stored in ``uns["biocolab"]``, and where it was sent in this session."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

from anndata import AnnData

from biocolab_accessor.errors import UnknownStudy
from biocolab_accessor.io.names import unescaped
from biocolab_accessor.messages import listing

if TYPE_CHECKING:
    import pandas as pd

    from biocolab_accessor.submit.submission import Submission

KEY = "biocolab"
_PACKAGES = ("biocolab_accessor", "anndata", "bioflex", "bioturing-connector")


def origin_of(**facts: Any) -> dict[str, Any]:
    """Facts as values that h5ad can hold, without None, with package versions and the time."""
    return {
        **{name: value for name, value in facts.items() if value is not None},
        "packages": _versions(),
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


def facts_in(adata: AnnData) -> Mapping[str, Any]:
    """The content of ``uns["biocolab"]``; empty if it is missing, or not a mapping."""
    facts = adata.uns.get(KEY)
    return facts if isinstance(facts, Mapping) else {}


def read_provenance(adata: AnnData) -> Mapping[str, Any]:
    """The content of ``uns["biocolab"]``, or UnknownStudy if the object does not come from one study."""
    facts = facts_in(adata)
    if "study_id" in facts:
        return facts
    why = "does not say which study it came from (uns['biocolab'] is missing)"
    if isinstance(several := facts.get("studies"), Mapping):
        why = f"contains {len(several)} studies ({listing(unescaped(name) for name in several)})"
    msg = f"this AnnData {why}: use bc.study(study_id)"
    raise UnknownStudy(msg)


def origins_in(adata: AnnData) -> list[Mapping[str, Any]]:
    """The provenance of each study of an object, which may come from a collection; UnknownStudy if it has none."""
    several = facts_in(adata).get("studies")
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


_version = cache(version)  # it takes a millisecond; a package that is not installed is looked for again


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = _version(package)
    return found


class _Sent(NamedTuple):
    adata: weakref.ref[AnnData]
    obs_names: pd.Index[Any]  # shared with the object, and immutable
    var_names: pd.Index[Any]
    submission: Submission


# By the id of the object: an AnnData has no hash. Reading, setting and popping a key are atomic, so that threads need
# no lock, which the callback of a weak reference could not wait for.
_sent: dict[int, _Sent] = {}


def remember_sent(adata: AnnData, submission: Submission) -> None:
    """Remember where an object went, for as long as it lives."""
    key = id(adata)

    def drop(reference: weakref.ref[AnnData]) -> None:
        known = _sent.get(key)
        if known is not None and known.adata is reference:
            _sent.pop(key, None)

    _sent[key] = _Sent(weakref.ref(adata, drop), adata.obs_names, adata.var_names, submission)


def submission_of(adata: AnnData) -> Submission | None:
    """The last submission of an object; None if it has none or got other cells or genes since."""
    known = _sent.get(id(adata))
    if known is None or id(known.adata()) != id(adata):
        return None
    if known.obs_names.equals(adata.obs_names) and known.var_names.equals(adata.var_names):
        return known.submission
    _sent.pop(id(adata), None)
    return None


def submission_with_cells(adata: AnnData) -> Submission | None:
    """The last submission of another object that has all cells of this one, such as the object that it is a part of."""
    known = reversed(list(_sent.values()))
    return next((each.submission for each in known if adata.obs_names.isin(each.obs_names).all()), None)
