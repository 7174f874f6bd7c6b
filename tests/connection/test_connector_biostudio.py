from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from biocolab_accessor.connection.connector import EConnector
from biocolab_accessor.errors import (
    InvalidHost,
    InvalidResponse,
    InvalidSettingsFile,
    MissingCredentials,
    RedirectRefused,
)
from tests.clients.conftest import Scripted, a_scripted_server, answer, scripted  # noqa: F401

SETTINGS = {"bio_bbx_private_domain": "https://h.example/t2d/", "bio_bbx_private_key": "from-studio"}
GOOD = answer(content={"status": 0, "message": SETTINGS})


@pytest.fixture
def login_file() -> Path:
    path = Path(os.environ["HOME"]) / ".local" / "share" / ".mybtk.json"
    path.parent.mkdir(parents=True)
    return path


def connector(server: Scripted, **arguments: object) -> EConnector:
    return EConnector(studio_host=server.host.rstrip("/"), use_token_from_api=True, **arguments)


def test_settings_come_from_the_server(scripted: Scripted) -> None:  # noqa: F811
    scripted.answers(GOOD)
    client = connector(scripted, studio_token="t", studio_email="me@x").get_bbrowserx()
    assert client.http.token.reveal() == "from-studio"
    request = scripted.requests[0]
    assert request["path"] == "/pyapi/private/get_setting"
    assert (request["headers"]["X-User-Token"], request["headers"]["X-Email-Id"]) == ("t", "me@x")


def test_a_host_from_the_settings_is_checked_as_strictly_as_an_argument(scripted: Scripted) -> None:  # noqa: F811
    settings = {**SETTINGS, "bio_bbx_private_domain": "https://evil.example\\@company.example/"}
    scripted.answers(answer(content={"status": 0, "message": settings}))
    with pytest.raises(InvalidHost, match="user name or password"):
        connector(scripted, studio_token="t", studio_email="me@x").get_bbrowserx()


def test_settings_are_never_taken_from_the_server_that_a_redirect_disguises(scripted: Scripted) -> None:  # noqa: F811
    with a_scripted_server() as evil:
        evil.answers(GOOD)
        location = f"http://127.0.0.1:{evil.server_port}\\@127.0.0.1:{scripted.server_port}/"
        scripted.answers(answer(307, {}, headers={"Location": location}))
        with pytest.raises(RedirectRefused):
            connector(scripted, studio_token="t", studio_email="me@x").get_bbrowserx()
        assert evil.requests == []


@pytest.mark.parametrize(
    ("content", "index"),
    [
        ({"email": "me@x", "token": "t"}, 0),
        ([{"email": "me@x", "token": "t"}], 0),
        ([{}, {"email": "me@x", "token": "t"}], 1),
    ],
)
def test_both_forms_of_the_login_file_are_read(
    scripted: Scripted,  # noqa: F811
    login_file: Path,
    content: object,
    index: int,
) -> None:
    login_file.write_text(json.dumps(content))
    scripted.answers(GOOD)
    assert connector(scripted, studio_token_idx=index).get_settings() == SETTINGS
    assert scripted.requests[0]["headers"]["X-User-Token"] == "t"


def test_arguments_are_not_overridden_by_the_file(scripted: Scripted, login_file: Path) -> None:  # noqa: F811
    login_file.write_text(json.dumps({"email": "file@x", "token": "file"}))
    scripted.answers(GOOD)
    connector(scripted, studio_email="me@x").get_settings()
    assert scripted.requests[0]["headers"]["X-Email-Id"] == "me@x"
    assert scripted.requests[0]["headers"]["X-User-Token"] == "file"


def test_nothing_is_sent_without_a_token(scripted: Scripted) -> None:  # noqa: F811
    with pytest.raises(MissingCredentials, match="mybtk"):
        connector(scripted, studio_email="me@x").get_settings()
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("content", "index"), [("{broken", 0), ("[]", 0), ('[{"token": "t"}]', 5), ('[{"token": "t"}]', -1)]
)
def test_a_broken_login_file_is_named(scripted: Scripted, login_file: Path, content: str, index: int) -> None:  # noqa: F811
    login_file.write_text(content)
    with pytest.raises(InvalidSettingsFile, match="mybtk"):
        connector(scripted, studio_token_idx=index).get_settings()


@pytest.mark.parametrize(
    "content", [{"status": 1, "message": "no"}, {"status": 0, "message": None}, {"status": 0, "message": "{}"}, [], {}]
)
def test_an_answer_without_settings_is_an_error(scripted: Scripted, content: object) -> None:  # noqa: F811
    scripted.answers(answer(content=content))
    with pytest.raises(InvalidResponse, match="returned no settings"):
        connector(scripted, studio_token="t", studio_email="me@x").get_settings()
