"""Ledger: the requests that a sandbox received, and how it answered them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ledger", "RequestRecord", "masked_token", "route_name"]

_MOST, _LONGEST = 100_000, 1000


@dataclass(frozen=True)
class RequestRecord:
    """One request.

    Attributes
    ----------
    number
        Number from 1, in the order in which the requests arrived.
    method, route
        ``"POST"``, and the route without its server: ``"upload_chunk"``, ``"v1/study/get"``.
    path
        The full path: ``"/t2d_index_tool/api/v1/upload_chunk"``.
    status
        Status of the answer; None if no answer was sent.
    received, sent
        Sizes of the two bodies in bytes.
    seconds
        Time from the first byte to the last.
    token
        Last characters of the token, enough to tell tokens apart; empty if no token was sent.
    fault
        Kind of the simulated fault, or empty.
    """

    number: int
    method: str
    route: str
    path: str
    status: int | None
    received: int
    sent: int
    seconds: float
    token: str
    fault: str


class Ledger(Sequence[RequestRecord]):
    """The latest 100,000 requests, in the order in which they were answered."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=_MOST)
        self._lock = threading.Lock()
        self._begun = 0

    def begin(self) -> int:
        """Return the number of a request that has just arrived."""
        with self._lock:
            self._begun += 1
            return self._begun

    def add(self, record: RequestRecord) -> None:
        """Record a request that was answered."""
        if len(record.path) > _LONGEST:  # anyone who can connect could fill the memory with long paths
            record = replace(record, path=record.path[:_LONGEST], route=record.route[:_LONGEST])
        with self._lock:
            self._records.append(record)

    def of(self, route: str) -> list[RequestRecord]:
        """Return the requests of one route."""
        wanted = route_name(route)
        return [record for record in self._snapshot() if record.route == wanted]

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with a row for each request."""
        import pandas as pd

        columns = list(RequestRecord.__dataclass_fields__)
        return pd.DataFrame([asdict(record) for record in self._snapshot()], columns=columns)

    def clear(self) -> None:
        """Remove all records."""
        with self._lock:
            self._records.clear()

    def _snapshot(self) -> list[RequestRecord]:
        with self._lock:
            return list(self._records)

    @overload
    def __getitem__(self, index: int) -> RequestRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[RequestRecord]: ...
    def __getitem__(self, index: int | slice) -> RequestRecord | list[RequestRecord]:
        return self._snapshot()[index]

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(self._snapshot())

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Ledger({len(self)} requests)"


def route_name(path: str) -> str:
    """A route without its server: the part after ``api/v1/``, else the path."""
    _, found, name = path.partition("api/v1/")
    return name if found else path.strip("/").removeprefix("t2d_index_tool/") or "/"


def masked_token(token: str) -> str:
    """The end of a token for records: too short to be used, long enough to tell tokens apart."""
    if not token:
        return ""
    return f"…{token[-3:]}" if len(token) >= 12 else "…"
