"""Keyrings for tests: in memory, in a file that programs share, and some that do not work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keyring.backend
import keyring.errors

__all__ = ["Broken", "InFile", "InMemory", "Locked"]


class InMemory(keyring.backend.KeyringBackend):
    """A keyring that works, and counts how often a name is asked for."""

    priority = 0  # chosen by name only

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, str] = {}
        self.asked: list[str] = []

    def get_password(self, service: str, username: str) -> str | None:
        assert service == "biocolab_accessor"
        self.asked.append(username)
        return self.entries.get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[username]


class InFile(InMemory):
    """A keyring in a file of the home folder, for programs that a test starts."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(os.environ["HOME"]) / "keyring.json"
        self.entries = json.loads(self.path.read_text()) if self.path.exists() else {}

    def set_password(self, service: str, username: str, password: str) -> None:
        super().set_password(service, username, password)
        self.path.write_text(json.dumps(self.entries))


class Locked(keyring.backend.KeyringBackend):
    """A keyring that is locked, as on a machine without a screen."""

    priority = 0

    def get_password(self, service: str, username: str) -> str | None:
        raise keyring.errors.KeyringLocked("Failed to unlock the collection!")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise keyring.errors.KeyringLocked(f"Failed to store {password}")

    delete_password = get_password


class Broken(InMemory):
    """A keyring whose library fails in ways of its own, with the token in its variables."""

    problem: type[BaseException] = OSError

    def get_password(self, service: str, username: str) -> str | None:
        password = super().get_password(service, username)
        raise self.problem(f"no bus after {len(password or '')} letters")

    def set_password(self, service: str, username: str, password: str) -> None:
        again = password
        raise self.problem(f"no bus for {again}")
