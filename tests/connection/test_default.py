from __future__ import annotations

import pytest

import biocolab_accessor as bc
from biocolab_accessor.connection import default
from biocolab_accessor.errors import InsecureHost

pytestmark = pytest.mark.usefixtures("no_connection")


def test_the_newest_connection_is_the_default() -> None:
    first = bc.connect(bioflex_token="a")
    assert default.current() is first
    second = bc.connect(bioflex_token="b")
    assert default.current() is second
    default.drop_default(second)
    assert default.current() is not first


def test_a_sandbox_is_the_default_while_it_runs() -> None:
    outer = bc.connect(bioflex_token="a")
    with bc.sandbox() as server:
        assert default.current().get_bbrowserx().host == server.private_host
        assert list(bc.groups()["id"]) == ["all_members", "personal"]
    assert default.current() is outer


def test_a_sandbox_outside_of_a_with_block_is_the_default_until_it_is_closed() -> None:
    server = bc.sandbox()
    try:
        assert len(bc.databases()) == 5
        connected = bc.connect(private_host="https://h.example", private_token="t")
        assert default.current() is connected
    finally:
        server.close()
    assert default.current() is connected


def test_bad_hosts_are_refused_before_anything_is_connected() -> None:
    with pytest.raises(InsecureHost):
        bc.connect(private_host="http://company.example/", private_token="t")
    assert default._stack == []


def test_without_a_connection_the_settings_name_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOCOLAB_PRIVATE_HOST", "https://env.example/t2d")
    monkeypatch.setenv("BIOCOLAB_PRIVATE_TOKEN", "t")
    bc.settings.reset()
    assert default.current().get_bbrowserx().host == "https://env.example/t2d/"


def test_the_call_that_connects_again_names_the_host_and_no_token() -> None:
    call = default.how_to_reconnect("bbrowserx", "https://company/t2d_index_tool/")
    assert call == "bc.connect(private_host='https://company/t2d_index_tool/', private_token=…)"
