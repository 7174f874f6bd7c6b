"""On a full disk a study or an export is an error with a name, and leaves nothing behind."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.sandbox.store.study_folder import write_export


@pytest.fixture(scope="module")
def own() -> Iterator[Sandbox]:
    """A sandbox whose folders are looked into."""
    with bc.sandbox() as running:
        yield running


class _Full(io.FileIO):
    """A file on a disk with room for 20 kB more."""

    def write(self, content: Any) -> int:
        if self.tell() + len(content) > 20_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for what HDF5 writes."""
    usual = Path.open

    def opened(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        return _Full(self, mode) if mode == "w+b" else usual(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)


@pytest.fixture
def cells() -> ad.AnnData:
    """Cells that take 160 kB."""
    return ad.AnnData(np.random.default_rng(0).integers(1, 9, (200, 100)).astype(np.float32))


@pytest.mark.usefixtures("full")
def test_a_study_that_the_disk_has_no_room_for_is_named_and_leaves_nothing(own: Sandbox, cells: ad.AnnData) -> None:
    before = list((own.path / "studies").iterdir())
    with pytest.raises(OSError, match="No space left on device") as caught:
        own.add_study("TOO_LARGE", cells)
    assert Path(caught.value.filename).name == "raw.h5"
    assert list((own.path / "studies").iterdir()) == before
    assert "TOO_LARGE" not in [record.hash_id for record in own._state.catalog.studies()]


def test_an_export_that_the_disk_has_no_room_for_leaves_nothing(
    own: Sandbox, cells: ad.AnnData, request: pytest.FixtureRequest
) -> None:
    own.add_study("EXPORTED", cells)
    [record] = [record for record in own._state.catalog.studies() if record.hash_id == "EXPORTED"]
    path = own._state.export_path()
    request.getfixturevalue("full")
    with pytest.raises(OSError, match="No space left on device"):
        write_export(own._state.open(record), path)
    assert list((own.path / "exports").iterdir()) == []


def test_an_export_is_what_anndata_reads(own: Sandbox, cells: ad.AnnData) -> None:
    own.add_study("READ", cells)
    [record] = [record for record in own._state.catalog.studies() if record.hash_id == "READ"]
    path = own._state.export_path()
    write_export(own._state.open(record), path)
    back = ad.read_h5ad(path)
    assert np.array_equal(back.layers["counts"].toarray(), cells.X)
    assert list(back.obs_names) == list(cells.obs_names)
    assert [place.suffix for place in (own.path / "exports").iterdir()] == [".h5ad"]
    path.unlink()
