"""A token that a server sends back is not quoted, and nothing that an error refers to contains it."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.bioflex import BioFlexConnection, Buffer
from biocolab_accessor.errors import (
    BiocolabError,
    InvalidFile,
    InvalidResponse,
    RedirectRefused,
    ServerError,
    TransportError,
    Unauthorized,
)
from biocolab_accessor.security.redaction import Secret, redacted, redacting
from tests.clients.conftest import Script, Scripted, answer
from tests.clients.test_http import everything_said

TOKEN = "s3cr3t-token-value"


def variables(trace: TracebackType | None) -> str:
    """All variables of the package's frames and of the frames below, including headers."""
    seen = ""
    while trace:
        if "/tests/" not in trace.tb_frame.f_code.co_filename:
            for value in trace.tb_frame.f_locals.values():
                headers = getattr(value, "headers", None)
                seen += repr(value) + (str(dict(headers)) if isinstance(headers, Mapping) else "")
        trace = trace.tb_next
    return seen


def expect_hidden(error: BaseException) -> None:
    assert TOKEN not in everything_said(error)
    assert TOKEN not in variables(error.__traceback__)


TITLE = f"<html><title>{TOKEN} has expired</title>".encode()
ECHOES: list[tuple[Script, type[BiocolabError]]] = [
    (answer(401, {"detail": f"token {TOKEN} has expired"}), Unauthorized),
    (answer(503, {"message": {"said": [TOKEN]}}, headers={"Retry-After": "0"}), ServerError),
    (answer(502, TITLE), ServerError),
    (answer(200, TITLE), InvalidResponse),
    (answer(200, f"{{broken {TOKEN}".encode()), InvalidResponse),
    (answer(200, {"detail": f"token {TOKEN} has expired"}), ServerError),
    (answer(302, {}, headers={"Location": f"https://login.example/{TOKEN}"}), RedirectRefused),
]


@pytest.mark.parametrize(("script", "kind"), ECHOES)
@pytest.mark.parametrize("kind_of_server", ["bbrowserx", "bioflex"])
def test_a_token_that_the_server_sends_back_is_masked(
    scripted: Scripted,
    script: Script,
    kind: type[BiocolabError],
    kind_of_server: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scripted.answers(script)
    if kind_of_server == "bioflex":
        call: Callable[[], object] = BioFlexConnection(TOKEN, scripted.host).databases
    else:
        call = BBrowserXConnector(scripted.host, TOKEN).get_user_groups
    with caplog.at_level(logging.DEBUG), pytest.raises(kind, match=r"\*\*\*\*") as caught:
        call()
    expect_hidden(caught.value)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("status", [200, 403])
def test_a_token_in_place_of_a_task_a_chunk_or_a_file_is_masked(
    scripted: Scripted, status: int, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    scripted.answers(answer(status, {"status": 403, "message": f"{TOKEN} may not"}))
    connector = BBrowserXConnector(scripted.host, TOKEN)
    calls: list[Callable[[], object]] = [
        lambda: connector.submit_task("submit_study_from_local", {}),
        lambda: connector.send_chunk({}, "x", path, 0, 3),
        lambda: connector.http.download("POST", "x", {}, open_target=Buffer().open),
        lambda: connector.http.download("GET", "/file", None, open_target=Buffer().open),
        lambda: connector.http.announced_length("x", {}) if status == 403 else connector.post_request("x"),
    ]
    for call in calls:
        with pytest.raises(Unauthorized, match=r"\*\*\*\* may not") as caught:
            call()
        expect_hidden(caught.value)


def test_a_token_in_an_address_from_the_server_is_masked(scripted: Scripted) -> None:
    connector = BBrowserXConnector(scripted.host, TOKEN)
    for link, elsewhere in ((f"https://{TOKEN}.example/x", False), (f"http://x.example/{TOKEN}", True)):
        with pytest.raises(InvalidResponse, match="another server") as caught:
            connector.http.download("GET", link, None, open_target=Buffer().open, elsewhere=elsewhere)
        assert TOKEN not in everything_said(caught.value)


def test_a_file_that_became_shorter_leaves_no_header_behind(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    scripted.answers(answer(content={}))
    with pytest.raises(InvalidFile, match="became shorter") as caught:
        BBrowserXConnector(scripted.host, TOKEN).send_chunk({}, "x", path, 0, 10)
    expect_hidden(caught.value)


def test_ctrl_c_leaves_no_header_behind(scripted: Scripted) -> None:
    over = threading.Event()

    def interrupting(handler: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(5)  # a signal just before Python waits is handled afterwards
        handler.close_connection = True

    scripted.answers(interrupting)
    with pytest.raises(KeyboardInterrupt) as caught:
        BBrowserXConnector(scripted.host, TOKEN).post_request("x")
    over.set()
    expect_hidden(caught.value)


def test_a_token_in_a_malformed_answer_is_masked(scripted: Scripted) -> None:
    def no_status(handler: object) -> None:
        handler.wfile.write(f"{TOKEN}\r\n\r\n".encode())
        handler.close_connection = True

    scripted.answers(no_status)
    with bc.settings.override(max_retries=0), pytest.raises(TransportError) as caught:
        BBrowserXConnector(scripted.host, TOKEN).post_request("x")
    expect_hidden(caught.value)


def test_an_error_that_does_not_quote_the_token_keeps_its_frames() -> None:
    def broken() -> None:
        json.loads("{")

    with pytest.raises(ValueError, match="Expecting") as caught, redacting(Secret(TOKEN)):
        broken()
    assert "broken" in [entry.name for entry in caught.traceback]


def test_a_short_word_is_not_masked() -> None:
    assert redacted("the thing", Secret("t")) == "the thing"
    assert redacted(f"the {TOKEN} thing", Secret(TOKEN)) == "the **** thing"
