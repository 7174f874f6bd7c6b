"""Check: how long the check takes beside the serialising and sending that it precedes."""

from __future__ import annotations

import anndata as ad

from benchmarks import data
from benchmarks.measure import REPEATS, child, paired, table, timed


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


def memory() -> None:
    """All rules on an object."""
    import biocolab_accessor  # noqa: F401 - registers the accessor

    adata = ad.read_h5ad(data.study())
    data.tiny().biocolab.check()
    timed(adata.biocolab.check)


def file() -> None:
    """All rules on a file."""
    import biocolab_accessor as bc

    path = data.study()
    timed(lambda: bc.check(path))


def naive() -> None:
    """The one question whether these are whole numbers, as it is usually asked."""
    adata = ad.read_h5ad(data.study())
    timed(lambda: bool((adata.X.data % 1 == 0).all()))


SIDES = {"memory": memory, "file": file, "naive": naive}
