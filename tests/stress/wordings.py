"""Wordings: servers that refuse in three ways, for the sweeps of submissions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biocolab_accessor.sandbox.server import Sandbox

__all__ = ["WORDINGS", "speak"]

WORDINGS: Mapping[str, dict[str, Any] | None] = {
    "own": None,
    "strict": {"status": 409, "message": "ambiguous: 0 uploads, incomplete"},
    "body": {"status": 200, "message": "cannot proceed (E17)"},
}
"""Options of the fault ``other_words``. The server of ``"strict"`` takes what is sent twice for two, or refuses it."""


def speak(sandbox: Sandbox, wording: str) -> None:
    """Let a sandbox refuse in these words, until its faults are cleared; faults that were set before come first."""
    sandbox._state.strict = wording == "strict"
    words = WORDINGS[wording]
    if words is not None:
        sandbox.faults.add("*", kind="other_words", **words)
