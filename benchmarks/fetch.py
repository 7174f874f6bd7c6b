"""Fetch: a study of the size of GSE96583 into memory, beside bioflex with glue, TileDB-SOMA and a local h5ad."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import anndata as ad

from benchmarks import data
from benchmarks.measure import REPEATS, child, environment, paired, server, table, timed

STUDY, TINY = "SIMULATED", "PBMC68k_reduced"


def served(times: int = 1, fields: int = 6) -> Path:
    """A sandbox's folder with the study in it."""
    path = data.folder() / f"server-x{times}-{fields}"
    if not path.exists():
        import biocolab_accessor as bc

        part = path.with_suffix(".part")
        with bc.sandbox(part) as running:
            running.add_study(STUDY, data.study(times, fields))
        part.rename(path)
    return path


def main(*arguments: str) -> None:
    """Print the table."""
    if arguments[:1] == ("--side",):
        import scanpy  # noqa: F401 - what every session that wants an AnnData has loaded, on all sides

        SIDES[arguments[1]](*arguments[2:])
        return
    repeats = int(arguments[0]) if arguments else REPEATS
    local = data.study()
    soma = _soma(local)
    with server(served()) as url, tempfile.TemporaryDirectory() as cache:
        variables = environment(url)
        sides = {
            "ours": lambda: child("fetch", "ours", **variables),
            "bioflex and glue": lambda: child("fetch", "bioflex", **variables),
            "anndata.read_h5ad, local file": lambda: child("fetch", "read_h5ad", local),
        }
        if soma:
            sides["TileDB-SOMA, local disk"] = lambda: child("fetch", "soma", soma)
        sides["the matrix' bytes alone, into a buffer"] = lambda: child("fetch", "arrival", **variables)
        sides["ours, from the cache"] = lambda: child("fetch", "cached", **variables, BIOCOLAB_CACHE_DIR=cache)
        sides["ours, from the cache, and read it all"] = lambda: child(
            "fetch", "cached_and_read", **variables, BIOCOLAB_CACHE_DIR=cache
        )
        results = paired(sides, repeats)
    table(
        f"fetch: {data.N_OBS:,} x {data.N_VARS:,}, {data.NNZ:,} values (simulated), 6 metadata fields, loopback",
        results,
        "ours",
        "`arrays` is what the arrays of the AnnData take, in MB.",
    )


def arrays(adata: ad.AnnData) -> float:
    """Megabytes of an AnnData's own arrays."""
    matrix = adata.X
    held = sum(part.nbytes for part in (matrix.data, matrix.indices, matrix.indptr))
    held += adata.obs.memory_usage(deep=True).sum() + adata.var.memory_usage(deep=True).sum()
    return round(held / 1e6, 1)


def ours(**options: Any) -> None:
    """Fetch with this package."""
    import biocolab_accessor as bc

    bc.study(TINY).to_anndata(cache=False)
    study = bc.study(STUDY)
    timed(lambda: study.to_anndata(cache=False, **options), arrays=arrays)


def arrival() -> None:
    """Receive the answer that the matrix is in, and do nothing with it."""
    import biocolab_accessor as bc

    def call(study: Any) -> Any:
        connection = study.database.connection
        return connection._post_buffer("/v1/study/get_matrix", study._scope(unit="raw"), "the answer")

    human = bc.database()
    call(human.get_study(TINY))
    study = human.get_study(STUDY)
    timed(lambda: call(study), arrays=lambda content: round(content.nbytes / 1e6, 1))


def cached(*, read: bool = False) -> None:
    """Fetch with this package from its cache, which an earlier run filled."""
    import biocolab_accessor as bc

    bc.study(TINY).to_anndata()
    study = bc.study(STUDY)

    def call() -> ad.AnnData:
        adata = study.to_anndata()
        if read:
            float(adata.X.data.sum()) + int(adata.X.indices.max())
        return adata

    timed(call, arrays=arrays)


def bioflex() -> None:
    """Fetch with the official client, and put an AnnData together by hand."""
    import bioflex as official
    import bioflex._connection as wire
    import pandas as pd

    wire.BIOTURING_ADDRESS = os.environ["BIOCOLAB_BIOFLEX_HOST"].rstrip("/")
    connection = official.connect(os.environ["BIOCOLAB_BIOFLEX_TOKEN"])
    human = [database for database in connection.databases() if database.species == "human"][-1]

    def call(study: Any) -> ad.AnnData:
        matrix = study.matrix("raw")
        obs = {}
        for field in study.metalist:
            field.fetch()
            obs[field.name] = field.values
        frame = pd.DataFrame(obs, index=study.barcodes())
        return ad.AnnData(matrix.tocsr(), obs=frame, var=pd.DataFrame(index=study.features()))

    call(human.get_study(TINY))
    study = human.get_study(STUDY)
    timed(lambda: call(study), arrays=arrays)


def read_h5ad(path: str) -> None:
    """Read a local file."""
    with tempfile.TemporaryDirectory() as folder:
        data.tiny().write_h5ad(Path(folder) / "x.h5ad")
        ad.read_h5ad(Path(folder) / "x.h5ad")
    timed(lambda: ad.read_h5ad(path), arrays=arrays)


def soma(path: str) -> None:
    """Read a local TileDB-SOMA experiment, as the Census does."""
    import tiledbsoma.io

    def call(path: str) -> ad.AnnData:
        with tiledbsoma.Experiment.open(path) as experiment, experiment.axis_query("RNA") as query:
            return query.to_anndata("data")

    with tempfile.TemporaryDirectory() as folder:
        tiledbsoma.io.from_anndata(f"{folder}/soma", data.tiny(), measurement_name="RNA")
        call(f"{folder}/soma")
    timed(lambda: call(path), arrays=arrays)


def _soma(local: Path) -> Path | None:
    try:
        import tiledbsoma.io
    except ImportError:
        print("tiledbsoma is not installed: its row is left out", file=sys.stderr)
        return None
    path = data.folder() / "soma"
    if not path.exists():
        tiledbsoma.io.from_h5ad(str(path), str(local), measurement_name="RNA")
    return path


SIDES = {
    "ours": ours,
    "bioflex": bioflex,
    "read_h5ad": read_h5ad,
    "soma": soma,
    "arrival": arrival,
    "cached": cached,
    "cached_and_read": lambda: cached(read=True),
}
