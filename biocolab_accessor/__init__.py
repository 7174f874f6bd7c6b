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
    from biocolab_accessor.annotate.annotation import Annotation, OwnStudy
    from biocolab_accessor.check.filter_preview import FilterPreview
    from biocolab_accessor.check.report import Finding, Report
    from biocolab_accessor.config import Settings, settings
    from biocolab_accessor.connection.connector import EConnector
    from biocolab_accessor.connection.default import connect, share_credentials, unshare_credentials
    from biocolab_accessor.diagnostics import doctor
    from biocolab_accessor.io.cache import Cache, CacheInfo, cache
    from biocolab_accessor.sandbox.server import Sandbox
    from biocolab_accessor.studies.catalog import (
        buckets,
        database,
        databases,
        expression_summary,
        groups,
        studies,
        study,
    )
    from biocolab_accessor.studies.collection import Collection, collection
    from biocolab_accessor.studies.lock import DataLock, lock
    from biocolab_accessor.studies.replay import replay
    from biocolab_accessor.studies.search import search
    from biocolab_accessor.studies.selection import FetchPlan
    from biocolab_accessor.studies.study import Study
    from biocolab_accessor.submit.plan import FilesPlan, Plan
    from biocolab_accessor.submit.resume import BrokenOff, submissions
    from biocolab_accessor.submit.stored import submit_from_s3, submit_from_server
    from biocolab_accessor.submit.submission import Submission, submission
    from biocolab_accessor.submit.submit import submit_files as submit
    from biocolab_accessor.sync.match import MatchReport
    from biocolab_accessor.sync.push import submit_metadata_file as submit_metadata

__all__ = [
    "Annotation",
    "BrokenOff",
    "Cache",
    "CacheInfo",
    "Collection",
    "DataLock",
    "EConnector",
    "FetchPlan",
    "FilesPlan",
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
    "buckets",
    "cache",
    "check",
    "collection",
    "connect",
    "database",
    "databases",
    "doctor",
    "errors",
    "expression_summary",
    "groups",
    "lock",
    "replay",
    "sandbox",
    "search",
    "settings",
    "share_credentials",
    "studies",
    "study",
    "submission",
    "submissions",
    "submit",
    "submit_from_s3",
    "submit_from_server",
    "submit_metadata",
    "unshare_credentials",
]

__version__ = "0.2.0"  # pyproject.toml and the documentation read it here

logging.getLogger("biocolab_accessor").addHandler(logging.NullHandler())

# Where each public name is defined; two have another name there.
_MODULES = {
    "annotate.annotation": ("Annotation", "OwnStudy"),
    "check.filter_preview": ("FilterPreview",),
    "check.report": ("Finding", "Report"),
    "config": ("Settings", "settings"),
    "connection.connector": ("EConnector",),
    "connection.default": ("connect", "share_credentials", "unshare_credentials"),
    "diagnostics": ("doctor",),
    "io.cache": ("Cache", "CacheInfo", "cache"),
    "sandbox.server": ("Sandbox",),
    "studies.catalog": ("buckets", "database", "databases", "expression_summary", "groups", "studies", "study"),
    "studies.collection": ("Collection", "collection"),
    "studies.lock": ("DataLock", "lock"),
    "studies.replay": ("replay",),
    "studies.search": ("search",),
    "studies.selection": ("FetchPlan",),
    "studies.study": ("Study",),
    "submit.plan": ("FilesPlan", "Plan"),
    "submit.resume": ("BrokenOff", "submissions"),
    "submit.stored": ("submit_from_s3", "submit_from_server"),
    "submit.submission": ("Submission", "submission"),
    "submit.submit": ("submit",),
    "sync.match": ("MatchReport",),
    "sync.push": ("submit_metadata",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
_NAME_THERE = {"submit": "submit_files", "submit_metadata": "submit_metadata_file"}

# These packages have the name of a function. No later import puts them in its place: they are imported here, once.
for _package in ("studies", "submit"):
    import_module(f"{__name__}.{_package}")
    del globals()[_package]


if not TYPE_CHECKING:  # a type checker would else take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        module = import_module(f"{__name__}.{_HOME[name]}")
        value = globals()[name] = getattr(module, _NAME_THERE.get(name, name))
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
