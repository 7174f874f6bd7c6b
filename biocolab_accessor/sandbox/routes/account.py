"""Routes about the account: connection, groups, buckets, and what a group has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from biocolab_accessor.naming import did_you_mean, quoted
from biocolab_accessor.sandbox.refusal import Refusal, text
from biocolab_accessor.sandbox.site import Site
from biocolab_accessor.sandbox.store.catalogue import PUBLIC

__all__ = ["ROUTES", "expect_group", "ok"]

Body = Mapping[str, Any]


def ok(data: Any) -> dict[str, Any]:
    """The envelope of a good answer."""
    return {"status": 200, "message": "ok", "data": data}


def expect_group(site: Site, user: str, body: Body, *, public: bool = False) -> str:
    """The group that is meant.

    Raises
    ------
    Refusal
        The user sees no such group.
    """
    group = text(body, "group_id", longest=500)
    known = [known.id for known in site.accounts.groups(user)] + ([PUBLIC] if public else [])
    if group not in known:
        detail = f"there is no group {quoted(group)}{did_you_mean(group, known)}"
        raise Refusal(404, detail)
    return group


def test_connection(site: Site, user: str, body: Body) -> Any:
    """Whether the token is accepted."""
    return ok({})


def get_user_groups(site: Site, user: str, body: Body) -> Any:
    """Groups of the token."""
    return ok([asdict(group) for group in site.accounts.groups(user)])


def get_user_s3(site: Site, user: str, body: Body) -> Any:
    """Buckets that were registered with the sandbox."""
    return _listed(site, [group.id for group in site.accounts.groups(user)])


def get_shared_s3_of_group(site: Site, user: str, body: Body) -> Any:
    """Buckets that a group sees."""
    return _listed(site, [expect_group(site, user, body)])


def _listed(site: Site, groups: list[str]) -> Any:
    return ok([{"id": b.id, "bucket": b.name, "prefix": b.prefix} for b in site.buckets.visible(groups)])


def get_all_studies_info_in_group(site: Site, user: str, body: Body) -> Any:
    """Studies of a group, newest first."""
    group, species = expect_group(site, user, body, public=True), text(body, "species", longest=50)
    return ok(
        [
            {
                "uuid": record.uuid,
                "study_hash_id": record.hash_id,
                "study_title": record.title,
                "created_by": record.owner,
                "created_at": record.created_at,
                "abstract": record.abstract,
                "authors": list(record.authors),
                "reference": record.reference,
            }
            for record in site.catalogue.studies(user, species=species)
            if record.group_id == group
        ]
    )


ROUTES = {
    function.__name__: function
    for function in (
        test_connection,
        get_user_groups,
        get_user_s3,
        get_shared_s3_of_group,
        get_all_studies_info_in_group,
    )
}
