from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.bbrowserx import TALK2DATA_HOST
from biocolab_accessor.connection.connector import EConnector
from biocolab_accessor.connection.credentials import KeyFile, RedactedDict
from biocolab_accessor.errors import InvalidHost, InvalidSettingsFile, InvalidToken, MissingCredentials


@pytest.fixture
def key_file() -> Path:
    return Path(os.environ["HOME"]) / ".bioapi.key"


def write(path: Path, content: object, mode: int = 0o600) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)


ALL = {
    "bio_bbx_private_domain": "https://file.example/t2d",
    "bio_bbx_private_key": "file-private",
    "bio_bbx_t2d_key": "file-public",
    "bio_bioflex_public_key": "file-bioflex",
}


def private(connector: EConnector, **arguments: str) -> tuple[str, str]:
    client = connector.get_bbrowserx(**arguments)
    return client.host, client.http.token.reveal()


class TestOrder:
    def test_hosts_and_tokens_are_read_from_the_key_file(self, key_file: Path) -> None:
        write(key_file, ALL)
        connector = EConnector()
        assert private(connector) == ("https://file.example/t2d/", "file-private")
        talk2data = connector.get_talk2data()
        assert (talk2data.host, talk2data.http.token.reveal()) == (TALK2DATA_HOST, "file-public")
        assert connector.get_bioflex().http.token.reveal() == "file-bioflex"

    def test_a_key_file_of_another_name_may_be_in_the_home_folder(
        self, key_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BIOCOLAB_KEY_FILE", f"~/{key_file.name}")
        assert KeyFile().path == key_file

    def test_the_environment_wins_over_the_file(self, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(key_file, ALL)
        monkeypatch.setenv("BIOCOLAB_PRIVATE_HOST", "https://env.example/")
        monkeypatch.setenv("BIOCOLAB_PRIVATE_TOKEN", "env-private")
        bc.settings.reset()
        assert private(EConnector()) == ("https://env.example/", "env-private")

    def test_the_constructor_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BIOCOLAB_PRIVATE_HOST", "https://env.example/")
        monkeypatch.setenv("BIOCOLAB_PRIVATE_TOKEN", "env-private")
        bc.settings.reset()
        connector = EConnector(private_host="https://own.example", private_token="own")
        assert private(connector) == ("https://own.example/", "own")

    def test_the_call_wins_over_the_constructor(self) -> None:
        connector = EConnector(private_host="https://own.example", private_token="own")
        found = private(connector, private_host="https://call.example", private_token="call")
        assert found == ("https://call.example/", "call")

    def test_arguments_are_not_overridden_by_the_file(self, key_file: Path) -> None:
        write(key_file, ALL)
        with pytest.warns(UserWarning, match="from EConnector's private_token is sent to the host from .*bioapi"):
            assert private(EConnector(private_token="own")) == ("https://file.example/t2d/", "own")
        with pytest.warns(UserWarning, match="token from .*bioapi"):
            assert private(EConnector(private_host="https://own.example")) == ("https://own.example/", "file-private")

    def test_empty_strings_in_the_file_do_not_erase_other_settings(self, key_file: Path) -> None:
        write(key_file, {"bio_bbx_private_domain": "", "bio_bbx_private_key": "file-private"})
        with pytest.warns(UserWarning, match="sent to"):
            assert private(EConnector(private_host="https://own.example"))[0] == "https://own.example/"

    def test_the_file_is_not_read_when_nothing_is_missing(self, key_file: Path) -> None:
        write(key_file, "{broken")
        assert private(EConnector(private_host="https://own.example", private_token="own"))[1] == "own"

    def test_whitespace_around_a_token_is_removed(self, key_file: Path) -> None:
        write(key_file, {**ALL, "bio_bbx_private_key": " file-private\n"})
        assert private(EConnector())[1] == "file-private"


@pytest.mark.parametrize("place", ["file", "settings"])
def test_a_host_with_a_password_is_refused_and_not_shown(
    key_file: Path, place: str, recwarn: pytest.WarningsRecorder
) -> None:
    host = "https://evil.example\\me:hunter2@company.example/"
    if place == "file":
        write(key_file, {**ALL, "bio_bbx_private_domain": host})
    else:
        bc.settings.private_host = host
    with pytest.raises(InvalidHost) as caught:
        EConnector(private_token="own").get_bbrowserx()
    assert "hunter2" not in str(caught.value) + "".join(str(warning.message) for warning in recwarn)


class TestMissing:
    def test_every_place_that_was_searched_is_listed(self, key_file: Path) -> None:
        with pytest.raises(MissingCredentials) as caught:
            EConnector().get_bbrowserx()
        text = str(caught.value)
        for place in (
            "no host and no token for the BBrowserX private server",
            "bc.connect(private_host='https://…', private_token='…')",
            "argument private_host",
            "EConnector's private_host",
            "$BIOCOLAB_PRIVATE_HOST",
            "$BIOCOLAB_PRIVATE_TOKEN",
            str(key_file),
            "bio_bbx_private_domain",
            "bio_bbx_private_key",
            "bc.sandbox()",
        ):
            assert place in text
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, LookupError)

    @pytest.mark.parametrize("getter", ["get_talk2data", "get_bioflex"])
    def test_public_servers_lack_only_their_token(self, getter: str) -> None:
        with pytest.raises(MissingCredentials) as caught:
            getattr(EConnector(), getter)()
        assert "no token for" in str(caught.value)
        assert "no host" not in str(caught.value)


class TestKeyFile:
    def test_a_file_with_a_byte_order_mark_is_read(self, key_file: Path) -> None:
        key_file.write_bytes(b"\xef\xbb\xbf" + json.dumps(ALL).encode())
        key_file.chmod(0o600)
        assert KeyFile().read() == ALL

    @pytest.mark.parametrize(
        ("content", "said"),
        [('{"bio_bbx_private_key": "hidden"', "not valid JSON"), ("[1]", "list"), ("5", "int"), ("null", "NoneType")],
    )
    def test_a_broken_file_is_named_without_its_content(self, key_file: Path, content: str, said: str) -> None:
        write(key_file, content)
        with pytest.raises(InvalidSettingsFile, match=said) as caught:
            EConnector().get_bbrowserx()
        assert "hidden" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_a_folder_in_place_of_the_key_file_is_an_error(self, key_file: Path) -> None:
        key_file.mkdir()
        with pytest.raises(InvalidSettingsFile, match="cannot be read"):
            KeyFile().read()

    @pytest.mark.parametrize("value", [5, None, ["x"]])
    def test_a_token_that_is_not_a_string_is_an_error_or_ignored(self, key_file: Path, value: object) -> None:
        write(key_file, {**ALL, "bio_bbx_private_key": value})
        with pytest.raises(MissingCredentials if value is None else InvalidSettingsFile):
            EConnector().get_bbrowserx()

    def test_a_token_that_an_http_header_cannot_carry_is_an_error(self, key_file: Path) -> None:
        write(key_file, {**ALL, "bio_bbx_private_key": "a\nb"})
        with pytest.raises(InvalidToken, match="bio_bbx_private_key"):
            EConnector().get_bbrowserx()

    @pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
    def test_a_file_that_other_users_can_read_warns(self, key_file: Path, mode: int) -> None:
        write(key_file, ALL, mode)
        with pytest.warns(UserWarning, match="chmod 600"):
            KeyFile().read()

    def test_a_file_of_another_user_is_refused(self, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(key_file, ALL)
        owner = key_file.stat().st_uid
        monkeypatch.setattr(os, "getuid", lambda: owner + 1)
        if owner == 0:
            os.chown(key_file, 12345, -1)
        with pytest.raises(InvalidSettingsFile, match="belongs to another user"):
            KeyFile().read()

    def test_the_environment_can_name_another_key_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "other.json", ALL)
        monkeypatch.setenv("BIOCOLAB_KEY_FILE", str(tmp_path / "other.json"))
        assert KeyFile().read() == ALL


class TestSpellingOf101:
    def test_public_token_is_used_for_bioflex_if_no_other_token_is_found(self) -> None:
        with pytest.warns(DeprecationWarning, match="use bioflex_token instead"):
            assert EConnector(public_token="pub").get_bioflex().http.token.reveal() == "pub"
        with pytest.warns(DeprecationWarning, match="1.0.1"):
            assert EConnector().get_bioflex(public_token="pub").http.token.reveal() == "pub"

    def test_a_bioflex_token_takes_precedence(self, key_file: Path) -> None:
        write(key_file, ALL)
        assert EConnector(public_token="pub").get_bioflex().http.token.reveal() == "file-bioflex"

    def test_the_old_key_is_read(self, key_file: Path) -> None:
        write(key_file, {"bio_bbx_public_key": "old"})
        with pytest.warns(DeprecationWarning, match="bio_bioflex_public_key"):
            assert EConnector().get_bioflex().http.token.reveal() == "old"

    def test_host_and_token_are_the_private_servers(self) -> None:
        with pytest.warns(DeprecationWarning, match="private_host and private_token"):
            connector = EConnector(host="https://old.example/t2d/", token="old")
        assert private(connector) == ("https://old.example/t2d/", "old")


def test_settings_of_the_file_do_not_show_or_pickle() -> None:
    settings = RedactedDict({"bio_bbx_private_key": "hidden"})
    assert "hidden" not in f"{settings} {settings!r}"
    assert settings["bio_bbx_private_key"] == "hidden"
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(settings)
