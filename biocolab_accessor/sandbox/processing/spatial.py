"""Spatial: submissions to Lens; the public formats, Visium and Xenium, are read."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from scipy import sparse

from biocolab_accessor.clients.archive import COSMX, COSMX_V2, REQUIRED, VIZGEN, VIZGEN_V2, XENIUM
from biocolab_accessor.messages import quoted
from biocolab_accessor.platforms import expect_regular
from biocolab_accessor.sandbox.processing.cells import Cells, ProcessingError, reading
from biocolab_accessor.sandbox.processing.readers import cells_of_anndata, read_10x_h5, read_h5ad
from biocolab_accessor.sandbox.requests import HTTPError
from biocolab_accessor.sandbox.store.buckets import Bucket

DSP, VISIUM, VISIUM_RDS, VISIUM_ANN = 7, 8, 12, 13

BULK: dict[int, tuple[str, ...]] = {
    DSP: ("matrix", "image"),
    VISIUM: ("matrix", "image", "position", "scale"),
    VISIUM_RDS: ("matrix",),
    VISIUM_ANN: ("matrix",),
}
"""Study types of Lens Bulk, with the parts of a batch."""

SC = {VIZGEN: "VIZGEN", COSMX: "COSMX", XENIUM: "XENIUM", VIZGEN_V2: "VIZGEN_V2", COSMX_V2: "COSMX_V2"}
"""Platforms of Lens SC."""

PROTEOMICS = -1
SPATIAL = {*BULK, *SC, PROTEOMICS}
UNREAD = SPATIAL - {VISIUM, VISIUM_ANN, XENIUM}
"""Types whose files are accepted without reading them: their format is not public, or they have no single cells."""

_UNASSIGNED = ("UNASSIGNED", "-1")


def uploaded_parts(name: str, files: Mapping[str, Path], kind: int) -> dict[str, Path]:
    """The uploaded files of a batch, identified by the names that clients use."""
    if kind in SC:
        wanted = {"archive": f"{name}.zip"}
    elif kind in (DSP, VISIUM):
        wanted = {part: f"{name}{part}." for part in BULK[kind]}
    else:
        wanted = {"image" if kind == PROTEOMICS else "matrix": name}
    found = {}
    for part, start in wanted.items():
        # A client that knows the resolution of a Visium image uses it as the name.
        starts = (start, f"{name}hires.", f"{name}lowres.") if part == "image" and start[-1] == "." else (start,)
        path = next(
            (files[each] for each in files if each == start or (start[-1] == "." and each.startswith(starts))), None
        )
        if path is None:
            detail = f"batch {quoted(name)} has no {part} ({start}…); uploaded files: {sorted(files)}"
            raise HTTPError(422, detail)
        found[part] = path
    return found


def bucket_folder(bucket: Bucket, key: str) -> Path:
    """A folder in a bucket that is a local folder."""
    if bucket.folder is None:
        raise HTTPError(422, "the sandbox reads Lens SC folders only from buckets that are local folders")
    try:
        path = (bucket.folder / key.lstrip("/")).resolve()
        found = path.is_relative_to(bucket.folder) and path.is_dir()
    except (OSError, ValueError):
        found = False
    if not found:
        raise HTTPError(404, f"bucket {quoted(bucket.name)} has no folder {quoted(key)}")
    return path


def read_spatial(name: str, kind: int, files: Mapping[str, Path], say: Callable[[str], object]) -> Cells:
    """Read one batch; for a type that is not read, describe the files in the log and return no cells."""
    with reading(name):
        if kind == VISIUM_ANN:
            cells = _read_anndata(files["matrix"], name)
        elif kind == VISIUM:
            cells = _read_visium(files, name)
        elif kind == XENIUM:
            with _Content(files, kind) as content:
                cells = _read_xenium(content)
        else:
            _describe(name, kind, files, say)
            return Cells(sparse.csr_matrix((0, 0), dtype=np.float32), [], [], pd.DataFrame(index=range(0)))
    if "Batch" not in cells.obs:  # a sample of a spatial study is named after its batch, even if it is the only one
        cells.obs.insert(0, "Batch", pd.Series(pd.Categorical([name] * len(cells.barcodes))))
    return cells


class _Content(AbstractContextManager["_Content"]):
    """The files of a Lens SC batch, in an archive or in a folder."""

    def __init__(self, files: Mapping[str, Path], kind: int) -> None:
        self._archive = zipfile.ZipFile(files["archive"]) if "archive" in files else None
        self._folder = files.get("folder")
        self._members = self._archive.namelist() if self._archive else []
        names = self._members if self._archive else [path.name for path in files["folder"].iterdir()]
        self.names = sorted({member.partition("/")[0] for member in names})
        wanted = {end: self.called(end) for ends in REQUIRED[kind] for end in ends}
        missing = [end for end, found in wanted.items() if not found]
        if missing:
            msg = f"the batch lacks {missing}; it has {self.names}"
            raise ProcessingError(msg)

    def __exit__(self, *_: object) -> None:
        if self._archive:
            self._archive.close()

    def called(self, end: str) -> str:
        """The name that ends with ``end``, or an empty string."""
        return next((name for name in self.names if name.lower().endswith(end)), "")

    def open(self, end: str) -> IO[bytes]:
        """Open the file that ends with ``end``."""
        if self._archive:
            return self._archive.open(self.called(end))
        assert self._folder is not None
        path = (self._folder / self.called(end)).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            msg = f"{self.called(end)} is a link that leads out of the folder"
            raise ProcessingError(msg)
        expect_regular(path.stat())  # opening a FIFO would block
        return path.open("rb")

    def summary(self) -> str:
        """The number of files and their names."""
        return f"{sum(not member.endswith('/') for member in self._members)} files in {self.names}"


def _describe(name: str, kind: int, files: Mapping[str, Path], say: Callable[[str], object]) -> None:
    if kind in SC:
        with _Content(files, kind) as content:
            say(f"{name}: {content.summary()}")
        return
    for part, path in files.items():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        say(f"{part} of {name}: {path.stat().st_size:,} bytes, sha256 {digest}")


def _read_anndata(path: Path, name: str) -> Cells:
    adata = read_h5ad(path, name)
    if adata.raw is not None:
        return cells_of_anndata(adata, adata.raw.X, adata.raw.var_names)
    if adata.X is None:
        msg = "X is missing"
        raise ProcessingError(msg)
    return cells_of_anndata(adata, adata.X, adata.var_names)


def _read_visium(files: Mapping[str, Path], name: str) -> Cells:
    adata = read_10x_h5(files["matrix"], name, gex_only=True)
    # barcode, in_tissue, array_row, array_col, pxl_row, pxl_col: without a header up to Space Ranger 1.3
    table = pd.read_csv(files["position"], header=None, dtype=str, index_col=0)
    missing = adata.obs_names.difference(table.index)
    if len(missing):
        msg = f"{len(missing)} of {adata.n_obs} barcodes have no position, the first is {missing[0]}"
        raise ProcessingError(msg)
    adata.obsm["spatial"] = table.loc[adata.obs_names, [5, 4]].astype(float).to_numpy()
    return cells_of_anndata(adata, adata.X, adata.var_names)


def _read_xenium(content: _Content) -> Cells:
    """Read cells by genes from the transcripts, and the coordinates from the corners of the cell boundaries."""
    with content.open("cell_boundaries.csv.gz") as file:
        corners = pd.read_csv(file, compression="gzip", dtype={"cell_id": str})
    # The last corner of a cell repeats the first.
    corners = corners[corners.duplicated("cell_id", keep="last")]
    places = corners.groupby("cell_id", sort=False)[["vertex_x", "vertex_y"]].mean()
    with content.open("transcripts.csv.gz") as file:
        found = pd.read_csv(file, compression="gzip", usecols=["cell_id", "feature_name"], dtype=str)
    found = found.dropna()
    genes = pd.Index(found["feature_name"].unique()).sort_values()
    found = found[~found["cell_id"].isin(_UNASSIGNED)]
    rows = places.index.get_indexer(pd.Index(found["cell_id"]))
    if (rows < 0).any():
        msg = f"{int((rows < 0).sum())} transcripts are in cells that have no boundary"
        raise ProcessingError(msg)
    columns = genes.get_indexer(pd.Index(found["feature_name"]))
    shape = (len(places), len(genes))
    matrix = sparse.coo_matrix((np.ones(len(found), np.float32), (rows, columns)), shape=shape).tocsr()
    obs: Any = pd.DataFrame(index=range(len(places)))
    return Cells(
        matrix,
        [str(cell) for cell in places.index],
        [str(gene) for gene in genes],
        obs,
        {"spatial": places.to_numpy(float)},
    )
