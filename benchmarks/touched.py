"""Touched: does touching ``adata.biocolab`` keep objects alive.

Twelve AnnData of 200 MB each are made one after another, in a process of its own for each way: never touched, touched,
and touched with anndata's own caching of the accessor. What is printed is each process' peak of resident memory.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import numpy as np

_NUMBER, _MEGABYTES = 12, 200


def _loop(way: str) -> float:
    import anndata as ad

    import biocolab_accessor

    cells = _MEGABYTES * 1_000_000 // (1000 * 4)
    for _ in range(_NUMBER):
        adata = ad.AnnData(np.ones((cells, 1000), np.float32))
        if way == "touched":
            repr(adata.biocolab)
            adata.biocolab.submit(dry_run=True)
        elif way == "cached":
            adata.__dict__["kept"] = biocolab_accessor.accessors.AnnDataAccessor(adata)
        del adata
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(way: str = "") -> None:
    """Print the peaks, or the one of this process."""
    if way:
        print(_loop(way))
        return
    peaks = {}
    for way in ("untouched", "touched", "cached"):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", "touched", way], capture_output=True, text=True, check=True
        )
        peaks[way] = float(done.stdout)
    print(f"peak of resident memory, {_NUMBER} AnnData of {_MEGABYTES} MB in a loop")
    for way, peak in peaks.items():
        print(f"  {way:<10} {peak:8,.0f} MiB   x {peak / peaks['untouched']:.2f}")
