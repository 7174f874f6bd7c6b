"""The sandbox: a local server that speaks the protocols of the real servers."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocolab_accessor.messages import counted, warn
from biocolab_accessor.public import public
from biocolab_accessor.security.redaction import sealed

if TYPE_CHECKING:
    from biocolab_accessor.sandbox.server import Sandbox

__all__ = ["Sandbox", "sandbox"]

_newest: weakref.ref[Sandbox] | None = None


@public
def sandbox(
    path: str | Path | None = None,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    token: str | None = None,
    control: bool = False,
) -> Sandbox:
    """Start a local server that speaks the protocols of BioFlex, BBrowserX and Talk2Data, and connect to it.

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

    Returns
    -------
    Sandbox
        The running sandbox. A ``with`` block closes it at its end; otherwise it runs until ``close()`` or until the
        interpreter exits.

    Raises
    ------
    SandboxError
        The port is taken, or another sandbox uses the folder.
    InvalidArgument
        Other machines could connect with the publicly known ``DEFAULT_TOKEN``, or the token belongs to another user.

    Warns
    -----
    UserWarning
        An earlier sandbox with submissions is still open, outside a ``with`` block. Running a notebook cell again
        starts another sandbox.

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
            f"the sandbox at {earlier.url} is still open, with {counted(number, 'submission')} that the new one at "
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
