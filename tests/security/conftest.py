"""Fixtures from tests/clients that the tests in this folder use."""

from __future__ import annotations

from tests.clients.conftest import scripted as scripted
