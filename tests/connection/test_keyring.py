from __future__ import annotations

import json
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import keyring.backends.fail
import keyring.backends.null
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.bbrowserx import TALK2DATA_HOST
from biocolab_accessor.connection.credentials import Keyring
from biocolab_accessor.errors import ConfigurationError, InvalidHost, InvalidToken, MissingCredentials
from biocolab_accessor.security.redaction import Secret
from tests.keyrings import Broken, InMemory, Locked
from tests.verbose import verbose

pytestmark = pytest.mark.usefixtures("no_connection")

HOST = "https://company.example/t2d_index_tool/"
OTHER = "https://lab.example/t2d_index_tool/"


def token(more: str = "") -> str:
    """A token that is not written anywhere, so that no source line shows it."""
    return f"tOk3n+{7021042}" + more


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., InMemory]]:
    """Makes a keyring that of the system."""
    before = keyring.get_keyring()

    def make(kind: type = InMemory, **entries: str) -> InMemory:
        ring = kind()
        if entries:
            ring.entries = entries
        keyring.set_keyring(ring)
        return ring

    yield make
    keyring.set_keyring(before)


@pytest.fixture
def ring(use: Callable[..., InMemory]) -> InMemory:
    """A keyring in which `biocolab login` stored a token for a private server."""
    return use(**{"private_host": HOST, HOST: token()})


def private() -> tuple[str, str]:
    client = bc.EConnector().get_bbrowserx()
    return client.host, client.http.token.reveal()


class TestOrder:
    def test_host_and_token_come_from_the_keyring_if_nothing_else_has_them(self, ring: InMemory) -> None:
        found = bc.connect().credentials("bbrowserx")
        assert (found.host, found.place) == (HOST, "the keyring (biocolab login)")
        assert (found.token.reveal(), found.token.origin) == (token(), "the keyring (biocolab login)")

    def test_the_environment_and_the_key_file_come_first_and_the_keyring_is_not_asked(self, ring: InMemory) -> None:
        content = {"bio_bbx_private_domain": OTHER, "bio_bbx_private_key": "of the file"}
        key_file = Path(os.environ["HOME"]) / ".bioapi.key"
        key_file.write_text(json.dumps(content))
        key_file.chmod(0o600)
        assert private() == (OTHER, "of the file")
        with bc.settings.override(private_host="https://env.example/", private_token="of the environment"):
            assert private() == ("https://env.example/", "of the environment")
        assert ring.asked == []

    def test_a_host_from_elsewhere_gets_its_own_token_without_a_warning(self, ring: InMemory) -> None:
        ring.entries[OTHER] = "of the other"
        with warnings.catch_warnings(), bc.settings.override(private_host=OTHER.removesuffix("/")):
            warnings.simplefilter("error")
            assert private() == (OTHER, "of the other")

    def test_a_token_never_reaches_another_host(self, ring: InMemory) -> None:
        with pytest.raises(MissingCredentials, match="no token for the BBrowserX private server"):
            bc.connect(private_host=OTHER).get_bbrowserx()

    def test_a_host_from_the_keyring_for_a_token_from_elsewhere_is_a_warning(self, ring: InMemory) -> None:
        with (
            bc.settings.override(private_token="of the environment"),
            pytest.warns(UserWarning, match="BIOCOLAB_PRIVATE_TOKEN.* is sent to the host from the keyring"),
        ):
            assert private() == (HOST, "of the environment")

    def test_a_public_server_is_the_stored_one_or_the_one_of_the_sdk(self, use: Callable[..., InMemory]) -> None:
        ring = use(**{TALK2DATA_HOST: "public"})
        assert bc.EConnector().get_talk2data().http.token.reveal() == "public"
        ring.entries |= {"public_host": OTHER, OTHER: "other"}
        client = bc.EConnector().get_talk2data()
        assert (client.host, client.http.token.reveal()) == (OTHER, "other")
        ring.asked.clear()
        assert bc.EConnector(public_token="given").get_talk2data().host == TALK2DATA_HOST
        assert ring.asked == []

    def test_a_connector_reads_an_entry_once_and_looks_again_for_a_missing_one(
        self, use: Callable[..., InMemory]
    ) -> None:
        ring, connector = use(), bc.connect()
        with pytest.raises(MissingCredentials):
            connector.get_bbrowserx()
        ring.entries |= {"private_host": HOST, HOST: token()}
        assert connector.get_bbrowserx() is connector.get_bbrowserx()
        assert ring.asked == ["private_host", "private_host", HOST]


class TestMissing:
    def test_the_error_begins_with_lines_to_type_and_names_the_keyring(self, use: Callable[..., InMemory]) -> None:
        use()
        with pytest.raises(MissingCredentials) as caught:
            bc.EConnector().get_bbrowserx()
        lines = str(caught.value).splitlines()
        assert lines[:4] == [
            "no host and no token for the BBrowserX private server: run",
            "  bc.connect(private_host='https://…', private_token='…')",
            "or store both in the keyring of this machine, in a terminal:",
            "  biocolab login",
        ]
        checked = [line for line in lines if line.startswith("Checked for a ")]
        assert [line.endswith(", the keyring (biocolab login)") for line in checked] == [True, True]

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            (Locked, "KeyringLocked: Failed to unlock the collection"),
            (Broken, "OSError: no bus after 0 letters"),
            (
                keyring.backends.fail.Keyring,
                "this machine has no keyring that works (on Linux: GNOME Keyring or KWallet)",
            ),
        ],
    )
    def test_a_keyring_that_fails_counts_as_empty_and_the_error_says_why(
        self, kind: type, said: str, use: Callable[..., InMemory]
    ) -> None:
        use(kind)
        connector = bc.connect(bioflex_token=token())
        assert connector.get_bioflex().http.token.reveal() == token()
        with pytest.raises(MissingCredentials) as caught:
            connector.get_bbrowserx()
        assert f"the keyring (biocolab login), but {said}" in str(caught.value)

    def test_the_package_may_be_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "keyring", None)
        with pytest.raises(MissingCredentials, match=r"not installed \(pip install 'biocolab_accessor\[keyring\]'\)"):
            bc.connect().get_talk2data()


class TestSecrets:
    @pytest.mark.parametrize(
        ("entries", "error"),
        [
            ({HOST: token("é"), "private_host": HOST}, InvalidToken),
            ({HOST: token(), "private_host": f"https://me:{token()}@company.example/"}, InvalidHost),
        ],
    )
    def test_an_unusable_entry_is_an_error_that_names_the_keyring_and_shows_no_token(
        self, entries: dict[str, str], error: type[ConfigurationError], use: Callable[..., InMemory]
    ) -> None:
        use(**entries)
        with pytest.raises(error, match="the keyring") as caught:
            bc.EConnector().get_bbrowserx()
        assert token() not in verbose(caught.value)

    @pytest.mark.parametrize("kind", [Broken, Locked, keyring.backends.null.Keyring])
    def test_a_token_that_cannot_be_stored_is_an_error_that_does_not_show_it(
        self, kind: type, use: Callable[..., InMemory]
    ) -> None:
        use(kind)
        with pytest.raises(ConfigurationError, match=r"is not stored in the keyring: .*key file instead") as caught:
            Keyring().store("private_host", HOST, Secret(token()))
        assert token() not in str(caught.value) + verbose(caught.value)

    def test_an_interruption_while_the_keyring_waits_shows_no_token(
        self, use: Callable[..., InMemory], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Broken, "problem", KeyboardInterrupt)
        use(Broken, **{HOST: token(), "private_host": HOST})
        with pytest.raises(KeyboardInterrupt) as caught:
            bc.EConnector(private_host=HOST).get_bbrowserx()
        assert "get_bbrowserx" in verbose(caught.value)
        assert token() not in verbose(caught.value)

    def test_a_connector_that_read_the_keyring_shows_and_pickles_no_token(self, ring: InMemory) -> None:
        connector = bc.connect()
        connector.get_bbrowserx()
        assert token() not in f"{connector!r} {vars(connector)} {vars(connector._keyring)} {connector._repr_html_()}"
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(connector)


def test_what_is_stored_is_removed_with_its_default(use: Callable[..., InMemory]) -> None:
    ring, own = use(), Keyring()
    own.store("private_host", HOST, Secret(token()))
    own.store("private_host", OTHER, Secret("other"))
    assert ring.entries == {HOST: token(), OTHER: "other", "private_host": OTHER}
    own.remove("private_host", HOST)
    assert ring.entries == {OTHER: "other", "private_host": OTHER}
    own.remove("private_host", OTHER)
    assert ring.entries == {}
    with pytest.raises(ConfigurationError, match="cannot be removed from the keyring: KeyError"):
        own.remove("private_host", OTHER)
