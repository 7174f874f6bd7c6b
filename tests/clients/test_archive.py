from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from biocolab_accessor.clients import archive
from biocolab_accessor.clients.archive import COSMX, COSMX_V2, VIZGEN, VIZGEN_V2, XENIUM, batch_content, write_archive
from biocolab_accessor.errors import InvalidFile

FILES = {
    COSMX: [
        "S1_tx_file.csv",
        "S1_fov_positions_file.csv",
        "CellLabels/a/1.tif",
        "CellLabels/2.tif",
        "RawMorphologyImages/x",
    ],
    COSMX_V2: ["CellStatsDir/a", "AnalysisResults/b/c", "RunSummary/d"],
    VIZGEN: ["detected_transcripts.csv", "cell_boundaries/0.hdf5", "images/mosaic.tif"],
    VIZGEN_V2: ["detected_transcripts.csv", "cell_boundaries.parquet", "images/mosaic.tif"],
    XENIUM: ["experiment.xenium", "cell_boundaries.csv.gz", "transcripts.csv.gz", "morphology_mip.ome.tif"],
}


def make(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * (number + 1))
    return folder


def packed(folder: Path, platform: int, tmp_path: Path) -> dict[str, bytes]:
    sizes: list[int] = []
    content = batch_content(folder, platform)
    write_archive(content, tmp_path / "made.zip", sizes.append)
    with zipfile.ZipFile(tmp_path / "made.zip") as made:
        assert made.testzip() is None
        found = {name: made.read(name) for name in made.namelist() if not name.endswith("/")}
    assert sum(sizes) == content.size == sum(map(len, found.values()))
    return found


@pytest.mark.parametrize("platform", FILES)
def test_an_archive_holds_what_the_platform_needs_byte_for_byte_and_nothing_else(platform: int, tmp_path: Path) -> None:
    folder = make(tmp_path / "a b", [*FILES[platform], "private.txt", "more/private.txt", "._transcripts.csv.gz"])
    found = packed(folder, platform, tmp_path)
    assert found == {name: (folder / name).read_bytes() for name in FILES[platform]}
    assert batch_content(folder, platform).platform == platform


def test_a_vizgen_folder_with_a_parquet_file_is_of_the_newer_format(tmp_path: Path) -> None:
    folder = make(tmp_path / "v", FILES[VIZGEN_V2])
    assert batch_content(folder, VIZGEN).platform == VIZGEN_V2


@pytest.mark.parametrize(
    ("platform", "gone"), [(platform, name) for platform, names in FILES.items() for name in names]
)
def test_a_missing_file_is_named_together_with_the_files_that_exist(platform: int, gone: str, tmp_path: Path) -> None:
    left = [name for name in FILES[platform] if name.partition("/")[0] != gone.partition("/")[0]]
    folder = make(tmp_path / "x", [*left, "other.txt", "else/other.txt"])
    with pytest.raises(InvalidFile, match=r"has no (file|folder) whose name ends in '.*'; its .* are '"):
        batch_content(folder, platform)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"folder .*nowhere does not exist"):
        batch_content(tmp_path / "nowhere", XENIUM)


def test_an_exact_name_wins_over_a_longer_one_with_the_same_ending(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", [*FILES[XENIUM], "filtered_transcripts.csv.gz"])
    assert packed(folder, XENIUM, tmp_path)["transcripts.csv.gz"] == (folder / "transcripts.csv.gz").read_bytes()


def test_two_files_with_the_same_ending_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", [*FILES[COSMX], "S2_tx_file.csv"])
    with pytest.raises(
        InvalidFile, match=r"several files .* end in 'tx_file\.csv': 'S1_tx_file\.csv', 'S2_tx_file\.csv'"
    ):
        batch_content(folder, COSMX)


def test_links_are_followed_and_a_link_to_a_parent_folder_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", [name for name in FILES[VIZGEN] if "images" not in name])
    far = make(tmp_path / "far", ["mosaic.tif"])
    (folder / "images").symlink_to(far)
    assert packed(folder, VIZGEN, tmp_path)["images/mosaic.tif"] == (far / "mosaic.tif").read_bytes()
    (far / "back").symlink_to(folder)
    with pytest.raises(InvalidFile, match="link to a folder that contains it"):
        batch_content(folder, VIZGEN)


@pytest.mark.parametrize("kind", ["pipe", "dangling"])
def test_a_special_file_or_broken_link_is_refused_before_it_is_opened(kind: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "x", FILES[VIZGEN])
    if kind == "pipe":
        os.mkfifo(folder / "images" / "odd")
    else:
        (folder / "images" / "odd").symlink_to(tmp_path / "nothing")
    with pytest.raises(InvalidFile, match="odd is neither a file nor a folder"):
        batch_content(folder, VIZGEN)


def test_a_file_from_before_1980_is_packed(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", FILES[XENIUM])
    os.utime(folder / "experiment.xenium", (0, 0))
    assert set(packed(folder, XENIUM, tmp_path)) == set(FILES[XENIUM])


def test_a_file_that_changes_while_it_is_packed_is_an_error(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", FILES[XENIUM])
    content = batch_content(folder, XENIUM)

    def grow(_: int) -> None:
        with (folder / "experiment.xenium").open("ab") as file:
            file.write(b"more")

    with pytest.raises(InvalidFile, match=r"experiment\.xenium was changed while it was packed"):
        write_archive(content, tmp_path / "x.zip", grow)


def test_a_deleted_file_and_a_full_disk_raise_invalid_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "x", FILES[XENIUM])
    content = batch_content(folder, XENIUM)
    (folder / "experiment.xenium").unlink()
    with pytest.raises(InvalidFile, match=r"experiment\.xenium cannot be packed: No such file"):
        write_archive(content, tmp_path / "x.zip", lambda _: None)
    make(tmp_path / "x", FILES[XENIUM])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_add", full)
    with pytest.raises(InvalidFile, match=r"has no space for the archive of .* bytes .*TMPDIR"):
        write_archive(content, tmp_path / "x.zip", lambda _: None)
