from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.bioflex import BioFlexConnection
from biocolab_accessor.connection.connector import studio_settings
from biocolab_accessor.errors import BiocolabError, InvalidToken
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.security.redaction import Secret, sealed
from tests.clients.conftest import Scripted, answer, scripted  # noqa: F401
from tests.verbose import verbose


def test_no_text_of_a_secret_shows_the_token() -> None:
    secret = Secret("hidden")
    assert "hidden" not in f"{secret} {secret!r} {secret:>20} {[secret]}" + repr(secret.__reduce__.__doc__)
    assert secret.reveal() == "hidden"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_cannot_be_copied_or_pickled(duplicate: object) -> None:
    with pytest.raises(TypeError, match="never pickled or copied"):
        duplicate(Secret("hidden"))


def test_equal_tokens_are_equal() -> None:
    assert Secret(" a\n") == Secret("a", "elsewhere")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize("value", ["", " \n", "a\nb", "a\tb", "ä", "a\x00b", None, 5, b"a"])
def test_a_token_that_an_http_header_cannot_carry_is_refused_without_showing_it(value: object) -> None:
    with pytest.raises(InvalidToken, match="from argument x") as caught:
        Secret(value, "argument x")
    assert repr(value) not in str(caught.value) or value in ("", None)


def token(more: str = "") -> str:
    """A token that is not written anywhere, so that no source line shows it."""
    return f"tOk3n+{7021042}" + more


_HOST = "https://company.example/t2d_index_tool/"
_WRONG = {
    "plain http": lambda: bc.connect(private_host="http://company.example/", private_token=token()),
    "no scheme": lambda: bc.connect(private_host="company", private_token=token(), bioflex_token=token()),
    "host that is no text": lambda: bc.connect(private_host=5, private_token=token(), public_token=token()),
    "token as a host": lambda: bc.connect(private_host=token("x" * 20), private_token=token()),
    "password": lambda: bc.connect(private_host=f"https://me:{token()}@company.example/", private_token=token()),
    "another spelling": lambda: bc.EConnector(private_host=f"https://me:{token()}%40company.example/"),
    "password of a setting": lambda: (
        bc.settings.override(private_host=f"https://me:{token()}@h").__enter__()
        and bc.EConnector(private_token=token()).get_bbrowserx()
    ),
    "line break": lambda: bc.connect(private_host=_HOST, private_token=token("\nX: y"), bioflex_token=token()),
    "other letters": lambda: bc.connect(private_host=_HOST, private_token=token("é")),
    "list": lambda: bc.connect(private_host=_HOST, private_token=[token()]),
    "bytes": lambda: bc.connect(private_host=_HOST, private_token=token().encode()),
    "certificates": lambda: bc.connect(private_host=_HOST, private_token=token(), ssl="no.pem") and bc.groups(),
    "call": lambda: bc.EConnector().get_bbrowserx(private_host="http://company.example/", private_token=token()),
    "Talk2Data": lambda: bc.EConnector().get_talk2data(token("é")),
    "BioFlex": lambda: bc.EConnector().get_bioflex(token("é")),
    "Lens Bulk": lambda: bc.EConnector().get_lensbulk("http://company.example/", token()),
    "Lens SC": lambda: bc.EConnector().get_lenssc("http://company.example/", token()),
    "connector": lambda: BBrowserXConnector("http://company.example/", token()),
    "connection": lambda: BioFlexConnection(token(), "http://company.example/"),
    "token of a connector": lambda: BBrowserXConnector(_HOST, token("é")),
    "BioStudio": lambda: studio_settings("http://company.example/", token(), "me@company.example"),
    "token of BioStudio": lambda: studio_settings(token=token("é"), email="me@company.example"),
    "secret": lambda: Secret(sealed(token("é"))),
    "no such setting": lambda: setattr(bc.settings, "private_tokn", token()),
    "setting": lambda: setattr(bc.settings, "private_token", [token()]),
    "setting of a connection": lambda: (
        bc.settings.override(private_token=token("é")).__enter__() and bc.EConnector(private_host=_HOST).get_bbrowserx()
    ),
    "override": lambda: bc.settings.override(private_token=token(), read_timeout=-1).__enter__(),
}


@pytest.mark.usefixtures("no_connection")
@pytest.mark.parametrize("wrong", _WRONG.values(), ids=_WRONG.keys())
@pytest.mark.filterwarnings("ignore:.* is sent to the host from")
def test_a_verbose_traceback_of_a_wrong_argument_shows_no_token(wrong: Callable[[], object]) -> None:
    with pytest.raises(BiocolabError) as caught:
        wrong()
    shown = verbose(caught.value)
    assert token() not in shown
    assert "in test_a_verbose" not in shown


@pytest.mark.parametrize(
    "content",
    [
        "{{'bio_bbx_private_key': '{}'}}",
        '["{}"]',
        '{{"bio_bbx_private_domain": "https://h/", "bio_bbx_private_key": ["{}"]}}',
        '{{"bio_bbx_private_domain": ["{}"], "bio_bbx_private_key": "{}"}}',
        '{{"bio_bbx_private_domain": "http://h.example/", "bio_bbx_private_key": "{}"}}',
        '{{"bio_bbx_private_domain": "https://h/", "bio_bbx_private_key": "{}\\u00e9"}}',
    ],
)
def test_a_verbose_traceback_of_a_wrong_key_file_shows_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "key"
    path.write_text(content.format(token(), token()))
    path.chmod(0o600)
    monkeypatch.setenv("BIOCOLAB_KEY_FILE", str(path))
    with pytest.raises(BiocolabError) as caught:
        bc.EConnector().get_bbrowserx()
    assert token() not in verbose(caught.value)


@pytest.mark.parametrize(
    "status", [200, pytest.param(400, marks=pytest.mark.sweeps), 401, pytest.param(500, marks=pytest.mark.sweeps)]
)
@pytest.mark.parametrize(
    "content",
    [
        b'"%s"',
        b'["%s"]',
        b'{"%s": 1}',
        b'{"status": 200, "data": "%s"}',
        b'{"status": 200, "data": [["%s"]]}',
        b'{"status": 500, "message": "%s"}',
        b'{"status": "%s"}',
        b"{broken %s",
        b"<html><title>%s</title>",
        b'{"detail": "' + b"x" * 2000 + b'%s"}',
        b"%s",
    ],
)
def test_a_verbose_traceback_of_an_answer_with_the_token_does_not_show_it(
    scripted: Scripted,  # noqa: F811
    content: bytes,
    status: int,
) -> None:
    scripted.answers(answer(status, content % token().encode(), headers={"X-Echo": token()}))
    with pytest.raises(BiocolabError) as caught, bc.settings.override(max_retries=1):
        bc.EConnector().get_bbrowserx(scripted.host, token()).get_barcodes("human", "study")
    assert token() not in verbose(caught.value)


@pytest.mark.parametrize("location", ["http://evil.example/{}", "http://evil.example/?{}", "http://{}@evil.example/"])
def test_a_verbose_traceback_of_a_redirect_with_the_token_does_not_show_it(
    scripted: Scripted,  # noqa: F811
    location: str,
) -> None:
    scripted.answers(answer(307, {}, headers={"Location": location.format(token())}))
    with pytest.raises(BiocolabError) as caught:
        bc.EConnector().get_bbrowserx(scripted.host, token()).get_barcodes("human", "study")
    assert token() not in verbose(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b'{"status": 1, "message": {"bio_bbx_private_key": "%s"}}',
        b'{"status": "%s", "message": {}}',
        b'{"status": 0, "message": "%s"}',
        b'["%s"]',
        b'{"bio_bbx_private_key": "%s"',
        b"<html>%s",
        b'{"status": 0, "message": {"bio_bbx_private_domain": "http://h.example/", "bio_bbx_private_key": "%s"}}',
        b'{"status": 0, "message": {"bio_bbx_private_domain": "https://h.example/", "bio_bbx_private_key": ["%s"]}}',
    ],
)
def test_a_verbose_traceback_of_a_wrong_answer_from_biostudio_shows_no_stored_token(
    scripted: Scripted,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    scripted.answers(answer(content=content % token().encode()))
    connector = bc.EConnector(
        studio_host=scripted.host, studio_token="of-studio", studio_email="me@company", use_token_from_api=True
    )
    with caplog.at_level("DEBUG"), pytest.raises(BiocolabError) as caught:
        connector.get_bbrowserx()
    assert token() not in verbose(caught.value) + caplog.text


@pytest.mark.parametrize(
    "begin",
    [
        lambda folder, server: bc.sandbox(token=token(), port=int(server.url.rpartition(":")[2])),
        lambda folder, server: bc.sandbox(server.path, token=token()),
        lambda folder, server: bc.sandbox(token=token(), host="nowhere.invalid"),
        lambda folder, server: bc.sandbox(token=token().encode()),
        lambda folder, server: bc.sandbox(folder, token=token()),  # another user of that folder has it
        lambda folder, server: server.add_user("", token=token()),
        lambda folder, server: server.add_user("somebody@lab.org", token=token() + "\N{BULLET}"),
    ],
    ids=["port", "folder in use", "host", "bytes", "of another user", "no email", "no ASCII"],
)
def test_a_sandbox_that_does_not_begin_shows_no_token(begin: Any, tmp_path: Path, server: Sandbox) -> None:
    with bc.sandbox(tmp_path) as earlier:
        earlier.add_user("another@lab.org", token=token())
    with pytest.raises(BiocolabError) as caught:
        begin(tmp_path, server)
    assert token() not in verbose(caught.value)
