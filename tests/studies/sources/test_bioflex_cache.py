"""BioFlex cache: cached arrays are checked before SciPy and pandas use them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.sandbox.server import Sandbox

STUDY = "PBMC68k_reduced"


@pytest.fixture
def folder(tmp_path: Path, server: Sandbox) -> Path:
    with bc.settings.override(cache_dir=tmp_path / "cache"):
        yield tmp_path / "cache"


def entry_of(folder: Path, **wanted: object) -> Path:
    """The folder of the entry whose key has these parts."""
    for path in folder.glob("1/*/entry.json"):
        key = json.loads(path.read_text())["key"]
        if wanted.items() <= key.items():
            return path.parent
    raise AssertionError(wanted)


def rewrite(entry: Path, name: str, change: object, *, consistently: bool) -> None:
    """Change an array of an entry and optionally its checksums, as a bug of ours could."""
    said = json.loads((entry / "entry.json").read_text())
    dtype, length, start, _ = said["arrays"][name]
    octets = bytearray((entry / "arrays.bin").read_bytes())
    array = np.frombuffer(octets, dtype, length, start).copy()
    change(array)
    octets[start : start + array.nbytes] = array.tobytes()
    (entry / "arrays.bin").write_bytes(octets)
    if consistently:
        said["arrays"][name][3] = zlib.crc32(array.tobytes())
        del said["sum"]
        said["sum"] = zlib.crc32(json.dumps(said, sort_keys=True).encode())
        (entry / "entry.json").write_text(json.dumps(said, sort_keys=True))


def assign(place: object, value: int) -> object:
    def change(array: np.ndarray) -> None:
        array[place] = value

    return change


def scale(array: np.ndarray) -> None:
    array *= 1000


_CHANGES = {
    "values times 1000": ("data", scale),
    "an index beyond the genes": ("indices", assign(0, 2_000_000_000)),
    "an index below zero": ("indices", assign(-1, -7)),
    "a pointer that falls": ("indptr", assign(1, 2_000_000_000)),
    "a pointer beyond the values": ("indptr", assign(-1, 2_000_000_000)),
    "a first pointer that is not 0": ("indptr", assign(0, 1)),
    "a shape of billions of cells": ("shape", assign(0, 8_000_000_000)),
    "a shape of fewer genes": ("shape", assign(1, 3)),
    "a negative shape": ("shape", assign(0, -1)),
}


@pytest.mark.parametrize(
    ("name", "consistently"), [*((name, False) for name in _CHANGES), *((name, True) for name in list(_CHANGES)[1:])]
)
@pytest.mark.filterwarnings("ignore:study .* raw values")
def test_a_changed_matrix_is_noticed_logged_and_fetched_again(
    folder: Path, name: str, consistently: bool, caplog: pytest.LogCaptureFixture
) -> None:
    array, change = _CHANGES[name]
    study = bc.study(STUDY)
    right = study.to_anndata(genes=["LYZ", "CD3D"], obsm=False).X.toarray()
    entry = entry_of(folder, part="genes")
    rewrite(entry, array, change, consistently=consistently)
    assert (study.to_anndata(genes=["LYZ", "CD3D"], obsm=False).X.toarray() == right).all()
    assert f"cache entry {entry.name} is " in caplog.text
    assert "fetched again" in caplog.text
    caplog.clear()
    assert (study.to_anndata(genes=["LYZ", "CD3D"], obsm=False).X.toarray() == right).all()
    assert caplog.text == ""


@pytest.mark.parametrize("part", ["barcodes", "features", "metadata"])
@pytest.mark.parametrize("consistently", [False, True])
@pytest.mark.filterwarnings("ignore:study .* raw values")
def test_changed_names_and_columns_are_noticed_and_fetched_again(
    folder: Path, part: str, consistently: bool, caplog: pytest.LogCaptureFixture
) -> None:
    right = bc.study(STUDY).to_anndata(genes=["LYZ"], obsm=False)
    array = "fields" if part == "metadata" else "names"
    rewrite(entry_of(folder, part=part), array, assign(slice(0, 4), ord("{")), consistently=consistently)
    found = bc.study(STUDY).to_anndata(genes=["LYZ"], obsm=False)
    assert found.obs.equals(right.obs)
    assert list(found.var_names) == ["LYZ"]
    assert "fetched again" in caplog.text
