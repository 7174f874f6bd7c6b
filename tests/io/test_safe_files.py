"""Place: a file is there when it is whole, whatever its name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.io.safe_files import place_of, replacing


@pytest.mark.parametrize("name", ["x", "n" * 255, "é" * 127])
def test_a_name_may_be_as_long_as_the_file_system_takes(name: str, tmp_path: Path) -> None:
    with replacing(tmp_path / name) as part:
        part.write_text("whole")
        assert not (tmp_path / name).exists()
    assert (tmp_path / name).read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_there_stays_where_the_new_one_does_not_get_whole(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("before")

    def write() -> None:
        with replacing(target) as part:
            part.write_text("hal")
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - bare, as raised above
        write()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_is_a_file_in_a_folder_that_is_there(tmp_path: Path) -> None:
    assert place_of(str(tmp_path / "x")) == tmp_path / "x"
    assert place_of("~/x") == Path.home() / "x"
    with pytest.raises(InvalidArgument, match="is a folder"):
        place_of(tmp_path)
    with pytest.raises(InvalidArgument, match="there is no folder"):
        place_of(tmp_path / "nowhere" / "x")


def test_a_link_stays_one_and_what_it_stands_for_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "data" / "real", tmp_path / "link"
    real.parent.mkdir()
    real.write_text("old")
    try:
        link.symlink_to(real)
    except OSError:
        pytest.skip("no links here")
    with replacing(link) as part:
        part.write_text("new")
        assert real.read_text() == "old"
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert [path.name for path in real.parent.iterdir()] == ["real"]


def test_who_may_read_a_file_is_as_it_was_decided(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("before")
    target.chmod(0o600)
    with replacing(target) as part:
        part.write_text("after")
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("after", 0o600)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    target = tmp_path / "x.h5ad"
    for named in (False, True):
        with pytest.raises(OSError, match=r"No space left on device: '.*x\.h5ad'"), replacing(target) as part:
            raise OSError(errno.ENOSPC, "No space left on device", *([str(part)] if named else []))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no files of this kind")
def test_what_is_not_a_regular_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    for path in (Path(os.devnull), tmp_path / "pipe", tmp_path / "null"):
        with pytest.raises(InvalidArgument, match="is not a regular file"):
            place_of(path)
