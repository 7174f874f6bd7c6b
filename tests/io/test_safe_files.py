"""Safe files: a file appears only when it is complete, whatever its name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.io.safe_files import replacing, target_path


@pytest.mark.parametrize("name", ["x", "n" * 255, "é" * 127])
def test_a_name_may_be_as_long_as_the_file_system_takes(name: str, tmp_path: Path) -> None:
    with replacing(tmp_path / name) as part:
        part.write_text("whole")
        assert not (tmp_path / name).exists()
    assert (tmp_path / name).read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_old_file_stays_if_the_new_one_is_incomplete(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("before")

    def write() -> None:
        with replacing(target) as part:
            part.write_text("hal")
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - without a message, as raised above
        write()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_target_path_is_a_file_in_an_existing_folder(tmp_path: Path) -> None:
    assert target_path(str(tmp_path / "x")) == tmp_path / "x"
    assert target_path("~/x") == Path.home() / "x"
    with pytest.raises(InvalidArgument, match="is a folder"):
        target_path(tmp_path)
    with pytest.raises(InvalidArgument, match="there is no folder"):
        target_path(tmp_path / "nowhere" / "x")


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
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


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("before")
    target.chmod(0o600)
    with replacing(target) as part:
        part.write_text("after")
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("after", 0o600)


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
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
            target_path(path)
