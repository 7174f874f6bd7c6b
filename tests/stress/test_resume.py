"""A short form of the sweeps of submissions that are broken off; the full ones have their own commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from biocolab_accessor.sandbox.server import Sandbox
from tests.stress import client_kill, machine

pytestmark = pytest.mark.sweeps


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the sweep forks its clients")
def test_a_client_that_is_killed_is_carried_on_by_the_same_call(tmp_path: Path) -> None:
    found = client_kill.sweep(tmp_path, 1, seed=1, stride=10)
    assert found.wrong == []
    assert found.kills.total() == 7
    assert 0 < found.sent_again <= found.kills.total()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the sweep forks its clients")
def test_a_client_that_is_killed_begins_again_where_the_server_forgot(tmp_path: Path) -> None:
    found = client_kill.sweep(tmp_path, 1, seed=2, stride=12, forgets="strict")
    assert found.wrong == []


def test_the_server_has_what_the_model_says_after_any_steps(server: Sandbox) -> None:
    taken = machine.sweep(server, 4, 12, seed=3)
    assert taken.total() > 24
