"""Data: real cells as the files that clients submit, and what must come back for each.

The expected values are computed here with numpy, pandas and anndata alone, and not by the sandbox's own code.
"""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import io, sparse

from biocolab_accessor.sandbox.public_studies import celltypist_sample, pbmc68k

__all__ = ["prepare"]

_REAL = Path(os.environ.get("BIOCOLAB_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
_VERSIONS = [("human", 1), ("human", 2), ("human", 3), ("mouse", 1), ("primate", 1)]
_SUMMED_GENES = ["CD3D", "CD79A", "NKG7"]


def prepare(folder: Path) -> Path:
    """Write every file that the drivers submit, and what they must find.

    Returns
    -------
    Path
        Of the JSON file with the expected values; arrays lie beside it, a bucket in ``bucket``.
    """
    (folder / "bucket" / "mtx").mkdir(parents=True)
    pbmc, cells = pbmc68k(), _celltypist()
    expected: dict[str, Any] = {
        "databases": [["5010c7d573ae4ff2b9691422b99aa2cd", "BioTuring database", *row] for row in _VERSIONS],
        "summaries": _summaries(pbmc),
        "server_folder": str(folder / "bucket"),
    }
    study = ad.AnnData(sparse.csr_matrix(pbmc.raw.X), obs=pbmc.obs, var=pd.DataFrame(index=pbmc.raw.var_names))
    study.obsm = pbmc.obsm
    expected["PBMC68k_reduced"] = {
        "title": "Massively parallel digital transcriptional profiling of single cells (PBMC 68k, reduced)",
        "authors": ["Zheng et al."],
        "reference": "https://www.nature.com/articles/ncomms14049",
        # Its values are log-normalised already, and serve for both units.
        **_study(folder, "PBMC68k_reduced", study, normalized=True),
    }
    public = ad.AnnData(cells.X, obs=pd.DataFrame(index=cells.obs_names), var=cells.var)
    expected["CellTypist_sample"] = _study(folder, "CellTypist_sample", public)

    cells.raw = cells
    cells.write_h5ad(folder / "sample.h5ad")
    expected["sample"] = _study(folder, "sample", cells)
    expected["batches"] = _batches(folder, cells)
    for name, write, found in (
        ("10x", _write_10x_h5, "10x-v3.h5"),
        ("mtx", _write_10x_mtx, "10x-v3-mtx"),
    ):
        expected[name] = write(folder, name, _REAL / found, cells[:200, 5000:7000])
    expected["tsv"] = _write_tsv(folder, cells[:150, 9000:12000])
    _write_bucket(folder, cells, expected)
    _write_processed(folder / "processed", cells)
    _write_spatial(folder, expected)
    path = folder / "expected.json"
    path.write_text(json.dumps(expected), encoding="utf-8")
    return path


def _celltypist() -> ad.AnnData:
    """Real counts; columns and coordinates of every kind are computed from them or made up."""
    table = celltypist_sample()
    rng = np.random.default_rng(0)
    # The file's values are off whole numbers by up to 4e-11.
    counts = sparse.csr_matrix(np.rint(table.to_numpy()).astype(np.float32))
    number = np.arange(len(table))
    obs = pd.DataFrame(
        {
            "lane": pd.Categorical([f"lane {i % 4}" for i in number]),
            "size": np.diff(counts.indptr).astype(np.int64),
            "score": rng.normal(size=len(table)),
            "code": [f"{i:04d}" for i in number],
        },
        index=[str(name) for name in table.index],
    )
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[str(name) for name in table.columns]))
    adata.obsm["X_umap"] = rng.normal(size=(len(table), 2)).astype(np.float32)
    adata.obsm["spatial"] = rng.uniform(0, 1000, size=(len(table), 2)).astype(np.float32)
    return adata


def _study(folder: Path, name: str, adata: ad.AnnData, *, normalized: bool = False) -> dict[str, Any]:
    """Save the arrays of a study and give its names and metadata."""
    counts = sparse.csr_matrix(adata.X).astype(np.float32)
    counts.sort_indices()  # the order of a sum, and so its last bit
    arrays: dict[str, Any] = {"shape": np.array(counts.shape)}
    for unit, matrix in (("raw", counts), ("lognorm", counts if normalized else _lognorm(counts))):
        csc = matrix.tocsc()
        csc.sort_indices()
        arrays |= {f"{unit}_{part}": getattr(csc, part) for part in ("data", "indices", "indptr")}
    arrays |= {f"obsm_{key}": np.asarray(adata.obsm[key], np.float32) for key in adata.obsm}
    np.savez(folder / f"{name}.npz", **arrays)
    own = pd.DataFrame(
        {
            "Number of mRNA transcripts": counts.astype(np.float64) @ np.ones(counts.shape[1]),
            "Number of genes": np.diff(counts.indptr),
        }
    )
    obs = pd.concat([own, adata.obs.reset_index(drop=True)], axis=1)
    return {
        "barcodes": list(adata.obs_names),
        "features": list(adata.var_names),
        "embeddings": list(adata.obsm),
        "fields": [[name, "Numeric" if obs[name].dtype.kind in "iuf" else "Category"] for name in obs],
        "metadata": {str(name): obs[name].tolist() for name in obs},
    }


def _lognorm(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """log1p of counts per 10,000 in float32; scanpy divides instead of scaling, and is off by the last bit."""
    totals = counts.astype(np.float64) @ np.ones(counts.shape[1])
    scale = sparse.diags((1e4 / np.where(totals > 0, totals, 1)).astype(np.float32), dtype=np.float32)
    return sparse.csr_matrix(scale @ counts).astype(np.float32).log1p()


def _summaries(pbmc: ad.AnnData) -> dict[str, Any]:
    """Per gene a row for each cell type: name, sum, mean over expressing cells, rate, count, total."""
    found = {}
    for gene in _SUMMED_GENES:
        values = pbmc.raw[:, gene].X.toarray().ravel().astype(np.float64)
        rows = []
        for label, part in pd.Series(values, index=pbmc.obs["bulk_labels"].astype(str)).groupby(level=0):
            count = float((part > 0).sum())
            mean = float(part.sum()) / count if count else 0.0
            rows.append([label, float(part.sum()), mean, count / len(part), count, len(part)])
        found[gene] = rows
    return found


def _batches(folder: Path, cells: ad.AnnData) -> dict[str, Any]:
    """Two files of the same genes."""
    first, second = cells[:300].copy(), cells[300:].copy()
    first.write_h5ad(folder / "first.h5ad")
    second.write_h5ad(folder / "second.h5ad")
    both = cells.copy()
    both.obs["Batch"] = ["first"] * 300 + ["second"] * (len(cells) - 300)
    return _study(folder, "batches", both)


def _write_10x_h5(folder: Path, name: str, real: Path, cells: ad.AnnData) -> dict[str, Any]:
    path = folder / f"{name}.h5"
    if real.exists():
        path.write_bytes(real.read_bytes())
    else:
        csr = sparse.csr_matrix(cells.X).astype(np.int32)
        with h5py.File(path, "w") as file:
            group = file.create_group("matrix")
            group["barcodes"] = np.array(cells.obs_names, "S")
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(csr, part)
            group["shape"] = np.array(csr.shape[::-1], np.int32)
            features = group.create_group("features")
            features["id"] = features["name"] = np.array(cells.var_names, "S")
            features["feature_type"] = np.array(["Gene Expression"] * cells.n_vars, "S")
            features["genome"] = np.array(["GRCh38"] * cells.n_vars, "S")
    with h5py.File(path) as file:
        group = file["matrix"]
        genes, n_cells = (int(n) for n in group["shape"][()])
        arrays = tuple(group[part][()] for part in ("data", "indices", "indptr"))
        matrix = sparse.csr_matrix(arrays, shape=(n_cells, genes))
        barcodes, features = ([value.decode() for value in group[where][()]] for where in ("barcodes", "features/name"))
    return _study(folder, name, _named(matrix, barcodes, features))


def _write_10x_mtx(folder: Path, name: str, real: Path, cells: ad.AnnData) -> dict[str, Any]:
    target = folder / "bucket" / name
    files = ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz")
    if real.exists():
        for file in files:
            (target / file).write_bytes((real / file).read_bytes())
    else:
        with gzip.open(target / files[0], "wb") as matrix_file:
            io.mmwrite(matrix_file, sparse.coo_matrix(cells.X.T).astype(np.int32))
        rows = "".join(f"{gene}\t{gene}\tGene Expression\n" for gene in cells.var_names)
        (target / files[1]).write_bytes(gzip.compress(rows.encode()))
        (target / files[2]).write_bytes(gzip.compress("".join(f"{name}\n" for name in cells.obs_names).encode()))
    with gzip.open(target / files[0]) as matrix_file:
        matrix = sparse.csr_matrix(io.mmread(matrix_file).T)
    features, barcodes = (gzip.decompress((target / file).read_bytes()).decode().splitlines() for file in files[1:])
    return _study(folder, name, _named(matrix, barcodes, [row.split("\t")[1] for row in features]))


def _named(matrix: sparse.csr_matrix, barcodes: list[str], features: list[str]) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # symbols repeat in real 10x files
        return ad.AnnData(matrix, obs=pd.DataFrame(index=barcodes), var=pd.DataFrame(index=features))


def _write_tsv(folder: Path, cells: ad.AnnData) -> dict[str, Any]:
    """Genes in rows, as expression tables are deposited."""
    table = pd.DataFrame(cells.X.toarray().T.astype(int), index=cells.var_names, columns=cells.obs_names)
    table.to_csv(folder / "table.tsv", sep="\t")
    return _study(folder, "tsv", ad.AnnData(cells.X, obs=pd.DataFrame(index=cells.obs_names), var=cells.var))


def _write_bucket(folder: Path, cells: ad.AnnData, expected: dict[str, Any]) -> None:
    """Files that lie in S3, and tables of metadata with all cells and with some."""
    bucket = folder / "bucket"
    for name in ("sample.h5ad", "first.h5ad", "second.h5ad"):
        os.link(folder / name, bucket / name)
    table = pd.DataFrame({"donor": [f"donor {i % 3}" for i in range(len(cells))]}, index=cells.obs_names)
    table["visit"] = np.arange(len(cells)) % 5
    expected["metadata"] = {name: table[name].tolist() for name in table}
    for name, place, separator in (("s3.csv", bucket, ","), ("shared.tsv", bucket, "\t"), ("local.csv", folder, ",")):
        renamed = table.add_suffix(f" {name.partition('.')[0]}")
        renamed.to_csv(place / name, sep=separator)


def _write_processed(folder: Path, cells: ad.AnnData) -> None:
    """A folder with the names that the client asks for; the format of its databases is not public."""
    (folder / "custom_embeddings").mkdir(parents=True)
    np.save(folder / "coords.npy", cells.obsm["X_umap"])
    np.save(folder / "custom_embeddings" / "umap.npy", cells.obsm["X_umap"])
    with h5py.File(folder / "matrix.hdf5", "w") as file:
        file["data"] = cells.X.data
    for name in ("embeddings.db", "metadata.db"):
        connection = sqlite3.connect(folder / name)
        connection.execute("create table cells (barcode text)")
        connection.commit()
        connection.close()


def _write_spatial(folder: Path, expected: dict[str, Any]) -> None:
    """Visium and Xenium with real places of cells; what only has to be there is made up."""
    with h5py.File(folder / "10x.h5") as file:
        genes, n_cells = (int(n) for n in file["matrix/shape"][()])
        arrays = tuple(file[f"matrix/{part}"][()] for part in ("data", "indices", "indptr"))
    spots = _named(
        sparse.csr_matrix(arrays, shape=(n_cells, genes)), *(expected["10x"][n] for n in ("barcodes", "features"))
    )
    spots.obs["Batch"] = "lane"
    number = np.arange(n_cells)
    spots.obsm["spatial"] = np.column_stack([7 * number % 1009, 13 * number % 997]).astype(np.float32)
    rows = [
        f"{name},1,{i},{i},{int(y)},{int(x)}\n"
        for i, (name, (x, y)) in enumerate(zip(spots.obs_names, spots.obsm["spatial"], strict=True))
    ]
    for place in (folder / "visium", folder / "bucket" / "visium" / "lane"):
        place.mkdir(parents=True)
        os.link(folder / "10x.h5", place / "matrix.h5")
        (place / "position.csv").write_text("".join(reversed(rows)))
        for name in ("hires.png", "scale.json", "image.tif", "matrix.xlsx", "study.rds"):
            (place / name).write_bytes(b"made up")
    expected["visium"] = _study(folder, "visium", spots)
    left, right = (_write_xenium(folder, name) for name in ("left", "right"))
    both = ad.concat([left, right], join="outer")
    # The genes of the first batch, then those that only the second one has.
    both = both[:, [*sorted(left.var_names), *sorted(set(right.var_names) - set(left.var_names))]].copy()
    for name, cells in (("xenium", both[both.obs["Batch"] == "left"].copy()), ("xeniums", both)):
        seen = np.asarray(cells.X.sum(axis=0)).ravel() > 0
        expected[name] = _study(folder, name, cells[:, seen].copy())
        expected[name]["centers"] = {
            str(sample): {
                "cell": list(cells.obs_names[cells.obs["Batch"] == sample]),
                **{
                    axis: cells.obsm["spatial"][cells.obs["Batch"] == sample, i].tolist() for i, axis in enumerate("xy")
                },
            }
            for sample in dict.fromkeys(cells.obs["Batch"])
        }


def _write_xenium(folder: Path, name: str) -> ad.AnnData:
    """A folder as the instrument writes it, here and in the bucket, and its cells."""
    rng = np.random.default_rng(len(name))
    counts = rng.poisson(0.8, (30, 12)).astype(np.float32)
    counts[:, 0] += 1
    cells, genes = [f"{name}-{i}" for i in range(30)], [f"GENE{i + len(name)}" for i in range(12)]
    places = rng.integers(0, 4000, size=(30, 2)) / 8
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    boundaries = "cell_id,vertex_x,vertex_y\n" + "".join(
        f"{cell},{x + dx},{y + dy}\n" for cell, (x, y) in zip(cells, places, strict=True) for dx, dy in corners
    )
    found = [(cells[i], genes[j]) for i, j in zip(*np.nonzero(counts), strict=True) for _ in range(int(counts[i, j]))]
    found += [("UNASSIGNED", genes[0])] * 5
    rng.shuffle(found)
    transcripts = "transcript_id,cell_id,feature_name\n" + "".join(
        f"{i},{cell},{gene}\n" for i, (cell, gene) in enumerate(found)
    )
    for place in (folder / "xenium" / name, folder / "bucket" / "xenium" / name):
        place.mkdir(parents=True)
        (place / "cell_boundaries.csv.gz").write_bytes(gzip.compress(boundaries.encode()))
        (place / "transcripts.csv.gz").write_bytes(gzip.compress(transcripts.encode()))
        (place / "experiment.xenium").write_text("{}")
        (place / "morphology_mip.ome.tif").write_bytes(b"made up")
        (place / "analysis_summary.html").write_text("not needed")
    adata = ad.AnnData(
        sparse.csr_matrix(counts), obs=pd.DataFrame({"Batch": name}, index=cells), var=pd.DataFrame(index=genes)
    )
    adata.obsm["spatial"] = places
    return adata
