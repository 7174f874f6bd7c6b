from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from typer.testing import CliRunner

import biocolab_accessor as bc
from biocolab_accessor import diagnostics
from biocolab_accessor.cli import app
from biocolab_accessor.connection.default import drop_default
from biocolab_accessor.diagnostics import examine
from biocolab_accessor.errors import (
    AmbiguousName,
    BiocolabError,
    ConfigurationError,
    InvalidArgument,
    InvalidFile,
    ServerError,
    UnknownName,
    UnknownStudy,
)
from biocolab_accessor.platforms import try_lock
from biocolab_accessor.protocol import Source
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import journal
from biocolab_accessor.submit.resume import find
from tests.patience import until

from .conftest import CHUNK


@pytest.fixture
def file(wide: ad.AnnData, tmp_path: Path) -> Path:
    return wide.biocolab.to_h5ad(tmp_path / "wide.h5ad")


def break_off(server: Sandbox, route: str, given: Path | ad.AnnData, **options: object) -> None:
    server.faults.add(route, nth=range(2 if route == "upload_chunk" else 1, 20), status=503)
    options = {"skip_dimred": True, "chunk_size": CHUNK, **options}
    with pytest.raises(ServerError):
        _ = given.biocolab.submit(**options) if isinstance(given, ad.AnnData) else bc.submit(given, **options)
    server.faults.clear()
    server.requests.clear()


def studies(title: str) -> list[str]:
    frame = bc.studies()
    return list(frame.loc[frame["title"] == title, "uuid"])


class TestSubmissionsOfFiles:
    @pytest.mark.parametrize("study_id", [None, "files, resumed"])
    @pytest.mark.parametrize("route", ["upload_chunk", "get_submission_log"])
    def test_are_listed_and_resumed_with_their_arguments(
        self, faulty: Sandbox, file: Path, route: str, study_id: str | None
    ) -> None:
        title = f"files, resumed {route} {study_id}"
        break_off(faulty, route, file, name=title, study_id=study_id and title, min_genes=np.int64(1))
        [found] = bc.submissions()
        assert (found.files, found.group_id, found.host) == ((file,), "personal", faulty.private_host)
        assert found.study_id == title or study_id is None
        assert found.state == "1 chunk sent" if route == "upload_chunk" else "on the server" in found.state
        assert found.age.total_seconds() < 600
        done = found.resume()
        assert done.study_id == found.study_id
        assert studies(title) == [done.study_info["uuid"]]
        assert len(faulty.requests.of("add_file_upload")) == 0  # the file was announced before
        assert list(bc.submissions()) == []

    def test_start_again_if_the_server_lost_them(self, faulty: Sandbox, file: Path) -> None:
        break_off(faulty, "upload_chunk", file, name="forgotten, resumed")
        faulty.faults.add("*", nth=1, kind="forget_uploads")
        with pytest.warns(UserWarning, match="starting again"):
            done = bc.submissions()[0].resume()
        assert studies("forgotten, resumed") == [done.study_info["uuid"]]

    def test_whose_file_was_changed_are_not_sent(self, faulty: Sandbox, file: Path) -> None:
        break_off(faulty, "upload_chunk", file, name="changed")
        [found] = bc.submissions()
        os.utime(file, (1, 1))
        with pytest.raises(InvalidFile, match=r"wide\.h5ad changed since it was submitted"):
            found.resume()
        file.unlink()
        with pytest.raises(InvalidFile, match=r"wide\.h5ad no longer exists"):
            found.resume()
        assert studies("changed") == []

    @pytest.mark.parametrize("route", ["upload_chunk", "get_submission_log"])
    def test_whose_file_was_replaced_by_one_of_the_same_size_and_time_are_not_sent(
        self, faulty: Sandbox, wide: ad.AnnData, file: Path, route: str
    ) -> None:
        break_off(faulty, route, file, name=f"swapped {route}")
        [found] = bc.submissions()
        before, content = file.stat(), file.read_bytes()
        place = content.index(wide.obs_names[0].encode())
        other = file.with_name("other")
        other.write_bytes(content[:place] + b"#" + content[place + 1 :])
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(file)
        if route == "upload_chunk":
            with pytest.raises(InvalidFile, match="not those of the interrupted call"):
                found.resume()
        else:  # the server has the files of the interrupted call
            assert not found.resume().study().barcodes()[0].startswith("#")
        assert len(faulty.requests.of("upload_chunk")) == 0
        assert len(studies(f"swapped {route}")) == (route != "upload_chunk")

    def test_whose_file_was_removed_are_resumed_if_the_server_has_it(self, faulty: Sandbox, file: Path) -> None:
        break_off(faulty, "get_submission_log", file, name="file gone")
        file.unlink()
        assert bc.submissions()[0].resume().done
        assert len(studies("file gone")) == 1


class TestSubmissionsOfObjects:
    def test_need_the_same_call_if_the_server_lacks_a_part(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        break_off(faulty, "upload_chunk", wide, name="in memory")
        [found] = bc.submissions()
        assert found.files == ()
        with pytest.raises(InvalidFile, match=r"an object in memory.*adata\.biocolab\.submit"):
            found.resume()

    def test_are_resumed_if_the_server_has_them(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        submission = wide.biocolab.submit(name="not waited for", skip_dimred=True, wait=False)
        [found] = bc.submissions()
        assert (found.task_id, found.study_id) == (submission.task_id, submission.study_id)
        assert found.resume().done
        assert len(studies("not waited for")) == 1


def test_a_submission_to_a_sandbox_that_is_not_running_says_so_and_goes_on_when_it_runs_again(
    faulty: Sandbox, file: Path, tmp_path: Path
) -> None:
    with bc.sandbox(tmp_path / "kept", new=True) as kept:
        break_off(kept, "upload_chunk", file, study_id="stopped")
    [found] = bc.submissions()
    assert found.state.endswith("sent (the sandbox at that address is not running)")
    [row] = [each for each in diagnostics._submissions() if each.subject == "stopped"]
    assert "If that sandbox was a temporary one, forget it: biocolab resume stopped --forget" in row.fix
    with bc.sandbox(tmp_path / "kept", new=True):
        [found] = bc.submissions()
        assert found.state.endswith("sent")
        assert found.resume(wait=False).study_id == "stopped"


@pytest.mark.parametrize("source", ["bbrowserx", "bioflex"])
def test_the_error_about_an_unknown_study_says_that_it_is_not_committed(
    faulty: Sandbox, wide: ad.AnnData, source: Source
) -> None:
    submission = wide.biocolab.submit(study_id=f"waits {source}", skip_dimred=True, wait=False)
    until(lambda: submission.status == "SUCCESS")
    with pytest.raises(UnknownStudy) as caught:
        bc.study(submission.study_id, source=source)
    said, call = caught.value.__notes__[0].splitlines()
    assert said == f"'waits {source}' was submitted and processed, but is not a study yet:"
    assert eval(call).n_obs == 300
    with pytest.raises(UnknownStudy) as caught:
        bc.study("never sent", source=source)
    assert "not a study yet" not in "".join(caught.value.__notes__)


def test_the_error_about_an_unknown_study_says_that_it_is_still_processed(faulty: Sandbox, file: Path) -> None:
    faulty.faults.add("get_submission_log", kind="unknown_state", state="QUEUED")
    bc.submit(file, name="Its title", skip_dimred=True, wait=False)
    with pytest.raises(UnknownStudy) as caught:
        bc.study("Its title", source="bbrowserx")
    assert caught.value.__notes__[0].startswith("'Its title' was submitted and is still being processed:\n  bc.submis")


def test_a_forgotten_submission_is_a_new_one_next_time(faulty: Sandbox, file: Path) -> None:
    break_off(faulty, "upload_chunk", file, name="to forget", study_id="to forget")
    bc.submissions()[0].forget()
    assert repr(bc.submissions()) == "no interrupted submissions"
    bc.submit(file, name="to forget", study_id="to forget", skip_dimred=True, chunk_size=CHUNK)
    assert len(faulty.requests.of("add_file_upload")) == 1


def test_a_running_submission_is_not_listed_and_not_forgotten(faulty: Sandbox, file: Path) -> None:
    break_off(faulty, "upload_chunk", file, name="under way", study_id="under way")
    [found] = bc.submissions()
    held = journal.Entry(found.path, try_lock(found.path))
    assert list(bc.submissions()) == []
    with pytest.raises(InvalidArgument, match="by another call"):
        found.forget()
    held.close()
    assert len(bc.submissions()) == 1


@pytest.mark.parametrize("route", ["upload_chunk", "get_submission_log"])
def test_two_calls_that_resume_the_same_submission_make_one_study(faulty: Sandbox, file: Path, route: str) -> None:
    title = f"resumed twice {route}"
    break_off(faulty, route, file, name=title)
    [found] = bc.submissions()
    held = try_lock(found.path)
    assert held is not None
    with pytest.raises(InvalidArgument, match="is being resumed by another call: nothing is sent"):
        found.resume()
    held.release()
    done = found.resume()
    with pytest.raises(InvalidArgument, match="was finished or forgotten by another call: nothing is sent"):
        found.resume()
    assert studies(title) == [done.study_info["uuid"]]


@pytest.mark.parametrize(
    "call",
    [
        {}, "files", {"files": "x"}, {"files": "x", "arguments": None, "states": []},
        {"files": "x", "arguments": {}, "states": None}, {"files": "x", "arguments": {}, "states": [5]},
        {"files": "x", "arguments": {}, "states": [["x", 1]]}, {"files": "x", "arguments": {}, "states": [[0, 1, 1]]},
        {"files": "x", "arguments": {"wait": False}, "states": []}, {"arguments": {}, "states": []},
    ],
)  # fmt: skip
def test_a_journal_with_an_invalid_call_is_listed_as_corrupted_and_can_be_forgotten(call: object) -> None:
    study = {"server": "http://h/", "source": "bbrowserx", "group_id": "g", "species": "human", "study_id": "edited"}
    with journal.entry({}, wait=False) as entry:
        entry.note("study", **study, id_is_made=False, namesakes=[], call=None)
        entry.note("upload", folder_id="f", chunk_size=1)
        line = {"step": "study", **study, "id_is_made": False, "namesakes": [], "call": call}
        journal._append(entry._path, line, sync=False)
    [found] = bc.submissions()
    assert str(found).endswith("nothing sent, its journal is corrupted, less than a minute ago")
    with pytest.raises(BiocolabError):
        found.resume()
    found.forget()
    assert list(bc.submissions()) == []


@pytest.mark.skipif(os.name == "nt", reason="a file name cannot have control characters there")
def test_a_file_name_with_control_characters_is_listed_as_text(faulty: Sandbox, file: Path) -> None:
    odd = file.rename(file.with_name("\x1b[31mred.h5ad"))
    break_off(faulty, "upload_chunk", odd, name="control characters")
    assert r"from \x1b[31mred.h5ad: 1 chunk sent" in repr(bc.submissions())
    bc.submissions()[0].forget()


def test_a_finished_study_of_a_given_id_is_listed_on_request(faulty: Sandbox, wide: ad.AnnData) -> None:
    wide.biocolab.submit(study_id="finished", skip_dimred=True)
    assert list(bc.submissions()) == []
    [found] = bc.submissions(finished=True)
    assert (found.study_id, found.state) == ("finished", "finished")


def test_a_submission_is_only_resumed_on_its_own_server(faulty: Sandbox, file: Path) -> None:
    break_off(faulty, "upload_chunk", file, name="elsewhere")
    [found] = bc.submissions()
    connector = bc.connect(private_host="http://127.0.0.1:9/", private_token="token")
    try:
        with pytest.raises(ConfigurationError, match=r"goes to http://127.*bc\.connect\(private_host="):
            found.resume()
    finally:
        drop_default(connector)


@pytest.mark.parametrize("kept", [False, True])
def test_submissions_to_a_sandbox_are_removed_with_its_data(kept: bool, wide: ad.AnnData, tmp_path: Path) -> None:
    with bc.sandbox(tmp_path if kept else None):
        wide.biocolab.submit(study_id="gone", skip_dimred=True, wait=False)
        assert [each.study_id for each in bc.submissions()] == ["gone"]
    assert [each.study_id for each in bc.submissions()] == ["gone"] * kept


def test_a_submission_is_found_by_its_id_the_start_of_it_and_its_task(faulty: Sandbox, file: Path) -> None:
    for name in ("alpha one", "alpha two"):
        break_off(faulty, "upload_chunk", file, study_id=name)
    found = bc.submissions()
    assert find("alpha one", found).study_id == "alpha one"
    assert find("alpha t", found).study_id == "alpha two"
    with pytest.raises(AmbiguousName, match="matches several submissions"):
        find("alpha", found)
    with pytest.raises(UnknownName, match="did you mean 'alpha one'"):
        find("alpha onne", found)


class TestTheCommand:
    def test_resumes_the_only_submission_or_the_named_one(self, faulty: Sandbox, file: Path) -> None:
        break_off(faulty, "upload_chunk", file, study_id="by command")
        done = CliRunner().invoke(app, ["resume", "--json"])
        assert (done.exit_code, json.loads(done.stdout)["study_id"]) == (0, "by command")
        for name in ("one of two", "two of two"):
            break_off(faulty, "upload_chunk", file, study_id=name)
        done = CliRunner().invoke(app, ["resume"])
        assert (done.exit_code, "give the ID of one" in done.stderr, done.stdout.count("of two")) == (2, True, 2)
        assert CliRunner().invoke(app, ["resume", "one of two"]).exit_code == 0
        assert len(studies("one of two")) == 1
        assert studies("two of two") == []

    def test_is_named_where_the_upload_was_interrupted(self, faulty: Sandbox, file: Path) -> None:
        faulty.faults.add("upload_chunk", nth=range(2, 20), status=503)
        with bc.settings.override(chunk_size=CHUNK):
            done = CliRunner().invoke(app, ["submit", str(file), "--study-id", "cut off", "--skip-dimred"])
        faulty.faults.clear()
        assert "The server keeps the data that it has received. To go on, repeat the" in done.stderr
        command = done.stderr.splitlines()[-1].strip()
        assert command == "biocolab resume 'cut off'"
        assert CliRunner().invoke(app, shlex.split(command)[1:]).exit_code == 0
        assert len(studies("cut off")) == 1

    def test_forgets_and_lists(self, faulty: Sandbox, file: Path) -> None:
        break_off(faulty, "upload_chunk", file, study_id="drop me")
        listed = json.loads(CliRunner().invoke(app, ["resume", "--list", "--json"]).stdout)
        assert [(row["study_id"], row["files"], row["state"]) for row in listed] == [
            ("drop me", [str(file)], "1 chunk sent")
        ]
        assert CliRunner().invoke(app, ["resume", "--forget"]).exit_code == 2
        done = CliRunner().invoke(app, ["resume", "--forget", "drop me"])
        assert (done.exit_code, "forgotten: drop me" in done.stderr) == (0, True)
        assert CliRunner().invoke(app, ["resume", "drop me"]).exit_code == 1
        assert "no interrupted submissions" in CliRunner().invoke(app, ["resume"]).stderr

    def test_is_shown_by_doctor_for_each_submission(self, faulty: Sandbox, file: Path) -> None:
        break_off(faulty, "upload_chunk", file, study_id="seen by doctor")
        [seen] = [each for each in examine(network=False) if each.topic == "submissions"]
        assert (seen.subject, seen.state) == ("seen by doctor", "note")
        assert "1 chunk sent" in seen.message
        assert "biocolab resume 'seen by doctor'" in seen.fix
