from __future__ import annotations

import os
import sys

import pytest

from biocolab_accessor.errors import UnknownName
from biocolab_accessor.identity import Identity

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs user and group ids")
privileged = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root changes identity")


@privileged
def test_effective_ids_are_the_users_inside_and_restored_after() -> None:
    import pwd

    user = pwd.getpwnam("nobody")
    before = os.geteuid(), os.getegid()
    with Identity("nobody"):
        assert (os.geteuid(), os.getegid()) == (user.pw_uid, user.pw_gid)
    assert (os.geteuid(), os.getegid()) == before


@privileged
def test_effective_and_not_real_ids_are_restored() -> None:
    os.setegid(60)
    os.seteuid(5)
    try:
        with pytest.raises(PermissionError), Identity("nobody"):
            pass
        assert (os.geteuid(), os.getegid()) == (5, 60)
    finally:
        os.seteuid(0)
        os.setegid(0)


@privileged
def test_an_error_inside_restores_them_too() -> None:
    with pytest.raises(ZeroDivisionError), Identity("nobody"):
        _ = 1 / 0
    assert os.geteuid() == 0


def test_unknown_users_and_groups_are_named() -> None:
    with pytest.raises(UnknownName, match="no-such-user"):
        Identity("no-such-user")
    with pytest.raises(UnknownName, match="no-such-group"):
        Identity("root", "no-such-group")
