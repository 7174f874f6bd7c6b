"""Every route checks Host and Origin: a page of another site gets no answer, whatever token it has."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests
from starlette.routing import Route

import biocolab_accessor as bc
from biocolab_accessor.sandbox.faults.faults import Faults
from biocolab_accessor.sandbox.faults.limits import OriginMiddleware
from biocolab_accessor.sandbox.faults.middleware import control_routes
from biocolab_accessor.sandbox.requests import Ledger
from biocolab_accessor.sandbox.routes import make_app
from biocolab_accessor.sandbox.server import Sandbox
from tests.patience import PATIENCE

_FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "evil.example:80"},
    {"Host": "127.0.0.1.evil"},
    {"Host": "localhost.evil.example"},
    {"Host": "127.0.0.1@evil.example"},
    {"Host": "0.0.0.0"},
    {"Host": "10.1.2.3"},
    {"Host": "2130706433"},
    {"Host": "["},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost"},
    {"Origin": "null"},
    {"Origin": "http://["},
]


@pytest.fixture(scope="module")
def own() -> Iterator[Sandbox]:
    """A sandbox with its control routes."""
    with bc.sandbox(control=True) as running:
        yield running


@pytest.fixture
def session(own: Sandbox) -> Iterator[requests.Session]:
    """A session with the right token and the cookies of a signed-in browser."""
    with requests.Session() as session:
        session.headers.update({"bioturing-api-token": own.token, "btr-api-token": own.token})
        session.headers.update({"x-user-token": own.token, "x-email-id": own.email})
        session.post(f"{own.url}/signin", data={"token": own.token}, timeout=PATIENCE).raise_for_status()
        yield session


def _routes(own: Sandbox) -> list[tuple[str, str]]:
    """Method and path of every route, with values for its path parameters."""
    routes = [*make_app(own._state).routes]
    routes += control_routes(Faults(lambda: ()), Ledger(), lambda: None, lambda task_id: True, lambda token: True)
    paths = [(route.methods, re.sub(r"\{.*?\}", "1", route.path)) for route in routes if isinstance(route, Route)]
    return sorted({(method, path) for methods, path in paths for method in [*(methods or ()), "OPTIONS"]})


@pytest.mark.parametrize("foreign", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}], ids=str)
def test_every_route_refuses_a_foreign_host_and_a_foreign_origin(
    own: Sandbox, session: requests.Session, foreign: dict[str, str]
) -> None:
    routes = _routes(own)
    assert {path for _, path in routes} >= {
        "/",
        "/_sandbox/reset",
        "/api/export/1",
        "/v1/database/list",
        "/t2d_index_tool/api/v1/upload_chunk",
        "/lens_sc/api/v1/upload_chunk",
        "//pyapi/private/get_setting",
        "/page/data/study/1/export",
    }
    for method, path in routes:
        answer = session.request(method, own.url + path, headers=foreign, json={}, timeout=PATIENCE)
        assert answer.status_code == 403, (method, path)
        if method != "HEAD":
            assert "evil.example" in answer.json()["detail"], (method, path)
    assert requests.get(f"{own.url}/no/such/route", headers=foreign, timeout=PATIENCE).status_code == 403


@pytest.mark.parametrize("foreign", _FOREIGN, ids=str)
def test_a_host_that_only_looks_like_the_sandbox_is_refused(own: Sandbox, foreign: dict[str, str]) -> None:
    headers = {**foreign, "bioturing-api-token": own.token}
    assert requests.get(f"{own.url}/_sandbox/requests", headers=headers, timeout=PATIENCE).status_code == 403


def test_a_page_that_rebinds_its_name_reads_no_ledger_and_resets_nothing(own: Sandbox) -> None:
    bc.groups()
    before = len(own.requests)
    headers = {"Host": f"evil.example:{own.url.rpartition(':')[2]}", "bioturing-api-token": own.token}
    headers["Origin"] = f"http://{headers['Host']}"
    seen = requests.get(f"{own.url}/_sandbox/requests", headers=headers, timeout=PATIENCE)
    reset = requests.post(f"{own.url}/_sandbox/reset", headers=headers, timeout=PATIENCE)
    assert (seen.status_code, reset.status_code) == (403, 403)
    assert "is not a name of this sandbox" in seen.json()["detail"]
    assert len(own.requests) == before > 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "[::1]:{port}", "127.0.0.1:9"])
def test_names_of_this_machine_are_accepted_through_a_tunnel_too(
    own: Sandbox, session: requests.Session, host: str
) -> None:
    host = host.format(port=own.url.rpartition(":")[2])
    headers = {"Host": host, "Origin": f"http://{host.lower()}"}
    url = f"{own.private_host}api/v1/get_user_groups"
    assert session.post(url, headers=headers, json={}, timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    ("listens", "host", "accepted"),
    [
        ("lab.example", "lab.example:8765", True),
        ("LAB.example", "Lab.Example", True),
        ("lab.example", "evil.lab.example", False),
        ("lab.example", "10.1.2.3:8765", True),
        ("0.0.0.0", "10.1.2.3:8765", True),
        ("0.0.0.0", "[fe80::1]:8765", True),
        ("0.0.0.0", "0.0.0.0:8765", False),
        ("0.0.0.0", "lab.example", False),
        ("::1", "[::1]:8765", True),
        ("127.0.0.1", "10.1.2.3:8765", False),
        ("127.0.0.1", "", False),
    ],
)
def test_the_sandbox_accepts_the_name_that_it_listens_on(listens: str, host: str, accepted: bool) -> None:
    async def app(*_: object) -> None:
        raise AssertionError

    scope = {"type": "http", "headers": [(b"host", host.encode())]}
    assert (OriginMiddleware(app, listens)._error(scope) is None) == accepted


def test_a_request_with_two_hosts_or_none_is_refused(own: Sandbox) -> None:
    async def app(*_: object) -> None:
        raise AssertionError

    guard = OriginMiddleware(app, "127.0.0.1")
    for hosts in ([], [(b"host", b"localhost"), (b"Host", b"localhost")]):
        refusal = guard._error({"type": "http", "headers": hosts})
        assert refusal is not None
        assert refusal.status == 403
