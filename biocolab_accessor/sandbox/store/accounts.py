"""Accounts: the users of a sandbox with their tokens and groups."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from biocolab_accessor.sandbox.store.files import Database
from biocolab_accessor.security.redaction import sealed

__all__ = ["ALL_MEMBERS", "DEFAULT_TOKEN", "PERSONAL", "Accounts", "Group"]

DEFAULT_TOKEN = "biocolab-sandbox"
"""A publicly known token. A sandbox uses it only if it is passed as ``token=``, and on this machine only."""

ALL_MEMBERS, PERSONAL = "all_members", "personal"

_SCHEMA = """
create table if not exists users (email text primary key, token text unique not null);
create table if not exists groups (id text primary key, name text not null);
create table if not exists members (group_id text not null, email text not null, primary key (group_id, email));
"""


@dataclass(frozen=True)
class Group:
    """A group: its id in the protocol, and the name that users see."""

    id: str
    name: str


_COMMON_GROUPS = (Group(ALL_MEMBERS, "All members"), Group(PERSONAL, "Personal workspace"))


class Accounts:
    """Users and groups; only the digest of a token is stored."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)

    def set_user(self, email: str, token: Any) -> None:
        """Add a user, or give one another token.

        Raises
        ------
        ValueError
            Another user has this token.
        """
        token = held = sealed(token)
        owner = self.user_of(held)
        if owner not in (None, email):
            msg = "another user has this token"
            raise ValueError(msg)
        self._database.write("insert or replace into users values (?, ?)", email, _digest(held))

    def user_of(self, token: Any) -> str | None:
        """Email of the user with this token, or None."""
        token = held = sealed(token)
        rows = self._database.rows("select email from users where token = ?", _digest(held))
        return str(rows[0]["email"]) if rows else None

    def users(self) -> list[str]:
        """Emails."""
        return [row["email"] for row in self._database.rows("select email from users order by email")]

    def set_group(self, group: Group, members: list[str]) -> None:
        """Add a group, or change its name and members."""
        with self._database.writing() as connection:
            connection.execute("insert or replace into groups values (?, ?)", (group.id, group.name))
            connection.execute("delete from members where group_id = ?", (group.id,))
            connection.executemany("insert into members values (?, ?)", [(group.id, email) for email in members])

    def groups(self, user: str) -> list[Group]:
        """Groups of a user: the two that all users have, then those that the user is a member of."""
        rows = self._database.rows(
            "select id, name from groups join members on id = group_id where email = ? order by name", user
        )
        return [*_COMMON_GROUPS, *(Group(row["id"], row["name"]) for row in rows)]


def _digest(held: Any) -> str:
    return hashlib.sha256(held.reveal().encode("utf-8", "surrogatepass")).hexdigest()
