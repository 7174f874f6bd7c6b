"""Benchmarks: ``python -m benchmarks NAME [REPEATS]``.

=========== ==========================================================================================
fetch       a study into memory: bioflex, TileDB-SOMA, a local h5ad, our cache
latency     the same with 100 ms on every answer and 30 metadata fields
submit      an AnnData to a file and to a server: plain, gzip, official client, a link of 50 MB/s
memory      what does not fit: 2 GB out and in, under a limit that the kernel enforces
scale       seconds for each value, from one to sixteen times the cells
check       how long the check takes beside what it saves
touched     does touching ``adata.biocolab`` keep objects alive
upload      a 4 GB upload: seconds, and the resident memory of a sandbox that takes it
=========== ==========================================================================================

Data are simulated from a seed and kept in ``BIOCOLAB_BENCHMARK_DATA``, or a folder for temporary files.
"""

from __future__ import annotations

import importlib
import re
import sys

if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in re.findall(r"^(\w+) ", __doc__, re.MULTILINE):
        raise SystemExit(__doc__)
    importlib.import_module(f"benchmarks.{sys.argv[1]}").main(*sys.argv[2:])
