"""Routes of a sandbox: one module per topic, and here the table from each route to the function that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from biocolab_accessor.sandbox.requests import LONGEST_METADATA, HTTPError
from biocolab_accessor.sandbox.routes import account, bioflex, lens, study, submit
from biocolab_accessor.sandbox.state import State

__all__ = ["API_ROUTES", "BIOFLEX_ROUTES", "EXPORT_ROUTES", "LONG_BODIES", "UPLOADS", "Handler", "UploadHandler"]

Handler = Callable[[State, str, dict[str, Any]], Any]
UploadHandler = Callable[[State, str, dict[str, Any], Path], Any]


def _not_for_lens(*_: Any) -> Any:
    raise HTTPError(422, "Lens does not accept this kind of submission: submit it to BBrowserX or Talk2Data")


BIOFLEX_ROUTES: Mapping[str, Handler] = bioflex.ROUTES
"""Routes of BioFlex, by path."""

_SHARED: dict[str, Handler] = {**account.ROUTES, **study.ROUTES, **submit.ROUTES, **study.TERM_ROUTES}
_LENS = {**_SHARED, "submit_processed_study_from_local": _not_for_lens, "submit_study_from_server": _not_for_lens}

API_ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/t2d_index_tool/api/v1/": _SHARED,
    "/lens_sc/api/v1/": {**_LENS, **lens.SC_ROUTES},
    "/lens_bulk/api/v1/": {**_LENS, **lens.BULK_ROUTES},
}
"""Routes of BBrowserX and Talk2Data, and of the Lens clients, which submit spatial studies: by prefix and name."""

UPLOADS: Mapping[str, UploadHandler] = submit.UPLOADS
"""Routes under each prefix that take a file, by name."""

LONG_BODIES = {"submit_metadata_dataframe": LONGEST_METADATA}
"""Most bytes of a body, by name of the route, where it is more than usual."""

EXPORT_ROUTES = ("/api", "/t2d_index_tool/api", "/lens_sc/api", "/lens_bulk/api")
"""Prefixes of the links to exported files."""
