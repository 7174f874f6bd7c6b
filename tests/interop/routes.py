"""Routes: every route of the protocols, and the versions of the official clients that call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ROUTES", "ProtocolRoute", "route_of"]

_API = "/t2d_index_tool/api/v1/"
_LENS = ("/lens_sc/api/v1/", "/lens_bulk/api/v1/")


@dataclass(frozen=True)
class ProtocolRoute:
    """One row of the table.

    Attributes
    ----------
    name
        As drivers name it: without the prefix of BBrowserX's protocol.
    package
        The official package that calls it.
    since, until
        First and last version that do; None is the newest.
    broken
        Versions that cannot, by a mistake of their own.
    of_lens
        Only a Lens connector calls it.
    """

    name: str
    package: str
    since: str
    until: str | None = None
    broken: tuple[str, ...] = ()
    of_lens: bool = False

    def state(self, packages: Mapping[str, str]) -> str:
        """``"has"``, ``"lacks"`` or ``"broken"``, for a client with these versions of packages."""
        version = packages.get(self.package)
        if version is None or _key(version) < _key(self.since):
            return "lacks"
        if self.until is not None and _key(version) > _key(self.until):
            return "lacks"
        return "broken" if version in self.broken else "has"


def _bioflex(name: str, since: str = "1.0.0") -> ProtocolRoute:
    return ProtocolRoute(name, "bioflex", since)


def _connector(
    *names: str, since: str, until: str | None = None, broken: tuple[str, ...] = (), of_lens: bool = False
) -> list[ProtocolRoute]:
    return [ProtocolRoute(name, "bioturing-connector", since, until, broken, of_lens) for name in names]


_FIRST, _BROKEN = "1.1.0", ("1.6.0",)

ROUTES = (
    _bioflex("/v1/database/list"),
    _bioflex("/v1/expression/celltypes"),
    _bioflex("/v1/study/get"),
    _bioflex("/v1/study/fetch_metadata"),
    _bioflex("/v1/study/query_genes"),
    _bioflex("/v1/study/get_matrix"),
    _bioflex("/v1/study/get_features"),
    _bioflex("/v1/study/get_barcodes"),
    _bioflex("/v1/study/export_study", since="1.1.1"),
    _bioflex("/api/export/{name}", since="1.1.1"),
    *_connector("test_connection", "get_user_groups", "get_all_studies_info_in_group", since=_FIRST),
    *_connector("get_user_s3", "get_shared_s3_of_group", since="1.6.1"),
    *_connector("study/query_genes", "study/get_metadata", "study/get_barcodes", "study/get_features", since=_FIRST),
    *_connector("study/get_metadata_fields", since="1.6.4"),
    *_connector("list_all_custom_embeddings", "retrieve_custom_embedding", since=_FIRST),
    *_connector("study/get_cell_centers", since="1.12.0", of_lens=True),
    *_connector("submit_metadata_dataframe", "submit_metadata_s3", since="1.3.0"),
    *_connector("submit_metadata_from_shared_s3", since="1.6.1"),
    *_connector("get_ontologies", "study/assign_standardized_term", since="1.5.0", until="1.12.0"),
    *_connector("export_std_metadata", since="1.11.0"),
    # Its code stays in the package up to 1.6.0, but nothing calls it from 1.5.2 on.
    *_connector("upload", since=_FIRST, until="1.5.1"),
    *_connector("add_file_upload", since="1.5.2", broken=_BROKEN),
    *_connector("upload_chunk", since="1.5.2", broken=("1.6.0", "1.6.5")),
    *_connector("submit_study_from_local", since=_FIRST, broken=("1.6.0", "1.6.5")),
    *_connector("submit_study_from_s3", since=_FIRST, broken=_BROKEN),
    *_connector("submit_study_from_shared_s3", since="1.6.1"),
    *_connector("submit_processed_study_from_local", since="1.8.0"),
    *_connector("submit_study_from_server", since="1.14.0"),
    *_connector("get_submission_log", "commit_submission_result", since=_FIRST, broken=_BROKEN),
    *_connector("export_study", "get_export_result", "/t2d_index_tool/api/export/{name}", since="1.9.0"),
    ProtocolRoute("/pyapi/private/get_setting", "biocolabsdk", "1.0.7"),
)
"""In the order of the table's rows."""


def route_of(path: str) -> str:
    """The name of the route that a path belongs to; the path itself where there is none."""
    for prefix in (_API, *_LENS):
        if path.startswith(prefix):
            return path.removeprefix(prefix)
    head, _, _ = path.rpartition("/")
    if head.startswith(("/lens_sc/", "/lens_bulk/")):
        head = "/t2d_index_tool/api/export"  # the same route, below another server's path
    return f"{head}/{{name}}" if head.endswith("/api/export") else path


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
