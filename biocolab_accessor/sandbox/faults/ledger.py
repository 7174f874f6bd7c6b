"""Ledger: which requests a sandbox was asked, and how it answered."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Ledger", "RequestRecord", "masked_token", "route_name"]

_MOST = 100_000


@dataclass(frozen=True)
class RequestRecord:
    """One request.

    Attributes
    ----------
    number
        From 1, in the order in which the requests came.
    method, route
        ``"POST"``, and the route without its server: ``"upload_chunk"``, ``"v1/study/get"``.
    path
        All of it: ``"/t2d_index_tool/api/v1/upload_chunk"``.
    status
        Of the answer; None where none was sent.
    received, sent
        Bytes of the two bodies.
    seconds
        From the first byte to the last.
    token
        Its last characters, enough to tell tokens apart; empty where none came.
    fault
        Kind of the fault that was played, or empty.
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
        """Number of a request that has just come."""
        with self._lock:
            self._begun += 1
            return self._begun

    def add(self, record: RequestRecord) -> None:
        """Write down a request that has been answered."""
        with self._lock:
            self._records.append(record)

    def of(self, route: str) -> list[RequestRecord]:
        """Requests of one route."""
        wanted = route_name(route)
        return [record for record in self._snapshot() if record.route == wanted]

    def to_frame(self) -> pd.DataFrame:
        """A row for each request."""
        import pandas as pd

        columns = list(RequestRecord.__dataclass_fields__)
        return pd.DataFrame([asdict(record) for record in self._snapshot()], columns=columns)

    def clear(self) -> None:
        """Forget them."""
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
    """A route without its server: what follows ``api/v1/``, else the path."""
    _, found, name = path.partition("api/v1/")
    return name if found else path.strip("/").removeprefix("t2d_index_tool/") or "/"


def masked_token(token: str) -> str:
    """A token as records show it: too little of it to be used, enough to tell it from others."""
    if not token:
        return ""
    return f"…{token[-3:]}" if len(token) >= 12 else "…"
