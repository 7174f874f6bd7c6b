"""Identity: run a block with the effective user and group of another account (kept from the SDK)."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from biocolab_accessor.errors import UnknownName

__all__ = ["Identity"]


class Identity:
    """Context manager: effective uid and gid of ``user`` inside the block, restored afterwards.

    Only a privileged process may change its identity; otherwise entering the block raises PermissionError.
    The identity belongs to the whole process, not to a thread. The package itself does not use it.

    Parameters
    ----------
    user
        Name of a user of this machine.
    group
        Name of a group; None means the user's own.

    Raises
    ------
    UnknownName
        The user or group does not exist, or the system has no user ids (Windows).
    """

    def __init__(self, user: str, group: str | None = None) -> None:
        if sys.platform == "win32":
            msg = "this system has no user and group ids"
            raise UnknownName(msg)
        import grp
        import pwd

        try:
            entry = pwd.getpwnam(user)
            self.uid = entry.pw_uid
            self.gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
        except KeyError as error:
            msg = f"no such user or group: {error.args[0]}"
            raise UnknownName(msg) from error

    def __enter__(self) -> Identity:
        self._before = os.geteuid(), os.getegid()
        os.setegid(self.gid)  # the group first: after the user has changed, the process may no longer do this
        try:
            os.seteuid(self.uid)
        except BaseException:
            os.setegid(self._before[1])
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        euid, egid = self._before
        os.seteuid(euid)
        os.setegid(egid)
