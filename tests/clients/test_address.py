from __future__ import annotations

import pytest

from biocolab_accessor.clients.address import is_loopback, normalise_host, origin, route_url, same_origin_url
from biocolab_accessor.errors import InsecureHost, InvalidHost, InvalidResponse


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
def test_the_last_slash_is_put_there_so_that_no_path_is_lost(host: str, expected: str) -> None:
    assert normalise_host(host) == expected


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
        ("https://h:port/", "not an address"),
        (5, "not text"),
    ],
)
def test_what_is_no_address_is_refused_with_the_mending(host: object, said: str) -> None:
    with pytest.raises(InvalidHost, match=said.replace("?", r"\?")) as caught:
        normalise_host(host, "argument private_host")
    assert "pw" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("host", ["http://company.example/", "http://10.0.0.1/", "http://127.0.0.1.evil.example/"])
def test_plain_http_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(InsecureHost, match="use https"):
        normalise_host(host)


def test_loopback_is_known_by_name_and_number() -> None:
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
