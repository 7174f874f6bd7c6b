"""Memory: a study of 2 GB in and out in a process that the kernel gives no more than 600 MB.

The limit is RLIMIT_DATA: a process that asks for more private memory is refused it, and fails.
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

import anndata as ad

from benchmarks import data, fetch
from benchmarks.measure import child, environment, paired, server, table, timed

_LIMIT = 600_000_000
_TIMES = 16


def main(*arguments: str) -> None:
    """Print the table."""
    if arguments[:1] == ("--side",):
        # Threads that do nothing would count with the whole of their stacks.
        resource.setrlimit(resource.RLIMIT_DATA, (_LIMIT, _LIMIT))
        SIDES[arguments[1]]()
        return
    repeats = int(arguments[0]) if arguments else 1
    data.study(_TIMES)
    few = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "BIOCOLAB_BENCHMARK_WARM": "0"}
    with server(fetch.served(_TIMES)) as url:
        variables = {**environment(url), **few}
        sides = {
            "study.to_h5ad": lambda: child("memory", "to_h5ad", **variables),
            "submit of a backed h5ad": lambda: child("memory", "submit", **variables),
        }
        results = paired(sides, repeats)
    size = 8 * data.NNZ * _TIMES / 1e9
    table(f"memory: {size:.2f} GB in and out under RLIMIT_DATA of {_LIMIT / 1e6:g} MB", results, "study.to_h5ad")


def to_h5ad() -> None:
    """A study to a file."""
    import biocolab_accessor as bc

    study = bc.study(fetch.STUDY)
    with tempfile.TemporaryDirectory(dir=data.folder()) as folder:
        timed(lambda: study.to_h5ad(Path(folder) / "x.h5ad"), size=lambda path: round(path.stat().st_size / 1e6, 1))


def submit() -> None:
    """A file, opened backed, to a server."""
    import biocolab_accessor  # noqa: F401 - registers the accessor

    tempfile.tempdir = str(data.folder())
    adata = ad.read_h5ad(data.study(_TIMES), backed="r")
    timed(lambda: adata.biocolab.submit(wait=False))


SIDES = {"to_h5ad": to_h5ad, "submit": submit}
