from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import urllib3

from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.errors import InsecureHost, InvalidHost, InvalidResponse, RedirectRefused
from biocolab_accessor.security.redaction import Secret
from biocolab_accessor.security.urls import (
    file_url,
    is_loopback,
    normalize_host,
    origin,
    route_url,
    same_origin_url,
    without_user,
)
from tests.clients.conftest import Scripted, a_scripted_server, answer

from .url_table import ADDRESSES


@pytest.fixture(scope="module")
def other_server() -> Iterator[Scripted]:
    """A server that must never get a request."""
    with a_scripted_server() as running:
        yield running


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("https://h/t2d_index_tool", "https://h/t2d_index_tool/"),
        ("https://h/t2d_index_tool/", "https://h/t2d_index_tool/"),
        ("  https://h/a/b \n", "https://h/a/b/"),
        ("https://h:8443", "https://h:8443/"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/"),
        ("http://localhost/x", "http://localhost/x/"),
        ("http://[::1]:80", "http://[::1]:80/"),
    ],
)
def test_the_trailing_slash_is_added_so_that_no_path_is_lost(host: str, expected: str) -> None:
    assert normalize_host(host) == expected


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("h/t2d_index_tool/", "write 'https://h/t2d_index_tool/'"),
        ("//h/x", "no scheme"),
        ("ftp://h/", "not an http"),
        ("https://", "not an http"),
        ("https://h/?x=1", "query or fragment"),
        ("https://h/#f", "query or fragment"),
        ("https://me:pw@h/", "user name or password"),
        ("https://h:port/", "port is not a number"),
        (5, "not a string"),
    ],
)
def test_an_invalid_address_is_refused_with_a_remedy(host: object, said: str) -> None:
    with pytest.raises(InvalidHost, match=said.replace("?", r"\?")) as caught:
        normalize_host(host, "argument private_host")
    assert "pw" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("host", ["http://company.example/", "http://10.0.0.1/", "http://127.0.0.1.evil.example/"])
def test_plain_http_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(InsecureHost, match="use https"):
        normalize_host(host)


def test_loopback_is_recognized_by_name_and_number() -> None:
    assert [is_loopback(h) for h in ("localhost", "127.0.0.5", "::1", "[::1]", "0.0.0.0", "example.org")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://H.example/x") == ("https", "h.example", 443)
    assert origin("http://h:80/") == origin("http://h/")


@pytest.mark.parametrize("path", ["http://evil.example/x", "//evil.example/x", "https://h.example:444/x"])
def test_a_path_cannot_lead_to_another_server(path: str) -> None:
    with pytest.raises(InvalidResponse, match="another server"):
        same_origin_url("https://h.example/t2d/", path)


def test_a_path_of_the_server_is_joined() -> None:
    assert same_origin_url("https://h.example/t2d/", "api/export/x") == "https://h.example/t2d/api/export/x"


@pytest.mark.parametrize("route", ["v1/list", "/v1/list", "https://h/gateway/v1/list"])
def test_a_route_is_below_the_path_of_its_host(route: str) -> None:
    assert route_url("https://h/gateway/", route) == "https://h/gateway/v1/list"
    assert route_url("https://h/", route.replace("/gateway", "")) == "https://h/v1/list"


def _of(address: str, good: int = 8001, evil: int = 8002) -> str:
    ports = {"GOODPORT": str(good), "EVILPORT": str(evil), "GOOD": f"127.0.0.1:{good}", "EVIL": f"127.0.0.1:{evil}"}
    for name, text in ports.items():
        address = address.replace(name, text)
    return address


@pytest.mark.parametrize(("address", "own"), ADDRESSES)
def test_an_address_is_refused_unless_its_host_is_the_one_that_urllib3_connects_to(address: str, own: bool) -> None:
    address = _of(address)
    try:
        read = origin(address)
    except InvalidHost:
        assert not own
        return
    prepared = requests.Request("GET", address).prepare()
    for connected in (urllib3.util.parse_url(address), urllib3.util.parse_url(str(prepared.url))):
        assert read == (connected.scheme, str(connected.host).strip("[]"), connected.port or 443)
        assert connected.auth is None
    assert (read == origin(_of("http://GOOD/"))) is own


@pytest.mark.parametrize(("address", "own"), ADDRESSES)
def test_a_host_that_can_be_read_in_two_ways_is_an_invalid_host(address: str, own: bool) -> None:
    try:
        assert normalize_host(_of(address)).startswith(_of(address))
    except InvalidHost:
        assert not own


@pytest.mark.parametrize(("address", "own"), ADDRESSES)
def test_a_redirect_never_carries_a_body_to_another_server(
    scripted: Scripted, other_server: Scripted, address: str, own: bool
) -> None:
    other_server.answers(answer(content={"status": 200, "written": True}))
    location = _of(address, scripted.server_port, other_server.server_port).encode().decode("latin-1")
    scripted.answers(answer(307, {}, headers={"Location": location}), answer(content={"status": 200}))
    client = HttpClient(scripted.host, Secret("s3cr3t-token-value"), header="btr-api-token")
    try:
        if own:
            assert client.post("labels", {"patient": "A"}) == {"status": 200}
            assert len(scripted.requests) == 2
        else:
            with pytest.raises(RedirectRefused):
                client.post("labels", {"patient": "A"})
    finally:
        client.close()
    assert other_server.requests == []


@pytest.mark.parametrize(("address", "own"), ADDRESSES)
def test_the_link_of_an_export_leads_to_the_same_server_or_is_refused(address: str, own: bool) -> None:
    for read in (same_origin_url, file_url):
        try:
            url = read(_of("http://GOOD/t2d/"), _of(address))
        except InvalidResponse:
            assert not own
        else:
            assert own or address.startswith("https://")
            assert urllib3.util.parse_url(url).host == "127.0.0.1"


def test_an_exported_file_may_have_any_name() -> None:
    url = file_url("https://h.example/t2d/", "static/Größe of cells.h5ad")
    assert url == "https://h.example/t2d/static/Gr%C3%B6%C3%9Fe%20of%20cells.h5ad"


@pytest.mark.parametrize(
    "address",
    [
        "https://me:hunter2!!@h.example/",
        "https://me:hunter2!!%40h.example/",
        "https://me:hunter2!!\uff20h.example/",
        "https:/me:hunter2!!@h.example/",
        "https:\\\\me:hunter2!!@h.example/",
        "me:hunter2!!@h.example",
        "https://me:hunter2!!",
        "https://me:hunter2!! /@h.example/",
        "https://h.example/?password=hunter2!!",
        "https://h.example/#hunter2!!",
        "hunter2!!hunter2!!",
    ],
)
def test_no_error_quotes_the_password_in_an_address(address: str) -> None:
    with pytest.raises(InvalidHost) as caught:
        normalize_host(address)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "left"),
    [
        ("https://me:p/w@h.example/", "https://****@h.example/"),
        ("http://me:p w@127.0.0.1:3128", "http://****@127.0.0.1:3128"),
        ("me:pw@h.example", "****@h.example"),
        ("https://h.example/", "https://h.example/"),
    ],
)
def test_an_address_is_shown_without_its_user(address: str, left: str) -> None:
    assert without_user(address) == left
