"""A whole sandbox on an emulated Windows: submit, fetch, cache, reset, and a second start with the same folder."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.io.cache import cache

pytest_plugins = ["tests.windows"]
pytestmark = pytest.mark.usefixtures("windows")

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


def assert_portable(folder: Path) -> None:
    """Names below a folder are valid on every file system, and differ even if case is ignored."""
    for place, folders, files in os.walk(folder):
        names = [*folders, *files]
        assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == len(names), place
        for name in names:
            assert name.isascii(), name
            assert set('<>:"\\|?*').isdisjoint(name), name
            assert name == name.rstrip(". ")
            assert name.partition(".")[0].lower() not in _DEVICES


def processed(adata: ad.AnnData, study_id: str) -> ad.AnnData:
    return adata.biocolab.submit(study_id=study_id, skip_dimred=True).study().to_anndata()


@pytest.mark.sweeps
def test_a_round_trip_a_cache_hit_a_reset_and_another_start(counts: ad.AnnData, tmp_path: Path) -> None:
    folder, kept = tmp_path / "data", tmp_path / "cache"
    with bc.settings.override(cache_dir=kept), bc.sandbox(folder) as server:
        back = processed(counts, 'GSE1: "T cells"?')
        np.testing.assert_array_equal(back.X.toarray(), counts.X.toarray())
        # Ids that are equal if case is ignored, and é in both Unicode forms.
        names = ["GSE1", "gse1", "caf\u00e9", "cafe\u0301", "con", "ends. "]
        for number, name in enumerate(names):
            other = counts[: 60 - number].copy()
            assert server.add_study(name, other).n_obs == 60 - number
        for number, name in enumerate(names):
            once, again = (bc.study(name).to_anndata(unit="lognorm") for _ in range(2))
            assert once.n_obs == again.n_obs == 60 - number
            np.testing.assert_array_equal(once.X.toarray(), again.X.toarray())
        asked = [record.route for record in server.requests if "get_matrix" in record.route]
        assert len(asked) == len(names)
        path = bc.study("GSE1").to_h5ad(tmp_path / "GSE1.h5ad")
        np.testing.assert_array_equal(ad.read_h5ad(path).X.toarray(), counts.X.toarray())
        bc.study("gse1").to_h5ad(path)  # over a file that is closed
        assert ad.read_h5ad(path).n_obs == 59
        assert bc.study("GSE1").export_study(path=tmp_path / "export.h5ad")
        back.obs["again"] = "x"
        back.biocolab.push_metadata(["again"])
        assert back.biocolab.study.to_anndata().obs["again"].tolist() == ["x"] * 60
        counts.obs["again"] = "x"
        assert_portable(folder)
        assert_portable(kept)
        server.reset()
        assert {record.name for record in (folder / "studies").iterdir()} == set()
        assert list(bc.studies()["study_id"]) == []
        first = processed(counts, "kept")
    with bc.sandbox(folder) as server:
        again = bc.study("kept", source="bbrowserx").to_anndata()
        np.testing.assert_array_equal(again.X.toarray(), first.X.toarray())
        assert again.obs["again"].tolist() == ["x"] * 60
        assert json.loads(next((folder / "studies").iterdir()).joinpath("barcodes.json").read_text(encoding="utf-8"))
    assert not (folder / "catalogue.sqlite-wal").exists()
    with bc.sandbox() as server:
        temporary = server.path
    assert not temporary.exists()


def test_a_mapped_cache_entry_is_kept_and_others_are_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    size = 1 << 17
    with bc.settings.override(cache_dir=tmp_path, cache_size=3 * size):
        held = cache.arrays({"n": 0}, lambda: {"x": np.zeros(size, np.uint8)})
        del held
        held = cache.arrays({"n": 0}, lambda: {})  # from the file, and mapped
        for number in (1, 2, 3, 4):
            cache.arrays({"n": number}, lambda: {"x": np.full(size, number, np.uint8)})  # noqa: B023 - called at once
        assert not held["x"].any()
        assert cache.arrays({"n": 0}, lambda: {"x": np.ones(1)})["x"].sum() == 0
        assert cache.arrays({"n": 4}, lambda: {"x": np.ones(1)})["x"][0] == 4
        assert cache.arrays({"n": 1}, lambda: {"x": np.ones(1)})["x"][0] == 1  # was made again
        assert len(cache.arrays({"n": 1}, lambda: {"x": np.ones(2)})["x"]) == 1
        cache.clear()
        assert cache.info().entries == 1
        assert not held["x"].any()
        del held
        cache.clear()
        assert cache.info().entries == 0
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_a_file_that_an_object_reads_from_stays_and_the_error_says_to_close_it(
    counts: ad.AnnData, tmp_path: Path
) -> None:
    path = counts.biocolab.to_h5ad(tmp_path / "x.h5ad")
    before = path.read_bytes()
    backed = ad.read_h5ad(path, backed="r")
    try:
        with pytest.raises(PermissionError, match="close the program that has the file open") as caught:
            counts[:9].biocolab.to_h5ad(path)
        assert caught.value.filename == str(path)
        assert path.read_bytes() == before
        assert [found.name for found in tmp_path.iterdir()] == ["x.h5ad"]
    finally:
        backed.file.close()
    counts[:9].biocolab.to_h5ad(path)
    assert ad.read_h5ad(path).n_obs == 9


def test_a_request_during_a_reset_is_not_an_error(counts: ad.AnnData, tmp_path: Path) -> None:
    with bc.sandbox(tmp_path) as server:
        server.add_study("MINE", counts)
        folder = next((tmp_path / "studies").iterdir())
        with (folder / "raw.h5").open("rb"):
            server.reset()
            assert folder.exists()
        with pytest.raises(LookupError):
            bc.study("MINE")
    with bc.sandbox(tmp_path):
        assert not folder.exists()
