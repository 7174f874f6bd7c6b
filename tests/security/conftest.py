"""Fixtures of the clients that the tests here use too."""

from __future__ import annotations

from tests.clients.conftest import scripted as scripted
