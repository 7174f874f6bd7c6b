from __future__ import annotations

import subprocess
import sys
from types import FunctionType
from typing import Any

from biocolab_accessor.sandbox.work import umap_learn

_SCRIPT = """
import numba
jit, njit = numba.jit, numba.njit
from biocolab_accessor.sandbox.work import umap_learn
umap_learn.load()
assert (numba.jit, numba.njit) == (jit, njit)

import pynndescent.distances, umap.umap_
found = [each for each in vars(pynndescent.distances).values() if hasattr(each, "signatures")]
print(len(found), sum(len(each.signatures) for each in found))

import numpy as np
x, y = np.float32([0, 0]), np.float32([3, 4])
print(pynndescent.distances.euclidean(x, y), umap.layouts.rdist(x, y))
print(bool(umap.layouts.rdist.stats.cache_path))
"""


def test_nothing_is_compiled_before_it_is_called_and_then_it_is() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    known, compiled, distance, squared, cached = done.stdout.split()
    assert int(known) > 20
    assert int(compiled) == 0
    assert (float(distance), float(squared)) == (5.0, 25.0)
    assert cached == "True"


def _of(module: str) -> FunctionType:
    def function() -> None: ...

    function.__module__ = module
    return function


def test_only_umaps_own_functions_are_kept_on_disk_where_there_is_a_place_for_them() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    full = False

    def decorator(*types: object, **options: Any) -> Any:
        assert types == ()

        def of(function: FunctionType) -> FunctionType:
            if full and options.get("cache"):
                raise RuntimeError("cannot cache function: no locator available")
            told.append((function.__module__, options))
            return function

        return of

    late = umap_learn._when_called(decorator)
    late(_of("umap.layouts"))
    late("f4(f4[::1])", fastmath=True)(_of("pynndescent.distances"))
    full = True
    late(fastmath=True)(_of("umap.utils"))
    assert told == [
        ("umap.layouts", {"cache": True}),
        ("pynndescent.distances", {"fastmath": True}),
        ("umap.utils", {"fastmath": True}),
    ]
