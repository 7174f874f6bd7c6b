from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import keyring
import pytest

import biocolab_accessor as bc
from biocolab_accessor.diagnostics import Observation, examine
from biocolab_accessor.sandbox.server import Sandbox
from tests.keyrings import InMemory
from tests.patience import PATIENCE

_TOKEN = "e3b0c44298fc1c149afb"


def of(found: list[Observation], topic: str, subject: str = "") -> list[Observation]:
    return [seen for seen in found if seen.topic == topic and subject in ("", seen.subject)]


def the(found: list[Observation], topic: str, subject: str) -> Observation:
    (seen,) = of(found, topic, subject)
    return seen


@pytest.fixture
def private(no_connection: None) -> Iterator[Callable[[str], None]]:
    """Sets the host of a BBrowserX server, and a token for it."""

    def at(host: str, token: str = _TOKEN) -> None:
        bc.settings.private_host, bc.settings.private_token = host, token

    yield at
    bc.settings.reset()


@contextmanager
def http_server(
    body: bytes, *, date: str = "", context: ssl.SSLContext | None = None, silent: bool = False
) -> Iterator[str]:
    """A server that gives one answer to everything, or none while the block lasts; gives its address."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if silent:
                over.wait(PATIENCE)
            self.send_response_only(200)
            self.send_header("Date", date or self.date_time_string())
            self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, address: None  # a client that does not like the certificate hangs up
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http{'s' if context else ''}://127.0.0.1:{server.server_port}/t2d_index_tool/"
    over.set()
    server.shutdown()
    server.server_close()
    thread.join()


class TestCredentials:
    def test_no_credentials_at_all_are_broken_and_the_fix_says_how_to_start(self, no_connection: None) -> None:
        found = examine()
        assert the(found, "credentials", "all").state == "broken"
        assert "BIOCOLAB_PRIVATE_HOST" in the(found, "credentials", "all").fix
        seen = the(found, "credentials", "BBrowserX")
        assert (seen.state, seen.message) == ("note", "not set up: no host and no token")
        assert "Create a token in the user settings of your BBrowserX server" in seen.fix
        assert the(found, "credentials", "Talk2Data").message == "not set up: no token"
        assert of(found, "server") == []

    @pytest.mark.parametrize(
        ("values", "title", "missing"),
        [
            ({"private_host": "https://company.example/"}, "BBrowserX", "no token"),
            ({"private_token": _TOKEN}, "BBrowserX", "no host"),
            ({"public_host": "https://company.example/"}, "Talk2Data", "no token"),
            ({"bioflex_host": "https://company.example/"}, "BioFlex", "no token"),
        ],
    )
    def test_a_server_with_only_a_host_or_only_a_token_is_a_warning(
        self, values: dict[str, str], title: str, missing: str, no_connection: None
    ) -> None:
        other = {"public_token": _TOKEN} if title != "Talk2Data" else {"bioflex_token": _TOKEN}
        with bc.settings.override(**values, **other):
            found = examine(network=False)
        seen = the(found, "credentials", title)
        assert (seen.state, seen.message) == ("warning", f"only partly set up: {missing}")
        assert [seen.state for seen in of(found, "credentials") if seen.state == "broken"] == []
        assert _TOKEN not in repr(found)

    def test_locations_are_shown_and_tokens_are_not(self, private: Callable[..., None]) -> None:
        private("https://company.example/t2d_index_tool")
        found = examine(network=False)
        seen = the(found, "credentials", "BBrowserX")
        assert seen.state == "ok"
        assert seen.message == (
            "host https://company.example/t2d_index_tool/ from bc.settings.private_host ($BIOCOLAB_PRIVATE_HOST); "
            "token from bc.settings.private_token ($BIOCOLAB_PRIVATE_TOKEN)"
        )
        assert _TOKEN not in repr(found)

    def test_host_and_token_from_different_places_are_a_warning(self, no_connection: None) -> None:
        key_file = Path(os.environ["HOME"]) / ".bioapi.key"
        key_file.write_text(f'{{"bio_bbx_private_key": "{_TOKEN}"}}')
        key_file.chmod(0o644)
        with bc.settings.override(private_host="https://company.example/"):
            found = examine(network=False)
        assert [seen.state for seen in of(found, "credentials", "BBrowserX")] == ["ok", "warning"]
        seen = the(found, "credentials", "key file")
        assert (seen.state, seen.fix) == ("warning", f"chmod 600 {key_file}")
        assert _TOKEN not in repr(found)

    def test_a_private_key_file_is_ok_and_its_names_are_shown(self, no_connection: None) -> None:
        key_file = Path(os.environ["HOME"]) / ".bioapi.key"
        key_file.write_text(f'{{"bio_bioflex_public_key": "{_TOKEN}"}}')
        key_file.chmod(0o600)
        found = examine(network=False)
        seen = the(found, "credentials", "key file")
        assert (seen.state, seen.message) == ("ok", f"{key_file} has bio_bioflex_public_key")
        assert the(found, "credentials", "BioFlex").state == "ok"

    def test_a_broken_key_file_is_broken(self, no_connection: None) -> None:
        key_file = Path(os.environ["HOME"]) / ".bioapi.key"
        key_file.write_text(f'{{"bio_bbx_private_key": "{_TOKEN}"')
        key_file.chmod(0o600)
        found = examine(network=False)
        assert the(found, "credentials", "key file").state == "broken"
        assert "not valid JSON" in the(found, "credentials", "key file").message
        assert _TOKEN not in repr(found)

    def test_an_invalid_host_is_broken(self, private: Callable[..., None]) -> None:
        private("http://company.example/")
        seen = the(examine(), "credentials", "BBrowserX")
        assert seen.state == "broken"
        assert seen.message.startswith("InsecureHost: ")


class TestServers:
    def test_a_sandbox_has_no_problems(self, server: Sandbox) -> None:
        found = examine()
        assert {seen.state for seen in found} <= {"ok", "note"}
        assert [seen.subject for seen in of(found, "server")] == ["BioFlex", "BBrowserX", "Talk2Data"]
        assert "the token is accepted" in the(found, "server", "BioFlex").message
        assert [seen.state for seen in of(found, "clock")] == ["ok"] * 3

    def test_the_doctor_does_not_change_the_settings(self, server: Sandbox) -> None:
        before = bc.settings.model_dump()
        examine(timeout=0.7)
        assert bc.settings.model_dump() == before

    def test_a_rejected_token_is_broken(self, private: Callable[..., None], server: Sandbox) -> None:
        private(server.private_host)
        found = examine()
        seen = the(found, "server", "BBrowserX")
        assert seen.state == "broken"
        assert seen.message == f"{server.private_host} rejected the request: the token is not accepted"
        assert "Create a new token" in seen.fix
        assert _TOKEN not in repr(found)

    def test_a_different_kind_of_server_is_broken(self, private: Callable[..., None]) -> None:
        with http_server(b"<html><title>Welcome</title></html>") as host:
            private(host)
            seen = the(examine(), "server", "BBrowserX")
        assert seen.state == "broken"
        assert "a web page titled 'Welcome'" in seen.message

    def test_a_port_without_a_server_is_broken(self, private: Callable[..., None]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            private(f"http://127.0.0.1:{taken.getsockname()[1]}/")
            seen = the(examine(), "server", "BBrowserX")
        assert seen.state == "broken"
        assert "no connection (" in seen.message
        assert "Check that the server is up" in seen.fix

    def test_an_unknown_host_name_differs_from_a_server_that_is_down(self, private: Callable[..., None]) -> None:
        private("https://nobody.invalid/t2d_index_tool/")
        seen = the(examine(timeout=5), "server", "BBrowserX")
        assert "unknown host name" in seen.message

    def test_a_silent_server_times_out(self, private: Callable[..., None]) -> None:
        with http_server(b"{}", silent=True) as host:
            private(host)
            seen = the(examine(timeout=0.2), "server", "BBrowserX")
        assert "no answer within 0.2 s" in seen.message

    @pytest.mark.parametrize(("ahead", "said"), [(-3600, "ahead of"), (7200, "behind")])
    def test_a_wrong_clock_is_a_warning(self, ahead: int, said: str, private: Callable[..., None]) -> None:
        with http_server(b'{"status": 200}', date=formatdate(time.time() + ahead, usegmt=True)) as host:
            private(host)
            seen = the(examine(), "clock", "BBrowserX")
        assert seen.state == "warning"
        assert said in seen.message
        assert f"{abs(ahead) // 1000}," in seen.message


class TestCertificates:
    def test_an_unknown_authority_is_broken_and_the_fix_shows_both_ways_to_set_it(
        self, private: Callable[..., None], certificate: tuple[ssl.SSLContext, Path]
    ) -> None:
        with http_server(b'{"status": 200}', context=certificate[0]) as host:
            private(host)
            found = examine()
        seen = the(found, "tls", "BBrowserX")
        assert seen.state == "broken"
        assert "self-signed certificate" in seen.message
        assert "ssl='/path/to/ca.pem'" in seen.fix
        assert "REQUESTS_CA_BUNDLE" in seen.fix
        assert "BIOCOLAB_SSL=system" in seen.fix
        assert of(found, "server") == []

    def test_a_custom_bundle_is_used_and_an_expiring_certificate_is_a_warning(
        self, no_connection: None, certificate: tuple[ssl.SSLContext, Path]
    ) -> None:
        with http_server(b'{"status": 200}', context=certificate[0]) as host:
            bc.connect(private_host=host, private_token=_TOKEN, ssl=certificate[1])
            found = examine()
        assert the(found, "server", "BBrowserX").state == "ok"
        seen = the(found, "tls", "BBrowserX")
        assert (seen.state, seen.message) == ("warning", "the certificate is valid for 5 more days")

    def test_the_certificate_store_of_the_system_is_used_for_the_first_look_too(
        self, private: Callable[..., None], certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
        with http_server(b'{"status": 200}', context=certificate[0]) as host, bc.settings.override(ssl="system"):
            private(host)
            found = examine()
        assert the(found, "server", "BBrowserX").state == "ok"

    def test_certificate_authorities_that_are_missing_are_broken(
        self, private: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "truststore", None)
        private("https://company.example/")
        for ssl_setting, said in (("system", "system-certificates"), ("/nowhere.pem", "does not exist")):
            with bc.settings.override(ssl=ssl_setting):
                seen = the(examine(), "tls", "BBrowserX")
            assert (seen.state, said in seen.message) == ("broken", True)


class TestKeyring:
    def test_the_place_of_a_stored_token_is_shown_and_the_token_is_not(self, no_connection: None) -> None:
        before, ring = keyring.get_keyring(), InMemory()
        ring.entries = {"private_host": "https://company.example/", "https://company.example/": _TOKEN}
        keyring.set_keyring(ring)
        try:
            found = examine(network=False)
        finally:
            keyring.set_keyring(before)
        assert the(found, "credentials", "keyring").message == "keyrings InMemory, where biocolab login stores tokens"
        assert the(found, "credentials", "BBrowserX").message == (
            "host https://company.example/ from the keyring (biocolab login); token from the keyring (biocolab login)"
        )
        assert _TOKEN not in repr(found)

    def test_a_keyring_that_cannot_be_used_is_a_note_with_the_reason(
        self, no_connection: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "keyring", None)
        seen = the(examine(network=False), "credentials", "keyring")
        assert (seen.state, seen.message) == (
            "note",
            "is not used: the package keyring is not installed (pip install 'biocolab_accessor[keyring]')",
        )


class TestMachine:
    def test_the_installed_versions_are_shown(self, no_connection: None) -> None:
        found = examine(network=False)
        assert the(found, "versions", "anndata") == Observation("versions", "anndata", "ok", version("anndata"))
        assert {"python", "scanpy", "h5py", "bioflex", "bioturing-connector"} <= {
            seen.subject for seen in of(found, "versions")
        }
        assert {seen.state for seen in of(found, "versions")} == {"ok"}

    def test_an_outdated_version_is_broken(
        self, no_connection: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("bioflex", "isal"):
            folder = tmp_path / f"{name}-0.9.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.9\n")
        monkeypatch.syspath_prepend(tmp_path)
        broken = [seen for seen in examine(network=False) if seen.topic == "versions" and seen.state == "broken"]
        assert [seen.subject for seen in broken] == ["bioflex", "isal"]
        assert broken[0].message == "0.9, but bioflex<2,>=1.1 is needed"
        assert broken[0].fix == "Install that: pip install 'bioflex<2,>=1.1'"

    def test_a_misspelled_variable_is_a_warning(self, no_connection: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BIOCOLAB_PRIVATE_HOSTS", "https://company.example/")
        seen = the(examine(network=False), "environment", "BIOCOLAB_PRIVATE_HOSTS")
        assert seen.state == "warning"
        assert "did you mean 'BIOCOLAB_PRIVATE_HOST'" in seen.message

    def test_a_missing_bundle_is_broken(self, no_connection: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        seen = the(examine(network=False), "environment", "REQUESTS_CA_BUNDLE")
        assert (seen.state, seen.message) == ("broken", "names /nowhere/ca.pem, which does not exist")

    def test_a_proxy_is_shown_without_its_password(
        self, private: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://me:hidden@127.0.0.1:9")
        private("https://company.example:8443/t2d_index_tool/")
        found = examine(timeout=5)
        seen = the(found, "proxy", "BBrowserX")
        assert seen.message == "https://company.example:8443/t2d_index_tool/ is reached through http://127.0.0.1:9"
        assert seen.fix == "To bypass the proxy: export NO_PROXY=company.example"
        assert "the proxy did not forward the request" in the(found, "server", "BBrowserX").message
        assert "hidden" not in repr(found)
        monkeypatch.setenv("NO_PROXY", "company.example")
        assert of(examine(network=False), "proxy") == []

    def test_this_machine_is_never_reached_through_a_proxy(
        self, server: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        found = examine()
        assert of(found, "proxy") == []
        assert {seen.state for seen in of(found, "server")} == {"ok"}

    def test_a_read_only_cache_is_a_warning(self, no_connection: None, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with bc.settings.override(cache_dir=tmp_path / "file" / "cache"):
            (seen,) = of(examine(network=False), "cache")
        assert seen.state == "warning"
        assert "cannot be written" in seen.message
        assert "BIOCOLAB_CACHE_DIR" in seen.fix

    def test_the_doctor_creates_no_folder(self, no_connection: None, tmp_path: Path) -> None:
        with bc.settings.override(cache_dir=tmp_path / "cache"):
            (seen,) = of(examine(network=False), "cache")
        assert seen.state == "ok"
        assert list(tmp_path.iterdir()) == []


def test_doctor_in_a_notebook_shows_problems_first_and_in_full(
    server: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bc.settings, "cache_dir", tmp_path / ("long" * 20))
    monkeypatch.setenv("BIOCOLAB_PRIVATE_TOKN", "x")
    found = bc.doctor()
    states = list(dict.fromkeys(found["state"]))
    assert states == [state for state in ("broken", "warning", "note", "ok") if state in states]
    assert "→ " in repr(found)
    assert "long" * 20 in repr(found)
    assert "long" * 20 in found._repr_html_()
    assert server.token not in repr(found)
