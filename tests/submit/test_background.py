from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata as ad
import pytest
from filelock import FileLock

import biocolab_accessor as bc
from biocolab_accessor.errors import TaskFailed, TimedOut
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import background, journal
from biocolab_accessor.submit.submission import Submission, follow
from tests.patience import PATIENCE, until


@pytest.fixture
def strict(faulty: Sandbox) -> Iterator[Sandbox]:
    """The shared server, which now makes a second study of a task that is committed twice."""
    faulty._state.strict = True
    with bc.settings.override(follow=True):
        yield faulty
    background.stop()
    faulty._state.strict = False


def begin(adata: ad.AnnData, study_id: str | None = None) -> Submission:
    return adata.biocolab.submit(study_id=study_id, name="background", skip_dimred=True, wait=False)


def commits(server: Sandbox) -> int:
    return sum(record.route == "commit_submission_result" for record in server.requests)


def ended() -> bool:
    return not any(thread.name.startswith("biocolab-follow") for thread in threading.enumerate())


def keep_queued(server: Sandbox, polls: int = 500) -> None:
    server.faults.add("get_submission_log", nth=range(1, polls), kind="unknown_state", state="QUEUED")


class _NewLocks(MutableMapping[str, threading.Lock]):
    """No lock of a thread is known to another, as in another process."""

    def __getitem__(self, key: str) -> threading.Lock:
        raise KeyError(key)

    def __setitem__(self, key: str, value: threading.Lock) -> None:
        pass

    __delitem__ = __getitem__

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class TestASubmissionThatNothingWaitsFor:
    def test_becomes_a_study_by_itself(self, strict: Sandbox, counts: ad.AnnData) -> None:
        keep_queued(strict)
        submission = begin(counts, "by_itself")
        assert background.followed() == [submission]
        assert repr(submission).endswith(
            f"becomes a study while this session runs; later: bc.submission({submission.task_id!r}).wait())"
        )
        with background.committing(submission.server, submission.task_id):
            strict.faults.clear()
            until(lambda: repr(submission).endswith("status='SUCCESS', processed, becoming a study)"))
            assert "SUCCESS, processed, becoming a study<" in submission._repr_html_()
        until(lambda: submission.done and ended())
        assert "by_itself" in list(bc.studies()["study_id"])
        assert repr(submission).endswith("status='SUCCESS')")
        assert bc.submission(submission.task_id).done
        assert commits(strict) == 1

    def test_is_not_followed_if_the_setting_is_off_or_in_a_process_of_another(
        self, strict: Sandbox, counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with bc.settings.override(follow=False):
            submission = begin(counts)
        monkeypatch.setattr(background, "_PROCESS", -1)  # as after a fork
        follow(submission)
        assert ended()
        until(lambda: submission.status == "SUCCESS")
        assert repr(submission).endswith("processed, not a study yet: call wait())")

    def test_that_fails_says_so_when_it_is_waited_for(self, strict: Sandbox, tmp_path: Path) -> None:
        (tmp_path / "x.rds").write_bytes(b"RDX3\nnothing")
        submission = bc.submit(tmp_path / "x.rds", wait=False)
        until(ended)
        assert repr(submission).endswith("status='ERROR')")
        assert all(each.task_id != submission.task_id for each in bc.submissions())
        with pytest.raises(TaskFailed, match="cannot read studies of type RDS"):
            submission.wait()

    def test_survives_an_outage_of_the_server(
        self, strict: Sandbox, counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(background, "_SECONDS_TO_TRY_AGAIN", 0.01)
        strict.faults.add("get_submission_log", nth=range(1, 6), kind="status", status=503)
        with bc.settings.override(max_retries=0):
            submission = begin(counts)
            until(lambda: submission.done and ended())
        assert commits(strict) == 1

    def test_says_why_it_is_no_longer_followed(self, strict: Sandbox, counts: ad.AnnData) -> None:
        strict.faults.add("get_submission_log", kind="status", status=401)
        submission = begin(counts)
        until(ended)
        assert re.search(r"no longer followed \(http.*get_submission_log: .*…\): call wait\(\)\)$", repr(submission))
        strict.faults.clear()
        assert submission.wait().done

    def test_says_that_a_bug_ended_the_thread(
        self, strict: Sandbox, counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise ValueError

        with monkeypatch.context() as patched:
            patched.setattr(Submission, "_finish", fail)
            submission = begin(counts)
            until(ended)
        assert repr(submission).endswith("no longer followed (internal error: ValueError): call wait())")
        assert submission.wait().done


class TestWaiting:
    def test_takes_the_place_of_the_thread_and_commits_once(self, strict: Sandbox, counts: ad.AnnData) -> None:
        keep_queued(strict, 8)
        submission = begin(counts)
        with ThreadPoolExecutor(2) as threads:
            studies = list(threads.map(lambda _: submission.study(), range(2)))
        assert [study.n_obs for study in studies] == [60, 60]
        assert commits(strict) == 1
        assert ended()

    def test_that_ends_early_leaves_it_to_the_thread_again(self, strict: Sandbox, counts: ad.AnnData) -> None:
        keep_queued(strict)
        submission = begin(counts)
        with pytest.raises(TimedOut):
            submission.wait(timeout=0.01)
        assert background.is_followed(submission)
        strict.faults.clear()
        until(lambda: submission.done and ended())
        assert commits(strict) == 1

    def test_for_the_same_task_elsewhere_updates_the_first_object(self, strict: Sandbox, counts: ad.AnnData) -> None:
        keep_queued(strict, 8)
        submission = begin(counts)
        other = bc.submission(submission.task_id).wait()
        assert submission.study_info == other.study_info
        assert commits(strict) == 1

    @pytest.mark.parametrize("study_id", [None, "two_processes"])
    def test_in_two_processes_commits_once(
        self, strict: Sandbox, counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch, study_id: str | None
    ) -> None:
        monkeypatch.setattr(background, "_commits", _NewLocks())
        strict.faults.add("commit_submission_result", kind="delay", seconds=0.2)
        with bc.settings.override(follow=False):
            first = begin(counts, study_id)
        both = [first, bc.submission(first.task_id)]
        with ThreadPoolExecutor(2) as threads:
            uuids = {done.study_info["uuid"] for done in threads.map(Submission.wait, both)}
        assert len(uuids) == 1
        assert commits(strict) == 1
        assert list((bc.settings.cache_dir / "journal").glob("task-*.lock")) == []

    def test_commits_once_where_files_cannot_be_locked(
        self, strict: Sandbox, counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        submission = begin(counts)

        def no_locks(self: FileLock, **_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(FileLock, "acquire", no_locks)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda _: submission.wait(), range(2)))
        assert commits(strict) == 1

    def test_finds_the_study_of_a_commit_that_was_not_recorded(
        self, strict: Sandbox, counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with bc.settings.override(follow=False), monkeypatch.context() as killed:
            submission = begin(counts)
            killed.setattr(journal, "finish", lambda *_: None)
            submission.wait()
        again = bc.submission(submission.task_id)
        assert not again.done
        assert again.wait().study_info["uuid"] == submission.study_info["uuid"]
        assert commits(strict) == 1

    def test_for_a_task_that_is_a_study_already_commits_nothing(self, strict: Sandbox, counts: ad.AnnData) -> None:
        with bc.settings.override(follow=False):
            first = begin(counts).wait()
            assert bc.submissions(finished=True) == []
            again = bc.submission(first.task_id)
            assert again.wait().study_info == first.study_info
            second = begin(counts).wait()  # the id of each is its own
        assert second.study_id != first.study_id
        assert commits(strict) == 2

    def test_for_a_task_without_a_journal_records_its_commit(self, strict: Sandbox, counts: ad.AnnData) -> None:
        with bc.settings.override(follow=False):
            first = begin(counts, "without_journal")
            for path in (bc.settings.cache_dir / "journal").glob("*.jsonl"):
                path.unlink()
            assert bc.submission(first.wait().task_id).wait().study_info == first.study_info
        assert commits(strict) == 1


class TestTheThread:
    def test_ends_with_the_sandbox(self, counts: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
        with bc.settings.override(follow=True), bc.sandbox() as own:
            keep_queued(own)
            submission = begin(counts)
            own.close()
            assert ended()
        assert not background.is_followed(submission)
        assert [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []

    @pytest.mark.sweeps
    def test_ends_with_the_interpreter(self, strict: Sandbox, counts: ad.AnnData) -> None:
        keep_queued(strict)
        with bc.settings.override(follow=False):
            submission = begin(counts, "at_the_end")
        code = "import biocolab_accessor as bc; print(bc.submissions()[0].resume(wait=False))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **strict.environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"while this session runs; later: bc\.submission\('\w+'\)\.wait\(\)\)\n$", done.stdout)
        assert not submission.done
