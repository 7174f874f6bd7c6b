"""adata.biocolab and df.biocolab: from a notebook to the BioTuring servers and back.

Importing registers the two accessors and does nothing else; everything below is loaded when it is first used.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from biocolab_accessor import errors
from biocolab_accessor.accessors import accessor
from biocolab_accessor.check import check
from biocolab_accessor.sandbox import sandbox

if TYPE_CHECKING:
    from biocolab_accessor.config import settings
    from biocolab_accessor.connection.connector import EConnector
    from biocolab_accessor.connection.default import connect, share_credentials, unshare_credentials
    from biocolab_accessor.io.cache import cache
    from biocolab_accessor.studies.catalog import database, databases, expression_summary, groups, studies, study
    from biocolab_accessor.studies.collection import collection
    from biocolab_accessor.submit.resume import submissions
    from biocolab_accessor.submit.submission import submission
    from biocolab_accessor.submit.submit import submit_files as submit
    from biocolab_accessor.submit.submit import submit_from_s3

__all__ = [
    "EConnector",
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

__version__ = version("biocolab_accessor")

logging.getLogger("biocolab_accessor").addHandler(logging.NullHandler())

_HOME = {
    "EConnector": ("connection.connector", "EConnector"),
    "cache": ("io.cache", "cache"),
    "collection": ("studies.collection", "collection"),
    "connect": ("connection.default", "connect"),
    "share_credentials": ("connection.default", "share_credentials"),
    "settings": ("config", "settings"),
    "unshare_credentials": ("connection.default", "unshare_credentials"),
    "submission": ("submit.submission", "submission"),
    "submissions": ("submit.resume", "submissions"),
    "submit": ("submit.submit", "submit_files"),
    "submit_from_s3": ("submit.submit", "submit_from_s3"),
    **{name: ("studies.catalog", name) for name in ("database", "databases", "expression_summary")},
    **{name: ("studies.catalog", name) for name in ("groups", "studies", "study")},
}

# These packages have the name of a function. No later import puts them in its place: they are imported here, once.
for _package in ("studies", "submit"):
    import_module(f"{__name__}.{_package}")
    del globals()[_package]


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
