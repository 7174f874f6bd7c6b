"""Credentials: where hosts and tokens come from, and in which order.

For each host and each token separately: the argument of the call, the argument of
:class:`~biocolab_accessor.connection.connector.EConnector`, ``bc.settings`` (the environment), then the key file or
BioStudio. The first one found is used; nothing overrides it.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from biocolab_accessor.config import settings
from biocolab_accessor.errors import InvalidSettingsFile, MissingCredentials
from biocolab_accessor.messages import warn
from biocolab_accessor.platforms import expanded, home_folder
from biocolab_accessor.security.redaction import Secret, sealed
from biocolab_accessor.security.urls import normalize_host, without_user

__all__ = ["Credentials", "KeyFile", "RedactedDict", "Service", "resolve"]

_KEY_FILE = ".bioapi.key"


class RedactedDict(dict[str, Any]):
    """A dict whose text shows its keys but not its values, and which cannot be pickled."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{key!r}: '****'" for key in self) + "}"

    __str__ = __repr__

    def __rich_repr__(self) -> Iterator[tuple[str, str]]:
        yield from ((key, "****") for key in self)

    def __reduce__(self) -> NoReturn:
        msg = "settings that hold tokens are never pickled"
        raise TypeError(msg)


class KeyFile:
    """The JSON file ``~/.bioapi.key`` that BioColab and BioStudio write; ``$BIOCOLAB_KEY_FILE`` names another path."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        named = path or os.environ.get("BIOCOLAB_KEY_FILE")
        home = home_folder()
        self.path = expanded(named) if named else (home or Path("~")) / _KEY_FILE
        self._is_known = bool(named) or home is not None

    def __str__(self) -> str:
        return str(self.path) if self._is_known else f"{self.path} (the home folder is unknown: set BIOCOLAB_KEY_FILE)"

    def exists(self) -> bool:
        """Whether the file exists."""
        return self._is_known and self.path.exists()

    def read(self) -> RedactedDict:
        """Read the settings; empty if the file does not exist, InvalidSettingsFile if it cannot be used."""
        if not self._is_known:  # a folder named "~" in the working folder is not the home folder
            return RedactedDict()
        self._check_access()
        content, problem = _content(self.path)
        if problem:
            raise InvalidSettingsFile(problem)
        return content

    def _check_access(self) -> None:
        if not hasattr(os, "getuid"):
            return
        try:
            info = self.path.stat()
        except OSError:  # it does not exist, or reading it will report the problem
            return
        if info.st_uid not in (os.getuid(), 0):
            msg = f"{self.path} belongs to another user (uid {info.st_uid}): its hosts and tokens are not used"
            raise InvalidSettingsFile(msg)
        if stat.S_IMODE(info.st_mode) & 0o077:
            warn(f"{self.path} can be read or written by other users: run chmod 600 {self.path}")


def _content(path: Path) -> tuple[RedactedDict, str]:
    """Return the content of a key file, or its problem: an error from here would have tokens in its variables."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):  # the home folder may be a file
        return RedactedDict(), ""
    except (OSError, UnicodeDecodeError) as error:
        return RedactedDict(), f"{path} cannot be read: {error}"
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", "?")
        return RedactedDict(), f"{path} is not valid JSON (line {line}): fix it or remove it"
    if not isinstance(content, dict):
        return RedactedDict(), f"{path} contains a JSON {type(content).__name__}, not an object of settings"
    return RedactedDict(content), ""


@dataclass(frozen=True)
class Service:
    """What one service needs, and under which names it is found."""

    title: str  # its name in messages
    host_setting: str  # names in bc.settings
    token_setting: str
    host_key: str  # names in the key file; the first one that is set counts
    token_keys: tuple[str, ...]
    default_host: str  # the public server; empty if there is none
    advice: str  # where a token is made


@dataclass(frozen=True)
class Credentials:
    """A host and the token for it.

    Attributes
    ----------
    host
        Base address.
    token
        The token; its ``origin`` says where it was found.
    place
        Where the host was found.
    """

    host: str
    token: Secret
    place: str


@dataclass(frozen=True)
class _Found:
    value: Any
    place: str
    source: str


def resolve(
    service: Service,
    arguments: Iterable[tuple[str, str, Any]],
    stored: Callable[[], Mapping[str, Any]],
    stored_name: str,
) -> Credentials:
    """Find the host and the token of a service; MissingCredentials lists every place that was searched."""
    # `arguments` has (place, host, token) of each set of arguments, nearest first; empty strings mean not set, and
    # tokens are secrets or sealed. `stored` reads the key file or BioStudio's settings, and is called only if something
    # is missing. Warns if the token and the host come from different places, since the token might be sent to the wrong
    # server.
    hosts = [_Found(host, f"{place} {service.host_setting}", "arguments") for place, host, _ in arguments]
    tokens = [_Found(token, f"{place} {service.token_setting}", "arguments") for place, _, token in arguments]
    hosts.append(_Found(getattr(settings, service.host_setting), _setting(service.host_setting), "bc.settings"))
    tokens.append(
        _Found(
            sealed(getattr(settings, service.token_setting).get_secret_value()),
            _setting(service.token_setting),
            "bc.settings",
        )
    )
    host, token = _first(hosts), _first(tokens)
    if (host is None and not service.default_host) or token is None:
        content = stored()
        hosts.append(_stored(content, (service.host_key,), stored_name, without_user))
        tokens.append(_stored(content, service.token_keys, stored_name, sealed))
        host, token = _first(hosts), _first(tokens)
    if host is None and service.default_host:
        host = _Found(service.default_host, "the public server", token.source if token else "default")
    if host is None or token is None:
        _raise_missing(service, hosts, tokens, need_host=host is None, need_token=token is None)
    address = normalize_host(host.value, host.place)  # first, so that the warning below shows no password
    if host.source != token.source:
        warn(
            f"{service.title}: the token from {token.place} is sent to the host from {host.place} ({address}). "
            "Set both in one place to make sure that they belong together."
        )
    secret = Secret(token.value.reveal() if isinstance(token.value, Secret) else token.value, token.place)
    return Credentials(address, secret, host.place)


def _setting(name: str) -> str:
    return f"bc.settings.{name} ($BIOCOLAB_{name.upper()})"


def _first(places: list[_Found]) -> _Found | None:
    return next((found for found in places if found.value), None)


def _stored(content: Mapping[str, Any], keys: tuple[str, ...], name: str, wrap: Callable[[Any], Any]) -> _Found:
    keys = tuple(key for key in keys if key)
    place = f"{name} ({' or '.join(keys)})" if keys else name
    for key in keys:
        if not isinstance(content.get(key), str | None):
            msg = f"{key} in {name} is a {type(content[key]).__name__}, not a string"
            raise InvalidSettingsFile(msg)
        if (content.get(key) or "").strip():
            return _Found(wrap(content[key]), f"{name} ({key})", name)
    return _Found("", place, name)


def _raise_missing(
    service: Service, hosts: list[_Found], tokens: list[_Found], *, need_host: bool, need_token: bool
) -> NoReturn:
    wanted = [("host", service.host_setting, hosts)] if need_host else []
    wanted += [("token", service.token_setting, tokens)] if need_token else []
    values = {"host": "'https://…'", "token": "'…'"}
    call = ", ".join(f"{setting}={values[what]}" for what, setting, _ in wanted)
    places = [f"Checked for a {what}: {', '.join(found.place for found in there)}" for what, _, there in wanted]
    msg = "\n".join(
        [
            f"{' and '.join(f'no {what}' for what, _, _ in wanted)} for {service.title}: run",
            f"  bc.connect({call})",
            service.advice,
            *places,
            "To try without an account, start a local server (in a terminal: biocolab sandbox):",
            "  bc.sandbox()",
        ]
    )
    raise MissingCredentials(msg, tuple(what for what, _, _ in wanted))
