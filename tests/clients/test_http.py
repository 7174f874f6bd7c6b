from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import ssl
import sys
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import requests

import biocolab_accessor as bc
from biocolab_accessor.clients import http as module_of_http
from biocolab_accessor.clients import retry
from biocolab_accessor.clients.bioflex import Buffer
from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.clients.retry import Deadline
from biocolab_accessor.errors import (
    ConfigurationError,
    InvalidArgument,
    InvalidFile,
    InvalidHost,
    InvalidResponse,
    NotFound,
    RedirectRefused,
    ServerError,
    TimedOut,
    TooLarge,
    TransportError,
    Unauthorized,
)
from biocolab_accessor.security.redaction import Secret
from tests.patience import PATIENCE

from .conftest import Scripted, a_scripted_server, answer, reset

TOKEN = "s3cr3t-token-value"


def client(host: str) -> HttpClient:
    return HttpClient(host, Secret(TOKEN, "argument token"), header="btr-api-token")


def everything_said(error: BaseException) -> str:
    """The whole traceback of an error and everything it refers to, including attributes."""
    seen = "".join(traceback.format_exception(error))
    while error is not None:
        seen += repr(vars(error)) + repr(error.args)
        request = getattr(error, "request", None)
        seen += repr(dict(getattr(request, "headers", {}) or {}))
        error = error.__cause__ or error.__context__
    return seen


class TestTheTokenStaysAtItsHost:
    def test_the_token_is_sent_to_its_host(self, scripted: Scripted) -> None:
        scripted.answers(answer(content={"ok": 1}))
        assert client(scripted.host).post("x") == {"ok": 1}
        assert scripted.requests[0]["headers"]["btr-api-token"] == TOKEN

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_to_another_host_is_refused(self, scripted: Scripted, status: int) -> None:
        other = f"http://localhost:{scripted.server_port}/elsewhere"
        scripted.answers(answer(status, {}, headers={"Location": other}))
        with pytest.raises(RedirectRefused, match="elsewhere"):
            client(scripted.host).post("x")
        assert len(scripted.requests) == 1

    @pytest.mark.parametrize("status", [307, 308])
    def test_a_redirect_on_the_same_host_is_followed(self, scripted: Scripted, status: int) -> None:
        scripted.answers(answer(status, {}, headers={"Location": "/new/x"}), answer(content={"ok": 1}))
        assert client(scripted.host).post("x", {"a": 1}) == {"ok": 1}
        assert [(r["path"], r["body"]) for r in scripted.requests] == [("/x", b'{"a": 1}'), ("/new/x", b'{"a": 1}')]

    def test_endless_redirects_are_an_error(self, scripted: Scripted) -> None:
        scripted.answers(answer(307, {}, headers={"Location": "/again"}))
        with pytest.raises(RedirectRefused, match="times in a row"):
            client(scripted.host).post("x")

    def test_a_proxy_from_the_environment_never_gets_loopback_requests(
        self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
        scripted.answers(answer(content={"ok": 1}))
        assert client(scripted.host).post("x") == {"ok": 1}

    def test_netrc_is_not_sent(self, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        scripted.answers(answer(content={}))
        client(scripted.host).post("x")
        assert "Authorization" not in scripted.requests[0]["headers"]

    def test_cookies_are_not_kept(self, scripted: Scripted) -> None:
        scripted.answers(answer(content={}, headers={"Set-Cookie": "a=b"}))
        http = client(scripted.host)
        http.post("x")
        http.post("x")
        assert "Cookie" not in scripted.requests[1]["headers"]

    @pytest.mark.parametrize("script", [reset, answer(401, {"detail": "no"}), answer(200, b"<html>")])
    def test_no_error_and_no_log_contains_the_token(
        self, scripted: Scripted, script: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        scripted.answers(script)
        with caplog.at_level(logging.DEBUG), pytest.raises((TransportError, ServerError, InvalidResponse)) as caught:
            client(scripted.host).post("x")
        assert TOKEN not in everything_said(caught.value)
        assert TOKEN not in caplog.text
        assert TOKEN not in repr(client(scripted.host))

    def test_a_client_does_not_pickle(self, scripted: Scripted) -> None:
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(client(scripted.host))


class TestRetries:
    @pytest.mark.parametrize(
        "script", [reset, answer(502, b"bad gateway"), answer(500, {"detail": "x"}), answer(408, {})]
    )
    def test_an_idempotent_request_is_sent_again(self, scripted: Scripted, script: object) -> None:
        scripted.answers(script, script, answer(content={"ok": 1}))
        assert client(scripted.host).post("x", {"n": 1}) == {"ok": 1}
        assert [request["body"] for request in scripted.requests] == [b'{"n": 1}'] * 3

    @pytest.mark.parametrize("script", [reset, answer(502, b"bad gateway")])
    def test_a_request_that_is_not_idempotent_is_not_sent_again(self, scripted: Scripted, script: object) -> None:
        scripted.answers(script)
        with pytest.raises((TransportError, ServerError)):
            client(scripted.host).post("x", idempotent=False)
        assert len(scripted.requests) == 1

    def test_a_request_that_the_server_did_not_accept_is_sent_again(self, scripted: Scripted) -> None:
        scripted.answers(answer(429, {}, headers={"Retry-After": "0"}), answer(content={"ok": 1}))
        assert client(scripted.host).post("x", idempotent=False) == {"ok": 1}

    def test_retry_after_is_obeyed(self, scripted: Scripted) -> None:
        scripted.answers(answer(503, {}, headers={"Retry-After": "0.3"}), answer(content={}))
        start = time.monotonic()
        client(scripted.host).post("x")
        assert time.monotonic() - start >= 0.3

    def test_a_pause_beyond_the_deadline_is_not_started(
        self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scripted.answers(answer(503, {}, headers={"Retry-After": "3600"}))
        monkeypatch.setattr(retry, "pause", lambda seconds: pytest.fail(f"a pause of {seconds} s was begun"))
        with bc.settings.override(deadline=PATIENCE), pytest.raises(ServerError, match="503"):
            client(scripted.host).post("x")
        assert len(scripted.requests) == 1

    def test_the_last_error_is_raised_with_the_number_of_attempts(self, scripted: Scripted) -> None:
        scripted.answers(answer(503, {"detail": "overloaded"}))
        with pytest.raises(ServerError, match="overloaded") as caught:
            client(scripted.host).post("x")
        assert caught.value.__notes__ == ["tried 3 times"]
        assert (caught.value.status, caught.value.detail) == (503, "overloaded")

    def test_a_permanent_error_is_not_retried(self, scripted: Scripted) -> None:
        scripted.answers(answer(404, {"detail": "no such thing"}))
        with pytest.raises(NotFound, match="no such thing"):
            client(scripted.host).post("x")
        assert len(scripted.requests) == 1


class TestAnswers:
    def test_a_refused_token_is_named_by_its_origin(self, scripted: Scripted) -> None:
        scripted.answers(answer(401, {"detail": "expired"}))
        with pytest.raises(Unauthorized, match=r"expired.*token from argument token") as caught:
            client(scripted.host).post("x")
        assert isinstance(caught.value, PermissionError)

    def test_a_web_page_is_named(self, scripted: Scripted) -> None:
        page = b"<html><head><title>Company login</title></head></html>"
        scripted.answers(answer(200, page, headers={"Content-Type": "text/html"}))
        with pytest.raises(InvalidResponse, match="web page titled 'Company login'"):
            client(scripted.host).post("x")

    @pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"{broken", "not JSON")])
    def test_an_answer_that_is_not_json_is_quoted(self, scripted: Scripted, content: bytes, said: str) -> None:
        scripted.answers(answer(200, content))
        with pytest.raises(InvalidResponse, match=said):
            client(scripted.host).post("x")

    @pytest.mark.parametrize("status", [520, 499, 599])
    def test_a_status_that_python_does_not_know_is_an_error(self, scripted: Scripted, status: int) -> None:
        scripted.answers(answer(status, {"detail": "who knows"}))
        with pytest.raises(ServerError, match=f"{status}.*who knows"):
            client(scripted.host).post("x", idempotent=False)

    def test_a_refused_connection_says_so(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (
            bc.settings.override(max_retries=0),
            pytest.raises(TransportError, match=r"Connection refused.*Is the server running"),
        ):
            client(f"http://127.0.0.1:{port}/").post("x")

    def test_a_silent_server_raises_after_the_read_timeout(self, scripted: Scripted) -> None:
        over = threading.Event()
        scripted.answers(lambda handler: over.wait(PATIENCE))
        with bc.settings.override(read_timeout=0.2, max_retries=0), pytest.raises(TimedOut, match="read_timeout"):
            client(scripted.host).post("x")
        over.set()

    def test_a_trickling_answer_raises_at_the_deadline(self, scripted: Scripted) -> None:
        length, sent = 4_000, []  # as many pieces as the test may take at most

        def trickle(handler: object) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(length))
            handler.end_headers()
            with suppress(OSError):  # the reader has disconnected
                for number in range(length):
                    handler.wfile.write(b" ")
                    handler.wfile.flush()
                    sent.append(number)
                    time.sleep(0.05)
            handler.close_connection = True

        scripted.answers(trickle)
        with bc.settings.override(deadline=0.5, max_retries=0), pytest.raises(TransportError):
            client(scripted.host).post("x")
        assert len(sent) < length

    @pytest.mark.parametrize("piece", [b"x", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["byte by byte", "100 Continue"])
    def test_a_head_that_never_ends_is_cut_at_the_deadline(self, scripted: Scripted, piece: bytes) -> None:
        cut = threading.Event()

        def drip(handler: BaseHTTPRequestHandler) -> None:
            handler.wfile.write(b"" if piece.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n")
            end = time.monotonic() + PATIENCE
            with suppress(ConnectionError):
                while time.monotonic() < end:
                    handler.wfile.write(piece)
                    time.sleep(0.01)
            if time.monotonic() < end:
                cut.set()
            handler.close_connection = True

        scripted.answers(drip)
        with (
            bc.settings.override(deadline=0.3, read_timeout=PATIENCE),
            pytest.raises(TimedOut, match=r"not finished after 0\.3 s"),
        ):
            client(scripted.host).post("api/v1/x")
        assert cut.wait(PATIENCE)


class TestDownloads:
    CONTENT = np.random.default_rng(0).bytes(3_000_000)

    def test_the_bytes_arrive_in_one_buffer(self, scripted: Scripted) -> None:
        scripted.answers(answer(200, self.CONTENT))
        buffer, seen = Buffer(), []
        client(scripted.host).download("POST", "m", {}, open_target=buffer.open, on_bytes=seen.append)
        assert buffer.content.tobytes() == self.CONTENT
        assert sum(seen) == len(self.CONTENT)

    def test_a_short_answer_is_fetched_again(self, scripted: Scripted) -> None:
        scripted.answers(answer(200, self.CONTENT[:1000], length=len(self.CONTENT)), answer(200, self.CONTENT))
        buffer, seen = Buffer(), []
        client(scripted.host).download("POST", "m", {}, open_target=buffer.open, on_bytes=seen.append)
        assert buffer.content.tobytes() == self.CONTENT
        assert sum(seen) == len(self.CONTENT)

    def test_an_answer_that_stays_short_is_an_error(self, scripted: Scripted) -> None:
        scripted.answers(answer(200, self.CONTENT[:1000], length=len(self.CONTENT)))
        with pytest.raises(TransportError):
            client(scripted.host).download("POST", "m", {}, open_target=Buffer().open)

    def test_an_empty_answer_is_an_error(self, scripted: Scripted) -> None:
        scripted.answers(answer(200, b""))
        with pytest.raises(TransportError, match="empty"):
            client(scripted.host).download("POST", "m", {}, open_target=Buffer().open)

    def test_an_address_on_another_server_is_refused(self, scripted: Scripted) -> None:
        with pytest.raises(InvalidResponse, match="another server"):
            client(scripted.host).download("GET", "http://evil.example/x", None, open_target=Buffer().open)


class TestUploads:
    def test_a_part_arrives_whole_and_again_after_a_reset(self, scripted: Scripted, tmp_path: Path) -> None:
        content = np.random.default_rng(1).bytes(500_000)
        path = tmp_path / "x"
        path.write_bytes(content)
        scripted.answers(reset, answer(content={"ok": 1}))
        seen: list[int] = []
        client(scripted.host).post_file_part("up", {"chunk": 1}, "x.h5ad", path, 1000, 400_000, seen.append)
        bodies = [request["body"] for request in scripted.requests]
        assert len(bodies) == 2
        assert all(content[1000:401_000] in body and b'{"chunk": 1}' in body for body in bodies)
        assert sum(seen) == 400_000
        assert scripted.requests[1]["headers"]["Content-Length"] == str(len(bodies[1]))

    def test_a_file_that_became_shorter_is_an_error(self, scripted: Scripted, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"abc")
        scripted.answers(answer(content={}))
        with pytest.raises(InvalidFile, match="became shorter while it was sent"):
            client(scripted.host).post_file_part("up", {}, "x", path, 0, 10)


def test_a_missing_certificate_bundle_is_named() -> None:
    with pytest.raises(InvalidHost, match=r"nowhere\.pem"):
        HttpClient("https://x.example/", Secret("t"), header="h", ssl="/nowhere.pem")


def test_unverified_certificates_warn_once_for_each_host() -> None:
    for host in ("https://one.example/", "https://two.example/t2d/"):
        with pytest.warns(UserWarning, match=f"certificates of {host} are not verified"):
            HttpClient(host, Secret("t"), header="h", ssl=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            HttpClient(host, Secret("t"), header="h", ssl=False)


def test_sent_requests_no_longer_contain_the_token(scripted: Scripted) -> None:
    scripted.answers(answer(content={}))
    http = client(scripted.host)
    with http._answer("POST", scripted.host + "x", b"{}", {}, Deadline()) as response:
        assert response.request.headers["btr-api-token"] == "****"
    assert scripted.requests[0]["headers"]["btr-api-token"] == TOKEN
    http.close()


def test_an_answer_that_never_ends_is_stopped_by_the_budget(scripted: Scripted) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n[")
        with suppress(OSError):
            while True:
                handler.wfile.write(b"1," * 100_000)
        handler.close_connection = True

    scripted.answers(endless)
    with bc.settings.override(memory_budget=20_000_000), pytest.raises(TooLarge):
        client(scripted.host).post("x")
    with bc.settings.override(memory_budget=20_000_000), pytest.raises(TooLarge):
        client(scripted.host).download("POST", "x", {}, open_target=Buffer().open)


def test_an_answer_that_announces_too_many_bytes_is_not_read(scripted: Scripted) -> None:
    scripted.answers(answer(content=b"[", length=11_000_000))
    with bc.settings.override(memory_budget=20_000_000), pytest.raises(TooLarge, match=r"22\.0 MB.*less at a time"):
        client(scripted.host).post("x")
    assert len(scripted.requests) == 1


def test_threads_that_start_together_share_one_session(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[requests.Session] = []
    real = requests.Session.__init__

    def slowly(session: requests.Session) -> None:
        made.append(session)
        time.sleep(0.02)
        real(session)

    monkeypatch.setattr(requests.Session, "__init__", slowly)
    http = client(scripted.host)
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: http.session, range(8)))
    assert len(made) == 1
    assert set(map(id, seen)) == {id(made[0])}
    http.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system knows no fork")
def test_a_forked_process_has_its_own_session_even_if_the_lock_was_held(scripted: Scripted) -> None:
    http = client(scripted.host)
    before = http.session
    with module_of_http._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about forking with threads
        child = os.fork()
        if not child:
            signal.alarm(5)
            os._exit(0 if http.session is not before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert http.session is before
    http.close()


def test_a_closed_client_can_be_used_again(scripted: Scripted) -> None:
    scripted.answers(answer(content={}))
    http = client(scripted.host)
    http.post("x")
    http.close()
    assert http.post("x") == {}
    http.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_values_that_json_cannot_encode_are_refused_before_anything_is_sent(scripted: Scripted, value: object) -> None:
    http = client(scripted.host)
    with pytest.raises(InvalidArgument, match="cannot be written as JSON"):
        http.post("x", {"a": value})
    assert scripted.requests == []
    http.close()


class TestTheWay:
    """Certificates, full queues and proxies between the client and the server."""

    def test_an_untrusted_certificate_is_not_accepted(
        self, scripted: Scripted, certificate: tuple[ssl.SSLContext, Path]
    ) -> None:
        scripted.speaks_tls(certificate[0])
        scripted.answers(answer(content={"ok": 1}))
        with (
            bc.settings.override(max_retries=0),
            pytest.raises(TransportError, match=r"certificate was not accepted.*ssl='/path/to/ca\.pem'") as caught,
        ):
            client(scripted.host).post("x")
        assert TOKEN not in everything_said(caught.value)
        assert scripted.requests == []
        http = HttpClient(scripted.host, Secret(TOKEN, "argument token"), header="btr-api-token", ssl=certificate[1])
        assert http.post("x") == {"ok": 1}
        http.close()

    @pytest.mark.parametrize("way", ["argument", "setting"])
    def test_the_certificate_store_of_the_system_is_used_if_it_is_asked_for(
        self,
        way: str,
        scripted: Scripted,
        certificate: tuple[ssl.SSLContext, Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))  # of OpenSSL's store; requests has its own
        scripted.speaks_tls(certificate[0])
        scripted.answers(answer(content={"status": 200, "data": [{"id": "g"}]}))
        refused = bc.EConnector(private_host=scripted.host, private_token=TOKEN, ssl=True)
        with bc.settings.override(max_retries=0), pytest.raises(TransportError, match="ssl='system', the certificate"):
            refused.get_bbrowserx().get_user_groups()
        with bc.settings.override(ssl="system" if way == "setting" else "/nowhere.pem"):
            ssl_argument = None if way == "setting" else "system"
            connector = bc.EConnector(private_host=scripted.host, private_token=TOKEN, ssl=ssl_argument)
            assert connector.get_bbrowserx().get_user_groups() == [{"id": "g"}]
        assert [request["headers"]["bioturing-api-token"] for request in scripted.requests] == [TOKEN]
        assert ssl.SSLContext.__module__ == "ssl"  # as it was for the rest of Python
        connector.close()
        refused.close()

    def test_the_store_of_the_system_is_not_extended_by_a_bundle_of_the_environment(
        self, scripted: Scripted, certificate: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("biocolab_accessor.clients.http.is_loopback", lambda host: False)  # or it is not looked at
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[1]))
        scripted.speaks_tls(certificate[0])
        scripted.answers(answer(content={"ok": 1}))
        with bc.settings.override(max_retries=0):
            strict = HttpClient(scripted.host, Secret(TOKEN), header="btr-api-token", ssl="system")
            with pytest.raises(TransportError, match="certificate was not accepted"):
                strict.post("x")
            assert client(scripted.host).post("x") == {"ok": 1}

    def test_a_bundle_that_is_given_takes_precedence_over_that_of_the_environment(
        self,
        scripted: Scripted,
        certificate: tuple[ssl.SSLContext, Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("biocolab_accessor.clients.http.is_loopback", lambda host: False)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
        scripted.speaks_tls(certificate[0])
        scripted.answers(answer(content={"ok": 1}))
        http = HttpClient(scripted.host, Secret(TOKEN), header="btr-api-token", ssl=certificate[1])
        assert http.post("x") == {"ok": 1}
        http.close()

    def test_the_store_of_the_system_needs_truststore(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "truststore", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'biocolab_accessor\[system-certificates\]'"):
            bc.EConnector(bioflex_token=TOKEN, ssl="system").get_bioflex()

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_connection_through_a_proxy_uses_the_store_of_the_system_too(self, scheme: str) -> None:
        http = HttpClient("https://server.example/", Secret(TOKEN), header="btr-api-token", ssl="system")
        adapter = http.session.get_adapter(http.host)
        pool = adapter.proxy_manager_for(f"{scheme}://proxy.example:3128").connection_from_url(http.host)
        assert type(pool.conn_kw["ssl_context"]).__module__.startswith("truststore")
        http.close()

    @pytest.mark.skipif(sys.platform != "linux", reason="what a full queue does is the system's")
    def test_a_server_that_does_not_accept_the_connection_did_not_get_the_request(self) -> None:
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for waiting in (first, second):  # fill the queue; the system does not answer the next one
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            time.sleep(0.05)
            with (
                bc.settings.override(connect_timeout=0.2, max_retries=1),
                pytest.raises(
                    TimedOut, match=r"no connection within 0\.2 s \(bc\.settings\.connect_timeout\)"
                ) as caught,
            ):
                client(f"http://127.0.0.1:{full.getsockname()[1]}/").post("x", idempotent=False)
            assert caught.value.__notes__[-1] == "tried 2 times"

    def test_a_proxy_that_does_not_answer_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free.getsockname()[1]}")
        with (
            bc.settings.override(max_retries=0),
            pytest.raises(
                TransportError, match=r"proxy from the environment did not forward the request.*refused"
            ) as caught,
        ):
            client("https://server.example/").post("x")
        assert TOKEN not in everything_said(caught.value)


def test_a_file_on_another_server_is_fetched_without_the_token(
    scripted: Scripted, certificate: tuple[ssl.SSLContext, Path]
) -> None:
    with a_scripted_server() as other:
        other.speaks_tls(certificate[0])
        other.answers(answer(content=b"\x89HDF"))
        http = HttpClient(scripted.host, Secret(TOKEN, "argument token"), header="btr-api-token", ssl=certificate[1])
        buffer = Buffer()
        http.download("GET", f"{other.host}file.h5", None, open_target=buffer.open, elsewhere=True)
        http.close()
        assert buffer.content.tobytes() == b"\x89HDF"
        assert TOKEN not in str(other.requests)
        assert scripted.requests == []


def test_an_endless_error_answer_is_read_up_to_a_limit(scripted: Scripted) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with suppress(OSError):
            while True:
                sent += handler.wfile.write(b"no! " * 25_000)
        handler.close_connection = True

    scripted.answers(endless)
    with pytest.raises(ServerError, match="HTTP 400: Bad Request"):
        client(scripted.host).post("x")
    assert sent < 20_000_000


def test_the_length_of_an_answer_is_known_if_the_server_announces_it(scripted: Scripted) -> None:
    def unannounced(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        handler.close_connection = True

    scripted.answers(answer(content=b"x" * 12_345), unannounced, answer(404, {"detail": "no such study"}))
    http = client(scripted.host)
    assert http.announced_length("x", {"unit": "raw"}) == 12_345
    assert http.announced_length("x", {}) is None
    with pytest.raises(NotFound, match="no such study"):
        http.announced_length("x", {})
    assert [request["body"] for request in scripted.requests] == [b'{"unit": "raw"}', b"{}", b"{}"]
    http.close()
