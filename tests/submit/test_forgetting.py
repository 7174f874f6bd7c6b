"""Servers that lose data, and report it in three wordings: every call ends, with exactly one study."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import BiocolabError, ServerError, TransportError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.submit import journal

from .conftest import CHUNK

WORDINGS: dict[str, dict[str, Any] | None] = {
    "own": None,
    "ambiguous": {"status": 409, "message": "ambiguous: 0 uploads, incomplete"},
    "in the body": {"status": 200, "message": "cannot proceed (E17)"},
}


# Plain pytest has one of them.
_PARAMS = [pytest.param(name, marks=pytest.mark.sweeps) for name in sorted(WORDINGS) if name != "own"]


@pytest.fixture(params=["own", *_PARAMS])
def wording(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def strict(faulty: Sandbox) -> Iterator[Sandbox]:
    """Takes a commit twice for two studies, and calls a file that was announced twice ambiguous."""
    faulty._state.strict = True
    yield faulty
    faulty._state.strict = False


def speaks(server: Sandbox, wording: str) -> None:
    words = WORDINGS[wording]
    if words is not None:
        server.faults.add("*", kind="other_words", **words)


@contextmanager
def warned(pattern: str = "starting again") -> Iterator[None]:
    """A warning with this text was issued."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [str(each.message) for each in caught if pattern in str(each.message)] != []


def studies(title: str) -> list[str]:
    frame = bc.studies()
    return list(frame.loc[frame["title"] == title, "uuid"])


@pytest.fixture(params=["object", pytest.param("files", marks=pytest.mark.sweeps)])
def submit(request: pytest.FixtureRequest, wide: ad.AnnData, tmp_path: Path) -> Callable[..., Any]:
    """Submits an object, or two files."""
    if request.param == "object":

        def of_object(title: str, **options: Any) -> Any:
            return wide.biocolab.submit(name=title, skip_dimred=True, chunk_size=CHUNK, **options)

        return of_object
    files = [
        wide[part].copy().biocolab.to_h5ad(tmp_path / f"{part.start}.h5ad") for part in (slice(0, 150), slice(150, 300))
    ]

    def of_files(title: str, **options: Any) -> Any:
        return bc.submit(files, name=title, skip_dimred=True, chunk_size=CHUNK, **options)

    return of_files


def break_off(server: Sandbox, route: str, submit: Callable[..., Any], title: str, **options: Any) -> None:
    nth = 2 if route == "upload_chunk" else 1
    server.faults.add(route, nth=range(nth, nth + 20), status=503)
    with pytest.raises(ServerError):
        submit(title, **options)
    server.faults.clear()


def lose(server: Sandbox, title: str) -> None:
    """From the next request on, the server has lost all uploads and tasks."""
    server.faults.add("*", nth=1, kind="forget_uploads")
    server.faults.add("*", nth=1, kind="forget_tasks", title=title)


# The sweeps tests/stress/client_kill.py and faults.py have every wording at every step.
@pytest.mark.parametrize(
    ("route", "wording", "study_id"),
    [
        ("upload_chunk", "own", None),
        ("upload_chunk", "ambiguous", "named"),
        ("submit_study_from_local", "own", "named"),
        ("submit_study_from_local", "ambiguous", None),
        ("submit_study_from_local", "in the body", "named"),
        ("get_submission_log", "in the body", None),
        ("get_submission_log", "ambiguous", "named"),
        ("commit_submission_result", "in the body", None),
        ("commit_submission_result", "own", "named"),
    ],
)
def test_a_submission_that_the_server_lost_starts_again(
    faulty: Sandbox, submit: Callable[..., Any], wording: str, route: str, study_id: str | None
) -> None:
    title = f"forgotten {submit.__name__} {wording} {route} {study_id}"
    study_id = study_id and title
    break_off(faulty, route, submit, title, study_id=study_id)
    lose(faulty, title)
    speaks(faulty, wording)
    with warned():
        done = submit(title, study_id=study_id)
    assert studies(title) == [done.study_info["uuid"]]
    assert done.study().n_obs == 300
    assert study_id or list(journal._folder().glob("[0-9a-f]*.jsonl")) == []


def test_a_submission_that_is_rejected_at_once_is_not_sent_again(
    faulty: Sandbox, submit: Callable[..., Any], wording: str
) -> None:
    faulty.faults.add("submit_study_from_local", status=422)
    speaks(faulty, wording)
    with pytest.raises(ServerError, match="422"):
        submit("refused at once")
    assert len(faulty.requests.of("submit_study_from_local")) == 1
    sent = len(faulty.requests.of("upload_chunk"))
    with warned(), pytest.raises(ServerError, match="422"):
        submit("refused at once")
    assert len(faulty.requests.of("submit_study_from_local")) == 3  # as it was, and from the start
    assert len(faulty.requests.of("upload_chunk")) == 2 * sent


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 422])
def test_every_rejection_of_a_resumed_step_starts_again(faulty: Sandbox, wide: ad.AnnData, status: int) -> None:
    def submit(title: str) -> Any:
        return wide.biocolab.submit(name=title, skip_dimred=True, chunk_size=CHUNK)

    title = f"status {status}"
    break_off(faulty, "submit_study_from_local", submit, title)
    faulty.faults.add("submit_study_from_local", nth=1, status=status, detail="no")
    with warned():
        done = submit(title)
    assert studies(title) == [done.study_info["uuid"]]


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_temporary_fault_does_not_start_again(faulty: Sandbox, wide: ad.AnnData, status: int) -> None:
    def submit(title: str) -> Any:
        return wide.biocolab.submit(name=title, skip_dimred=True, chunk_size=CHUNK)

    title = f"passing {status}"
    break_off(faulty, "submit_study_from_local", submit, title)
    sent = len(faulty.requests.of("upload_chunk"))
    faulty.faults.add("submit_study_from_local", status=status)
    with pytest.raises(ServerError):
        submit(title)
    faulty.faults.clear()
    assert submit(title).done
    assert len(faulty.requests.of("upload_chunk")) == sent


def test_an_answer_without_a_status_means_a_lost_task(faulty: Sandbox, wide: ad.AnnData) -> None:
    def submit(title: str) -> Any:
        return wide.biocolab.submit(name=title, skip_dimred=True, chunk_size=CHUNK)

    break_off(faulty, "get_submission_log", submit, "no status")
    faulty.faults.add("get_submission_log", nth=1, kind="empty_object")
    with warned():
        done = submit("no status")
    assert studies("no status") == [done.study_info["uuid"]]


@pytest.mark.parametrize(
    ("route", "wording"),
    [("get_submission_log", "own"), ("get_submission_log", "in the body"), ("commit_submission_result", "ambiguous")],
)
def test_a_task_lost_while_waiting_is_started_by_the_next_call(
    faulty: Sandbox, submit: Callable[..., Any], wording: str, route: str
) -> None:
    title = f"while waiting {submit.__name__} {wording} {route}"
    submission = submit(title, wait=False)
    faulty.faults.add(route, nth=1, kind="forget_tasks", title=title)
    speaks(faulty, wording)
    with pytest.raises(BiocolabError) as caught:
        submission.wait()
    assert "starts again if the server has lost it" in "".join(caught.value.__notes__)
    done = submit(title)
    assert (done.study_id, studies(title)) == (submission.study_id, [done.study_info["uuid"]])


def test_a_resumed_task_lost_while_waiting_starts_again_at_once(
    faulty: Sandbox, submit: Callable[..., Any], wording: str
) -> None:
    title = f"resumed, waiting {submit.__name__} {wording}"
    first = submit(title, wait=False)
    faulty.faults.add("commit_submission_result", nth=1, kind="forget_tasks", title=title)
    speaks(faulty, wording)
    with warned():
        done = submit(title)
    assert (done.study_id, studies(title)) == (first.study_id, [done.study_info["uuid"]])


@pytest.mark.parametrize("route", ["submit_study_from_local", "get_submission_log"])
def test_a_call_that_does_not_wait_starts_again_too(faulty: Sandbox, submit: Callable[..., Any], route: str) -> None:
    title = f"not waiting {submit.__name__} {route}"
    break_off(faulty, route, submit, title)
    lose(faulty, title)
    speaks(faulty, "ambiguous")
    with warned():
        submission = submit(title, wait=False)
    assert studies(title) == []
    submission.wait()
    assert studies(title) == [submission.study_info["uuid"]]


@pytest.mark.parametrize("route", ["upload_chunk", "commit_submission_result"])
def test_talk2data_receives_all_data_again_after_a_loss(
    faulty: Sandbox, submit: Callable[..., Any], route: str
) -> None:
    title = f"talk2data {submit.__name__} {route}"
    break_off(faulty, route, submit, title, to="talk2data")
    lose(faulty, title)
    speaks(faulty, "in the body")
    with warned():
        done = submit(title, to="talk2data")
    assert (done.source, done.study().n_obs) == ("talk2data", 300)
    assert studies(title) == [done.study_info["uuid"]]


def test_a_study_that_the_server_lost_is_sent_again(faulty: Sandbox, submit: Callable[..., Any], wording: str) -> None:
    title = f"study forgotten {submit.__name__} {wording}"
    submit(title, study_id=title)
    faulty.faults.add("*", nth=1, kind="forget_studies", title=title)
    lose(faulty, title)
    speaks(faulty, wording)
    done = submit(title, study_id=title)
    assert studies(title) == [done.study_info["uuid"]]


def test_a_server_that_restarts_without_its_uploads_gets_them_again(wide: ad.AnnData, tmp_path: Path) -> None:
    options = {"study_id": "restarted", "skip_dimred": True, "chunk_size": CHUNK}
    with bc.sandbox(tmp_path) as server, bc.settings.override(max_retries=0):
        server.faults.add("submit_study_from_local", status=503)
        with pytest.raises(ServerError):
            wide.biocolab.submit(**options)
    shutil.rmtree(tmp_path / "uploads")
    with bc.sandbox(tmp_path), warned():
        done = wide.biocolab.submit(**options)
        assert studies("restarted") == [done.study_info["uuid"]]
        assert done.study().n_obs == 300


class TestAStepThatIsRepeatedWithinACall:
    @pytest.mark.parametrize(
        ("route", "kind", "study_id"),
        [
            ("add_file_upload", "lost_answer", None),
            ("add_file_upload", "reset_midway", "named"),
            ("upload_chunk", "lost_answer", None),
            ("submit_study_from_local", "lost_answer", None),
            ("submit_study_from_local", "reset_midway", "named"),
            ("get_submission_log", "reset_midway", None),
            ("commit_submission_result", "lost_answer", None),
            ("commit_submission_result", "reset_midway", "named"),
        ],
    )
    def test_leaves_one_study_on_a_strict_server(
        self, strict: Sandbox, submit: Callable[..., Any], route: str, kind: str, study_id: str | None
    ) -> None:
        title = f"repeated {submit.__name__} {route} {kind} {study_id}"
        study_id = study_id and title
        strict.faults.add(route, nth=1, kind=kind)
        done = submit(title, study_id=study_id)
        assert studies(title) == [done.study_info["uuid"]]
        assert done.study().n_obs == 300

    def test_looks_for_the_study_before_a_commit_is_repeated(self, strict: Sandbox, wide: ad.AnnData) -> None:
        strict.faults.add("commit_submission_result", nth=1, kind="lost_answer")
        done = wide.biocolab.submit(name="commit once", skip_dimred=True, chunk_size=CHUNK)
        assert len(strict.requests.of("commit_submission_result")) == 1
        assert studies("commit once") == [done.study_info["uuid"]]

    def test_of_the_official_call_leaves_no_ambiguous_file(
        self, strict: Sandbox, wide: ad.AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = wide.biocolab.to_h5ad(tmp_path / "x.h5ad")
        strict.faults.add("add_file_upload", nth=1, kind="lost_answer")
        connector = strict.connect().get_bbrowserx()
        given = {"name": "official", "authors": [], "abstract": "", "skip_dimred": True}
        connector.submit_study_from_local("personal", [{"matrix": str(file)}], **given)
        assert len(studies("official")) == 1

    def test_official_calls_look_the_study_up_before_they_repeat_a_commit(
        self, strict: Sandbox, wide: ad.AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = wide.biocolab.to_h5ad(tmp_path / "x.h5ad")
        connector = strict.connect().get_bbrowserx()
        strict.faults.add("commit_submission_result", nth=1, kind="lost_answer")
        given = {"name": "official once", "authors": [], "abstract": "", "skip_dimred": True}
        done = connector.submit_study_from_local("personal", [{"matrix": str(file)}], **given)
        assert studies("official once") == [done["study_info"]["uuid"]]

    @pytest.mark.parametrize("earlier", [0, 1])
    def test_submitting_from_a_bucket_looks_the_study_up_before_it_repeats_a_commit(
        self, strict: Sandbox, wide: ad.AnnData, tmp_path: Path, earlier: int
    ) -> None:
        wide.biocolab.to_h5ad(tmp_path / "x.h5ad")
        bucket, name = strict.add_bucket(tmp_path), f"bucket {earlier}"
        given = {"s3_id": bucket, "study_id": name, "name": name, "skip_dimred": True}
        before = [bc.submit_from_s3("x.h5ad", **given) for _ in range(earlier)]
        strict.faults.add("commit_submission_result", nth=1, kind="lost_answer")
        with warned("already") if earlier else nullcontext():
            done = bc.submit_from_s3("x.h5ad", **given)
        strict.remove_bucket(bucket)
        uuids = {submission.study_info["uuid"] for submission in [*before, done]}
        assert sorted(studies(name)) == sorted(uuids)
        assert len(uuids) == earlier + 1

    def test_announces_a_second_file_twice_and_starts_again_if_rejected(
        self, strict: Sandbox, wide: ad.AnnData, tmp_path: Path
    ) -> None:
        files = [
            wide[part].copy().biocolab.to_h5ad(tmp_path / f"{n}.h5ad")
            for n, part in enumerate([slice(0, 150), slice(150, 300)])
        ]
        strict.faults.add("add_file_upload", nth=2, kind="lost_answer")
        with warned():
            done = bc.submit(files, name="second file", skip_dimred=True, chunk_size=CHUNK)
        assert studies("second file") == [done.study_info["uuid"]]
        assert done.study().n_obs == 300

    def test_of_a_named_study_is_told_from_its_namesake(self, strict: Sandbox, wide: ad.AnnData) -> None:
        options = {"study_id": "namesakes", "name": "namesakes", "skip_dimred": True}
        first = wide[:200].copy().biocolab.submit(**options)
        strict.faults.add("commit_submission_result", nth=1, kind="lost_answer")
        with warned("already"):
            second = wide.biocolab.submit(**options)
        assert second.study().n_obs == 300
        assert sorted(studies("namesakes")) == sorted([first.study_info["uuid"], second.study_info["uuid"]])

    def test_whose_answers_are_all_lost_is_found_by_the_next_call(self, strict: Sandbox, wide: ad.AnnData) -> None:
        options = {"study_id": "all lost", "name": "all lost", "skip_dimred": True}
        strict.faults.add("commit_submission_result", kind="lost_answer")
        strict.faults.add("get_all_studies_info_in_group", nth=range(2, 20), kind="reset")
        with pytest.raises(TransportError):
            wide.biocolab.submit(**options)
        strict.faults.clear()
        done = wide.biocolab.submit(**options)
        assert studies("all lost") == [done.study_info["uuid"]]
        np.testing.assert_array_equal(done.study().to_anndata()[wide.obs_names].X.toarray(), wide.X.toarray())


class TestAnExport:
    @pytest.fixture
    def study(self, faulty: Sandbox, wide: ad.AnnData) -> Any:
        return wide.biocolab.submit(name="to export", skip_dimred=True).study()

    @pytest.mark.parametrize("route", ["get_submission_log", "get_export_result"])
    def test_whose_task_was_lost_starts_again(
        self, faulty: Sandbox, study: Any, wording: str, route: str, tmp_path: Path
    ) -> None:
        faulty.faults.add(route, nth=1, kind="forget_tasks")
        speaks(faulty, wording)
        found = study.export_study(path=tmp_path / "x.h5ad")
        assert ad.read_h5ad(found["path"]).n_obs == 300
        assert len(faulty.requests.of("export_study")) == 2

    def test_whose_file_was_lost_starts_again(self, faulty: Sandbox, study: Any, tmp_path: Path) -> None:
        faulty.faults.add("api/export/*", nth=1, status=410)
        found = study.export_study(path=tmp_path / "x.h5ad")
        assert ad.read_h5ad(found["path"]).n_obs == 300

    def test_of_bioflex_whose_file_was_lost_starts_again(self, faulty: Sandbox, tmp_path: Path) -> None:
        faulty.faults.add("api/export/*", nth=1, status=404)
        found = bc.study("PBMC68k_reduced").export_study(path=tmp_path / "x.h5ad")
        assert ad.read_h5ad(found["path"]).n_obs == 700
        assert len(faulty.requests.of("v1/study/export_study")) == 2

    def test_that_is_rejected_at_once_does_not_start_again(self, faulty: Sandbox, study: Any) -> None:
        faulty.faults.add("export_study", status=404)
        with pytest.raises(ServerError, match="404"):
            study.export_study()
        assert len(faulty.requests.of("export_study")) == 1

    def test_of_the_connector_starts_again(
        self, faulty: Sandbox, study: Any, wording: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        faulty.faults.add("get_submission_log", nth=1, kind="forget_tasks")
        speaks(faulty, wording)
        connector = faulty.connect().get_bbrowserx()
        connector.download_study("personal", study.provenance()["study_uuid"], dest_path=tmp_path / "x.h5ad")
        assert ad.read_h5ad(tmp_path / "x.h5ad").n_obs == 300
