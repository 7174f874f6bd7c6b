from __future__ import annotations

import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients import tasks
from biocolab_accessor.connection import default
from biocolab_accessor.errors import ConfigurationError, InvalidArgument, NotFound, TaskFailed, TimedOut, UnknownGroup
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit.submission import Submission
from tests.patience import PATIENCE, until
from tests.warm import start_python


def begin(adata: ad.AnnData, title: str, **options: object) -> Submission:
    return adata.biocolab.submit(name=title, skip_dimred=True, wait=False, **options)


def begin_what_fails(path: Path, title: str) -> Submission:
    return bc.submit(path, name=title, study_type="rds", wait=False)


def waiting_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "biocolab-submission"]


class TestInAnotherProcess:
    def run(self, server: Sandbox, code: str, *arguments: str) -> str:
        environment = {**os.environ, **server.environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
        command = ["-c", f"import sys, pickle, biocolab_accessor as bc\n{code}", *arguments]
        done = start_python(command, env=environment)
        said, told = done.communicate(timeout=PATIENCE)
        assert done.returncode == 0, told
        return said.strip()

    def test_a_pickle_resumes_and_holds_no_token(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        submission = begin(counts, "pickled")
        pickled = pickle.dumps(submission)
        assert faulty.token.encode() not in pickled
        code = "s = pickle.loads(bytes.fromhex(sys.argv[1])); print(s.wait().study().n_obs, s.study_info['uuid'])"
        assert self.run(faulty, code, pickled.hex()) == f"60 {submission.wait().study_info['uuid']}"

    def test_the_task_id_is_sufficient(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        submission = begin(counts, "by its task", group="All members", study_id="by_task")
        code = "s = bc.submission(sys.argv[1]); print(s.study_id, s.group_id, s.wait().study().n_obs)"
        assert self.run(faulty, code, submission.task_id) == "by_task all_members 60"


class TestByItsTask:
    def test_a_submission_has_the_values_of_the_journal(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        first = begin(counts, "journal", group="all_members")
        again = bc.submission(first.task_id)
        assert (again.study_id, again.group_id, again.species) == (first.study_id, "all_members", "human")
        assert again.wait().study_info["uuid"] == first.wait().study_info["uuid"]

    def test_a_submission_has_the_given_values_if_the_journal_lacks_it(
        self, faulty: Sandbox, counts: ad.AnnData
    ) -> None:
        first = begin(counts, "arguments", group="all_members", study_id="arguments")
        for path in (bc.settings.cache_dir / "journal").glob("*.jsonl"):
            path.unlink()
        again = bc.submission(first.task_id, group="All members")
        assert (again.study_id, again.group_id) == ("", "all_members")
        assert again.wait().study_id == "arguments"

    def test_a_finished_submission_is_done(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        first = begin(counts, "over", study_id="over").wait()
        again = bc.submission(first.task_id)
        assert again.done
        assert again.study().n_obs == 60

    def test_an_unknown_task_is_an_error(self, server: Sandbox) -> None:
        with pytest.raises(NotFound, match=r"no task 'nonsense'\. Give the value of submission\.task_id") as caught:
            bc.submission("nonsense")
        assert (caught.value.status, caught.value.detail) == (404, "the sandbox has no task 'nonsense'")

    def test_an_unknown_group_is_an_error(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        with pytest.raises(UnknownGroup, match="nobody"):
            bc.submission(begin(counts, "group").task_id, group="nobody")


class TestWaiting:
    def test_with_a_timeout_can_be_repeated(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        faulty.faults.add("get_submission_log", nth=range(1, 8), kind="unknown_state", state="QUEUED")
        submission = begin(counts, "timeout")
        with pytest.raises(TimedOut, match=r"still QUEUED after 0\.05 s.*make the same call again to wait for it"):
            submission.wait(timeout=0.05)
        assert not submission.done
        assert submission.wait(timeout=PATIENCE).study().n_obs == 60
        assert submission.status == "SUCCESS"

    @pytest.mark.parametrize("timeout", [-1, float("nan")])
    def test_rejects_an_invalid_timeout(self, faulty: Sandbox, counts: ad.AnnData, timeout: float) -> None:
        with pytest.raises(InvalidArgument, match="timeout is"):
            begin(counts, "nonsense").wait(timeout)

    def test_for_a_failed_task_keeps_its_log(self, faulty: Sandbox, unread: Path) -> None:
        submission = begin_what_fails(unread, "failure")
        with pytest.raises(TaskFailed, match="cannot read studies of type RDS"):
            submission.wait()
        assert submission.status == "ERROR"
        assert "cannot read studies of type RDS" in submission.log

    def test_with_a_connection_to_another_server_is_an_error(
        self, faulty: Sandbox, counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pickled = pickle.dumps(begin(counts, "elsewhere"))
        monkeypatch.setattr(default, "_stack", [])
        bc.connect(private_host="http://127.0.0.1:1/t2d_index_tool/", private_token="t" * 20)
        with pytest.raises(
            ConfigurationError, match=r"is on http.*but the current connection is to http://127\.0\.0\.1:1/"
        ) as caught:
            pickle.loads(pickled).wait()
        assert f"bc.connect(private_host='{faulty.private_host}', private_token=…)" in str(caught.value)


class TestInterrupted:
    @pytest.mark.sweeps  # an interpreter of its own
    def test_in_a_terminal_says_that_the_task_keeps_running_and_how_to_resume(
        self, faulty: Sandbox, counts: ad.AnnData, tmp_path: Path
    ) -> None:
        counts.write_h5ad(tmp_path / "x.h5ad")
        fault = faulty.faults.add("get_submission_log", nth=range(1, 500), kind="unknown_state", state="QUEUED")
        process = start_python(
            ["-m", "biocolab_accessor", "submit", str(tmp_path / "x.h5ad"), "--skip-dimred"],
            env={**os.environ, **faulty.environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        until(lambda: process.poll() is not None or fault.hits)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        told = re.search(
            r"interrupted: task (\w+) keeps running on the server\. To go on, .*\n  (.+)\nor in Python\n  (.+)", said
        )
        assert told[2] == f"biocolab wait {told[1]}"
        assert told[3] == f"bc.submission('{told[1]}').wait()"
        faulty.faults.clear()
        (left,) = (each for each in bc.submissions() if each.task_id == told[1])
        assert left.state == f"on the server as task {told[1]}, not a study yet"
        called = [sys.executable, "-m", "biocolab_accessor"]
        environment = {**os.environ, **faulty.environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
        listed = subprocess.run([*called, "tasks"], env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert told[1] in listed.stdout
        waited = subprocess.run(
            [*called, "wait", told[1]], env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert waited.returncode == 0, waited.stderr
        assert "SUCCESS" in waited.stdout
        assert all(each.task_id != told[1] for each in bc.submissions())

    def test_names_the_server_if_it_is_not_the_default(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        faulty.faults.add("get_submission_log", nth=range(1, 500), kind="unknown_state", state="QUEUED")
        submission = begin(counts, "interrupted", to="talk2data")
        timer = threading.Timer(0.3, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
        timer.start()
        try:
            with pytest.raises(KeyboardInterrupt) as caught:
                submission.wait(timeout=PATIENCE)
        finally:
            timer.join()
            faulty.faults.clear()
        (note,) = caught.value.__notes__
        assert note.endswith(f"bc.submission('{submission.task_id}', to='talk2data').wait()")
        assert eval(note.splitlines()[-1].strip()).study().n_obs == 60


class TestInAnEventLoop:
    def test_a_submission_is_awaited_while_other_tasks_run(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        faulty.faults.add("get_submission_log", nth=range(1, 9), kind="unknown_state", state="QUEUED")

        async def main() -> tuple[Submission, int]:
            turns = 0

            async def others() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.01)

            running = asyncio.create_task(others())
            submission = await begin(counts, "awaited")
            running.cancel()
            return submission, turns

        submission, turns = asyncio.run(main())
        assert submission.done
        assert turns > 3
        assert waiting_threads() == []

    def test_a_failure_is_raised_where_the_submission_is_awaited(self, faulty: Sandbox, unread: Path) -> None:
        async def main() -> None:
            await begin_what_fails(unread, "awaited failure")

        with pytest.raises(TaskFailed, match="cannot read studies of type RDS"):
            asyncio.run(main())
        assert waiting_threads() == []

    def test_a_submission_can_be_cancelled_and_awaited_again(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        faulty.faults.add("get_submission_log", kind="unknown_state", state="QUEUED")

        async def main() -> Submission:
            submission = begin(counts, "cancelled")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(submission, 0.3)
            assert waiting_threads() == []
            assert not submission.done
            faulty.faults.clear()
            return await submission

        assert asyncio.run(main()).study().n_obs == 60
        assert waiting_threads() == []

    def test_a_cancelled_submission_on_a_hanging_server_does_not_stop_others(
        self, faulty: Sandbox, counts: ad.AnnData, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        submission = begin(counts, "hanging")
        asked, over = threading.Event(), threading.Event()
        let_go: list[bool] = []

        def hanging(*_: object) -> NoReturn:
            asked.set()
            let_go.append(over.wait(PATIENCE))
            msg = "the server let go"
            raise TimedOut(msg)

        monkeypatch.setattr(tasks, "task_state", hanging)

        async def main() -> None:
            waiting = asyncio.ensure_future(submission)
            turns = 0
            while turns < 5:
                await asyncio.sleep(0.01)
                turns += asked.is_set()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert let_go == []

        try:
            asyncio.run(main())
            assert let_go == []
        finally:
            over.set()
            until(lambda: waiting_threads() == [])

    def test_several_are_awaited_at_once(self, faulty: Sandbox, counts: ad.AnnData) -> None:
        async def main() -> list[Submission]:
            return await asyncio.gather(*(begin(counts, f"gathered {i}", study_id=f"gathered_{i}") for i in range(3)))

        assert [done.study_info["study_hash_id"] for done in asyncio.run(main())] == [
            "gathered_0", "gathered_1", "gathered_2",
        ]  # fmt: skip


def test_a_submission_is_displayed_after_the_server_has_closed(counts: ad.AnnData) -> None:
    with bc.sandbox():
        submission = counts.biocolab.submit(study_id="shown<b>", wait=False)
    with bc.settings.override(max_retries=0):
        page = submission._repr_html_()
    assert "shown&lt;b&gt;" in page
    assert "href" not in page


def test_a_submission_that_is_made_again_says_that_nothing_was_sent_and_has_its_page(server: Sandbox) -> None:
    cells = ad.AnnData(np.eye(9, dtype=np.float32) + 1)
    first, again = (cells.biocolab.submit(study_id="made again", skip_dimred=True) for _ in range(2))
    assert "nothing was sent" not in repr(first)
    assert "submitted before, so nothing was sent" in repr(again)
    assert "submitted before, so nothing was sent" in again._repr_html_()
    assert again.url == first.url
    assert again.log == first.log
