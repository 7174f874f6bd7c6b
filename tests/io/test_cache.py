"""Cache: an answer is fetched once for any number of processes, and never appears half written."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import biocolab_accessor as bc
from biocolab_accessor.io import cache as cache_module
from biocolab_accessor.io.cache import Cache, cache
from tests.patience import PATIENCE

_STARTS = [way for way in ("spawn", "fork") if way in multiprocessing.get_all_start_methods()]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with bc.settings.override(cache_dir=tmp_path / "cache", cache_size=10_000_000):
        yield tmp_path / "cache"


def numbers(n: int = 1000) -> dict[str, np.ndarray]:
    return {"a": np.arange(n, dtype=np.float32), "b": np.zeros(0, np.int64)}


def never() -> dict[str, np.ndarray]:
    raise AssertionError("fetched again")


class TestArrays:
    def test_a_cached_answer_is_not_fetched_again(self) -> None:
        first = cache.arrays({"x": 1}, numbers)
        again = cache.arrays({"x": 1}, never)
        for name, array in first.items():
            assert again[name].dtype == array.dtype
            assert again[name].tobytes() == array.tobytes()
        assert cache.info()[1] == 1
        assert cache.info().n_bytes >= 4000

    @given(st.sampled_from(["<f4", "<i8", "<u2", "i1"]).flatmap(lambda t: hnp.arrays(t, st.integers(0, 50))))
    def test_every_array_comes_back_bit_for_bit(self, array: np.ndarray) -> None:
        key = {"seen": array.tobytes().hex(), "dtype": array.dtype.str}
        cache.arrays(key, lambda: {"x": array})
        assert cache.arrays(key, never)["x"].tobytes() == array.tobytes()

    def test_writing_to_a_cached_array_changes_no_other_copy(self) -> None:
        cache.arrays({}, numbers)
        mine = cache.arrays({}, never)["a"]
        mine[:] = -1
        assert cache.arrays({}, never)["a"][5] == 5
        assert isinstance(mine, np.ndarray)
        assert type(mine) is np.ndarray

    def test_another_key_has_its_own_answer(self) -> None:
        assert len(cache.arrays({"x": 1}, numbers)["a"]) == 1000
        assert len(cache.arrays({"x": 2}, lambda: numbers(3))["a"]) == 3

    @pytest.mark.parametrize("damage", ["truncate", "remove", "json", "no json"])
    def test_a_damaged_entry_is_fetched_again(self, folder: Path, damage: str) -> None:
        cache.arrays({}, numbers)
        file, entry = next(folder.glob("1/*/arrays.bin")), next(folder.glob("1/*/entry.json"))
        if damage == "truncate":
            os.truncate(file, 100)
        elif damage == "remove":
            file.unlink()
        else:
            entry.write_text("{" if damage == "json" else json.dumps({"arrays": 7}))
        assert cache.arrays({}, numbers)["a"][7] == 7
        assert cache.arrays({}, never)["a"][7] == 7

    def test_a_failed_fetch_leaves_nothing(self, folder: Path) -> None:
        def fail() -> dict[str, np.ndarray]:
            raise ConnectionResetError("gone")

        with pytest.raises(ConnectionResetError):
            cache.arrays({}, fail)
        assert cache.info().entries == 0
        assert list(folder.glob("1/*.part")) == []
        assert len(cache.arrays({}, numbers)["a"]) == 1000

    def test_an_unusable_disk_disables_only_the_cache(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with bc.settings.override(cache_dir=tmp_path / "file"):
            assert len(cache.arrays({}, numbers)["a"]) == 1000
            assert cache.info().entries == 0

    def test_a_full_disk_disables_only_the_cache(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            made = cache.arrays({"x": 1}, numbers)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert made["a"].tolist() == list(range(1000))
        assert "not kept in the cache: " in caplog.text
        assert cache.info().entries == 0
        assert list(folder.glob("1/*.part")) == []
        cache.arrays({"x": 1}, numbers)
        assert cache.arrays({"x": 1}, never)["a"][7] == 7

    def test_an_entry_that_another_process_removes_meanwhile_is_not_counted(self, folder: Path) -> None:
        cache.arrays({"x": 1}, numbers)
        before = cache.info()
        cache.arrays({"x": 2}, numbers)
        gone = next(path for path in folder.glob("1/*/entry.json") if json.loads(path.read_text())["key"] == {"x": 2})
        (gone.parent / "c.bin").symlink_to(folder / "removed")
        assert cache.info() == before
        assert cache.arrays({"x": 1}, never)["a"][7] == 7

    def test_an_unreadable_entry_of_another_process_is_fetched_again(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        plain, looked = cache_module.mapped, []

        def broken(path: Path) -> object:
            looked.append(path)
            if len(looked) == 2:
                raise OSError(24, "Too many open files")
            return plain(path)

        monkeypatch.setattr(cache_module, "mapped", broken)
        assert cache.arrays({"x": 1}, numbers)["a"].tolist() == list(range(1000))
        assert "cannot be read: [Errno 24] Too many open files" in caplog.text
        assert cache.arrays({"x": 1}, never)["a"][7] == 7

    def test_an_entry_that_cannot_be_removed_is_logged(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache.arrays({"x": 1}, numbers)

        def refuse(self: Path, target: Path) -> Path:
            raise OSError(30, "Read-only file system", str(self))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", refuse)
            cache.clear()
        assert caplog.text.count("not removed from the cache: [Errno 30] Read-only file system") == 1
        assert cache.info().entries == 1
        cache.clear()
        assert cache.info().entries == 0


class TestFiles:
    def test_a_cached_file_is_not_written_again(self) -> None:
        first = cache.file({"x": 1}, lambda path: path.write_text("kept"))
        assert cache.file({"x": 1}, lambda path: never()) == first
        assert first.read_text() == "kept"

    @pytest.mark.parametrize("damage", ["description", "sum", "content", "length"])
    def test_a_modified_file_is_written_again(self, damage: str) -> None:
        first = cache.file({"x": 1}, lambda path: path.write_text("kept"))
        described = first.parent / "entry.json"
        if damage == "description":
            described.unlink()
        elif damage == "sum":
            described.write_text(described.read_text().replace('"file": ', '"file": 1'))
        else:
            first.write_text("hept" if damage == "content" else "kept longer")
        assert cache.file({"x": 1}, lambda path: path.write_text("again")).read_text() == "again"
        assert cache.file({"x": 1}, lambda path: never()).read_text() == "again"

    def test_a_file_with_a_new_timestamp_is_still_valid(self) -> None:
        first = cache.file({"x": 1}, lambda path: path.write_text("kept"))
        os.utime(first, (1, 1))
        assert cache.file({"x": 1}, lambda path: never()).read_text() == "kept"

    def test_an_unusable_cache_returns_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with bc.settings.override(cache_dir=tmp_path / "file"):
            assert cache.file({"x": 1}, lambda path: never()) is None

    def test_a_full_disk_returns_no_file_and_leaves_nothing(self, folder: Path) -> None:
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            assert cache.file({"x": 1}, lambda path: path.write_bytes(bytes(10_000))) is None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(folder.glob("1/*.part")) == []

    def test_a_failed_fetch_raises_its_own_error(self) -> None:
        def fail(path: Path) -> None:
            raise ConnectionResetError("gone")

        with pytest.raises(ConnectionResetError):
            cache.file({"x": 1}, fail)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
    @pytest.mark.parametrize("name", ["entry.json", "arrays.bin", "content"])
    def test_a_fifo_in_an_entry_is_not_read_and_the_entry_is_written_again(
        self, folder: Path, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        key = {"x": 1}
        ask = (
            (lambda: cache.file(key, lambda path: path.write_text("kept")).read_text())
            if name == "content"
            else lambda: cache.arrays(key, numbers)["a"].tolist()
        )
        right = ask()
        path = next(folder.glob("1/*/entry.json")).with_name(name)
        path.unlink()
        os.mkfifo(path)
        assert ask() == right
        assert "a cache entry cannot be read: [Errno 22] it is a FIFO, not a file" in caplog.text
        assert path.is_file()


def _killed(folder: Path) -> None:
    """Write a file of the cache, and be killed before it is complete."""

    def write(path: Path) -> None:
        path.write_bytes(bytes(5000))
        os.kill(os.getpid(), signal.SIGKILL)

    with bc.settings.override(cache_dir=folder):
        cache.file({"killed": 1}, write)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestLeftovers:
    @pytest.fixture
    def leftover(self, folder: Path) -> Path:
        process = multiprocessing.get_context(_STARTS[-1]).Process(target=_killed, args=(folder,))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGKILL
        (part,) = folder.glob("1/*.part")
        return part

    def test_leftovers_of_a_killed_process_are_removed_with_the_next_entry(self, leftover: Path) -> None:
        cache.arrays({"x": 1}, numbers)
        assert not leftover.exists()
        assert cache.arrays({"x": 1}, never)["a"][7] == 7

    def test_leftovers_are_removed_with_the_same_entry(self, leftover: Path) -> None:
        assert cache.file({"killed": 1}, lambda path: path.write_text("whole")).read_text() == "whole"
        assert not leftover.exists()

    def test_leftovers_are_removed_when_the_cache_is_cleared(self, leftover: Path) -> None:
        cache.clear()
        assert not leftover.exists()

    def test_an_entry_that_is_being_written_is_not_a_leftover(self, folder: Path) -> None:
        def write(path: Path) -> None:
            path.write_text("whole")
            for clear in (cache.clear, lambda: cache.arrays({"x": 1}, numbers)):
                other = threading.Thread(target=clear)
                other.start()
                other.join()

        assert cache.file({"x": 2}, write).read_text() == "whole"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the system has no owners of files that Python would tell")
class TestOthers:
    @pytest.fixture(autouse=True)
    def said_anew(self) -> None:
        cache_module._warn_once.cache_clear()

    @pytest.mark.parametrize("umask", [0, 0o002, 0o077])
    def test_every_new_folder_is_for_this_user_only(self, tmp_path: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            with bc.settings.override(cache_dir=tmp_path / "a" / "b"):
                cache.arrays({"x": 1}, numbers)
                cache.file({"x": 2}, lambda path: path.write_text("kept"))
        finally:
            os.umask(before)
        folders = [tmp_path / "a", *(path for path in (tmp_path / "a").rglob("*") if path.is_dir())]
        assert len(folders) == 6
        assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}

    @pytest.mark.parametrize("mode", [0o777, 0o770, 0o722, 0o1777])
    @pytest.mark.parametrize("which", ["cache", "cache/1", "entry"])
    def test_a_folder_that_other_users_can_write_to_is_refused_with_a_warning(
        self, folder: Path, mode: int, which: str
    ) -> None:
        cache.arrays({"x": 1}, lambda: numbers(3))
        place = next(folder.glob("1/*/entry.json")).parent if which == "entry" else folder.parent / which
        place.chmod(mode)
        with pytest.warns(UserWarning, match=rf"can be written by other users: run chmod 700 {place}\. .* not used"):
            assert len(cache.arrays({"x": 1}, numbers)["a"]) == 1000
        assert len(cache.arrays({"x": 1}, numbers)["a"]) == 1000  # without a second warning
        assert cache.file({"x": 1}, lambda path: never()) is None
        place.chmod(0o755)
        assert len(cache.arrays({"x": 1}, never)["a"]) == 3

    def test_a_folder_of_another_user_is_refused_with_a_warning(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.arrays({"x": 1}, lambda: numbers(3))
        uid = os.getuid() or 4242
        if os.getuid() == 0:  # folders of root are trusted
            os.chown(folder, uid, -1)
        else:
            monkeypatch.setattr(os, "getuid", lambda: uid + 1)
        with pytest.warns(
            UserWarning, match=rf"belongs to another user \(uid {uid}\)\. .* not used, and everything is fetched"
        ):
            assert len(cache.arrays({"x": 1}, numbers)["a"]) == 1000

    def test_a_folder_of_root_that_only_root_may_write_is_trusted(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache.arrays({"x": 1}, lambda: numbers(3))
        if os.getuid():
            pytest.skip("only root changes identity")
        monkeypatch.setattr(os, "getuid", lambda: 4242)
        assert len(cache.arrays({"x": 1}, never)["a"]) == 3


class TestSize:
    def test_the_least_recently_used_entries_are_removed_first(self, folder: Path) -> None:
        with bc.settings.override(cache_size=13_000):
            for number in range(3):
                cache.arrays({"n": number}, numbers)
            for number, path in enumerate(sorted(folder.glob("1/*/entry.json"))):
                key = json.loads(path.read_text())["key"]["n"]
                os.utime(path, (1000 + key, 1000 + key))
                assert number < 3
            cache.arrays({"n": 0}, never)
            cache.arrays({"n": 3}, numbers)
            cache.arrays({"n": 0}, never)
            cache.arrays({"n": 2}, never)
            with pytest.raises(AssertionError, match="fetched again"):
                cache.arrays({"n": 1}, never)
            assert cache.info().n_bytes <= 13_000

    def test_an_answer_larger_than_the_cache_is_not_cached(self) -> None:
        with bc.settings.override(cache_size=3_000):
            assert len(cache.arrays({}, numbers)["a"]) == 1000
            assert cache.info().entries == 0

    def test_a_file_larger_than_the_cache_is_not_cached_and_removes_nothing(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with bc.settings.override(cache_size=12_000):
            cache.arrays({"n": 0}, numbers)
            kept = cache.info()
            assert cache.file({"n": 1}, lambda path: path.write_bytes(bytes(12_000))) is None
            assert cache.info() == kept
            cache.arrays({"n": 0}, never)
            assert "bc.settings.cache_size is 12,000" in caplog.text
            assert not list(folder.rglob("*.part"))
            found = cache.file({"n": 2}, lambda path: path.write_bytes(bytes(2_000)))
            assert found is not None
            assert found.stat().st_size == 2_000

    def test_mapped_arrays_stay_readable_after_clearing(self, folder: Path) -> None:
        cache.arrays({}, numbers)
        mapped = cache.arrays({}, never)["a"]
        cache.clear()
        assert cache.info().entries == 0
        assert list(folder.rglob("*.lock")) == []
        assert mapped[999] == 999
        assert "0 entries" in repr(Cache())


def _ask(folder: str, fetched: str) -> float:
    def slow() -> dict[str, np.ndarray]:
        with Path(fetched).open("a") as file:
            file.write("x")
        time.sleep(0.5)
        return numbers()

    with bc.settings.override(cache_dir=Path(folder)):
        return float(cache.arrays({"of": "all"}, slow)["a"].sum())


# What is spawned imports everything for itself.
@pytest.mark.parametrize(
    ("start", "n"),
    [("fork", 8) if way == "fork" else pytest.param(way, 3, marks=pytest.mark.sweeps) for way in _STARTS],
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_that_ask_at_once_fetch_once(folder: Path, tmp_path: Path, start: str, n: int) -> None:
    with multiprocessing.get_context(start).Pool(n) as pool:
        sums = pool.starmap(_ask, [(str(folder), str(tmp_path / "fetched"))] * n, chunksize=1)
    assert sums == [499_500.0] * n
    assert (tmp_path / "fetched").read_text() == "x"
