"""Benchmarks: ``python -m benchmarks NAME``.

============ ==========================================================================================
``touched``  does touching ``adata.biocolab`` keep objects alive
``upload``   a 4 GB upload: seconds, and the resident memory of a sandbox that takes it
============ ==========================================================================================
"""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    if sys.argv[1:2] not in (["touched"], ["upload"]):
        raise SystemExit(__doc__)
    importlib.import_module(f"benchmarks.{sys.argv[1]}").main(*sys.argv[2:])
