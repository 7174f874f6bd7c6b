from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import TimedOut
from biocolab_accessor.submit import journal
from tests.patience import PATIENCE

STUDY = {
    "server": "http://h/", "source": "bbrowserx", "group_id": "g", "species": "human", "study_id": "s",
    "id_is_made": True,
}  # fmt: skip


def begin(entry: journal.Entry, n_chunks: int = 2) -> None:
    entry.note("study", **STUDY)
    entry.note("upload", folder_id="f", chunk_size=65536)
    entry.note("file", file=0, id=17)
    for chunk in range(n_chunks):
        entry.note("chunk", file=0, chunk=chunk, path="/p")


def only_file() -> Path:
    [path] = journal._folder().glob("*.jsonl")
    return path


def test_the_next_call_knows_the_steps_of_the_last_one() -> None:
    with journal.entry({"a": 1}, wait=False) as entry:
        begin(entry)
        entry.note("intent")
    with journal.entry({"a": 1}, wait=False) as entry:
        assert entry.known == journal.Known(
            **STUDY, folder_id="f", chunk_size=65536, file_ids={0: 17}, chunks={0: {0, 1}}, paths={0: "/p"},
            intended=True,
        )  # fmt: skip
    with journal.entry({"a": 2}, wait=False) as other:
        assert other.known == journal.Known()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_cut_last_line_is_ignored(cut: int) -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry, 3)
    content = only_file().read_bytes()
    lines = content.splitlines(keepends=True)
    only_file().write_bytes(content[:-cut])
    whole = json.loads(b"[" + b",".join(lines).replace(b"\n", b"") + b"]")
    left = content[:-cut].count(b"\n")
    with journal.entry({}, wait=False) as entry:
        wanted = journal.Known()
        for step in whole[:left]:
            wanted.take(step)
        assert entry.known == wanted
        entry.note("intent")  # and the next line is a line
    assert [json.loads(line)["step"] for line in only_file().read_text().splitlines()][left:] == ["intent"]


@pytest.mark.parametrize(
    "line",
    [b"\x00" * 40, b"[]", b"7", b"{}", b'{"step": "chunk", "file": -1, "chunk": 0, "path": "p"}', b"[" * 100_000,
     b'{"step": "chunk", "file": 0, "chunk": true, "path": "p"}', b'{"step": "task", "task_id": null}',
     b'{"step": "commit", "study_info": 5}', b'{"step": "nonsense"}', b"\xff\xfe"],
)  # fmt: skip
def test_an_invalid_line_makes_the_journal_doubtful_and_hides_no_other_line(line: bytes) -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        assert not entry.known.doubtful
    before = only_file().read_bytes()
    damaged = before + line + b"\n" + b'{"step": "intent"}\n'
    only_file().write_bytes(damaged)
    with journal.entry({}, wait=False) as entry:
        assert entry.known.doubtful
        assert (entry.known.study_id, entry.known.intended) == ("s", True)
        assert only_file().read_bytes() == damaged  # what cannot be read may be of use to a newer version
        entry.renew()
        assert (entry.known.study_id, entry.known.intended, entry.known.doubtful) == ("s", False, False)
    with journal.entry({}, wait=False) as entry:
        assert entry.known == journal.Known(**STUDY)


def test_an_edited_line_is_not_trusted() -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        entry.note("task", task_id="7a")
    only_file().write_bytes(only_file().read_bytes().replace(b'"7a"', b'"7b"'))
    with journal.entry({}, wait=False) as entry:
        assert (entry.known.task_id, entry.known.doubtful) == ("", True)


def test_a_journal_of_an_older_version_is_read() -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
    lines = [json.loads(line) for line in only_file().read_text().splitlines()][1:]
    old = [{name: value for name, value in line.items() if name not in ("sum", "namesakes")} for line in lines]
    only_file().write_text("".join(json.dumps(line) + "\n" for line in old))
    with journal.entry({}, wait=False) as entry:
        assert (entry.known.chunks, entry.known.doubtful) == ({0: {0, 1}}, False)


def test_a_journal_of_a_newer_version_is_doubtful() -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
    lines = only_file().read_bytes().splitlines(keepends=True)
    newer = journal._line({"step": "begun", "version": 99})
    only_file().write_bytes(b"".join([newer, *lines[1:]]))
    with journal.entry({}, wait=False) as entry:
        assert (entry.known.study_id, entry.known.doubtful) == ("s", True)


def test_an_emptied_journal_is_doubtful_and_a_new_one_is_not() -> None:
    with journal.entry({}, wait=False) as entry:
        assert not entry.known.doubtful
        begin(entry)
    only_file().write_bytes(b"")
    with journal.entry({}, wait=False) as entry:
        assert entry.known.doubtful
        entry.clear()
        assert not entry.known.doubtful


def test_a_new_upload_forgets_the_old_one_but_not_the_study() -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        entry.note("intent")
        entry.note("task", task_id="t")
        entry.note("upload", folder_id="g", chunk_size=70000)
        assert (entry.known.study_id, entry.known.chunks, entry.known.intended, entry.known.task_id) == (
            "s",
            {},
            False,
            "",
        )


def test_a_call_of_another_thread_has_an_entry_of_its_own() -> None:
    with journal.entry({}, wait=False) as mine:
        begin(mine)
        with journal.entry({}, wait=False) as other:
            assert other.known == journal.Known()
            other.note("study", **{**STUDY, "study_id": "other"})
    assert len(list(journal._folder().glob("*.jsonl"))) == 2


def test_a_waiting_call_takes_over_when_the_other_has_ended() -> None:
    seen: list[str] = []
    inside = threading.Event()

    def other() -> None:
        inside.wait()
        with journal.entry({}, wait=True) as entry:
            seen.append(entry.known.study_id)

    thread = threading.Thread(target=other)
    thread.start()
    with journal.entry({}, wait=True) as entry:
        begin(entry)
        inside.set()
        time.sleep(0.3)
        assert seen == []
    thread.join(PATIENCE)
    assert seen == ["s"]


def test_waiting_for_another_call_times_out() -> None:
    with journal.entry({}, wait=True) as entry:
        begin(entry)
        with (
            bc.settings.override(deadline=0.2),
            pytest.raises(TimedOut, match="the same submission"),
            journal.entry({}, wait=True),
        ):
            pass


def test_a_journal_older_than_a_month_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
    old = time.time() - 31 * 86400
    file = only_file()
    os.utime(file, (old, old))
    with journal.entry({"another": "call"}, wait=False):
        assert file.exists()  # it was tidied today
    day_before = time.time() - 2 * 86400
    os.utime(journal._folder() / "tidied", (day_before, day_before))
    with journal.entry({"another": "call"}, wait=False):
        assert file.exists()  # a clock that is wrong for a while does not remove it
    os.utime(journal._folder() / "tidied", (day_before, day_before))
    with caplog.at_level("WARNING", "biocolab_accessor"), journal.entry({}, wait=False) as entry:
        assert entry.known == journal.Known()
    assert list(journal._folder().glob("*.jsonl")) == []
    assert f"{file} is removed: its submission was interrupted more than 30 days ago" in caplog.text


def test_a_journal_survives_a_clock_that_was_wrong_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
    file, now = only_file(), time.time()
    for ahead in (31, 0, 31):
        monkeypatch.setattr(journal.time, "time", lambda ahead=ahead: now + ahead * 86400)
        with journal.entry({"another": "call"}, wait=False):
            assert file.exists()
        os.utime(journal._folder() / "tidied", (now + ahead * 86400,) * 2)


class TestTheEnd:
    def entry_with_task(self, *, made: bool) -> None:
        with journal.entry({"made": made}, wait=False) as entry:
            begin(entry)
            entry.note("study", **{**STUDY, "id_is_made": made})
            entry.note("task", task_id=5)

    def test_of_a_study_that_the_user_named_is_remembered_once(self) -> None:
        self.entry_with_task(made=False)
        for _ in range(2):
            journal.finish("http://h/", "5", {"uuid": "u"})
        known = journal.of_task("http://h/", 5)
        assert known is not None
        assert (known.study_info, known.task_id) == ({"uuid": "u"}, 5)
        assert only_file().read_text().count("commit") == 1

    def test_of_a_study_with_a_generated_id_is_forgotten(self) -> None:
        self.entry_with_task(made=True)
        journal.finish("http://elsewhere/", 5, {})
        assert journal.of_task("http://h/", 5) is not None
        journal.finish("http://h/", 5, {})
        assert journal.of_task("http://h/", 5) is None

    def test_of_a_failed_task_is_forgotten(self) -> None:
        self.entry_with_task(made=False)
        journal.forget("http://h/", 5)
        assert journal.of_task("http://h/", 5) is None


@pytest.mark.skipif(os.name == "nt", reason="modes of files are those of POSIX")
def test_other_users_cannot_read_a_journal() -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        assert {stat.S_IMODE(path.stat().st_mode) for path in journal._folder().iterdir()} == {0o600}
    assert stat.S_IMODE(journal._folder().stat().st_mode) == 0o700


@pytest.mark.skipif(os.name == "nt", reason="modes of files are those of POSIX")
@pytest.mark.parametrize("name", ["cache_dir", "journal"])
def test_a_journal_that_another_user_can_write_is_neither_believed_nor_written(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        entry.note("task", task_id=5)
    path, content = only_file(), only_file().read_bytes()
    folder = path.parent if name == "journal" else bc.settings.cache_dir
    mode = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o777)
    try:
        with journal.entry({}, wait=False) as entry:
            assert entry.known == journal.Known()
            assert entry.known.doubtful
            begin(entry)
        assert list(bc.submissions()) == []
        assert journal.of_task("http://h/", 5) is None
        journal.finish("http://h/", 5, {"uuid": "u"}, journal.Known(**STUDY))
    finally:
        folder.chmod(mode)
    assert f"{folder} can be written by other users: run chmod 700" in caplog.text
    assert only_file().read_bytes() == content
    [found] = bc.submissions()
    assert found.task_id == 5


def test_a_journal_that_is_too_long_is_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
    monkeypatch.setattr(journal, "_LARGEST", only_file().stat().st_size - 1)
    with journal.entry({}, wait=False) as entry:
        assert (entry.known, entry.known.doubtful) == (journal.Known(), True)
    with journal.entry({}, wait=False) as entry:  # the call before failed before it did anything
        assert entry.known.doubtful
        entry.clear()
    assert list(journal._folder().glob("*.jsonl")) == []


def test_a_failing_disk_does_not_stop_the_submission(caplog: pytest.LogCaptureFixture) -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        only_file().unlink()
        only_file_was = entry._path
        assert only_file_was is not None
        only_file_was.mkdir()
        entry.note("intent")
        entry.note("task", task_id="t")
        assert entry.known.task_id == "t"
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.parametrize("forget", ["clear", "drop"])
def test_a_failing_disk_does_not_stop_a_restart(forget: str, caplog: pytest.LogCaptureFixture) -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        path = only_file()
        path.unlink()
        path.mkdir()
        getattr(entry, forget)()
        assert entry.known == journal.Known()
        entry.note("task", task_id="t")
    assert caplog.text.count("cannot be written") == 1


def test_a_partly_written_line_is_taken_back_and_written_once_there_is_room(caplog: pytest.LogCaptureFixture) -> None:
    resource = pytest.importorskip("resource")
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        path = only_file()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
        try:
            entry.note("intent")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        before = path.stat().st_size
        assert path.read_bytes().endswith(b"}\n")
        entry.note("task", task_id="t")
        assert path.stat().st_size > before
    assert caplog.text.count("cannot be written") == 1
    with journal.entry({}, wait=False) as entry:
        assert (entry.known.intended, entry.known.task_id, entry.known.doubtful) == (True, "t", False)


def test_other_calls_see_a_call_before_its_first_step() -> None:
    key = {"content": "seen at once"}
    with (
        journal.entry(key, wait=True),
        bc.settings.override(deadline=0.3),
        pytest.raises(TimedOut),
        journal.entry(key, wait=True),
    ):
        pytest.fail("two calls have the same submission")


def test_other_calls_still_see_a_call_that_starts_again() -> None:
    key = {"content": "begun anew"}
    with journal.entry(key, wait=True) as entry:
        entry.note("intent")
        entry.clear()
        assert not entry.known.intended
        with bc.settings.override(deadline=0.3), pytest.raises(TimedOut), journal.entry(key, wait=True):
            pytest.fail("two calls have the same submission")


def test_a_final_step_that_cannot_be_written_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    resource = pytest.importorskip("resource")
    TestTheEnd().entry_with_task(made=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (only_file().stat().st_size, hard))
    try:
        journal.finish("http://h/", 5, {"uuid": "u"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written" in caplog.text
    assert journal.of_task("http://h/", 5).study_info is None


def test_a_commit_of_a_named_study_is_the_last_step() -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        entry.note("study", **{**STUDY, "id_is_made": False})
        entry.finish({"uuid": "u"})
    with journal.entry({}, wait=False) as entry:
        assert entry.known.study_info == {"uuid": "u"}


def test_an_entry_without_a_file_keeps_its_steps_for_the_call() -> None:
    entry = journal.Entry(None)
    begin(entry)
    assert entry.known.chunks == {0: {0, 1}}
    entry.clear()
    assert entry.known == journal.Known()
    begin(entry)
    entry.drop()
    assert entry.known == journal.Known()
    entry.close()


def test_an_open_journal_of_another_call_is_not_removed() -> None:
    with journal.entry({}, wait=False) as entry:
        begin(entry)
        old = time.time() - 31 * 86400
        for path in (only_file(), journal._folder() / "tidied"):
            os.utime(path, (old, old))
        with journal.entry({"another": "call"}, wait=False):
            assert len(list(journal._folder().glob("*.jsonl"))) == 2
        entry.note("intent")
    with journal.entry({}, wait=False) as entry:
        assert entry.known.intended
