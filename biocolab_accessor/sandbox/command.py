"""Command: a sandbox in a process of its own, until the process is told to end."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from biocolab_accessor.errors import InvalidArgument
from biocolab_accessor.sandbox.server import Sandbox
from biocolab_accessor.waits import until

__all__ = ["TOKEN", "lines_to_paste", "serving", "wait"]

TOKEN = "BIOCOLAB_SANDBOX_TOKEN"
"""Variable with the token that a sandbox is to have: on a command line everybody on the machine could read it."""


@contextmanager
def serving(
    path: Path | None, *, port: int = 0, host: str = "127.0.0.1", reset: bool = False, control: bool = False
) -> Iterator[Sandbox]:
    """Run a sandbox whose token is that of the environment, if there is one; Ctrl-C and SIGTERM end the block.

    Parameters
    ----------
    path, port, host, control
        As for :func:`biocolab_accessor.sandbox`.
    reset
        Whether the studies, uploads and tasks that ``path`` holds are forgotten.

    Raises
    ------
    InvalidArgument
        There is nothing that could be reset, or other machines would reach it with the well-known ``DEFAULT_TOKEN``.
    SandboxError
        The port is taken, or another sandbox uses the folder.
    """
    if reset and path is None:
        msg = "--reset is about the data of a --path: without one a sandbox begins empty"
        raise InvalidArgument(msg)

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGBREAK is what a program on Windows can send to one that it started.
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        with Sandbox(path, port=port, host=host, token=os.environ.get(TOKEN) or None, control=control) as sandbox:
            if reset:
                sandbox.reset()
            with suppress(KeyboardInterrupt):
                yield sandbox
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait() -> None:
    """Wait for the KeyboardInterrupt that ends the block of :func:`serving`."""
    until(threading.Event().wait)


def lines_to_paste(sandbox: Sandbox) -> tuple[list[str], list[str]]:
    """What to type into a shell, and into Python, to talk to a sandbox; a token that was given is named, not shown."""
    known = sandbox.token_file is not None
    windows = os.name == "nt"
    shell, python = [], ["import biocolab_accessor as bc"] if known else ["import os", "import biocolab_accessor as bc"]
    arguments = []
    for name, value in sandbox.environment().items():
        argument = name.removeprefix("BIOCOLAB_").lower()
        if known or not name.endswith("_TOKEN"):
            assigned, given = f"'{value}'" if windows else shlex.quote(value), repr(value)
        else:
            assigned, given = f"$env:{TOKEN}" if windows else f'"${TOKEN}"', f'os.environ["{TOKEN}"]'
        shell.append(f"$env:{name} = {assigned}" if windows else f"export {name}={assigned}")
        arguments.append(f"    {argument}={given},")
    return shell, [*python, "bc.connect(", *arguments, ")"]
