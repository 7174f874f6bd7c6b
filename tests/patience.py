"""Waiting for what must come to pass: no test passes or fails by how fast the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["PATIENCE", "until"]

_Found = TypeVar("_Found")

PATIENCE = 120.0
"""Seconds after which something hangs, on however busy a machine."""


def until(condition: Callable[[], _Found]) -> _Found:
    """Wait until something is true, and give what it is."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "what was waited for has not come to pass"
        time.sleep(0.005)
    return found
