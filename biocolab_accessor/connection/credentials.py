"""Credentials: where hosts and tokens come from, and in which order.

For each host and each token separately: the argument of the call, the argument of
:class:`~biocolab_accessor.connection.connector.EConnector`, ``bc.settings`` (the environment), the key file or
BioStudio, then the keyring. The first one found is used; nothing overrides it.

The keyring comes last because it may ask the user to unlock it, which is not needed where a key file has everything.
It holds each token under the address of its server, so that a token from there never reaches another server.
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
from biocolab_accessor.errors import ConfigurationError, InvalidSettingsFile, MissingCredentials
from biocolab_accessor.messages import warn
from biocolab_accessor.platforms import expanded, home_folder
from biocolab_accessor.security.redaction import Secret, redacted, sealed, without_frames
from biocolab_accessor.security.urls import normalize_host, without_user

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


class Keyring:
    """The keyring of the system, where ``biocolab login`` stores each token under the address of its server."""

    # The default address of each kind of server is stored under the name of its setting, such as "private_host".

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}  # macOS may ask the user each time that a program reads a token

    def get(self, name: str) -> tuple[Any, str]:
        """Return a sealed entry, empty if it does not exist or cannot be read, and its place for messages."""
        if name in self._known:
            return self._known[name], _KEYRING
        entry, problem = _keyring_answer("get_password", _ENTRIES, name)
        if entry:
            self._known[name] = entry
        return entry, f"{_KEYRING}, but {problem}" if problem else _KEYRING

    def backend(self) -> tuple[str, str]:
        """Return the name of the system's keyring, or why it cannot be used."""
        found, problem = _keyring_answer("get_keyring")
        return getattr(found.reveal(), "name", ""), problem or _keyring_answer("get_password", _ENTRIES, _PROBE)[1]

    def expect_usable(self) -> None:
        """Raise ConfigurationError unless a token can be stored."""
        if problem := self.backend()[1]:
            msg = f"no token can be stored in the keyring: {problem}. {_INSTEAD}"
            raise ConfigurationError(msg)

    def store(self, setting: str, address: str, token: Secret) -> None:
        """Store a token for its server, which becomes the default."""
        self._known.clear()
        for name, value in ((address, token), (setting, sealed(address))):
            _, problem = _keyring_answer("set_password", _ENTRIES, name, value)
            entry, unread = _keyring_answer("get_password", _ENTRIES, name)
            if not (problem or unread) and entry.reveal() != value.reveal():
                problem = "it does not keep what is stored"
            if problem := redacted(problem or unread, token):
                msg = f"the token for {address} is not stored in the keyring: {problem}. {_INSTEAD}"
                raise ConfigurationError(msg)

    def remove(self, setting: str, address: str) -> None:
        """Remove the token for a server, and its address if it is the default."""
        self._known.clear()
        default, _ = _keyring_answer("get_password", _ENTRIES, setting)
        names = [address, *([setting] if default.reveal() == address else [])]
        for name in names:
            _, problem = _keyring_answer("delete_password", _ENTRIES, name)
            if problem:
                msg = f"the token for {address} cannot be removed from the keyring: {problem}"
                raise ConfigurationError(msg)


_ENTRIES = "biocolab_accessor"  # the name of its entries, which programs for keyrings show
_PROBE = "nothing"  # not an entry
_KEYRING = "the keyring (biocolab login)"
_INSTEAD = "Set the token in the environment or in the key file instead"


def _keyring_answer(function: str, *arguments: Any) -> tuple[Any, str]:
    """Return a sealed answer, or the problem: an error from here would have tokens in its variables."""
    try:
        import keyring
    except ImportError:
        return sealed(""), "the package keyring is not installed (pip install 'biocolab_accessor[keyring]')"
    try:
        call = getattr(keyring, function)
        return sealed(call(*(one.reveal() if hasattr(one, "reveal") else one for one in arguments))), ""
    except keyring.errors.NoKeyringError:
        return sealed(""), "this machine has no keyring that works (on Linux: GNOME Keyring or KWallet)"
    except Exception as error:  # noqa: BLE001 - of any backend: a locked keyring, no session bus
        return sealed(""), f"{type(error).__name__}: {error}".rstrip(".!: ")
    except BaseException as error:  # Ctrl-C while the keyring waits for its password
        without_frames(error, "")
        raise error


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
    login: str  # the command that stores one in the keyring


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
    keyring: Keyring,
) -> Credentials:
    """Find the host and the token of a service; MissingCredentials lists every place that was searched."""
    # `arguments` has (place, host, token) of each set of arguments, nearest first; empty strings mean not set, and
    # tokens are secrets or sealed. `stored` reads the key file or BioStudio's settings. It is called, and after it the
    # keyring, only if something is missing. Warns if the token and the host come from different places, since the token
    # might be sent to the wrong server.
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
    if (host is None and not service.default_host) or token is None:
        hosts.append(host or _keyring_host(service, keyring))
        tokens.append(token or _keyring_token(service, hosts[-1], keyring))
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


def _keyring_host(service: Service, keyring: Keyring) -> _Found:
    entry, place = keyring.get(service.host_setting)
    return _Found(without_user(entry.reveal() or ""), place, "keyring")


def _keyring_token(service: Service, host: _Found, keyring: Keyring) -> _Found:
    """Return the token that is stored for a host; the two belong together, wherever the host was found."""
    if not (host.value or service.default_host):
        return _Found("", host.place, "keyring")
    address = normalize_host(host.value or service.default_host, host.place)
    entry, place = keyring.get(address)
    return _Found(entry, place, host.source)


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
            f"or store {'both' if len(wanted) > 1 else 'it'} in the keyring of this machine, in a terminal:",
            f"  {service.login}",
            service.advice,
            *places,
            "To try without an account, start a local server (in a terminal: biocolab sandbox):",
            "  bc.sandbox()",
        ]
    )
    raise MissingCredentials(msg, tuple(what for what, _, _ in wanted))
