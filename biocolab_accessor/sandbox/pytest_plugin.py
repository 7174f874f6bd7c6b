"""Fixtures for projects that test their own BioTuring code; installed as the pytest plugin ``pytest_biocolab``.

Pytest loads a plugin in every run of every project that uses the environment. The plugin is therefore a separate module
next to the package, and imports the package only when a test requests a sandbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture(scope="session")
def biocolab_sandbox_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A BioTuring sandbox that all tests of the run share: fast, but later tests see what earlier ones submitted."""
    import biocolab_accessor

    with biocolab_accessor.sandbox(tmp_path_factory.mktemp("biocolab_sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def biocolab_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A BioTuring sandbox for this test alone, with url, token, faults and a ledger of requests."""
    import biocolab_accessor

    with biocolab_accessor.sandbox(tmp_path_factory.mktemp("biocolab_sandbox")) as sandbox:
        yield sandbox
