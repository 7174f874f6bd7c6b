from __future__ import annotations

import email.utils
import time
from types import SimpleNamespace

import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients import retry
from biocolab_accessor.clients.retry import Deadline, Retriable, retry_after, retrying
from biocolab_accessor.errors import TimedOut, TransportError
from tests.patience import PATIENCE


def test_retry_after_holds_seconds_or_a_date() -> None:
    assert retry_after("1.5") == 1.5
    assert retry_after(email.utils.formatdate(time.time() + 36_000)) == pytest.approx(36_000, abs=PATIENCE)
    assert retry_after(email.utils.formatdate(time.time() - 60)) == 0
    assert [retry_after(text) for text in (None, "", "soon", "-5")] == [None, None, None, 0]


def test_a_deadline_that_is_over_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = Deadline(3600)
    deadline.check("x")
    end = time.monotonic() + 3600
    # Only in this module: the shared sandbox uses the clock too.
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: end))
    with pytest.raises(TimedOut, match=r"x: not finished after 3600 s"):
        deadline.check("x")


class TestTries:
    @pytest.fixture
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The requested pauses, without waiting for them."""
        made: list[float] = []
        monkeypatch.setattr(retry, "pause", made.append)
        return made

    def run(self, *failures: dict[str, object] | None, idempotent: bool = True, retries: int = 4) -> int:
        """The number of attempts until one succeeds (None); the others fail as requested."""
        tries = 0

        def attempt() -> int:
            nonlocal tries
            tries += 1
            failure = failures[min(tries, len(failures)) - 1]
            if failure is None:
                return tries
            raise Retriable(TransportError(f"failure {tries}"), **failure)

        with bc.settings.override(max_retries=retries):
            return retrying(attempt, what="x", idempotent=idempotent, deadline=Deadline(3600))

    def test_pauses_grow_to_a_bound_and_are_never_the_same(self, pauses: list[float]) -> None:
        with pytest.raises(TransportError, match="failure 9"):
            self.run({}, retries=8)
        for pause, longest in zip(pauses, [0.5, 1, 2, 4, 8, 8, 8, 8], strict=True):
            assert longest / 2 <= pause <= longest
        with pytest.raises(TransportError):
            self.run({}, retries=8)
        assert len(set(pauses)) == 16

    def test_the_pause_that_the_server_asks_for_is_kept(self, pauses: list[float]) -> None:
        assert self.run({"retry_after": 7.0}, {"retry_after": 600.0}, None) == 3
        assert pauses == [7, 600]

    def test_a_server_that_asks_for_a_too_long_pause_is_not_asked_again(self, pauses: list[float]) -> None:
        with pytest.raises(TransportError) as caught:
            self.run({"retry_after": 3600.0}, None)
        assert caught.value.__notes__ == ["the server asks not to be called again for 3,600 s"]
        assert pauses == []

    def test_the_deadline_ends_the_attempts_too(self) -> None:
        tries = 0

        def attempt() -> None:
            nonlocal tries
            tries += 1
            time.sleep(0.02)
            raise Retriable(TransportError("again"), retry_after=0.0)

        with bc.settings.override(max_retries=1000), pytest.raises(TransportError, match="again"):
            retrying(attempt, what="x", idempotent=True, deadline=Deadline(0.2))
        assert 1 <= tries <= 10  # each takes at least a tenth of the time

    def test_a_request_that_may_have_succeeded_is_not_sent_again(self, pauses: list[float]) -> None:
        with pytest.raises(TransportError, match="failure 1"):
            self.run({}, None, idempotent=False)
        assert self.run({"never_arrived": True}, None, idempotent=False) == 2
