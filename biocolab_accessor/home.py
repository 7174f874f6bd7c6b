"""Home: the user's folder, which an account without an entry in passwd and without ``$HOME`` does not have."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from biocolab_accessor.errors import ConfigurationError, InvalidArgument
from biocolab_accessor.platforms import private_folder

__all__ = ["cache_folder", "expanded", "home_folder", "library_folders", "temporary_folder"]

logger = logging.getLogger(__name__)

_NAME = "biocolab_accessor"


def home_folder() -> Path | None:
    """The home folder; None where the system knows none."""
    try:
        home = Path.home()
    except (RuntimeError, KeyError, OSError):
        return None
    return home if home.is_absolute() else None


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ``~`` resolved.

    Raises
    ------
    InvalidArgument
        It begins with ``~``, and there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, KeyError) as error:
        msg = f"{str(path)!r} begins with the home folder, which is not known here: give a full path, or set HOME"
        raise InvalidArgument(msg) from error


def cache_folder() -> Path:
    """Where to keep what is kept between sessions: the user's cache folder, else a private temporary one."""
    with suppress(RuntimeError, KeyError, OSError):
        folder = user_cache_path(_NAME)
        if folder.is_absolute():  # older versions of platformdirs leave the "~" in it
            return folder
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError:  # there is none that can be written to: the cache then says that it cannot be used
        temporary = Path(os.sep, "tmp")
    chosen = _private(temporary / f"{_NAME}-{os.getuid() if hasattr(os, 'getuid') else 'user'}")
    logger.warning("there is no home folder: the cache is in %s. To choose another, set BIOCOLAB_CACHE_DIR", chosen)
    return chosen


def library_folders(*folders: Path) -> dict[str, str]:
    """Variables that tell Numba and Matplotlib where to write, for an account that has no place of its own for that.

    Without them Numba refuses to import what it should compile, scanpy for one.

    Parameters
    ----------
    *folders
        Places, of which the first is taken that can be written to.
    """
    places = [home_folder(), Path(np.__file__).parent]
    if any(place is not None and os.access(place, os.W_OK) for place in places):
        return {}
    for folder in folders:
        names = {"NUMBA_CACHE_DIR": folder / "numba", "MPLCONFIGDIR": folder / "matplotlib"}
        wanted = {name: str(place) for name, place in names.items() if not os.environ.get(name)}
        with suppress(OSError):
            for place in wanted.values():
                private_folder(Path(place))
            if all(os.access(place, os.W_OK) for place in wanted.values()):
                return wanted
    return {}


def temporary_folder(prefix: str) -> Path:
    """A new temporary folder, which its maker removes.

    Raises
    ------
    ConfigurationError
        No folder for temporary files can be written to.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        named = f"TMPDIR is {os.environ['TMPDIR']!r}" if os.environ.get("TMPDIR") else "TMPDIR is not set"
        msg = f"no temporary folder can be made ({named}): {error}. Set TMPDIR to a folder that can be written to"
        raise ConfigurationError(msg) from error


def _private(folder: Path) -> Path:
    """The folder, or one of another name where this one belongs to somebody else: anyone may write beside it."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        info = folder.lstat()
        mine = not hasattr(os, "getuid") or (info.st_uid == os.getuid() and not stat.S_IMODE(info.st_mode) & 0o022)
        if not (stat.S_ISDIR(info.st_mode) and mine):
            return folder.with_name(f"{_NAME}-{uuid.uuid4().hex}")
    except OSError as error:
        logger.debug("%s: %s", folder, error)  # whoever writes there says so
    return folder
