"""Lock: what is fetched is recorded with its hash, and fetched again bit for bit."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import biocolab_accessor as bc
from biocolab_accessor.errors import ConfigurationError, DataChanged, InvalidArgument, InvalidFile, MissingFile
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.studies import study_data
from biocolab_accessor.studies.lock import MatrixHash, read_lock, recorder, sha_of_array, sha_of_column, sha_of_matrix
from biocolab_accessor.studies.study import Study


@pytest.fixture(scope="module")
def changing(server: Sandbox) -> Study:
    """A study of a group, whose field ``mood`` tests change."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"mood": ["a", "b"] * 10, "number": range(20)}, index=[f"CELL{i}-1" for i in range(20)])
    adata = ad.AnnData(rng.poisson(1, (20, 9)).astype(np.float32), obs=obs)
    adata.obsm["X_own"] = rng.random((20, 2))
    adata.obsm["spatial"] = rng.random((20, 2))
    return adata.biocolab.submit("all_members", study_id="changing", skip_dimred=True).study()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "biocolab.lock"


def test_ten_fetches_of_both_protocols_replay_bit_for_bit(
    changing: Study, server: Sandbox, path: Path, tmp_path: Path
) -> None:
    of_database = bc.study("PBMC68k_reduced")
    with bc.lock(path) as lock:
        changing.to_anndata(layers=["lognorm"])
        whole = lock.entries
        changing.to_anndata(format="csc")
        changing.to_anndata(format="dense")
        changing.to_h5ad(tmp_path / "x.h5ad")
        changing.lazy(tmp_path / "y.h5ad")
        assert lock.entries == whole  # each way of fetching has the same parts
        assert changing.to_anndata(obs_filter="mood == 'a'", layers=["lognorm"]).n_obs == 10
        changing.to_h5ad(tmp_path / "z.h5ad", cells=["CELL3-1"])
        assert lock.entries == whole  # the parts that the server sends, whichever cells are kept
        of_database.to_anndata(genes=["LYZ", "CD3D"], fields=["phase"])
        of_database.query_genes("CD79A")
        of_database.lazy(fields=["phase"])
        changing.cell_centers()
        changing.terms()
        adata = bc.collection(["changing"], source="bbrowserx").to_anndata(genes=["1"], fields=["number"])
        adata.obs_names = adata.obs_names.str.removesuffix("-changing")
        adata.biocolab.pull_metadata("mood", study=changing)
    assert recorder() is None
    lock.close()  # nothing happens, as after the block
    assert server.token not in path.read_text()
    found = {(entry["study"]["study_id"], entry["part"], entry.get("name")) for entry in read_lock(path)}
    assert {
        ("changing", "terms", None),
        ("changing", "obsm", "X_own"),
        ("changing", "cell_centers", None),
        ("changing", "genes", None),
    } <= found
    assert {("PBMC68k_reduced", "obs", "phase"), ("PBMC68k_reduced", "matrix", None)} <= found
    table = bc.replay(path)
    assert list(table.columns) == ["study_id", "part", "name", "state"]
    assert len(table) == len(read_lock(path))
    assert set(table["state"]) == {"same"}
    assert "raw LYZ CD3D" in set(table["name"])


def test_a_changed_value_is_named_with_its_part(changing: Study, path: Path) -> None:
    with bc.lock(path):
        changing.to_anndata()
    moods = changing.metadata("mood")
    changed = moods.assign(mood=["b" if i == 2 else mood for i, mood in enumerate(moods["mood"])])
    changed.biocolab.submit_metadata(changing, overwrite=True)
    try:
        with pytest.raises(
            DataChanged, match=r"^1 of \d+ parts of .* differ .*\n  changing: obs mood \(changed\)\n  bc"
        ):
            bc.replay(path)
        with pytest.raises(DataChanged) as caught:
            bc.replay(path)
        assert caught.value.line.startswith(f"bc.replay({str(path)!r}, check=False)")
        table = bc.replay(path, check=False)
        assert table.loc[table["state"] != "same", "name"].tolist() == ["mood"]
    finally:
        moods.biocolab.submit_metadata(changing, overwrite=True)
    assert set(bc.replay(path)["state"]) == {"same"}


def test_parts_that_are_gone_are_missing(changing: Study, path: Path) -> None:
    with bc.lock(path):
        changing.to_anndata(genes=["1"], fields=["mood"], obsm=["X_own"])
    swaps = {"mood": "nothing", "X_own": "X_nothing", '"genes": ["1"]': '"genes": ["none"]'}
    rewrite(path, lambda text: [text := text.replace(old, new) for old, new in swaps.items()][-1])
    table = bc.replay(path, check=False).set_index("part")["state"]
    assert table.to_dict() == {
        "barcodes": "same",
        "features": "same",
        "genes": "missing",
        "obs": "missing",
        "obsm": "missing",
    }
    rewrite(path, lambda text: text.replace('"study_uuid": "', '"study_uuid": "0'))
    assert set(bc.replay(path, check=False)["state"]) == {"missing"}


def test_a_lock_of_another_server_says_so(changing: Study, path: Path, tmp_path: Path) -> None:
    with bc.lock(path):
        changing.barcodes()
    with bc.sandbox(tmp_path / "other"), pytest.raises(ConfigurationError, match="the current connection is to"):
        bc.replay(path)


def test_the_same_fetches_write_the_same_bytes(changing: Study, tmp_path: Path) -> None:
    for name, fields in (("a.lock", ["mood", "number"]), ("b.lock", ["number", "mood"])):
        with bc.lock(tmp_path / name):
            for field in fields:
                changing.metadata(field)
    assert (tmp_path / "a.lock").read_bytes() == (tmp_path / "b.lock").read_bytes()


def test_the_file_is_complete_after_every_fetch_and_a_second_lock_ends_the_first(
    changing: Study, tmp_path: Path
) -> None:
    first = bc.lock(tmp_path / "a.lock")
    changing.metadata("mood")
    assert [entry["part"] for entry in read_lock(tmp_path / "a.lock")] == ["barcodes", "obs"]
    second = bc.lock(tmp_path / "b.lock")
    try:
        changing.metadata("number")
        assert repr(first) == "DataLock('a.lock': 2 parts, closed)"
        assert repr(second) == "DataLock('b.lock': 2 parts, recording)"
    finally:
        second.close()


def test_nothing_is_hashed_without_a_lock(changing: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sha_of_array", "sha_of_column", "sha_of_matrix", "sha_of_names"):
        monkeypatch.setattr(study_data, name, lambda *_: pytest.fail("hashed"))
    changing.to_anndata(genes=["1"], cache=False)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Edit a lock, with a last line that fits."""
    lines = path.read_text().splitlines(keepends=True)[:-1]
    content = change("".join(lines))
    last = {"parts": content.count("\n") - 1, "sha256": hashlib.sha256(content.encode()).hexdigest()}
    path.write_text(content + json.dumps(last, sort_keys=True) + "\n")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: "", "is not a lock"),
        (lambda text: "\x00\x01", "is not a lock"),
        (lambda text: "[" * 100_000, "is not a lock"),
        (lambda text: text.replace('"biocolab_lock": 1', '"biocolab_lock": 2'), "a lock of version 2"),
        (lambda text: "".join(text.splitlines(keepends=True)[:-1]), "is cut off"),
        (lambda text: text[: len(text) // 2], "is cut off"),
        (lambda text: text.replace("mood", "food"), "was changed after it was written"),
        (lambda text: "".join(text.splitlines(keepends=True)[::2]), "is cut off|was changed"),
    ],
)
def test_a_damaged_lock_is_refused(changing: Study, path: Path, damage: Callable[[str], str], said: str) -> None:
    with bc.lock(path):
        changing.metadata("mood")
    path.write_text(damage(path.read_text()))
    with pytest.raises(InvalidFile, match=said):
        bc.replay(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"part": "obs"', '"part": "nonsense"'),
        ('"source": "bbrowserx"', '"source": "elsewhere"'),
        ('"source": "bbrowserx"', '"source": "bioflex"'),
        ('"species": "human"', '"species": ["human"]'),
        ('"name": "mood"', '"name": 5'),
        ('"sha256": "', '"sha256": "zz'),
        ('"study": {', '"study": [{'),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_with_its_line(changing: Study, path: Path, old: str, new: str) -> None:
    with bc.lock(path):
        changing.metadata("mood")
    assert old in path.read_text()
    rewrite(path, lambda text: text.replace(old, new))
    with pytest.raises(InvalidFile, match=r"line [23]: not an entry of a lock"):
        bc.replay(path)


def test_no_other_file_is_replaced(path: Path, tmp_path: Path) -> None:
    path.write_text("print('mine')\n")
    with pytest.raises(InvalidFile, match=r"is not a lock of bc\.lock"):
        bc.lock(path)
    assert path.read_text() == "print('mine')\n"
    with pytest.raises(InvalidFile, match="cannot be read as a lock"):
        bc.replay(tmp_path)
    with pytest.raises(MissingFile, match=r"nothing\.lock does not exist"):
        bc.replay(tmp_path / "nothing.lock")
    with pytest.raises(InvalidArgument):
        bc.lock(tmp_path / "nothing" / "x.lock")
    assert recorder() is None


def test_a_matrix_has_one_hash_in_any_layout_and_number_of_stripes() -> None:
    matrix = sparse.random(30, 12, 0.3, "csc", np.float32, np.random.default_rng(0))
    expected = sha_of_matrix(matrix)
    assert sha_of_matrix(matrix.tocsr()) == expected
    for width in (1, 5, 12):
        found = MatrixHash()
        for start in range(0, 12, width):
            found.update(matrix[:, start : start + width])
        assert found.hexdigest() == expected
    order = np.concatenate([np.arange(start, end)[::-1] for start, end in itertools.pairwise(matrix.indptr)])
    backwards = sparse.csc_matrix((matrix.data[order], matrix.indices[order], matrix.indptr), matrix.shape)
    assert sha_of_matrix(backwards) == expected
    other = matrix.copy()
    other.data[7] = np.nextafter(other.data[7], np.float32(9))
    assert sha_of_matrix(other) != expected


def test_hashes_of_values_are_those_of_any_python_and_pandas() -> None:
    labels = pd.Series(pd.Categorical(["b", "a", None], categories=["a", "b"]))
    columns = [
        labels,
        pd.Series([1, 2, 3]),
        pd.Series([1.5, np.nan, 3]),
        pd.Series([True, False, True]),
        pd.Series([2**63, None, 1], dtype="UInt64"),
    ]
    hashes = [sha_of_column(column) for column in columns]
    assert len(set(hashes)) == 5
    assert hashlib.sha256("".join(hashes).encode()).hexdigest()[:16] == "4c5d87198143a657"
    assert sha_of_column(labels) != sha_of_column(labels.cat.reorder_categories(["b", "a"]))
    other_nan = np.array([0x7FF8000000000001], np.uint64).view(np.float64)
    assert sha_of_array(other_nan, "<f8") == sha_of_array(np.array([np.nan]), "<f8")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_in_place_of_a_lock_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.lock")
    with pytest.raises(InvalidFile, match="it is a FIFO, not a file"):
        read_lock(tmp_path / "x.lock")
