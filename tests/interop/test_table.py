"""Two columns of the table, each with its mark; the whole of it has its own command (CONTRIBUTING.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.data import prepare
from tests.interop.page import ABSENT, FAIL, OK, cell, count, failures
from tests.interop.routes import ROUTES
from tests.interop.run import Run
from tests.interop.table import PAGE, drive_installed, drive_ours
from tests.interop.venvs import CLIENTS


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to submit, and what must come back."""
    return prepare(tmp_path_factory.mktemp("conformance"))


@pytest.mark.sweeps  # what each of their methods gives is also in test_official_bioflex.py and test_official_sdk.py
def test_the_official_clients_that_are_installed_find_every_value(expected: Path) -> None:
    run = drive_installed(expected, "--impatient")
    assert failures([run]) == []
    assert count([run])[OK] > 35


@pytest.mark.long
def test_ours_find_every_value_too(expected: Path) -> None:
    run = drive_ours(expected, "--impatient")
    assert failures([run]) == []
    assert count([run])[OK] > 35


def test_a_case_that_fails_or_a_route_that_is_not_reached_is_seen() -> None:
    """The table itself must be able to say no."""
    packages = {"bioflex": "1.1.1", "bioturing-connector": "1.14.0"}
    route = next(route for route in ROUTES if route.name == "/v1/study/get_barcodes")
    good = {"method": "Study.barcodes", "case": "all", "routes": [route.name], "ok": True, "detail": ""}
    reached = {route.name: [200]}
    assert cell(route, Run("x", packages, [good], reached)) == OK
    assert cell(route, Run("x", packages, [good], {})) == FAIL
    assert cell(route, Run("x", packages, [{**good, "ok": False}], reached)) == FAIL
    assert cell(route, Run("x", packages, [], reached)) == FAIL
    assert cell(route, Run("x", packages, [good], {route.name: [200, 500]})) == FAIL
    assert cell(route, Run("x", {}, [], {})) == ABSENT
    assert cell(route, Run("x", {}, [], reached)) == FAIL
    assert any("not in the protocol" in line for line in failures([Run("x", {}, [], {"v9/new": [200]})]))


def test_the_committed_table_has_no_failed_cell_and_every_client() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) >= len(ROUTES)
    assert not any(entry.strip() == FAIL for row in rows for entry in row)
    head = next(line for line in page.splitlines() if line.startswith("| route |"))
    assert [name.strip() for name in head.split("|")[2:-1]] == [
        *(client.name for client in CLIENTS),
        "biocolab_accessor",
    ]
