"""SDK helpers: the functions of the SDK's ``util``, under their original names."""

from __future__ import annotations

import getpass
import os

from biocolab_accessor.connection.credentials import KeyFile, RedactedDict
from biocolab_accessor.errors import ConfigurationError
from biocolab_accessor.platforms import home_folder

__all__ = [
    "empty",
    "get_settings",
    "get_system_user",
    "get_user_app_root_path",
    "get_user_home_path",
    "get_user_notebook_root_path",
    "get_user_study_root_path",
]


def empty(data: str | None) -> bool:
    """Whether a string is None or has no characters.

    Examples
    --------
    >>> empty(""), empty(None), empty("x")
    (True, True, False)
    """
    return data is None or (isinstance(data, str) and not data)


def get_system_user() -> str:
    """The user's name: from the system's user database, else ``$NB_USER``, else from getpass.

    Raises
    ------
    ConfigurationError
        The system has no name for this user.
    """
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        pass
    try:
        return os.environ.get("NB_USER") or getpass.getuser()
    except (ImportError, KeyError, OSError) as error:
        msg = "the system has no name for this user: set NB_USER, or USER"
        raise ConfigurationError(msg) from error


def get_user_home_path() -> str:
    """The user's home folder; ``$HOME`` takes precedence.

    Raises
    ------
    ConfigurationError
        The user has no home folder.
    """
    home = home_folder()
    if home is None:
        msg = "this user has no home folder: set HOME"
        raise ConfigurationError(msg)
    return str(home)


def get_user_study_root_path() -> str:
    """The folder ``studies`` of the user's home."""
    return f"{get_user_home_path()}/studies"


def get_user_notebook_root_path() -> str:
    """The folder ``notebooks`` of the user's home."""
    return f"{get_user_home_path()}/notebooks"


def get_user_app_root_path() -> str:
    """The folder ``apps`` of the user's home."""
    return f"{get_user_home_path()}/apps"


def get_settings() -> RedactedDict:
    """The content of ``~/.bioapi.key``; empty if the file does not exist.

    Raises
    ------
    InvalidSettingsFile
        The file exists but is invalid.
    """
    return KeyFile().read()
