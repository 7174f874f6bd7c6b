"""umap-learn, loaded without compiling what nobody calls.

pynndescent, which it imports, names the types of its functions, so that Numba compiles all of them at once: 10 to 20
seconds before the first study is ready (lmcinnes/pynndescent#111), for distances that a sandbox never measures. Here
each function is compiled when it is called, and those of umap-learn are kept on disk for the next worker. Those of
pynndescent are not: some take functions, which Numba never finds again (lmcinnes/pynndescent#226).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["load"]

_lock = threading.Lock()


def load() -> None:
    """Import umap-learn, unless it was imported already."""
    with _lock:
        if "umap" in sys.modules:
            return
        import numba

        jit, njit = numba.jit, numba.njit
        numba.jit, numba.njit = _when_called(jit), _when_called(njit)
        try:
            import umap.umap_  # noqa: F401
        finally:
            numba.jit, numba.njit = jit, njit


def _when_called(decorator: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of Numba that is told no types, and so has nothing to compile yet."""

    def late(*arguments: Any, **options: Any) -> Any:
        def compiled(function: Callable[..., Any]) -> Any:
            if function.__module__.partition(".")[0] == "umap":
                try:
                    return decorator(**{**options, "cache": True})(function)
                except RuntimeError:  # there is no place on disk that may be written to
                    pass
            return decorator(**options)(function)

        return compiled(arguments[0]) if arguments and callable(arguments[0]) else compiled

    return late
