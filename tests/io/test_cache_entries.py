"""Cache entries: damage after a power failure is detected, and intact entries are verified once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from biocolab_accessor.io import cache
from biocolab_accessor.io.cache import ENTRY, mapped, write

ARRAYS = {"a": np.arange(5000, dtype=np.int32), "none": np.empty(0, np.float32), "b": np.ones(3)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "e", {"x": 1}, ARRAYS)
    return tmp_path / "e"


def restart(patch: pytest.MonkeyPatch, start: str = "another") -> None:
    patch.setattr(cache, "_boot_id", lambda: start)


def counted(patch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the arrays that are verified from now on."""
    seen: list[int] = []
    plain = cache.isal_zlib.crc32

    class Counting:
        @staticmethod
        def crc32(octets: np.ndarray) -> int:
            seen.append(octets.nbytes)
            return plain(octets)

    patch.setattr(cache, "isal_zlib", Counting)
    return seen


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_file_of_zeros_is_detected_after_a_reboot(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "arrays.bin"
    content = bytearray(path.read_bytes())
    start = json.loads((folder / ENTRY).read_text())["arrays"][name][2]
    content[start : start + ARRAYS[name].nbytes] = bytes(ARRAYS[name].nbytes)
    path.write_bytes(content)
    restart(monkeypatch)
    assert mapped(folder) is None
    assert "cache entry e is damaged" in caplog.text
    assert mapped(folder) is None


def test_an_intact_entry_is_verified_once_after_a_reboot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(monkeypatch)
    assert mapped(folder) is not None
    assert seen == []
    restart(monkeypatch)
    for _ in range(3):
        arrays = mapped(folder)
        assert arrays is not None
        assert {name: array.tolist() for name, array in arrays.items()} == {
            name: array.tolist() for name, array in ARRAYS.items()
        }
    assert sorted(seen) == [0, 24, 20_000]
    assert json.loads((folder / ENTRY).read_text())["key"] == {"x": 1}
    assert sorted(path.name for path in folder.iterdir()) == ["arrays.bin", ENTRY]


def test_an_entry_that_cannot_be_marked_is_verified_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    restart(monkeypatch)
    monkeypatch.setattr(cache, "describe", full)
    seen = counted(monkeypatch)
    assert mapped(folder) is not None
    assert mapped(folder) is not None
    assert len(seen) == 6


def test_files_are_synced_if_the_system_has_no_boot_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restart(monkeypatch, "")
    waited: list[str] = []
    monkeypatch.setattr(cache, "sync", lambda path: waited.append(path.name))
    write(tmp_path / "e", {}, ARRAYS)
    assert waited == ["arrays.bin"]
    seen = counted(monkeypatch)
    assert mapped(tmp_path / "e") is not None
    assert seen == []


def test_an_entry_without_checksums_of_its_arrays_is_ignored(folder: Path) -> None:
    described = json.loads((folder / ENTRY).read_text())
    described["arrays"] = {name: parts[:2] for name, parts in described["arrays"].items()}
    (folder / ENTRY).write_text(json.dumps(described))
    assert mapped(folder) is None


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
@pytest.mark.parametrize(("length", "held"), [(10, 0), (100_000, 1)])
def test_mapped_arrays_keep_at_most_one_file_open(tmp_path: Path, length: int, held: int) -> None:
    write(tmp_path / "e", {}, {name: np.arange(length) for name in "abcd"})
    before = len(list(Path("/proc/self/fd").iterdir()))
    arrays = mapped(tmp_path / "e")
    assert arrays is not None
    assert len(list(Path("/proc/self/fd").iterdir())) == before + held
    assert [int(array.sum()) for array in arrays.values()] == [length * (length - 1) // 2] * 4


@pytest.mark.parametrize("length", [0, 1, 17, 65_535, 65_536, 200_000])
def test_arrays_are_aligned_to_their_dtype(tmp_path: Path, length: int) -> None:
    wanted = {
        "bytes": np.ones(length, np.uint8),
        "long": np.arange(length),
        "short": np.arange(length, dtype=np.uint16),
    }
    write(tmp_path / "e", {}, wanted)
    arrays = mapped(tmp_path / "e")
    assert arrays is not None
    for name, array in wanted.items():
        assert arrays[name].flags.aligned
        assert arrays[name].flags.writeable
        np.testing.assert_array_equal(arrays[name], array)


def changed(path: Path, place: int, content: bytes) -> None:
    """Modify a file, and restore its modification time."""
    info = path.stat()
    with path.open("rb+") as file:
        file.seek(place)
        file.write(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize("place", [0, 4, 19_999, 20_032])
def test_an_entry_with_a_modified_byte_is_logged_and_dropped(
    folder: Path, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    octets = (folder / "arrays.bin").read_bytes()
    changed(folder / "arrays.bin", place, bytes([octets[place] ^ 1]))
    assert mapped(folder) is None
    assert "cache entry e is damaged or was modified: it is fetched again" in caplog.text
    assert not (folder / ENTRY).exists()


@pytest.mark.parametrize(("before", "after"), [("<i4", "<f4"), ("5000", "4999"), ('"x": 1', '"x": 2')])
def test_an_entry_with_a_modified_description_is_dropped(folder: Path, before: str, after: str) -> None:
    text = (folder / ENTRY).read_text()
    assert before in text
    (folder / ENTRY).write_text(text.replace(before, after, 1))
    assert mapped(folder) is None


def test_a_rewritten_file_with_the_same_bytes_is_verified_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "arrays.bin"
    path.write_bytes(path.read_bytes())
    seen = counted(monkeypatch)
    first, again = mapped(folder), mapped(folder)
    assert first is not None
    assert again is not None
    assert (first.verified, again.verified) == (False, True)
    assert sorted(seen) == [0, 24, 20_000]


def test_an_entry_of_an_older_version_is_verified_and_used(folder: Path) -> None:
    said = json.loads((folder / ENTRY).read_text())
    (folder / ENTRY).write_text(json.dumps({name: said[name] for name in ("key", "arrays", "start")}))
    arrays = mapped(folder)
    assert arrays is not None
    assert not arrays.verified
    assert arrays["b"].tolist() == [1.0, 1.0, 1.0]
