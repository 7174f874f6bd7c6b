"""The sandbox: a real local server with the servers' protocols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biocolab_accessor.sandbox.server import Sandbox

__all__ = ["Sandbox", "sandbox"]


def sandbox(path: str | Path | None = None, *, port: int = 0) -> Sandbox:
    """Start a local server that speaks the protocols of BioFlex, BBrowserX and Talk2Data, and talk to it from now on.

    Parameters
    ----------
    path
        Folder for its data, kept for the next start; None uses a temporary one that goes with the sandbox.
    port
        Port on 127.0.0.1; 0 takes a free one.

    Returns
    -------
    Sandbox
        Running. In a ``with`` block it ends with the block; else with ``close()`` or the interpreter.

    Raises
    ------
    SandboxError
        The port is taken, or another sandbox uses the folder.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server:
    ...     list(bc.groups()["id"])
    ['all_members', 'personal']
    """
    from biocolab_accessor.sandbox.server import Sandbox

    return Sandbox(path, port=port)


def __getattr__(name: str) -> Any:
    if name == "Sandbox":
        from biocolab_accessor.sandbox.server import Sandbox

        return Sandbox
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
