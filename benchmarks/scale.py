"""Scale: seconds for each value from one to sixteen times the cells, in and out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anndata as ad

from benchmarks import data, fetch
from benchmarks.measure import child, environment, paired, server, table, timed

_TIMES = (1, 4, 16)
_REPEATS = 5
# What the largest of them needs: memory that the host of a virtual machine has to give first takes it most of the time.
_WARM = 5 << 30


def main(*arguments: str) -> None:
    """Print the table."""
    if arguments[:1] == ("--side",):
        SIDES[arguments[1]](*arguments[2:])
        return
    repeats = int(arguments[0]) if arguments else _REPEATS
    for name, side in (("fetch", "fetched"), ("to_h5ad of an AnnData", "written")):
        results = {}
        for times in _TIMES:
            with server(fetch.served(times)) as url:
                variables = environment(url) | {"BIOCOLAB_BENCHMARK_WARM": str(_WARM)}
                run = {f"x{times}": lambda: child("scale", side, times, **variables)}  # noqa: B023 - called here
                results |= paired(run, repeats)
        table(f"scale, {name}: {data.NNZ:,} values times 1, 4, 16 (simulated)", results, "x1", "`ns` is for a value.")


def fetched(times: str) -> None:
    """Fetch a study."""
    import scanpy  # noqa: F401

    import biocolab_accessor as bc

    bc.study(fetch.TINY).to_anndata(cache=False)
    study = bc.study(fetch.STUDY)
    _timed(lambda: study.to_anndata(cache=False), int(times))


def written(times: str) -> None:
    """Write an AnnData that is in memory."""
    import biocolab_accessor  # noqa: F401 - registers the accessor

    adata = ad.read_h5ad(data.study(int(times)))
    with tempfile.TemporaryDirectory() as folder:
        data.tiny().biocolab.to_h5ad(Path(folder) / "tiny.h5ad")
        _timed(lambda: adata.biocolab.to_h5ad(Path(folder) / "x.h5ad"), int(times))


def _timed(call, times: int) -> None:
    import time

    start = []

    def measured():
        start.append(time.perf_counter())
        return call()

    timed(measured, ns=lambda _: round((time.perf_counter() - start[0]) / (times * data.NNZ) * 1e9, 2))


SIDES = {"fetched": fetched, "written": written}
