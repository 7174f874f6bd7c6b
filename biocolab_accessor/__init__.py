"""adata.biocolab and df.biocolab: from a notebook to the BioTuring servers and back.

Importing registers the two accessors and does nothing else; everything below is loaded when it is first used.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from biocolab_accessor import errors
from biocolab_accessor.accessors import accessor
from biocolab_accessor.check import check
from biocolab_accessor.sandbox import sandbox

if TYPE_CHECKING:
    from biocolab_accessor.annotate.annotation import Annotation
    from biocolab_accessor.annotate.own_study import OwnStudy
    from biocolab_accessor.atlas import database, databases, expression_summary
    from biocolab_accessor.catalog import groups, studies, study
    from biocolab_accessor.check.report import Finding, Report
    from biocolab_accessor.cluster import share_credentials, unshare_credentials
    from biocolab_accessor.config import Settings, settings
    from biocolab_accessor.connection import connect
    from biocolab_accessor.connector import EConnector
    from biocolab_accessor.exchange.report import MatchReport
    from biocolab_accessor.filters import FilterPreview
    from biocolab_accessor.inbound.selection import FetchPlan
    from biocolab_accessor.inbound.study import Study
    from biocolab_accessor.join import Collection, collection
    from biocolab_accessor.outbound.broken_off import BrokenOff, submissions
    from biocolab_accessor.outbound.plan import Plan
    from biocolab_accessor.outbound.submission import Submission, submission
    from biocolab_accessor.outbound.submit import submit_files as submit
    from biocolab_accessor.outbound.submit import submit_from_s3
    from biocolab_accessor.sandbox.server import Sandbox
    from biocolab_accessor.storage.cache import Cache, CacheInfo, cache

__all__ = [
    "Annotation",
    "BrokenOff",
    "Cache",
    "CacheInfo",
    "Collection",
    "EConnector",
    "FetchPlan",
    "FilterPreview",
    "Finding",
    "MatchReport",
    "OwnStudy",
    "Plan",
    "Report",
    "Sandbox",
    "Settings",
    "Study",
    "Submission",
    "accessor",
    "cache",
    "check",
    "collection",
    "connect",
    "database",
    "databases",
    "errors",
    "expression_summary",
    "groups",
    "sandbox",
    "settings",
    "share_credentials",
    "studies",
    "study",
    "submission",
    "submissions",
    "submit",
    "submit_from_s3",
    "unshare_credentials",
]

__version__ = "0.2.0"  # pyproject.toml and the documentation read it here

logging.getLogger("biocolab_accessor").addHandler(logging.NullHandler())

_HOME = {
    "Annotation": ("annotate.annotation", "Annotation"),
    "BrokenOff": ("outbound.broken_off", "BrokenOff"),
    "Cache": ("storage.cache", "Cache"),
    "CacheInfo": ("storage.cache", "CacheInfo"),
    "Collection": ("join", "Collection"),
    "EConnector": ("connector", "EConnector"),
    "FetchPlan": ("inbound.selection", "FetchPlan"),
    "FilterPreview": ("filters", "FilterPreview"),
    "Finding": ("check.report", "Finding"),
    "MatchReport": ("exchange.report", "MatchReport"),
    "OwnStudy": ("annotate.own_study", "OwnStudy"),
    "Plan": ("outbound.plan", "Plan"),
    "Report": ("check.report", "Report"),
    "Sandbox": ("sandbox.server", "Sandbox"),
    "Settings": ("config", "Settings"),
    "Study": ("inbound.study", "Study"),
    "Submission": ("outbound.submission", "Submission"),
    "cache": ("storage.cache", "cache"),
    "collection": ("join", "collection"),
    "connect": ("connection", "connect"),
    "share_credentials": ("cluster", "share_credentials"),
    "settings": ("config", "settings"),
    "unshare_credentials": ("cluster", "unshare_credentials"),
    "submission": ("outbound.submission", "submission"),
    "submissions": ("outbound.broken_off", "submissions"),
    "submit": ("outbound.submit", "submit_files"),
    "submit_from_s3": ("outbound.submit", "submit_from_s3"),
    **{name: ("atlas", name) for name in ("database", "databases", "expression_summary")},
    **{name: ("catalog", name) for name in ("groups", "studies", "study")},
}


if not TYPE_CHECKING:  # a type checker would else take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        module, attribute = _HOME[name]
        value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), attribute)
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
