"""Fixtures for projects that test their own BioTuring code; installed as the pytest plugin ``pytest_biocolab``.

Pytest loads a plugin at the start of every run of every project on the machine. It is therefore installed as a module
of its own, next to the package, and imports the package when a test asks for a sandbox, not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from biocolab_accessor.sandbox.server import Sandbox

__all__ = ["biocolab_sandbox", "biocolab_sandbox_session"]


@pytest.fixture(scope="session")
def biocolab_sandbox_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A BioTuring sandbox that all tests of the run share: fast, and what a test submits the next one finds."""
    import biocolab_accessor

    with biocolab_accessor.sandbox(tmp_path_factory.mktemp("biocolab_sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def biocolab_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A BioTuring sandbox of this test's own: url, token, faults, and the ledger of requests."""
    import biocolab_accessor

    with biocolab_accessor.sandbox(tmp_path_factory.mktemp("biocolab_sandbox")) as sandbox:
        yield sandbox
