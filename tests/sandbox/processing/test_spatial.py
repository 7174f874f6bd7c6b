from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from biocolab_accessor.clients.archive import COSMX, XENIUM
from biocolab_accessor.sandbox.processing.cells import ProcessingError, keep_cells
from biocolab_accessor.sandbox.processing.spatial import DSP, PROTEOMICS, VISIUM, read_spatial

BOUNDARIES = "cell_id,vertex_x,vertex_y\nc2,0,0\nc2,4,0\nc2,4,2\nc2,0,0\nc1,1,1\nc1,3,1\nc1,1,1\n"
TRANSCRIPTS = "cell_id,feature_name\nc1,B\nc2,A\nc1,B\nUNASSIGNED,C\nc1,NegControlProbe_1\n"
NO_BOUNDS = {"min_counts": 0, "min_genes": 0, "max_counts": 1e9, "max_genes": 1e9, "mt_percentage": 1}


def xenium(folder: Path, transcripts: str = TRANSCRIPTS) -> Path:
    folder.mkdir()
    for name, content in (("cell_boundaries.csv.gz", BOUNDARIES), ("transcripts.csv.gz", transcripts)):
        (folder / name).write_bytes(gzip.compress(content.encode()))
    for name in ("experiment.xenium", "morphology_mip.ome.tif"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_xenium_is_counted_by_cell_and_gene_with_the_center_of_each_cell(packed: bool, tmp_path: Path) -> None:
    files = {"folder": xenium(tmp_path / "x")}
    if packed:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for path in files["folder"].iterdir():
                archive.write(path, path.name)
        files = {"archive": tmp_path / "x.zip"}
    cells = read_spatial("n", XENIUM, files, lambda _: None)
    assert (cells.barcodes, cells.features) == (["c2", "c1"], ["A", "B", "C", "NegControlProbe_1"])
    np.testing.assert_array_equal(cells.matrix.toarray(), [[1, 0, 0, 0], [0, 2, 0, 1]])
    np.testing.assert_array_equal(cells.obsm["spatial"], [[8 / 3, 2 / 3], [2, 1]])
    assert cells.obs["Batch"].tolist() == ["n", "n"]
    assert keep_cells(cells, {**NO_BOUNDS, "neg_controls_percentage": 30}).tolist() == [0]
    assert keep_cells(cells, {**NO_BOUNDS, "neg_controls_percentage": 34}).tolist() == [0, 1]


def test_a_transcript_in_a_cell_without_boundary_is_an_error(tmp_path: Path) -> None:
    folder = xenium(tmp_path / "x", f"{TRANSCRIPTS}c9,A\n")
    with pytest.raises(ProcessingError, match="n: 1 transcripts are in cells that have no boundary"):
        read_spatial("n", XENIUM, {"folder": folder}, lambda _: None)


def test_an_incomplete_or_invalid_archive_is_an_error(tmp_path: Path) -> None:
    folder = xenium(tmp_path / "x")
    (folder / "experiment.xenium").unlink()
    with pytest.raises(ProcessingError, match=r"n: the batch lacks \['experiment\.xenium'\]; it has \['cell_b"):
        read_spatial("n", XENIUM, {"folder": folder}, lambda _: None)
    (tmp_path / "x.zip").write_bytes(b"not zip")
    with pytest.raises(ProcessingError, match="n cannot be read: File is not a zip file"):
        read_spatial("n", COSMX, {"archive": tmp_path / "x.zip"}, lambda _: None)


@pytest.mark.parametrize("kind", [DSP, PROTEOMICS])
def test_files_that_are_not_read_are_described_in_the_log(kind: int, tmp_path: Path) -> None:
    (tmp_path / "i").write_bytes(b"abc")
    said: list[str] = []
    cells = read_spatial("n", kind, {"image": tmp_path / "i"}, said.append)
    assert cells.matrix.shape == (0, 0)
    assert said == ["image of n: 3 bytes, sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]


def test_an_invalid_visium_matrix_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"abc")
    with pytest.raises(ProcessingError, match="n cannot be read"):
        read_spatial("n", VISIUM, {"matrix": tmp_path / "m", "position": tmp_path / "m"}, lambda _: None)
