"""Files of a sandbox are private: other users of the machine cannot read them, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import SandboxError
from tests.sandbox.wire import Wire

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no permissions of this kind")


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    paths = [folder, *folder.rglob("*")]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in paths}


def assert_private(folder: Path) -> dict[str, int]:
    found = modes(folder)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}
    return found


@pytest.mark.usefixtures("no_umask")
def test_all_files_of_a_sandbox_are_private(counts: ad.AnnData, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o777)
    with bc.sandbox(tmp_path / "kept") as server:
        server.add_study("mine", counts)
        submission = counts.biocolab.submit(study_id="sent", skip_dimred=True)
        study = submission.study()
        study.to_anndata()
        counts.obs["more"] = "x"
        counts.biocolab.push_metadata(["more"], study=study)
        wire = Wire(server)
        wire.upload("left.h5ad", [b"one", b"two"])
        body = {"study_id": submission.study_info["uuid"], "group_id": "personal", "study_type": 2}
        assert wire.finish(wire.data("export_study", body)["id"])[0] == "SUCCESS"
        found = assert_private(server.path)
    assert {"token", "lock", "catalogue.sqlite", "catalogue.sqlite-wal", "studies", "uploads", "exports"} <= set(found)
    assert sum(name.endswith("obs.npz") for name in found) == 2
    assert any("chunk_" in name for name in found)
    assert_private(tmp_path / "kept")


@pytest.mark.usefixtures("no_umask")
def test_a_temporary_folder_is_private(counts: ad.AnnData) -> None:
    with bc.sandbox() as server:
        server.add_study("mine", counts)
        assert_private(server.path)


def test_files_that_an_earlier_version_left_readable_become_private(tmp_path: Path, counts: ad.AnnData) -> None:
    with bc.sandbox(tmp_path / "kept") as server:
        server.add_study("mine", counts)
    for name in (".", "studies", "uploads", "exports"):
        (tmp_path / "kept" / name).chmod(0o755)
    (tmp_path / "kept" / "catalogue.sqlite").chmod(0o644)
    with bc.sandbox(tmp_path / "kept"):
        assert_private(tmp_path / "kept")


def test_a_folder_with_other_files_keeps_its_mode_and_new_files_are_private(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project").chmod(0o755)
    (tmp_path / "project" / "notes.txt").write_text("shared with the group")
    (tmp_path / "project" / "notes.txt").chmod(0o644)
    for _ in range(2):
        with bc.sandbox(tmp_path / "project"):
            found = modes(tmp_path / "project")
        assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {".": "0o755", "notes.txt": "0o644"}


def test_a_shared_folder_that_other_users_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project").chmod(0o777)
    (tmp_path / "project" / "notes.txt").write_text("")
    with pytest.raises(SandboxError, match="other users can write to it: use an empty folder"):
        bc.sandbox(tmp_path / "project")


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(SandboxError, match=rf"belongs to another user \(uid {owner}\): use a folder of your own"):
        bc.sandbox(tmp_path)
