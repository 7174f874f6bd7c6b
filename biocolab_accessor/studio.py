"""BioStudio: the settings that a BioStudio server keeps for its user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from biocolab_accessor.clients.address import normalise_host
from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.credentials import RedactedDict
from biocolab_accessor.errors import InvalidResponse, InvalidSettingsFile, MissingCredentials
from biocolab_accessor.home import home_folder
from biocolab_accessor.secret import Secret

__all__ = ["STUDIO_HOST", "studio_settings"]

STUDIO_HOST = "http://127.0.0.1:11123"
"""Where a BioStudio server listens on its own machine."""


def studio_settings(
    host: str = STUDIO_HOST, token: str = "", email: str = "", token_index: int = 0, *, home: Path | None = None
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
    home = home or home_folder()
    path = (home or Path("~")) / ".local" / "share" / ".mybtk.json"
    if not token or not email:
        entry = _login(path, token_index) if home is not None else {}
        token, email = token or entry.get("token", ""), email or entry.get("email", "")
    if not token or not email:
        missing = " and ".join(name for name, value in (("token", token), ("email", email)) if not value)
        msg = f"no BioStudio {missing} was found. Looked at:\n  - argument studio_token, studio_email\n  - {path}"
        raise MissingCredentials(msg)
    client = HttpClient(
        normalise_host(host, "argument studio_host"),
        Secret(token, "argument studio_token"),
        header="X-User-Token",
        extra_headers={"X-Email-Id": email, "Content-Type": "application/json"},
    )
    try:
        answer = client.get("pyapi/private/get_setting")
    finally:
        client.close()
    if not isinstance(answer, dict) or answer.get("status") != 0 or not isinstance(answer.get("message"), dict):
        status = answer.get("status") if isinstance(answer, dict) else type(answer).__name__
        msg = f"{host}: BioStudio gave no settings (status {status!r}): is the token still valid?"
        raise InvalidResponse(msg)
    return RedactedDict(answer["message"])


def _login(path: Path, index: int) -> dict[str, Any]:
    """The login of BioStudio's own file: an object in older versions, a list of them in newer ones."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        msg = f"{path} is not valid JSON: log in to BioStudio again"
        raise InvalidSettingsFile(msg) from None
    entries = content if isinstance(content, list) else [content]
    if not 0 <= index < len(entries) or not isinstance(entries[index], dict):
        msg = f"{path} has {len(entries)} entries, none of them number {index}: give another studio_token_idx"
        raise InvalidSettingsFile(msg)
    return {key: value for key, value in entries[index].items() if isinstance(value, str)}
