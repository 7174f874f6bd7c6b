"""The sandbox: a real local server with the servers' protocols."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocolab_accessor.messages import counted, warn
from biocolab_accessor.security.redaction import sealed

if TYPE_CHECKING:
    from biocolab_accessor.sandbox.server import Sandbox

__all__ = ["Sandbox", "sandbox"]

_newest: weakref.ref[Sandbox] | None = None


def sandbox(
    path: str | Path | None = None,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    token: str | None = None,
    control: bool = False,
) -> Sandbox:
    """Start a local server that speaks the protocols of BioFlex, BBrowserX and Talk2Data, and talk to it from now on.

    Parameters
    ----------
    path
        Folder for its data, kept for the next start; None uses a temporary one that goes with the sandbox.
    port
        Port to listen on; 0 takes a free one.
    host
        Address to listen on; ``"0.0.0.0"`` lets other machines in, if they send the token.
    token
        What clients have to send; None makes one that cannot be guessed, the same for each start with one ``path``.
    control
        Whether faults, the request ledger and reset are offered over HTTP too, below ``/_sandbox/``.

    Returns
    -------
    Sandbox
        Running. In a ``with`` block it ends with the block; else with ``close()`` or the interpreter.

    Raises
    ------
    SandboxError
        The port is taken, or another sandbox uses the folder.
    InvalidArgument
        Other machines would reach it with the well-known ``DEFAULT_TOKEN``, or the token is another user's.

    Warns
    -----
    UserWarning
        The one before it is still open, outside a ``with`` block, and was sent studies: a notebook's cell that is run
        again starts another sandbox.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server:
    ...     list(bc.groups()["id"])
    ['all_members', 'personal']
    """
    from biocolab_accessor.sandbox.server import Sandbox

    global _newest
    token = sealed(token)
    earlier = _newest() if _newest is not None else None
    started = Sandbox(path, port=port, host=host, token=token, control=control)
    _newest = weakref.ref(started)
    if earlier is not None and (number := earlier.left_behind()):
        warn(
            f"the sandbox at {earlier.url} is still open, with {counted(number, 'submission')} that this new one at "
            f"{started.url} knows nothing of. To go back to it, close() this one; bc.sandbox(path) keeps its studies"
        )
    return started


if not TYPE_CHECKING:  # a type checker would else take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name == "Sandbox":
            from biocolab_accessor.sandbox.server import Sandbox

            return Sandbox
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
