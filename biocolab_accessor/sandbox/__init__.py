"""The sandbox: a local server that speaks the protocols of the real servers."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocolab_accessor.errors import public
from biocolab_accessor.messages import counted, warn
from biocolab_accessor.security.redaction import sealed

if TYPE_CHECKING:
    from biocolab_accessor.sandbox.server import Sandbox

__all__ = ["Sandbox", "sandbox"]

logger = logging.getLogger("biocolab_accessor.sandbox")

_started: list[weakref.ref[Sandbox]] = []


@public
def sandbox(
    path: str | Path | None = None,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    token: str | None = None,
    control: bool = False,
    new: bool = False,
) -> Sandbox:
    """Start a local server that speaks the protocols of BioFlex, BBrowserX and Talk2Data, and connect to it.

    Called again with the same arguments, for example because a notebook cell is run again, it returns the sandbox that
    is running already, and a ``with`` block leaves that one open; ``new=True`` starts another. Sandboxes of open
    ``with`` blocks are not returned again.

    Parameters
    ----------
    path
        Folder for its data, kept for the next start; None uses a temporary folder that is removed with the sandbox.
    port
        Port to listen on; 0 picks a free one.
    host
        Address to listen on; with ``"0.0.0.0"`` other machines can connect if they send the token.
    token
        Token that clients must send. None generates a random one, which stays the same for every start with this
        ``path``.
    control
        Whether to offer faults, the request ledger and reset over HTTP too, below ``/_sandbox/``.
    new
        Whether to start another sandbox even if one with these arguments is running.

    Returns
    -------
    Sandbox
        The running sandbox. A ``with`` block closes it at its end, unless an earlier call started it; otherwise it runs
        until ``close()`` or until the interpreter exits.

    Raises
    ------
    SandboxError
        The port is taken, or another sandbox uses the folder.
    InvalidArgument
        Other machines could connect with the publicly known ``DEFAULT_TOKEN``, or the token belongs to another user.

    Warns
    -----
    UserWarning
        An earlier sandbox with submissions and other arguments is still open, outside a ``with`` block.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server:
    ...     list(bc.groups()["id"])
    ['all_members', 'personal']
    """
    from biocolab_accessor.sandbox.server import Sandbox

    token = sealed(token)
    known = [one for each in _started if (one := each()) is not None and not one._closed]
    free = [one for one in reversed(known) if one._is_free]
    if not new:
        for one in free:
            if one._lend(path, port=port, host=host, token=token, control=control):
                logger.info("the sandbox at %s is running already; bc.sandbox(new=True) starts another", one.url)
                return one
    started = Sandbox(path, port=port, host=host, token=token, control=control)
    _started[:] = map(weakref.ref, (*known, started))
    if not new and free and (number := free[0].left_behind()):
        warn(
            f"the sandbox at {free[0].url} is still open, with {counted(number, 'submission')} that the new one at "
            f"{started.url} does not have. To return to it, close() the new one; bc.sandbox(path) keeps its studies"
        )
    return started


if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> Any:
        if name == "Sandbox":
            from biocolab_accessor.sandbox.server import Sandbox

            return Sandbox
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
