"""BioStudio: the settings that a BioStudio server keeps for its user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from biocolab_accessor.clients.address import normalise_host, without_user
from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.credentials import RedactedDict
from biocolab_accessor.errors import InvalidResponse, InvalidSettingsFile, MissingCredentials
from biocolab_accessor.home import home_folder
from biocolab_accessor.secret import Secret, sealed

__all__ = ["STUDIO_HOST", "studio_settings"]

STUDIO_HOST = "http://127.0.0.1:11123"
"""Where a BioStudio server listens on its own machine."""


def studio_settings(
    host: str = STUDIO_HOST,
    token: str | Secret = "",
    email: str = "",
    token_index: int = 0,
    *,
    home: Path | None = None,
) -> RedactedDict:
    """The settings that BioStudio keeps, under the names of the key file.

    Parameters
    ----------
    host
        Address of the BioStudio server.
    token, email
        Of the user; what is empty is read from ``~/.local/share/.mybtk.json``. What is given is never overridden.
    token_index
        Which entry of that file, where it is a list.
    home
        Another home folder.

    Raises
    ------
    MissingCredentials
        Neither given nor in the file.
    InvalidSettingsFile
        The file cannot be used, or has no such entry.
    InvalidResponse
        The server's answer is not one of BioStudio.
    """
    token, host = sealed(token), without_user(host)
    home = home or home_folder()
    path = (home or Path("~")) / ".local" / "share" / ".mybtk.json"
    if not token or not email:
        entry = _login(path, token_index) if home is not None else {}
        token, email = token or sealed(entry.get("token", "")), email or entry.get("email", "")
    if not token or not email:
        missing = " and ".join(name for name, value in (("token", token), ("email", email)) if not value)
        msg = f"no BioStudio {missing} was found. Looked at:\n  - argument studio_token, studio_email\n  - {path}"
        raise MissingCredentials(msg)
    client = HttpClient(
        normalise_host(host, "argument studio_host"),
        token if isinstance(token, Secret) else Secret(token, "argument studio_token"),
        header="X-User-Token",
        extra_headers={"X-Email-Id": email, "Content-Type": "application/json"},
        quoting=False,
    )
    try:
        found, problem = _settings(client.get("pyapi/private/get_setting"))
    finally:
        client.close()
    if problem:
        msg = f"{host}: BioStudio gave no settings ({problem}): is the token still valid?"
        raise InvalidResponse(msg)
    return found


# No error is raised where an answer or a file with tokens is among the variables.
def _settings(answer: Any) -> tuple[RedactedDict, str]:
    """The settings in an answer of BioStudio, or what it is in place of them."""
    if not isinstance(answer, dict):
        return RedactedDict(), f"a JSON {type(answer).__name__}"
    if answer.get("status") != 0 or not isinstance(answer.get("message"), dict):
        status = answer.get("status")
        return RedactedDict(), f"status {status if isinstance(status, int) else type(status).__name__}"
    return RedactedDict(answer["message"]), ""


def _login(path: Path, index: int) -> RedactedDict:
    """The login of BioStudio's own file."""
    entry, problem = _entry(path, index)
    if problem:
        raise InvalidSettingsFile(problem)
    return entry


def _entry(path: Path, index: int) -> tuple[RedactedDict, str]:
    """An entry of the file, or why there is none: an object in older versions, a list of them in newer ones."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return RedactedDict(), ""
    except (OSError, ValueError, RecursionError):
        return RedactedDict(), f"{path} is not valid JSON: log in to BioStudio again"
    entries = content if isinstance(content, list) else [content]
    if not 0 <= index < len(entries) or not isinstance(entries[index], dict):
        many = f"{path} has {len(entries)} entries, none of them number {index}: give another studio_token_idx"
        return RedactedDict(), many
    return RedactedDict({key: value for key, value in entries[index].items() if isinstance(value, str)}), ""
