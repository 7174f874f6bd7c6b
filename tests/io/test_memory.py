"""Memory: an object that does not fit is refused with its size and an alternative."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

import biocolab_accessor as bc
from biocolab_accessor.errors import TooLarge
from biocolab_accessor.io.memory import SharedBudget, budget, expect_room, instead
from tests.patience import PATIENCE


def test_the_setting_takes_precedence_over_the_available_memory() -> None:
    assert 50e6 < budget() < 1e14
    with bc.settings.override(memory_budget=5_000_000):
        assert budget() == 5_000_000
        expect_room(5_000_000, "this", "that")
        with pytest.raises(
            TooLarge, match=r"this needs about 5.1 MB of memory, bc.settings.memory_budget is 5.0 MB: t"
        ):
            expect_room(5_100_000, "this", "try that")
    with pytest.raises(TooLarge, match="the available memory"):
        expect_room(10**15, "this", "that")


def test_memory_that_is_already_allocated_is_not_counted_twice() -> None:
    left = budget()
    expect_room(left + 10**9, "this", "that", held=2 * 10**9)
    with pytest.raises(TooLarge, match="the memory available for it"):
        expect_room(left + 10**11, "this", "that", held=10**9)
    with bc.settings.override(memory_budget=5_000_000), pytest.raises(TooLarge, match=r"memory_budget is 5\.0 MB"):
        expect_room(5_100_000, "this", "that", held=5_000_000)


class TestSharedBudget:
    def test_memory_granted_to_one_fetch_is_not_granted_to_another(self) -> None:
        granted, asked, ended = threading.Event(), threading.Event(), threading.Event()

        def first(room: SharedBudget) -> None:
            with room.share() as keep:
                expect_room(60, "one", "less")
                expect_room(20, "one", "less")
                granted.set()
                asked.wait(PATIENCE)
                keep(30)
            ended.set()

        with bc.settings.override(memory_budget=100):
            room = SharedBudget()
            thread = threading.Thread(target=first, args=(room,))
            thread.start()
            granted.wait(PATIENCE)
            with room.share():
                expect_room(40, "another", "less")
                with pytest.raises(TooLarge, match=r"another needs about 0\.0 MB of memory besides 0\.0 MB for other"):
                    expect_room(41, "another", "less")
            asked.set()
            thread.join(PATIENCE)
            with room.share():
                expect_room(70, "a third", "less")
                with pytest.raises(TooLarge, match="besides"):
                    expect_room(71, "a third", "less")
            expect_room(100, "outside of them", "less")
        assert ended.is_set()

    def test_a_failed_fetch_takes_no_memory(self) -> None:
        with bc.settings.override(memory_budget=100):
            room = SharedBudget()
            with suppress(ValueError), room.share():
                expect_room(90, "one", "less")
                raise ValueError
            with room.share():
                expect_room(100, "another", "less")


@pytest.mark.parametrize(
    ("limit", "used", "cached"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_cached_files_count_as_available_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str, cached: str
) -> None:
    """After a file has been read the page cache fills the container, but its memory is still available."""
    monkeypatch.setattr("biocolab_accessor.io.memory._CGROUPS", ((tmp_path, limit, used, cached),))
    (tmp_path / limit).write_text("1000000\n")
    (tmp_path / used).write_text("900000\n")
    assert budget() == 100_000
    (tmp_path / "memory.stat").write_text(f"anon 100000\n{cached} 700000\nfile 800000\n")
    assert budget() == 800_000
    (tmp_path / "memory.stat").write_text("of another kernel\n")
    assert budget() == 100_000
    (tmp_path / limit).write_text("max\n")
    assert budget() > 1_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not keep to these limits")
@pytest.mark.sweeps
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_bounds_the_budget(limit: str) -> None:
    code = (
        "import resource, numpy, biocolab_accessor as bc\n"
        "from biocolab_accessor.io.memory import budget\n"
        "from biocolab_accessor.io.memory import empty_pages\n"
        f"resource.setrlimit(resource.{limit}, (3 * 10**9, 3 * 10**9))\n"
        "before = budget()\n"
        "held = numpy.empty(10**9, numpy.uint8)\n"
        "print(before - budget())\n"
        "try: empty_pages(3 * 10**9)\n"
        "except bc.errors.TooLarge as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    taken, said = done.stdout.splitlines()
    assert 0.99e9 < int(taken) < 1.1e9
    assert said == "the system refused to allocate 3,000,000,000 bytes: ask for less at a time"


def test_the_caller_names_the_alternative_unless_the_size_is_implausible() -> None:
    with (
        pytest.raises(TooLarge, match=r"^all needs about .*the available memory is .*: ask for some$"),
        instead("ask for some"),
    ):
        expect_room(10**15, "all", "do without")
    with pytest.raises(TooLarge, match=r"^all needs about .*: it lies$"), instead("ask for some"):
        expect_room(10**15, "all", "it lies", believed=False)


@pytest.mark.parametrize(("raised", "said"), [(MemoryError(), "out of memory"), (MemoryError("1 GiB"), "1 GiB")])
def test_running_out_of_memory_is_reported_in_the_same_words(raised: MemoryError, said: str) -> None:
    with pytest.raises(TooLarge) as caught, instead("ask for some"):
        raise raised
    assert str(caught.value) == f"{said}: ask for some"
    assert caught.value.__cause__ is raised
