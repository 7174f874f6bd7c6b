"""Check: how long it takes beside the serialising that it precedes, and how much memory a large file takes."""

from __future__ import annotations

from pathlib import Path

import anndata as ad

from benchmarks import data
from benchmarks.measure import REPEATS, child, paired, table, timed

_TIMES = 16


def main(*arguments: str) -> None:
    """Print the table."""
    if arguments[:1] == ("--side",):
        SIDES[arguments[1]]()
        return
    repeats = int(arguments[0]) if arguments else REPEATS
    data.study()
    sides = {
        "check of an AnnData": lambda: child("check", "memory"),
        "check of a file": lambda: child("check", "file"),
        "(X.data % 1 == 0).all()": lambda: child("check", "naive"),
        "write_h5ad, gzip": lambda: child("submit", "gzip"),
    }
    table(
        f"check: {data.N_OBS:,} x {data.N_VARS:,}, {data.NNZ:,} counts (simulated)",
        paired(sides, repeats),
        "check of an AnnData",
    )
    data.panel()
    sides = {
        "check of an AnnData": lambda: child("check", "panel"),
        "check, its obs and var passed over": lambda: child("check", "values"),
        "(X.data % 1 == 0).all()": lambda: child("check", "naive_panel"),
    }
    title = f"check: 200,000 x 3,000, {data.NNZ / 1e6:.1f} M counts (simulated)"
    table(title, paired(sides, repeats), "check of an AnnData")
    data.study(_TIMES)
    few = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "BIOCOLAB_BENCHMARK_WARM": "0"}
    sides = {"check of a file": lambda: child("check", "large", **few)}
    size = 8 * data.NNZ * _TIMES / 1e9
    table(f"check: a file of {size:.2f} GB", paired(sides, min(repeats, 3)), "check of a file")


def memory(path: Path | None = None) -> None:
    """All rules on an object."""
    import biocolab_accessor  # noqa: F401 - registers the accessor

    adata = ad.read_h5ad(path or data.study())
    data.tiny().biocolab.check()
    timed(adata.biocolab.check)


def values() -> None:
    """What the check needs to know of a matrix."""
    from biocolab_accessor.check.matrix_choice import choose_matrix
    from biocolab_accessor.check.matrix_stats import filled_of
    from biocolab_accessor.io.matrix_blocks import Slot, source_of

    def call(adata: ad.AnnData) -> object:
        return filled_of(source_of(adata, Slot("X")), choose_matrix(adata).chosen.nnz).empty

    adata = ad.read_h5ad(data.panel())
    call(data.tiny())
    timed(lambda: call(adata))


def file(times: int = 1) -> None:
    """All rules on a file."""
    import biocolab_accessor as bc

    path = data.study(times)
    data.tiny().biocolab.check()  # loads the rules
    timed(lambda: bc.check(path))


def naive(path: Path | None = None) -> None:
    """The one question whether these are whole numbers, as it is usually asked."""
    adata = ad.read_h5ad(path or data.study())
    timed(lambda: bool((adata.X.data % 1 == 0).all()))


SIDES = {
    "memory": memory,
    "file": file,
    "naive": naive,
    "panel": lambda: memory(data.panel()),
    "values": values,
    "naive_panel": lambda: naive(data.panel()),
    "large": lambda: file(_TIMES),
}
