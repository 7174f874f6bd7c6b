"""Doctor: problems with the setup of this machine, and how to fix them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from biocolab_accessor.clients.transport import Probe, probe, proxy_for
from biocolab_accessor.concurrency import CancellableThreads, result
from biocolab_accessor.config import Settings, settings
from biocolab_accessor.connection.connector import SERVICES, EConnector
from biocolab_accessor.connection.credentials import Credentials, KeyFile, Keyring
from biocolab_accessor.connection.default import current
from biocolab_accessor.errors import (
    BiocolabError,
    ConfigurationError,
    InvalidSettingsFile,
    MissingCredentials,
    ServerError,
    Unauthorized,
    public,
)
from biocolab_accessor.io.cache import cache
from biocolab_accessor.messages import did_you_mean
from biocolab_accessor.protocol import SOURCES, TITLES, Source
from biocolab_accessor.submit.resume import NOT_RUNNING, submissions

State = Literal["ok", "note", "warning", "broken"]

_PACKAGES = ("biocolab_accessor", "anndata", "scanpy", "h5py", "pandas", "numpy", "scipy")
_CLIENTS = ("bioflex", "bioturing-connector")
_NOT_SETTINGS = {"BIOCOLAB_KEY_FILE", "BIOCOLAB_SANDBOX_TOKEN", "BIOCOLAB_TEST_DATA"}
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_MOST_SKEW = 120.0
_LEAST_DAYS = 14.0
_LEAST_FREE = 1024**3


@dataclass(frozen=True)
class Observation:
    """The result of examining one subject."""

    topic: str  # "versions", "environment", "credentials", "proxy", "server", "clock", "tls", "cache", "submissions"
    subject: str  # a package, a server, a variable
    state: State
    message: str  # never contains a token
    fix: str = ""


class Observations(pd.DataFrame):
    """A table whose messages are shown in full."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        fixes = [f"\n         → {fix}" if fix else "" for fix in self["fix"]]
        rows = zip(self["state"], self["topic"], self["subject"], self["message"], fixes, strict=True)
        return "\n".join(f"{row[0]:<7}  {row[1]}, {row[2]}: {row[3]}{row[4]}" for row in rows)

    def _repr_html_(self) -> str | None:
        with pd.option_context("display.max_colwidth", None, "display.max_rows", None):
            shown: str | None = super()._repr_html_()  # type: ignore[misc]
        return shown


@public
def doctor(*, network: bool = True, timeout: float = 10.0) -> pd.DataFrame:
    """Examine versions, credentials, servers, clock, certificates, proxies and cache, as ``biocolab doctor`` does.

    Tokens are never shown.

    Parameters
    ----------
    network
        Contact the servers that have a token.
    timeout
        Seconds per connection and answer.

    Returns
    -------
    pandas.DataFrame
        A row for each subject, problems first: ``state`` (``"broken"``, ``"warning"``, ``"note"``, ``"ok"``),
        ``topic``, ``subject``, ``message`` and ``fix``.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     found = bc.doctor()
    >>> found.loc[found["topic"] == "server", "state"].tolist()
    ['ok', 'ok', 'ok']
    """
    found = sorted(examine(network=network, timeout=timeout), key=lambda seen: -get_args(State).index(seen.state))
    return Observations(found, columns=["state", "topic", "subject", "message", "fix"])


def examine(*, network: bool = True, timeout: float = 10.0) -> list[Observation]:
    """Examine versions, environment, credentials, proxies, servers, clocks, certificates, cache and submissions."""
    # Nothing is changed, and each token is sent to its own server only. The servers are asked at the same time.
    found = [*_versions(), *_environment(), *_key_file(), _keyring()]
    known: dict[Source, Credentials] = {}
    for source in SOURCES:
        observations, credentials = _credentials(source)
        found += observations
        if credentials is not None:
            known[source] = credentials
    if not known:
        fix = "Set BIOCOLAB_PRIVATE_HOST and BIOCOLAB_PRIVATE_TOKEN, or BIOCOLAB_BIOFLEX_TOKEN; or try `biocolab demo`"
        found.append(Observation("credentials", "all", "broken", "no server is set up", fix))
    found += _proxies(known)
    answers: list[Observation] = []
    asked = []
    for source in known if network else ():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # _credentials reports them
            try:
                asked.append((source, client_of(current(), source), timeout))
            except ConfigurationError as error:  # of `ssl`
                fix = "Give another ssl=, or set another BIOCOLAB_SSL"
                answers.append(Observation("tls", TITLES[source], "broken", str(error), fix))
    if asked:
        limits = {"connect_timeout": timeout, "read_timeout": timeout, "deadline": 3 * timeout, "max_retries": 0}
        with settings.override(**limits), CancellableThreads(len(asked), "biocolab-doctor") as threads:
            answers += [seen for answer in [threads.submit(_server, *one) for one in asked] for seen in result(answer)]
    order = ["server", "clock", "tls"]
    return [*found, *sorted(answers, key=lambda seen: order.index(seen.topic)), *_cache(), *_submissions()]


def client_of(connector: EConnector, source: Source) -> Any:
    """The client of a connection to a server."""
    if source == "bioflex":
        return connector.get_bioflex()
    return connector.get_bbrowserx() if source == "bbrowserx" else connector.get_talk2data()


def ask_for_little(client: Any, source: Source) -> None:
    """Ask a server for something small, which needs the token."""
    # test_connection of bioturing_connector prints. The list of databases is the smallest answer of BioFlex.
    if source == "bioflex":
        client.databases()
    else:
        client.post_request("api/v1/test_connection")


def _versions() -> Iterator[Observation]:
    from packaging.requirements import Requirement

    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Observation("versions", "python", "ok", python)
    wanted = {}
    for text in importlib.metadata.requires("biocolab_accessor") or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            wanted[requirement.name.lower().replace("_", "-")] = requirement
    shown = [*_PACKAGES, *_CLIENTS]
    for name in [*shown, *sorted(set(wanted) - set(shown))]:
        requirement_ = wanted.get(name)
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Observation(
                "versions", name, "broken", "is not installed", f"Install it: pip install '{requirement_}'"
            )
            continue
        if requirement_ is not None and not requirement_.specifier.contains(version, prereleases=True):
            message = f"{version}, but {requirement_} is needed"
            yield Observation("versions", name, "broken", message, f"Install that: pip install '{requirement_}'")
        elif name in shown:
            yield Observation("versions", name, "ok", version)


def _environment() -> Iterator[Observation]:
    prefix = str(Settings.model_config.get("env_prefix", ""))
    names = {f"{prefix}{name.upper()}" for name in Settings.model_fields} | _NOT_SETTINGS
    for name in sorted(os.environ):
        if name.startswith(prefix) and name not in names:
            message = f"is not a setting of this package{did_you_mean(name, names)}"
            yield Observation("environment", name, "warning", message, f"Remove or rename it: unset {name}")
    for name in _BUNDLES:
        path = os.environ.get(name, "")
        if path and not Path(path).exists():
            fix = f"Set it to the path of a CA bundle, or unset {name}"
            yield Observation("environment", name, "broken", f"names {path}, which does not exist", fix)
        elif path and not settings.ssl:
            yield Observation("environment", name, "note", f"certificates are verified with {path}")


def _key_file() -> Iterator[Observation]:
    file = KeyFile()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            content = file.read()
        except InvalidSettingsFile as error:
            yield Observation("credentials", "key file", "broken", str(error), f"Write {file} again, or remove it")
            return
    for warning in said:
        yield Observation("credentials", "key file", "warning", str(warning.message), f"chmod 600 {file}")
    if not said:
        there = f"{file} has {', '.join(sorted(map(str, content))) or 'no settings'}" if file.exists() else ""
        yield Observation("credentials", "key file", "ok" if content else "note", there or f"{file} does not exist")


def _keyring() -> Observation:
    name, problem = Keyring().backend()
    if not problem:
        return Observation("credentials", "keyring", "ok", f"{name}, where biocolab login stores tokens")
    return Observation("credentials", "keyring", "note", f"is not used: {problem}")


def _credentials(source: Source) -> tuple[list[Observation], Credentials | None]:
    title, service = TITLES[source], SERVICES[source]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = current().credentials(source)
        except MissingCredentials as error:
            missing = " and ".join(f"no {what}" for what in error.missing)
            names = [f"$BIOCOLAB_{name.upper()}" for name in (service.host_setting, service.token_setting)]
            fix = f"Places: {', '.join(names)}, {KeyFile()}, biocolab login. {service.advice}"
            # Talk2Data and BioFlex have a default host, so that a host in the settings was set on purpose.
            half = len(error.missing) == 1 and (source == "bbrowserx" or getattr(settings, service.host_setting))
            message = f"{'only partly' if half else 'not'} set up: {missing}"
            return [Observation("credentials", title, "warning" if half else "note", message, fix)], None
        except BiocolabError as error:
            fix = "Set it again in the same place"
            return [Observation("credentials", title, "broken", f"{type(error).__name__}: {error}", fix)], None
    message = f"host {found.host} from {found.place}; token from {found.token.origin}"
    seen = [Observation("credentials", title, "ok", message)]
    for warning in said:
        if "chmod" not in str(warning.message):
            fix = "Set host and token in the same place"
            seen.append(Observation("credentials", title, "warning", str(warning.message), fix))
    return seen, found


def _proxies(known: dict[Source, Credentials]) -> Iterator[Observation]:
    for source, found in known.items():
        if address := proxy_for(found.host):
            fix = f"To bypass the proxy: export NO_PROXY={found.host.split('/')[2].partition(':')[0]}"
            yield Observation("proxy", TITLES[source], "note", f"{found.host} is reached through {address}", fix)


def _server(source: Source, client: Any, timeout: float) -> list[Observation]:
    title, http = TITLES[source], client.http
    first = probe(http.host, ssl=http.ssl, timeout=timeout)
    if first.failure:
        return [_unreached(title, http.host, first, timeout)]
    return [_token(source, client, first), *_clock(title, first), *_certificate(title, http, first)]


def _unreached(title: str, host: str, first: Probe, timeout: float) -> Observation:
    if first.failure == "certificate":
        fix = (
            "If the server has its own certificate authority: bc.connect(…, ssl='system') or ssl='/path/to/ca.pem', "
            "or on the command line export BIOCOLAB_SSL=system or REQUESTS_CA_BUNDLE=/path/to/ca.pem"
        )
        return Observation("tls", title, "broken", f"the certificate of {host} is not accepted: {first.detail}", fix)
    message, fix = {
        "name": ("unknown host name", "Check the spelling of the host, the VPN and DNS"),
        "refused": (
            "no connection",
            "Check that the server is up, that the port is correct, and whether a VPN is needed",
        ),
        "silence": (f"no answer within {timeout:g} s", "Check whether a VPN or a proxy (HTTPS_PROXY) is needed"),
        "proxy": ("the proxy did not forward the request", "Check HTTPS_PROXY and NO_PROXY"),
    }.get(first.failure, ("no valid answer", "Check that the address belongs to a BioTuring server"))
    return Observation("server", title, "broken", f"{host}: {message} ({first.detail})", fix)


def _token(source: Source, client: Any, first: Probe) -> Observation:
    """Whether this is a server of this kind and accepts the token."""
    title, host = TITLES[source], client.http.host
    try:
        ask_for_little(client, source)
    except BiocolabError as error:
        if isinstance(error, Unauthorized):
            fix = "Create a new token in the user settings of the server, and set it in the same place"
        else:
            fix = "Check that this is the address of the API, such as https://company/t2d_index_tool/"
        # The words of the server: our own message would repeat them.
        said = f"{host} rejected the request: {error.detail}" if isinstance(error, ServerError) else str(error)
        return Observation("server", title, "broken", said, fix)
    return Observation(
        "server", title, "ok", f"{host} answers in {first.seconds * 1000:,.0f} ms, the token is accepted"
    )


def _clock(title: str, first: Probe) -> Iterator[Observation]:
    if first.skew is None:
        return
    if abs(first.skew) > _MOST_SKEW:
        ahead = "behind" if first.skew > 0 else "ahead of"
        fix = "Set the clock (timedatectl set-ntp true): certificates and signed links depend on it"
        yield Observation(
            "clock", title, "warning", f"this clock is {abs(first.skew):,.0f} s {ahead} the server's", fix
        )
    else:
        yield Observation("clock", title, "ok", "agrees with the server's")


def _certificate(title: str, http: Any, first: Probe) -> Iterator[Observation]:
    if http.host.startswith("https:") and http.ssl is False:
        fix = "Give ssl='system' or ssl='/path/to/ca.pem' instead"
        yield Observation("tls", title, "warning", "certificates are not verified (ssl=False)", fix)
    elif first.certificate_days is not None:
        message = f"the certificate is valid for {first.certificate_days:,.0f} more days"
        soon = first.certificate_days < _LEAST_DAYS
        fix = "Inform the administrator of the server" if soon else ""
        yield Observation("tls", title, "warning" if soon else "ok", message, fix)


def _cache() -> Iterator[Observation]:
    folder = settings.cache_dir
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    fix = "Set another folder: export BIOCOLAB_CACHE_DIR=…; without a cache, everything works but is slower"
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        yield Observation("cache", str(folder), "warning", f"cannot be written: {error}", fix)
        return
    found = cache.info()
    message = f"{found.entries:,} entries, {found.n_bytes / 1e6:,.1f} MB; {free / 1e9:,.1f} GB free"
    if free < _LEAST_FREE:
        yield Observation("cache", str(folder), "warning", message, f"{fix}; or biocolab cache clear")
    else:
        yield Observation("cache", str(folder), "ok", message)


def _submissions() -> Iterator[Observation]:
    try:
        found = submissions()
    except (OSError, NotImplementedError) as error:  # a folder without locks, or owned by another user
        message = f"interrupted submissions cannot be listed: {error}"
        yield Observation("submissions", "journal", "note", message, "Set another folder: export BIOCOLAB_CACHE_DIR=…")
        return
    for each in found:
        name = each.study_id or each.path.stem
        forget = f"biocolab resume {shlex.quote(name)} --forget"
        fix = f"To resume it: biocolab resume {shlex.quote(name)}; to forget it: add --forget"
        if NOT_RUNNING in each.state:
            fix = f"If that sandbox was a temporary one, forget it: {forget}; otherwise start it again with its path"
        yield Observation("submissions", name, "note", str(each), fix)
