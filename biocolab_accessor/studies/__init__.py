"""Studies: find a study on a server, fetch it as an AnnData, and join it with other studies."""

from collections.abc import Callable
from typing import Any

missing_study_hints: list[Callable[[str, Any], str]] = []
"""Functions that get the id of a study that was not found and the server's client, and return a note, or ``""``."""
