from __future__ import annotations

import email.utils
import time

import pytest

from biocolab_accessor.clients.retry import Deadline, retry_after
from biocolab_accessor.errors import TimedOut


def test_retry_after_holds_seconds_or_a_date() -> None:
    assert retry_after("1.5") == 1.5
    assert retry_after(email.utils.formatdate(time.time() + 60)) == pytest.approx(60, abs=2)
    assert retry_after(email.utils.formatdate(time.time() - 60)) == 0
    assert [retry_after(text) for text in (None, "", "soon", "-5")] == [None, None, None, 0]


def test_a_deadline_that_is_over_raises() -> None:
    deadline = Deadline(0.01)
    deadline.check("x")
    time.sleep(0.02)
    with pytest.raises(TimedOut, match=r"x: not finished after 0\.01 s"):
        deadline.check("x")
