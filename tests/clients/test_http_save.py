"""A downloaded file appears at its path only when it is complete."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.http import HttpClient, save
from biocolab_accessor.errors import InvalidArgument, InvalidResponse, TransportError
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.security.redaction import Secret
from biocolab_accessor.security.urls import file_url

from .conftest import Scripted, answer
from .test_transport_downloads import CONTENT, cut, rest


@pytest.fixture
def study(server: Sandbox) -> object:
    return bc.study("PBMC68k_reduced")


def test_a_downloaded_file_is_complete_or_does_not_exist(study: object, server: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "x.h5ad"
    target.write_text("before")
    server.faults.add("api/export/*", kind="html")
    try:
        with pytest.raises(InvalidResponse, match="web page titled 'Proxy'"):
            study.export_study(path=target)
    finally:
        server.faults.clear()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]
    assert study.export_study(path=target)["path"] == target
    assert ad.read_h5ad(target).shape == (700, 765)
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupted_download_is_resumed(study: object, server: Sandbox, tmp_path: Path, no_waiting: None) -> None:
    server.requests.clear()
    server.faults.add("api/export/*", nth=1, kind="truncate")
    try:
        study.export_study(path=tmp_path / "x.h5ad")
    finally:
        server.faults.clear()
    statuses = sorted(record.status for record in server.requests if record.route.startswith("api/export/"))
    assert statuses == [200, 206]
    assert ad.read_h5ad(tmp_path / "x.h5ad").shape == (700, 765)


@pytest.mark.parametrize("link", ["../../evil.h5ad", "x/..%2f..%2fevil", "/etc/passwd", "evil name"])
def test_a_link_is_never_used_as_a_local_path(scripted: Scripted, link: str, tmp_path: Path) -> None:
    scripted.answers(answer(200, CONTENT, headers={"Content-Disposition": 'attachment; filename="../evil"'}))
    (tmp_path / "in").mkdir()
    http = HttpClient(scripted.host, Secret("t"), header="btr-api-token")
    assert save(http, link, tmp_path / "in" / "mine").read_bytes() == CONTENT
    http.close()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "mine"]


@pytest.mark.parametrize(
    "link", ["http://elsewhere.example/x", "file:///etc/passwd", "ftp://x/y", "//elsewhere/x", "evil\x00name"]
)
def test_a_link_to_another_server_must_use_https(scripted: Scripted, link: str, tmp_path: Path) -> None:
    http = HttpClient(scripted.host, Secret("t"), header="btr-api-token")
    with pytest.raises(InvalidResponse, match=r"on another server|is not fetched"):
        save(http, link, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    assert file_url(scripted.host, "https://elsewhere.example/x") == "https://elsewhere.example/x"


def test_an_answer_that_starts_again_replaces_the_first_one(scripted: Scripted, tmp_path: Path) -> None:
    scripted.answers(cut(500_000), answer(200, b"short"))
    http = HttpClient(scripted.host, Secret("t"), header="btr-api-token")
    assert save(http, "x", tmp_path / "x").read_bytes() == b"short"
    http.close()


def test_the_progress_bar_is_named_for_the_file_and_ends_full(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("biocolab_accessor.clients.progress._SECONDS_UNSEEN", 0)
    scripted.answers(cut(512_000), rest())
    http = HttpClient(scripted.host, Secret("t"), header="btr-api-token")
    with bc.settings.override(progress="on"):
        save(http, "x", str(tmp_path / "mine.h5ad"))
    http.close()
    shown = capsys.readouterr().err
    assert "Downloading mine.h5ad: 100%" in shown
    assert "879k/879k" in shown
    assert [(request["path"], request["body"]) for request in scripted.requests] == [("/x", b"")] * 2


def test_a_link_may_lead_to_another_server_by_https(scripted: Scripted, tmp_path: Path) -> None:
    http = HttpClient(scripted.host, Secret("t"), header="btr-api-token")
    with pytest.raises(TransportError, match=r"https://127\.0\.0\.1:1/x"):
        save(http, "https://127.0.0.1:1/x", tmp_path / "x")
    http.close()
    assert (list(tmp_path.iterdir()), scripted.requests) == ([], [])


def test_a_path_may_start_with_the_home_folder(scripted: Scripted) -> None:
    scripted.answers(answer(200, CONTENT))
    http = HttpClient(scripted.host, Secret("t"), header="btr-api-token")
    assert save(http, "x", "~/mine") == Path.home() / "mine"
    http.close()
    assert (Path.home() / "mine").read_bytes() == CONTENT


def test_a_folder_is_refused_as_the_path_of_a_file(study: object, tmp_path: Path) -> None:
    for path, what in ((tmp_path, "{} is a folder"), (tmp_path / "nowhere" / "x", "there is no folder {.parent}")):
        with pytest.raises(InvalidArgument) as caught:
            study.export_study(path=path)
        assert str(caught.value) == what.format(path)
