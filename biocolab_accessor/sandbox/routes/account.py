"""Routes about the account: connection, groups, buckets, studies of a group, and settings of BioStudio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from biocolab_accessor.messages import did_you_mean, quoted
from biocolab_accessor.sandbox.requests import HTTPError, text
from biocolab_accessor.sandbox.state import State
from biocolab_accessor.sandbox.store.catalog import PUBLIC

Body = Mapping[str, Any]


def ok(data: Any) -> dict[str, Any]:
    """The envelope of a successful answer."""
    return {"status": 200, "message": "ok", "data": data}


def expect_group(state: State, user: str, body: Body, *, public: bool = False) -> str:
    """The id of the requested group, which the user must see."""
    group = text(body, "group_id", longest=500)
    known = [known.id for known in state.accounts.groups(user)] + ([PUBLIC] if public else [])
    if group not in known:
        detail = f"the sandbox has no group {quoted(group)}{did_you_mean(group, known)}"
        raise HTTPError(404, detail)
    return group


def test_connection(state: State, user: str, body: Body) -> Any:
    """Succeeds if the token is accepted, which was checked before."""
    return ok({})


def get_user_groups(state: State, user: str, body: Body) -> Any:
    """Groups of the token's user."""
    return ok([asdict(group) for group in state.accounts.groups(user)])


def get_user_s3(state: State, user: str, body: Body) -> Any:
    """Buckets that were registered with the sandbox."""
    return _listed(state, [group.id for group in state.accounts.groups(user)])


def get_shared_s3_of_group(state: State, user: str, body: Body) -> Any:
    """Buckets that a group sees."""
    return _listed(state, [expect_group(state, user, body)])


def _listed(state: State, groups: list[str]) -> Any:
    return ok([{"id": b.id, "bucket": b.name, "prefix": b.prefix} for b in state.buckets.visible(groups)])


def get_all_studies_info_in_group(state: State, user: str, body: Body) -> Any:
    """Studies of a group, newest first."""
    group, species = expect_group(state, user, body, public=True), text(body, "species", longest=50)
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
            for record in state.catalog.studies(user, species=species)
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


def studio_routes(state: State) -> list[Route]:
    """The settings route, at both addresses that clients form from a host with and without a trailing slash."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_settings, state, request))

    paths = ("/pyapi/private/get_setting", "//pyapi/private/get_setting")
    return [Route(path, endpoint, methods=["GET"]) for path in paths]


def _settings(state: State, request: Request) -> dict[str, Any]:
    token, email = request.headers.get("x-user-token", ""), request.headers.get("x-email-id", "")
    if state.accounts.user_of(token) != email:
        # Clients check this number only, not the HTTP status.
        return {"status": 1, "message": "the email and the token do not match"}
    settings = {
        "bio_bbx_private_domain": f"{state.url}/t2d_index_tool/",
        "bio_bbx_private_key": token,
        "bio_bbx_t2d_key": token,
        "bio_bioflex_public_key": token,
    }
    return {"status": 0, "message": settings}
