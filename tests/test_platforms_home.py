"""Platforms: an account without a home folder, a folder without locks, and a missing TMPDIR."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import platformdirs
import pytest

import biocolab_accessor as bc
from biocolab_accessor import config, platforms, util
from biocolab_accessor.config import Settings
from biocolab_accessor.connection.connector import studio_settings
from biocolab_accessor.connection.credentials import KeyFile
from biocolab_accessor.diagnostics import examine
from biocolab_accessor.errors import ConfigurationError, InvalidArgument, MissingCredentials, SandboxError
from biocolab_accessor.sandbox.store import files

pwd = pytest.importorskip("pwd")
fcntl = pytest.importorskip("fcntl")

CELLS = np.arange(360, dtype=np.float32).reshape(30, 12) % 7 + 1


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that the system does not know."""

    def unknown(uid: int) -> None:
        msg = f"getpwuid(): uid not found: {uid}"
        raise KeyError(msg)

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "NB_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A temporary folder where locking fails."""
    share, real, number = tmp_path / "share", fcntl.flock, getattr(request, "param", errno.ENOLCK)
    share.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(share))

    def flock(file: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().is_relative_to(share) and not operation & fcntl.LOCK_UN:
            raise OSError(number, os.strerror(number))
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    return share


@pytest.mark.usefixtures("homeless")
class TestNoHome:
    def test_the_cache_is_a_private_temporary_folder_with_one_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        folder = config.cache_folder()
        assert folder == Path(tempfile.gettempdir()) / f"biocolab_accessor-{os.getuid()}"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [record.message for record in caplog.records] == [
            f"no home folder was found: the cache is in {folder}. Set BIOCOLAB_CACHE_DIR to choose another"
        ]
        folder.rmdir()

    @pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
    def test_a_folder_that_another_user_may_have_created_is_not_used(self, kind: str, tmp_path: Path) -> None:
        place = Path(tempfile.gettempdir()) / f"biocolab_accessor-{os.getuid()}"
        if kind == "a link":
            place.symlink_to(tmp_path)
        elif kind == "a file":
            place.touch()
        else:
            place.mkdir()
            place.chmod(0o777)
        chosen = config.cache_folder()
        assert (chosen.parent, chosen.exists()) == (place.parent, False)
        assert chosen.name.startswith("biocolab_accessor-")
        assert chosen != place
        place.rmdir() if kind == "open to others" else place.unlink()

    def test_a_tilde_that_platformdirs_leaves_is_not_used_as_a_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(config, "user_cache_path", lambda name: Path("~/.cache") / name)
        monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: Path("~/.cache") / name)
        folder = config.cache_folder()
        assert folder.is_absolute()
        folder.rmdir()

    def test_the_cache_has_a_path_even_without_a_temporary_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def gone() -> str:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

        monkeypatch.setattr(tempfile, "gettempdir", gone)
        monkeypatch.setattr(config, "_private", lambda folder: folder)
        assert config.cache_folder() == Path("/tmp") / f"biocolab_accessor-{os.getuid()}"

    def test_the_key_file_is_empty_and_its_variable_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "~").mkdir()
        (tmp_path / "~" / ".bioapi.key").write_text('{"bio_bbx_t2d_key": "planted"}')
        file = KeyFile()
        assert (file.read(), file.exists()) == ({}, False)
        assert str(file) == "~/.bioapi.key (the home folder is unknown: set BIOCOLAB_KEY_FILE)"
        with pytest.raises(MissingCredentials, match="set BIOCOLAB_KEY_FILE"):
            bc.EConnector().get_talk2data()

    def test_a_key_file_that_is_named_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "key").write_text('{"a": "b"}')
        (tmp_path / "key").chmod(0o600)
        monkeypatch.setenv("BIOCOLAB_KEY_FILE", str(tmp_path / "key"))
        assert KeyFile().read() == {"a": "b"}

    def test_biostudio_and_the_helpers_say_what_is_missing(self) -> None:
        with pytest.raises(MissingCredentials, match=r"no BioStudio token and email was found"):
            studio_settings()
        with pytest.raises(ConfigurationError, match="set HOME"):
            util.get_user_study_root_path()
        with pytest.raises(ConfigurationError, match="set NB_USER"):
            util.get_system_user()

    @pytest.mark.parametrize(
        "call",
        [
            lambda: bc.check("~/x.h5ad"),
            lambda: bc.submit("~/x.h5ad"),
            lambda: bc.submit("~/x", study_type="mtx_10x"),
            lambda: ad.AnnData(CELLS).biocolab.to_h5ad("~/x.h5ad"),
            lambda: bc.sandbox("~/data"),
        ],
    )
    def test_a_path_in_the_unknown_home_folder_is_refused(self, call: object) -> None:
        with pytest.raises(InvalidArgument, match="begins with the home folder, which is unknown"):
            call()  # type: ignore[operator]

    def test_the_settings_refuse_a_path_in_the_unknown_home_folder(self) -> None:
        with pytest.raises(InvalidArgument, match="home folder, which is unknown"):
            bc.settings.cache_dir = "~/cache"  # type: ignore[assignment]

    def test_the_doctor_looks_at_all_of_it(self) -> None:
        found = {(seen.topic, seen.subject): seen for seen in examine(network=False)}
        assert "set BIOCOLAB_KEY_FILE" in found["credentials", "key file"].message


@pytest.mark.sweeps  # an interpreter of its own
def test_a_process_without_home_submits_and_fetches(tmp_path: Path) -> None:
    code = """
import logging, pwd
logging.basicConfig()
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
import anndata, numpy, biocolab_accessor as bc
with bc.sandbox():
    values = numpy.arange(360, dtype="float32").reshape(30, 12) % 7 + 1
    study = anndata.AnnData(values).biocolab.submit(skip_dimred=True).study()
    print((study.to_anndata().X.toarray() == values).all(), bc.settings.cache_dir)
"""
    gone = {"HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "BIOCOLAB_CACHE_DIR"}
    environment = {name: value for name, value in os.environ.items() if name not in gone} | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", str(tmp_path / f"biocolab_accessor-{os.getuid()}")], done.stderr
    assert done.stderr.count("no home folder was found") == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"biocolab_accessor-{os.getuid()}"]


class TestFoldersOfLibraries:
    def test_library_folders_are_set_if_the_account_cannot_write_elsewhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, closed = os.access, tmp_path / "closed"
        closed.touch()
        monkeypatch.setattr(os, "access", lambda path, mode: tmp_path in Path(path).parents and real(path, mode))
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        monkeypatch.setenv("MPLCONFIGDIR", "mine")
        assert platforms.library_folders(closed, tmp_path / "open") == {
            "NUMBA_CACHE_DIR": str(tmp_path / "open" / "numba")
        }
        assert (tmp_path / "open" / "numba").is_dir()

    def test_library_folders_are_unchanged_if_the_account_can_write(self, tmp_path: Path) -> None:
        assert platforms.library_folders(tmp_path) == {}
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lockless", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO], indirect=True)
def test_without_locks_in_tmpdir_a_submission_arrives_whole(lockless: Path, caplog: pytest.LogCaptureFixture) -> None:
    with bc.sandbox():
        study = ad.AnnData(CELLS).biocolab.submit(skip_dimred=True).study()
        np.testing.assert_array_equal(study.to_anndata(cache=False).X.toarray(), CELLS)
    said = [record.getMessage() for record in caplog.records if "no locks in" in record.getMessage()]
    assert all(str(lockless) in text and "set TMPDIR" in text for text in said)
    assert len(said) <= 2  # from the sandbox and from the submission
    assert list(lockless.iterdir()) == []


def test_a_scratch_folder_without_a_lock_is_not_taken_for_abandoned(lockless: Path) -> None:
    from biocolab_accessor.submit.files import scratch_folder

    with scratch_folder() as folder:
        for age, left in ((3600.0, True), (8 * 86400.0, False)):
            os.utime(folder.parent, (folder.parent.stat().st_mtime - age,) * 2)
            with scratch_folder():
                assert folder.exists() is left


def test_a_cache_without_locks_is_skipped_with_one_warning(
    lockless: Path, server: object, caplog: pytest.LogCaptureFixture
) -> None:
    with bc.settings.override(cache_dir=lockless / "cache"), caplog.at_level(logging.WARNING):
        for _ in range(3):
            made = bc.cache.arrays({"name": "ones"}, lambda: {"ones": np.ones(3)})
            assert made["ones"].tolist() == [1.0, 1.0, 1.0]
        bc.cache.clear()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert str(lockless / "cache") in said[0]
    assert "bc.settings.cache_dir" in said[0]


# Of ENOSYS filelock itself goes on, with a file for a lock.
WITHOUT_LOCKS = [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO]


@pytest.mark.parametrize("lockless", WITHOUT_LOCKS, indirect=True)
def test_whatever_a_share_says_of_locks_the_cache_makes_the_arrays_anew(
    lockless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bc.settings.override(cache_dir=lockless / "cache"):
        made = [bc.cache.arrays({"name": "n"}, lambda i=i: {"n": np.full(2, i)})["n"].tolist() for i in range(3)]
        assert bc.cache.info().entries == 0
    assert made == [[0, 0], [1, 1], [2, 2]]
    (said,) = {record.getMessage() for record in caplog.records}
    assert said.startswith(f"the cache in {lockless / 'cache'} cannot be used: ")
    assert said.endswith("Set bc.settings.cache_dir")


@pytest.mark.parametrize("lockless", WITHOUT_LOCKS, indirect=True)
def test_whatever_a_share_says_of_locks_a_submission_goes_on_without_a_journal(
    lockless: Path, server: bc.Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    with bc.settings.override(cache_dir=lockless / "cache"):
        study = ad.AnnData(CELLS * 2).biocolab.submit(skip_dimred=True).study()
        np.testing.assert_array_equal(study.to_anndata(cache=False).X.toarray(), CELLS * 2)
    said = [record.getMessage() for record in caplog.records if "cannot be resumed" in record.getMessage()]
    assert len(said) == 1
    assert str(lockless / "cache" / "journal") in said[0]


@pytest.mark.parametrize("lockless", WITHOUT_LOCKS, indirect=True)
def test_whatever_a_share_says_of_locks_a_kept_sandbox_names_its_folder(lockless: Path) -> None:
    with pytest.raises(
        SandboxError,
        match=rf"the folder {lockless}/kept cannot be used: .*Use a disk that can be written to and supports locks",
    ):
        bc.sandbox(lockless / "kept")


@pytest.mark.parametrize("lockless", [errno.ENOSYS], indirect=True)
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_system_without_flock_still_keeps_two_sandboxes_apart(lockless: Path) -> None:
    with bc.settings.override(cache_dir=lockless / "cache"):
        made = [bc.cache.arrays({"name": "n"}, lambda i=i: {"n": np.full(2, i)})["n"].tolist() for i in range(2)]
    assert made == [[0, 0], [0, 0]]
    with bc.sandbox(lockless / "kept"), pytest.raises(SandboxError, match="kept"):
        bc.sandbox(lockless / "kept")
    with bc.sandbox(lockless / "kept") as again:
        assert again.path == lockless / "kept"


class TestFoldersThatCannotBe:
    @pytest.fixture(params=["a file", "below a file", "a link to nothing", "below a link to nothing"])
    def impossible(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        place = tmp_path / "place"
        place.symlink_to(tmp_path / "nothing") if "link" in request.param else place.touch()
        return place / "cache" if "below" in request.param else place

    def test_are_no_cache_and_named_once(self, impossible: Path, caplog: pytest.LogCaptureFixture) -> None:
        with bc.settings.override(cache_dir=impossible):
            made = [bc.cache.arrays({"name": "n"}, lambda i=i: {"n": np.full(2, i)})["n"].tolist() for i in range(3)]
            assert bc.cache.info().entries == 0
            bc.cache.clear()
        assert made == [[0, 0], [1, 1], [2, 2]]
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
            f"the cache in {impossible} cannot be used"
        ]

    def test_are_no_reason_not_to_submit_and_fetch(self, impossible: Path, server: bc.Sandbox) -> None:
        with bc.settings.override(cache_dir=impossible):
            back = ad.AnnData(CELLS * 3).biocolab.submit(skip_dimred=True).study().to_anndata()
            assert list(bc.submissions()) == []
        np.testing.assert_array_equal(back.X.toarray(), CELLS * 3)

    def test_hold_no_key_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "home").touch()
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("BIOCOLAB_KEY_FILE", raising=False)
        file = KeyFile()
        assert (file.read(), file.exists()) == ({}, False)
        with pytest.raises(MissingCredentials, match="no token for Talk2Data"):
            bc.EConnector().get_talk2data()


@pytest.mark.parametrize("name", ["CACHE_DIR", "READ_TIMEOUT", "MAX_RETRIES", "PROGRESS", "CACHE_SIZE", "PRIVATE_HOST"])
def test_an_empty_variable_is_as_good_as_none(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(f"BIOCOLAB_{name}", raising=False)
    default = getattr(Settings(), name.lower())
    monkeypatch.setenv(f"BIOCOLAB_{name}", "")
    monkeypatch.chdir(tmp_path)
    assert getattr(Settings(), name.lower()) == default
    assert default != Path(".")


class TestSandboxFolder:
    def test_a_folder_without_locks_is_refused_by_name(self, lockless: Path) -> None:
        with pytest.raises(SandboxError, match=rf"the folder {lockless}/data cannot be used: .*supports locks"):
            bc.sandbox(lockless / "data")

    def test_a_folder_that_cannot_be_created_is_refused_by_name(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SandboxError, match=rf"{tmp_path}/file/data cannot be used"):
            bc.sandbox(tmp_path / "file" / "data")

    def test_a_folder_on_which_sqlite_cannot_lock_is_named_with_the_setting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def connect(*_: object, **__: object) -> None:
            msg = "locking protocol"
            raise sqlite3.OperationalError(msg)

        monkeypatch.setattr(files.sqlite3, "connect", connect)
        with pytest.raises(SandboxError, match=r"cannot store its data in .*biocolab-sandbox-.*set TMPDIR to one"):
            bc.sandbox()


def test_without_a_temporary_folder_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    monkeypatch.setenv("TMPDIR", "/nowhere/at/all")
    with pytest.raises(ConfigurationError, match=r"TMPDIR is '/nowhere/at/all'.*Set TMPDIR to a writable folder"):
        bc.sandbox()
