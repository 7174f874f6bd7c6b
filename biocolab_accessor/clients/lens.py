"""Lens: what the connectors of Lens Bulk and Lens SC check before they send anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from biocolab_accessor.clients.arguments import expect_distinct, plain
from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.naming import listing, quoted

__all__ = ["chunk_bytes", "expect_distinct_batches", "known_type"]

_SMALLEST_CHUNK = 64 * 1024


def known_type(study_type: Any, known: Mapping[int, str], server: str, other: str) -> int:
    """The number of a study type that a server takes."""
    value = plain(study_type)
    if isinstance(value, bool) or not isinstance(value, Integral) or value not in known:
        types = ", ".join(f"{number} ({name})" for number, name in known.items())
        msg = (
            f"study_type is {quoted(study_type)}: {server} takes {types}. Other spatial studies go to "
            f"EConnector.{other}(), studies without places to get_bbrowserx()"
        )
        raise InvalidArgument(msg)
    return int(value)


def chunk_bytes(chunk_size: Any) -> int:
    """Bytes of one upload request."""
    value = plain(chunk_size)
    if isinstance(value, bool) or not isinstance(value, Integral) or value < _SMALLEST_CHUNK:
        least = f"{_SMALLEST_CHUNK:,}"
        msg = f"chunk_size is {quoted(chunk_size)}: give a member of ChunkSize, or a number of bytes from {least}"
        raise InvalidArgument(msg)
    return int(value)


def expect_distinct_batches(names: Sequence[str]) -> None:
    """Refuse names of batches of which one would be lost on the server."""
    try:
        expect_distinct(names)
    except InvalidArgument:
        msg = (
            f"the names of the batches must differ: {listing(names)}. Give each dict of batch_info a 'name' of its own"
        )
        raise InvalidArgument(msg) from None
