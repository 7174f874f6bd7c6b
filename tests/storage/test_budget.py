"""Budget: what does not fit is refused with the sizes and what to do instead."""

from __future__ import annotations

import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import TooLarge
from biocolab_accessor.storage.budget import budget, expect_room


def test_a_setting_wins_over_what_the_machine_has() -> None:
    assert 50e6 < budget() < 1e14
    with bc.settings.override(memory_budget=5_000_000):
        assert budget() == 5_000_000
        expect_room(5_000_000, "this", "that")
        with pytest.raises(
            TooLarge, match=r"this needs about 5.1 MB of memory, bc.settings.memory_budget is 5.0 MB: t"
        ):
            expect_room(5_100_000, "this", "try that")
    with pytest.raises(TooLarge, match="what this machine has left"):
        expect_room(10**15, "this", "that")
