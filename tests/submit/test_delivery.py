from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import ServerError, TaskFailed, TransportError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import journal

from .conftest import CHUNK


def submit(adata: ad.AnnData, title: str, **options: object) -> object:
    return adata.biocolab.submit(name=title, skip_dimred=True, chunk_size=CHUNK, **options)


def studies(title: str) -> list[str]:
    frame = bc.studies()
    return list(frame.loc[frame["title"] == title, "uuid"])


def chunks(server: Sandbox) -> int:
    """Chunks that the server has acknowledged."""
    return sum(record.status == 200 for record in server.requests.of("upload_chunk"))


def journals() -> list[journal.Known]:
    return [journal._read(path)[0] for path in sorted(journal._folder().glob("[0-9a-f]*.jsonl"))]


def break_off(server: Sandbox, adata: ad.AnnData, title: str, route: str, *, nth: int = 1, **options: object) -> None:
    """A submission that fails at a request, and a server without the fault."""
    server.faults.add(route, nth=range(nth, nth + 20), kind="status", status=500)
    with pytest.raises(ServerError):
        submit(adata, title, **options)
    server.faults.clear()


class TestAnInterruptedCall:
    @pytest.mark.parametrize("study_id", [None, "interrupted"])
    def test_sends_only_the_missing_chunks_and_stays_one_study(
        self, faulty: Sandbox, wide: ad.AnnData, study_id: str | None
    ) -> None:
        title = f"missing chunks {study_id}"
        break_off(faulty, wide, title, "upload_chunk", nth=3, study_id=study_id)
        assert chunks(faulty) == 2
        [known] = journals()
        done = submit(wide, title, study_id=study_id)
        assert (done.study_id, known.chunks) == (known.study_id, {0: {0, 1}})
        n_bytes = wide.biocolab.to_h5ad(bc.settings.cache_dir / "x.h5ad").stat().st_size
        assert chunks(faulty) == -(-n_bytes // CHUNK) > 3
        assert len(faulty.requests.of("add_file_upload")) == 1
        assert studies(title) == [done.study_info["uuid"]]
        np.testing.assert_array_equal(done.study().to_anndata()[wide.obs_names].X.toarray(), wide.X.toarray())

    def test_whose_task_has_started_is_waited_for(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        title = "begun"
        break_off(faulty, wide, title, "get_submission_log")
        task = journals()[0].task_id
        done = submit(wide, title)
        assert done.task_id == task
        assert len(faulty.requests.of("submit_study_from_local")) == 1
        assert len(studies(title)) == 1
        assert journals() == []

    def test_whose_request_was_rejected_sends_no_chunk_again(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        break_off(faulty, wide, "refused", "submit_study_from_local")
        before = chunks(faulty)
        submit(wide, "refused")
        assert chunks(faulty) == before
        assert len(studies("refused")) == 1

    def test_after_its_commit_is_not_committed_again(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        # The server commits, and none of its answers arrives.
        faulty.faults.add("commit_submission_result", kind="lost_answer")
        faulty.faults.add("get_all_studies_info_in_group", kind="reset")
        with pytest.raises(TransportError):
            submit(wide, "lost commit")
        faulty.faults.clear()
        faulty.requests.clear()
        done = submit(wide, "lost commit")
        assert [r for r in faulty.requests.of("commit_submission_result") if not r.fault] == []
        assert studies("lost commit") == [done.study_info["uuid"]]
        assert done.status == "SUCCESS"
        assert done.study().n_obs == 300

    def test_with_other_arguments_is_another_call(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        break_off(faulty, wide, "other arguments", "get_submission_log")
        task = journals()[0].task_id
        assert submit(wide, "other arguments", min_genes=1).task_id != task

    def test_with_other_cells_is_another_call(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        break_off(faulty, wide, "other cells", "get_submission_log")
        task = journals()[0].task_id
        assert submit(wide[::-1], "other cells").task_id != task

    def test_with_another_chunk_size_restarts_its_upload(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        break_off(faulty, wide, "chunk size", "upload_chunk", nth=3)
        faulty.requests.clear()
        done = wide.biocolab.submit(name="chunk size", skip_dimred=True, chunk_size=2 * CHUNK)
        n_bytes = wide.biocolab.to_h5ad(bc.settings.cache_dir / "x.h5ad").stat().st_size
        assert chunks(faulty) == -(-n_bytes // (2 * CHUNK))
        assert done.study().n_obs == 300

    @pytest.mark.parametrize("route", ["get_submission_log", "submit_study_from_local"])
    def test_on_a_busy_server_is_not_started_again(self, faulty: Sandbox, wide: ad.AnnData, route: str) -> None:
        break_off(faulty, wide, f"busy {route}", route)
        faulty.faults.add(route, status=503)
        with pytest.raises(ServerError, match="503"):
            submit(wide, f"busy {route}")
        faulty.faults.clear()
        submit(wide, f"busy {route}")
        assert len(faulty.requests.of("add_file_upload")) == 1
        assert len(studies(f"busy {route}")) == 1

    def test_of_several_files_resumes_with_the_interrupted_file(
        self, faulty: Sandbox, wide: ad.AnnData, tmp_path: Path
    ) -> None:
        files = []
        for name, part in (("a", wide[:150].copy()), ("b", wide[150:].copy())):
            files.append(part.biocolab.to_h5ad(tmp_path / f"{name}.h5ad"))
        sizes = [-(-path.stat().st_size // CHUNK) for path in files]
        options = {"name": "several", "skip_dimred": True, "chunk_size": CHUNK}
        faulty.faults.add("upload_chunk", nth=range(sizes[0] + 2, 99), kind="status", status=500)
        with pytest.raises(ServerError):
            bc.submit(files, **options)
        faulty.faults.clear()
        assert chunks(faulty) == sizes[0] + 1
        done = bc.submit(files, **options)
        assert chunks(faulty) == sum(sizes)
        assert len(faulty.requests.of("add_file_upload")) == 2
        assert done.study().n_obs == 300


class TestACallThatHasEnded:
    def test_is_found_again_by_the_given_study_id(
        self, faulty: Sandbox, wide: ad.AnnData, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = submit(wide, "named", study_id="named")
        faulty.requests.clear()
        with caplog.at_level(logging.WARNING, "biocolab_accessor"):
            again = submit(wide, "named", study_id="named")
        assert "study named was submitted before" in caplog.text
        assert faulty.requests.of("add_file_upload") == faulty.requests.of("submit_study_from_local") == []
        assert (again.status, again.task_id, again.study_info["uuid"]) == (
            "SUCCESS", first.task_id, first.study_info["uuid"],
        )  # fmt: skip
        assert len(studies("named")) == 1

    def test_with_other_cells_under_its_name_is_a_second_study_with_a_warning(
        self, faulty: Sandbox, wide: ad.AnnData, tmp_path: Path
    ) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "group")
            first = submit(wide, "second_of_its_name", study_id="second_of_its_name")
            assert submit(wide, "second_of_its_name", study_id="second_of_its_name").task_id == first.task_id
        uuid = first.study_info["uuid"]
        with pytest.warns(UserWarning, match=rf"'personal' has a study 'second_of_its_name' already \(uuid {uuid}\)"):
            second = submit(wide[:200].copy(), "second_of_its_name", study_id="second_of_its_name")
        file = wide[:100].copy().biocolab.to_h5ad(tmp_path / "x.h5ad")
        with pytest.warns(UserWarning, match="has a study 'second_of_its_name' already") as caught:
            third = bc.submit(file, name="second_of_its_name", study_id="second_of_its_name", skip_dimred=True)
        assert {warning.filename for warning in caught} == {__file__}
        assert set(studies("second_of_its_name")) == {uuid, second.study_info["uuid"], third.study_info["uuid"]}

    def test_without_a_name_is_followed_by_a_new_study(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        first, second = submit(wide, "deliberate"), submit(wide, "deliberate")
        assert first.study_id != second.study_id
        assert len(studies("deliberate")) == 2
        assert journals() == []

    def test_with_a_failed_task_is_followed_by_a_new_task(self, faulty: Sandbox, unread: Path) -> None:
        tasks = set()
        for _ in range(2):
            with pytest.raises(TaskFailed, match="cannot read studies of type RDS") as caught:
                bc.submit(unread, study_id="fails", study_type="rds")
            tasks.add(caught.value.task_id)
            assert journals() == []
        assert len(tasks) == 2

    def test_with_a_failed_task_and_without_waiting_is_followed_by_a_new_task(
        self, faulty: Sandbox, unread: Path
    ) -> None:
        first = bc.submit(unread, name="fails unseen", study_type="rds", wait=False)
        while first.status != "ERROR":
            pass
        assert bc.submit(unread, name="fails unseen", study_type="rds", wait=False).task_id != first.task_id


class TestAnswersThatAreLost:
    @pytest.mark.parametrize("route", ["add_file_upload", "submit_study_from_local", "commit_submission_result"])
    @pytest.mark.parametrize("kind", ["lost_answer", "reset", "reset_midway"])
    def test_do_not_create_a_second_study(self, faulty: Sandbox, wide: ad.AnnData, route: str, kind: str) -> None:
        title = f"{kind} of {route}"
        faulty.faults.add(route, nth=1, kind=kind)
        done = submit(wide, title)
        assert studies(title) == [done.study_info["uuid"]]
        log = faulty.requests.of("get_submission_log")
        assert len({record.path for record in log}) == 1
        assert done.study().n_obs == 300

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "lost_answer"},
            {"kind": "reset"},
            {"status": 503, "retry_after": 0},
            {"status": 408},
            {"status": 502},
        ],
    )
    def test_of_a_chunk_cost_one_chunk(self, faulty: Sandbox, wide: ad.AnnData, fault: dict[str, object]) -> None:
        faulty.faults.add("upload_chunk", nth=3, **fault)
        done = submit(wide, "a chunk")
        records = faulty.requests.of("upload_chunk")
        n_bytes = wide.biocolab.to_h5ad(bc.settings.cache_dir / "x.h5ad").stat().st_size
        assert len(records) == -(-n_bytes // CHUNK) + 1
        assert records[3].received > CHUNK  # a whole body, and not the rest of the first one's
        np.testing.assert_array_equal(done.study().to_anndata()[wide.obs_names].X.toarray(), wide.X.toarray())


class TestCallsAtTheSameTime:
    @pytest.fixture
    def slow(self, faulty: Sandbox) -> Sandbox:
        faulty.faults.add("upload_chunk", kind="delay", seconds=0.05)
        return faulty

    def at_once(self, adata: ad.AnnData, title: str, **options: object) -> list[str]:
        ready = threading.Barrier(2)

        def one(_: int) -> str:
            ready.wait()
            return submit(adata, title, **options).study_info["uuid"]

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(one, range(2)))

    def test_without_a_name_are_two_studies(self, slow: Sandbox, wide: ad.AnnData) -> None:
        assert sorted(self.at_once(wide, "two")) == sorted(studies("two"))
        assert len(studies("two")) == 2

    def test_with_a_name_are_one_study_that_is_sent_once(self, slow: Sandbox, wide: ad.AnnData) -> None:
        assert set(self.at_once(wide, "one", study_id="one")) == set(studies("one"))
        assert len(studies("one")) == 1
        assert len(slow.requests.of("add_file_upload")) == 1


def test_a_submission_without_a_journal_folder_is_still_sent(
    faulty: Sandbox, wide: ad.AnnData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "no folder"
    place.write_text("")
    with bc.settings.override(cache_dir=place), caplog.at_level(logging.WARNING, "biocolab_accessor"):
        done = submit(wide, "no journal", study_id="no journal")
        assert "cannot be resumed, and the same call again may make a second study: look at bc.studies()" in caplog.text
        assert studies("no journal") == [done.study_info["uuid"]]
        faulty.requests.clear()
        # The same call would make a second study; it warns of that before it sends anything.
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "group .* already", UserWarning)
            with pytest.raises(UserWarning, match="has a study 'no journal' already"):
                submit(wide, "no journal", study_id="no journal")
    assert faulty.requests.of("add_file_upload") == []


@pytest.mark.parametrize("step", ["upload", "task"])
def test_a_disk_that_fills_during_a_submission_does_not_lead_to_a_second_study(
    faulty: Sandbox, wide: ad.AnnData, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    append = journal._append

    def full(path: Path, *steps: dict[str, object], sync: bool) -> None:
        if step in [each["step"] for each in steps]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(path, *steps, sync=sync)

    title = f"full at {step}"
    monkeypatch.setattr(journal, "_append", full)
    done = submit(wide, title, study_id=title)
    monkeypatch.setattr(journal, "_append", append)
    again = submit(wide, title, study_id=title)
    assert studies(title) == [done.study_info["uuid"]] == [again.study_info["uuid"]]
    assert len(faulty.requests.of("submit_study_from_local")) == 1


def forget(server: Sandbox, title: str) -> None:
    """Let the server lose what was submitted, as if it was set up anew; but not the studies of other tests."""
    with server._state.catalog._database.writing() as connection:
        for table in ("uploads", "chunks"):
            connection.execute(f"delete from {table}")
        connection.execute("delete from tasks where body like ?", (f'%"{title}"%',))
        connection.execute("delete from studies where title = ?", (title,))


class TestAServerThatForgot:
    @pytest.mark.parametrize("route", ["upload_chunk", "submit_study_from_local", "get_submission_log"])
    def test_receives_all_data_again(self, faulty: Sandbox, wide: ad.AnnData, route: str) -> None:
        break_off(faulty, wide, "forgotten", route, nth=3 if route == "upload_chunk" else 1)
        study_id = journals()[0].study_id
        forget(faulty, "forgotten")
        done = submit(wide, "forgotten")
        assert studies("forgotten") == [done.study_info["uuid"]]
        assert done.study_id == study_id or route == "get_submission_log"
        assert journals() == []

    def test_receives_a_named_study_again(self, faulty: Sandbox, wide: ad.AnnData) -> None:
        submit(wide, "gone", study_id="gone")
        forget(faulty, "gone")
        done = submit(wide, "gone", study_id="gone")
        assert studies("gone") == [done.study_info["uuid"]]


def test_the_journal_holds_no_token(faulty: Sandbox, wide: ad.AnnData) -> None:
    break_off(faulty, wide, "private", "get_submission_log")
    paths = list(journal._folder().iterdir())
    assert {path.suffix for path in paths} >= {".jsonl"}
    for path in paths:
        assert faulty.token not in path.read_text() + path.name


@pytest.mark.sweeps  # an interpreter of its own
def test_equal_objects_make_equal_files_in_every_process(wide: ad.AnnData, tmp_path: Path) -> None:
    wide.obs["batch"] = ["a", "b", "c"] * 100
    wide.obsm["X_own"] = np.arange(600, dtype=np.float32).reshape(300, 2)
    wide.write_h5ad(tmp_path / "in.h5ad")
    here = ad.read_h5ad(tmp_path / "in.h5ad").biocolab.to_h5ad(tmp_path / "here.h5ad")
    code = (
        "import sys, anndata, biocolab_accessor; "
        "anndata.read_h5ad(sys.argv[1]).biocolab.to_h5ad(sys.argv[2], compression='gzip')"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(sys.path)}
    there = tmp_path / "there.h5ad"
    subprocess.run([sys.executable, "-c", code, tmp_path / "in.h5ad", there], check=True, env=environment)
    assert here.read_bytes() == there.read_bytes()
