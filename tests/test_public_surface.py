"""What users call keeps its name, its arguments and their order; more may be added."""

from __future__ import annotations

import re

from tests.surface import RECORD, lines


def parts(line: str) -> tuple[str, list[str]]:
    name, _, given = line.partition("(")
    return name, [word for word in re.split(r", |\)", given) if word]


def kept(before: list[str], now: list[str]) -> bool:
    """Whether the arguments from before are there in their order, and new ones have a default."""
    added = [word for word in now if word not in before]
    same = [word for word in now if word in before] == before
    return same and all(word.endswith("=") or word.startswith("*") for word in added)


def test_every_recorded_name_and_argument_is_still_there() -> None:
    now = dict(map(parts, lines()))
    recorded = [parts(line) for line in RECORD.read_text(encoding="utf-8").splitlines()]
    assert len(recorded) > 250
    assert [name for name, before in recorded if name not in now or not kept(before, now[name])] == []


def test_every_public_name_is_recorded() -> None:
    recorded = {parts(line)[0] for line in RECORD.read_text(encoding="utf-8").splitlines()}
    missing = [line for line in lines() if parts(line)[0] not in recorded]
    assert missing == [], "record them: python -m tests.surface --write"
