"""Budget: what does not fit is refused with the sizes and what to do instead."""

from __future__ import annotations

from pathlib import Path

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


@pytest.mark.parametrize(
    ("limit", "used", "cached"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_files_that_the_system_has_at_hand_take_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str, cached: str
) -> None:
    """After a file was read the container is full of it, and all the same as free as before."""
    monkeypatch.setattr("biocolab_accessor.storage.budget._CGROUPS", ((tmp_path, limit, used, cached),))
    (tmp_path / limit).write_text("1000000\n")
    (tmp_path / used).write_text("900000\n")
    assert budget() == 100_000
    (tmp_path / "memory.stat").write_text(f"anon 100000\n{cached} 700000\nfile 800000\n")
    assert budget() == 800_000
    (tmp_path / "memory.stat").write_text("of another kernel\n")
    assert budget() == 100_000
    (tmp_path / limit).write_text("max\n")
    assert budget() > 1_000_000
