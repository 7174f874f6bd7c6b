"""Retry: which failures are worth another attempt, and after how long."""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from biocolab_accessor.concurrency import is_cancelled, pause
from biocolab_accessor.config import settings
from biocolab_accessor.errors import BiocolabError, TimedOut

logger = logging.getLogger("biocolab_accessor.clients")

_Result = TypeVar("_Result")

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0
_LONGEST_ASKED = 600.0


@dataclass
class Deadline:
    """The time by which an operation must end; already over if its result is no longer wanted."""

    seconds: float = field(default_factory=lambda: settings.deadline)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    def left(self) -> float:
        """Seconds left, never below zero."""
        return 0.0 if is_cancelled() else max(0.0, self._end - time.monotonic())

    def check(self, what: str) -> None:
        """Raise TimedOut if the time is over."""
        if not self.left():
            msg = f"{what}: not finished after {self.seconds:g} s (bc.settings.deadline, $BIOCOLAB_DEADLINE)"
            raise TimedOut(msg)


class Retriable(Exception):
    """One attempt failed, but another one may succeed; ``error`` is raised if no attempt is left."""

    # `retry_after` is what the server asked for, in seconds. `never_arrived` says that the server cannot have acted on
    # the request, so that even a request that is not idempotent is sent again.

    def __init__(
        self,
        error: BiocolabError,
        *,
        retry_after: float | None = None,
        never_arrived: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after = retry_after
        self.never_arrived = never_arrived


def retrying(
    attempt: Callable[[], _Result],
    *,
    what: str,
    idempotent: bool,
    deadline: Deadline,
    look: Callable[[], _Result | None] = lambda: None,
) -> _Result:
    """Call ``attempt`` until it succeeds, raises a final error, or has no retries (``bc.settings``) or time left."""
    # `look` is called before another attempt if the server may have acted on the last one; what it returns ends the
    # attempts.
    retries, tries = settings.max_retries, 0
    while True:
        try:
            return attempt()
        except Retriable as failure:
            tries += 1
            delay = failure.retry_after
            if delay is None:
                delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)
            elif delay > _LONGEST_ASKED:
                failure.error.add_note(f"the server asks not to be called again for {delay:,.0f} s")
            again = (
                tries <= retries
                and (idempotent or failure.never_arrived)
                and delay < deadline.left()
                and delay <= _LONGEST_ASKED
            )
            if not again:
                if tries > 1:
                    failure.error.add_note(f"tried {tries} times")
                failure.error.passing = True
                raise failure.error from failure.error.__cause__
            logger.info("%s: %s; trying again in %.1f s (%d of %d)", what, failure.error, delay, tries, retries)
            may_be_done = not failure.never_arrived
        pause(delay)
        if may_be_done and (found := look()) is not None:
            return found


def retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which holds seconds or a date; None for anything else."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


RETRIABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may pass: an idempotent request is sent again after one of them."""
