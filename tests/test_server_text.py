"""Server text: what a server calls its groups and studies, and logs, is shown and never obeyed."""

from __future__ import annotations

import io
import json
import logging
import traceback
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tqdm import tqdm
from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor.cli import app
from biocolab_accessor.clients import progress
from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.clients.tasks import show_task
from biocolab_accessor.connection import default
from biocolab_accessor.errors import BiocolabError, TaskFailed, UnknownGroup
from biocolab_accessor.submit.submission import Submission
from tests.verbose import verbose

from .clients.conftest import Scripted, answer, scripted  # noqa: F401

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202efdp\u200b\x9b1m"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\u202efdp\u200b\x9b1m"


def assert_shown(text: str) -> None:
    assert SHOWN in text
    assert not set("\x1b\x07\u202e\u200b\x9b") & set(text)


@pytest.fixture
def hostile(scripted: Scripted) -> Iterator[Scripted]:  # noqa: F811
    """A server with one group, of which one study has a hostile title."""
    study = {"study_hash_id": "s", "uuid": "u", "study_title": HOSTILE, "created_by": HOSTILE}
    data = {"get_user_groups": [{"id": "g", "name": HOSTILE}], "get_all_studies_info_in_group": [study]}

    def script(handler: object) -> None:
        answer(content={"status": 200, "data": data.get(handler.path.rpartition("/")[2])})(handler)

    scripted.answers(script)
    connector = bc.connect(private_host=scripted.host, private_token="t")
    yield scripted
    default.drop_default(connector)


@pytest.mark.usefixtures("hostile")
def test_groups_and_studies_of_a_table_are_shown_escaped_and_found_by_what_is_shown() -> None:
    groups = bc.groups()
    assert_shown(groups.to_string())
    assert_shown(bc.studies(groups["name"][0]).to_string())
    assert_shown(bc.studies(HOSTILE).to_html())


@pytest.mark.usefixtures("hostile")
def test_a_study_shows_its_title_escaped_and_has_it_as_it_is() -> None:
    study = bc.study("s", source="bbrowserx")
    assert study.title == HOSTILE
    assert_shown(repr(study))
    assert_shown(study._repr_html_())


@pytest.mark.usefixtures("hostile")
def test_an_error_shows_what_a_server_called_something_escaped() -> None:
    with pytest.raises(UnknownGroup) as caught:
        bc.studies("nowhere")
    assert_shown(str(caught.value))
    assert_shown("".join(traceback.format_exception_only(caught.value)))


@pytest.mark.parametrize("status", [200, 404, 500])
def test_a_refusal_shows_the_words_of_the_server_escaped(scripted: Scripted, status: int) -> None:  # noqa: F811
    scripted.answers(answer(status, {"status": 500, "message": HOSTILE, "detail": HOSTILE}))
    with pytest.raises(BiocolabError) as caught, bc.settings.override(max_retries=0):
        BBrowserXConnector(scripted.host, "t").get_user_groups()
    assert_shown(str(caught.value))
    assert "\x1b]0" not in verbose(caught.value)


@pytest.mark.usefixtures("hostile")
def test_the_commands_print_groups_and_studies_escaped() -> None:
    for command in (["groups"], ["studies", "g"]):
        assert_shown(CliRunner().invoke(app, command).stdout)
    assert_shown(CliRunner().invoke(app, ["studies", "nowhere"]).stderr.replace("\n", ""))
    found = CliRunner().invoke(app, ["groups", "--json"]).stdout
    assert json.loads(found)[0]["name"] == SHOWN
    assert "\x1b" not in found


@pytest.mark.parametrize("status", ["SUCCESS", "ERROR"])
def test_lines_of_a_servers_log_are_shown_escaped(
    scripted: Scripted,  # noqa: F811
    status: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "_SECONDS_UNSEEN", 0)
    monkeypatch.setattr(progress, "_imported", lambda: lambda **options: tqdm(file=screen, **options))
    data = {"status": status, "log": f"[1 s] {HOSTILE}\n"}
    scripted.answers(answer(content={"status": 200, "data": data, "study_info": {}}))
    connector = BBrowserXConnector(scripted.host, "t")
    names = {"task_id": HOSTILE, "study_id": HOSTILE, "group_id": "g", "species": "human", "source": "bbrowserx"}
    submission = Submission(connector, **names)
    with caplog.at_level(logging.INFO), bc.settings.override(progress="on"):
        try:
            submission.wait()
        except TaskFailed as error:
            assert_shown(str(error))
    assert_shown(caplog.text)
    assert_shown(screen.getvalue())
    assert_shown(submission._repr_html_())
    with suppress(TaskFailed), bc.settings.override(progress="on"):
        show_task(connector, "7", HOSTILE)
    assert_shown(screen.getvalue())
    try:
        connector.get_submission_log("g", "task")
    except TaskFailed as error:
        assert_shown(str(error))
    assert_shown(capsys.readouterr().out)
