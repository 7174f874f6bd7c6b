"""Call: what the journal keeps of a call, so that it can be made once more: its arguments, and how its files were."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from biocolab_accessor.errors import InvalidFile
from biocolab_accessor.home import expanded

__all__ = ["call_of", "expect_files_as_they_were", "files_of"]


def call_of(files: Any, paths: Sequence[Path], arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is kept of a call of ``bc.submit``; None where it cannot be written down.

    Parameters
    ----------
    files
        As they were given.
    paths
        Every file that they stand for.
    arguments
        All others; what they say on the wire is the same whenever the call is made.
    """
    try:
        states = [[os.path.abspath(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
        call = {"files": _plain(files), "arguments": dict(arguments), "states": states}
        return cast("dict[str, Any]", json.loads(json.dumps(call, allow_nan=False, default=_number)))
    except (OSError, TypeError, ValueError):  # a file that went away, which is told when it is sent
        return None


def files_of(call: Mapping[str, Any]) -> tuple[Path, ...]:
    """The files that a call sends."""
    return tuple(Path(str(state[0])) for state in call.get("states", ()))


def expect_files_as_they_were(call: Mapping[str, Any]) -> None:
    """Raise InvalidFile where a file is gone, or another one by now.

    Raises
    ------
    InvalidFile
        It is; the message names the file.
    """
    for path, size, modified in call["states"]:
        try:
            found = os.stat(path)
        except OSError as error:
            msg = f"{path} is not there any more ({error.strerror}): put it back, or forget the submission"
            raise InvalidFile(msg) from error
        if (found.st_size, found.st_mtime_ns) != (size, modified):
            msg = f"{path} was changed since it was submitted: submit it as it is now, and forget this submission"
            raise InvalidFile(msg)


def _number(value: Any) -> Any:
    """A number of NumPy as Python's."""
    item = getattr(value, "item", None)
    if not callable(item):
        raise TypeError(value)
    return item()


def _plain(files: Any) -> Any:
    if isinstance(files, str | os.PathLike):
        return os.path.abspath(expanded(Path(files)))
    if isinstance(files, Mapping):
        return {str(name): _plain(path) for name, path in files.items()}
    return [_plain(each) for each in files]
