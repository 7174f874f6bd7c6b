"""Connector: EConnector, the SDK's entry point to BBrowserX, Talk2Data and BioFlex."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from biocolab_accessor.clients.bbrowserx import TALK2DATA_HOST, BBrowserXConnector
from biocolab_accessor.clients.bioflex import BIOFLEX_HOST, BioFlexConnection
from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.config import settings
from biocolab_accessor.connection.credentials import (
    Credentials,
    KeyFile,
    Keyring,
    RedactedDict,
    Service,
    resolve,
)
from biocolab_accessor.errors import (
    ConfigurationError,
    InvalidArgument,
    InvalidResponse,
    InvalidSettingsFile,
    MissingCredentials,
    public,
)
from biocolab_accessor.messages import facts_table, quoted, warn
from biocolab_accessor.platforms import home_folder
from biocolab_accessor.protocol import SOURCES, Source
from biocolab_accessor.security.redaction import Secret, sealed
from biocolab_accessor.security.urls import normalize_host, without_user

if TYPE_CHECKING:
    from biocolab_accessor.clients.lens_bulk import LensBulkConnector
    from biocolab_accessor.clients.lens_sc import LensSCConnector

STUDIO_HOST = "http://127.0.0.1:11123"
"""Address of a BioStudio server on its own machine."""


def studio_settings(
    host: str = STUDIO_HOST,
    token: str | Secret = "",
    email: str = "",
    token_index: int = 0,
    *,
    home: Path | None = None,
) -> RedactedDict:
    """Read the settings that BioStudio keeps, under the names of the key file."""
    # An empty token or email is read from `~/.local/share/.mybtk.json`; `token_index` selects an entry if that file is
    # a list.
    token, host = sealed(token), without_user(host)
    home = home or home_folder()
    path = (home or Path("~")) / ".local" / "share" / ".mybtk.json"
    if not token or not email:
        entry = _login(path, token_index) if home is not None else {}
        token, email = token or sealed(entry.get("token", "")), email or entry.get("email", "")
    if not token or not email:
        missing = " and ".join(name for name, value in (("token", token), ("email", email)) if not value)
        msg = f"no BioStudio {missing} was found. Checked:\n  - argument studio_token, studio_email\n  - {path}"
        raise MissingCredentials(msg)
    client = HttpClient(
        normalize_host(host, "argument studio_host"),
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
        msg = f"{host}: BioStudio returned no settings ({problem}): is the token still valid?"
        raise InvalidResponse(msg)
    return found


# Errors are not raised in frames whose variables hold an answer or a file with tokens.
def _settings(answer: Any) -> tuple[RedactedDict, str]:
    """Return the settings in an answer of BioStudio, or what the answer is instead."""
    if not isinstance(answer, dict):
        return RedactedDict(), f"a JSON {type(answer).__name__}"
    if answer.get("status") != 0 or not isinstance(answer.get("message"), dict):
        status = answer.get("status")
        return RedactedDict(), f"status {status if isinstance(status, int) else type(status).__name__}"
    return RedactedDict(answer["message"]), ""


def _login(path: Path, index: int) -> RedactedDict:
    """Read the login from BioStudio's own file."""
    entry, problem = _entry(path, index)
    if problem:
        raise InvalidSettingsFile(problem)
    return entry


def _entry(path: Path, index: int) -> tuple[RedactedDict, str]:
    """Return an entry of the file, or its problem; older versions write an object, newer ones a list of objects."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return RedactedDict(), ""
    except (OSError, ValueError, RecursionError):
        return RedactedDict(), f"{path} is not valid JSON: log in to BioStudio again"
    entries = content if isinstance(content, list) else [content]
    if not 0 <= index < len(entries) or not isinstance(entries[index], dict):
        problem = f"{path} has {len(entries)} entries, but not number {index}: use another studio_token_idx"
        return RedactedDict(), problem
    return RedactedDict({key: value for key, value in entries[index].items() if isinstance(value, str)}), ""


_Client = TypeVar("_Client")

_PRIVATE = Service(
    title="the BBrowserX private server",
    host_setting="private_host",
    token_setting="private_token",
    host_key="bio_bbx_private_domain",
    token_keys=("bio_bbx_private_key",),
    default_host="",
    advice="Create a token in the user settings of your BBrowserX server.",
    login="biocolab login",
)

_PUBLIC = Service(
    title="Talk2Data",
    host_setting="public_host",
    token_setting="public_token",
    host_key="",
    token_keys=("bio_bbx_t2d_key",),
    default_host=TALK2DATA_HOST,
    advice="Create a token in the user settings of Talk2Data.",
    login="biocolab login --source talk2data",
)

_BIOFLEX = Service(
    title="BioFlex",
    host_setting="bioflex_host",
    token_setting="bioflex_token",
    host_key="",
    token_keys=("bio_bioflex_public_key",),
    default_host=BIOFLEX_HOST,
    advice="Create a token in the user settings of BioColab or BioStudio.",
    login="biocolab login --source bioflex",
)

SERVICES: dict[Source, Service] = {"bioflex": _BIOFLEX, "bbrowserx": _PRIVATE, "talk2data": _PUBLIC}
"""What each server needs."""

_T2D = "/t2d_index_tool/"
_OWN_PLACE = "EConnector's"


@public
class EConnector:
    """Connectors to BBrowserX, Talk2Data and BioFlex, each with its host and token.

    Missing hosts and tokens are looked up when they are needed: in ``bc.settings`` (the environment), then in
    ``~/.bioapi.key``, or in BioStudio with ``use_token_from_api``, then in the keyring, where ``biocolab login`` stores
    them. Arguments always take precedence.

    Parameters
    ----------
    bioflex_token
        Token for BioFlex.
    public_token
        Token for Talk2Data. (In version 1.0.1 of the SDK this was BioFlex's token. It is still used for BioFlex, with a
        DeprecationWarning, if no BioFlex token is found.)
    private_host, private_token
        Address and token of a BBrowserX private server, ``https://company/t2d_index_tool/``.
    studio_host, studio_token, studio_email, use_token_from_api, studio_token_idx
        BioStudio as the source of settings.
    bioflex_host, public_host
        Addresses to use instead of the public ones.
    ssl
        True, ``"system"``, the path of a bundle of certificate authorities, or False; None uses ``bc.settings.ssl``.
    host, token
        Deprecated names of ``private_host`` and ``private_token``, from the README of the SDK 1.0.1.

    Raises
    ------
    InvalidHost, InsecureHost, InvalidToken
        An argument cannot be used.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server:
    ...     connector = bc.EConnector(private_host=server.private_host, private_token=server.token)
    ...     connector.get_bbrowserx().get_user_groups()
    [{'id': 'all_members', 'name': 'All members'}, {'id': 'personal', 'name': 'Personal workspace'}]
    """

    def __init__(
        self,
        bioflex_token: str = "",
        public_token: str = "",
        private_host: str = "",
        private_token: str = "",
        studio_host: str = STUDIO_HOST,
        studio_token: str = "",
        studio_email: str = "",
        use_token_from_api: bool = False,
        studio_token_idx: int = 0,
        *,
        bioflex_host: str = "",
        public_host: str = "",
        ssl: bool | str | Path | None = None,
        host: str = "",
        token: str = "",
    ) -> None:
        bioflex_token, public_token, private_token = sealed(bioflex_token), sealed(public_token), sealed(private_token)
        studio_token, token = sealed(studio_token), sealed(token)
        private_host, public_host, bioflex_host = map(without_user, (private_host, public_host, bioflex_host))
        studio_host, host = without_user(studio_host), without_user(host)
        given = {"private_host": private_host, "public_host": public_host, "bioflex_host": bioflex_host, "host": host}
        for name, value in given.items():
            if value is not None and not isinstance(value, str):
                normalize_host(value, f"argument {name}")  # which says what it is
        if host or token:
            warn(
                "host and token are the names of biocolabsdk 1.0.1: use private_host and private_token",
                DeprecationWarning,
            )
        self._hosts = {
            "private_host": private_host or host,
            "public_host": public_host,
            "bioflex_host": bioflex_host,
        }
        for name, value in self._hosts.items():
            self._hosts[name] = normalize_host(value, f"argument {name}") if value else ""
        self._tokens = {
            name: Secret(value, f"argument {name}") if value else None
            for name, value in (
                ("private_token", private_token or token),
                ("public_token", public_token),
                ("bioflex_token", bioflex_token),
            )
        }
        self._studio_host, self._studio_email, self._studio_token_idx = studio_host, studio_email, studio_token_idx
        self._studio_token = Secret(studio_token, "argument studio_token") if studio_token else None
        self._use_token_from_api = use_token_from_api
        self._ssl = ssl
        self._keyring = Keyring()
        self._place = _OWN_PLACE
        self._clients: dict[tuple[Callable[..., Any], str, Secret, Any], Any] = {}

    def __repr__(self) -> str:
        set_here = {**{k: v for k, v in self._hosts.items() if v}, **{k: "****" for k, v in self._tokens.items() if v}}
        return f"EConnector({', '.join(f'{key}={quoted(value)}' for key, value in set_here.items())})"

    def _repr_html_(self) -> str:
        facts: list[tuple[str, str]] = []
        for source in SOURCES:
            try:
                found = self.credentials(source)
            except MissingCredentials as error:
                missing = " and no ".join(error.missing)
                facts.append((source, f"no {missing} was found" if missing else str(error)))
            except ConfigurationError as error:
                facts.append((source, f"{type(error).__name__}: {error}"))
            else:
                facts.append((source, f"{found.host} (token: {found.token.origin})"))
        return facts_table("Connector", facts)

    def get_settings(self) -> RedactedDict:
        """The settings in the key file, or in BioStudio with ``use_token_from_api``; their text shows no tokens.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> connector = bc.EConnector()
        >>> connector.get_settings()  # there is no key file here
        {}
        """
        if self._use_token_from_api:
            return studio_settings(
                self._studio_host, self._studio_token or "", self._studio_email, self._studio_token_idx
            )
        return KeyFile().read()

    def get_bbrowserx(
        self, private_host: str = "", private_token: str = "", ssl: bool | str | Path | None = None
    ) -> BBrowserXConnector:
        """A connector to the BBrowserX private server.

        Parameters
        ----------
        private_host, private_token
            Used instead of those of this object.
        ssl
            Used instead of the one of this object.

        Raises
        ------
        MissingCredentials
            No host or no token was found; the error lists every place that was searched.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> connector = bc.EConnector(private_host="https://company.example/t2d_index_tool", private_token="70d2acfd")
        >>> connector.get_bbrowserx()
        BBrowserXConnector(host='https://company.example/t2d_index_tool/')
        """
        private_token, private_host = sealed(private_token), without_user(private_host)
        return self._client(BBrowserXConnector, self._resolve(_PRIVATE, private_host, private_token), ssl)

    def get_talk2data(self, public_token: str = "") -> BBrowserXConnector:
        """A connector to Talk2Data. Raises the same errors as :meth:`get_bbrowserx`.

        Parameters
        ----------
        public_token
            Used instead of the one of this object.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> bc.EConnector(public_token="70d2acfd").get_talk2data()
        BBrowserXConnector(host='https://talk2data.bioturing.com/t2d_index_tool/')
        """
        public_token = sealed(public_token)
        return self._client(BBrowserXConnector, self._resolve(_PUBLIC, "", public_token), None)

    def get_bioflex(self, bioflex_token: str = "", *, public_token: str = "") -> BioFlexConnection:
        """A connection to BioFlex. Raises the same errors as :meth:`get_bbrowserx`.

        Parameters
        ----------
        bioflex_token
            Used instead of the one of this object.
        public_token
            Deprecated name of ``bioflex_token``, from the SDK 1.0.1.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> bc.EConnector(bioflex_token="70d2acfd").get_bioflex()
        BioFlexConnection(host='https://api.bioturing.com/')
        """
        bioflex_token, public_token = sealed(bioflex_token), sealed(public_token)
        if public_token:
            _warn_of_old_name("public_token", "bioflex_token")
        return self._client(BioFlexConnection, self._bioflex(bioflex_token or public_token), None)

    def credentials(self, source: Source) -> Credentials:
        """The address of a server and the token for it; nothing is sent.

        Parameters
        ----------
        source
            ``"bioflex"``, ``"bbrowserx"`` or ``"talk2data"``.

        Returns
        -------
        Credentials
            ``host``, ``token`` (which does not show itself), and where each was found: ``place``, ``token.origin``.

        Raises
        ------
        MissingCredentials
            No host or no token was found; the error lists every place that was searched.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     found = bc.EConnector(private_host=server.private_host, private_token="x").credentials("bbrowserx")
        >>> found.place, found.token, found.token.origin
        ("EConnector's private_host", Secret('****'), "EConnector's private_token")
        """
        if source == "bioflex":
            return self._bioflex("")
        return self._resolve(_PRIVATE if source == "bbrowserx" else _PUBLIC, "", "")

    def get_lensbulk(
        self, private_host: str = "", private_token: str = "", ssl: bool | str | Path | None = None
    ) -> LensBulkConnector:
        """A connector to a Lens Bulk server.

        Parameters
        ----------
        private_host
            ``https://company/lens_bulk/``. By default the private host of this object, with ``…/t2d_index_tool/``
            replaced by ``…/lens_bulk/``.
        private_token, ssl
            As for :meth:`get_bbrowserx`, which raises the same errors.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> connector = bc.EConnector(private_token="70d2acfd")
        >>> connector.get_lensbulk("https://company.example/lens_bulk/")
        LensBulkConnector(host='https://company.example/lens_bulk/')
        """
        private_token, private_host = sealed(private_token), without_user(private_host)
        return cast("LensBulkConnector", self._lens("lens_bulk", "LensBulkConnector", private_host, private_token, ssl))

    def get_lenssc(
        self, private_host: str = "", private_token: str = "", ssl: bool | str | Path | None = None
    ) -> LensSCConnector:
        """A connector to a Lens SC server.

        Parameters
        ----------
        private_host
            ``https://company/lens_sc/``. By default the private host of this object, with ``…/t2d_index_tool/``
            replaced by ``…/lens_sc/``.
        private_token, ssl
            As for :meth:`get_bbrowserx`, which raises the same errors.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> connector = bc.EConnector(private_token="70d2acfd")
        >>> connector.get_lenssc("https://company.example/lens_sc/")
        LensSCConnector(host='https://company.example/lens_sc/')
        """
        private_token, private_host = sealed(private_token), without_user(private_host)
        return cast("LensSCConnector", self._lens("lens_sc", "LensSCConnector", private_host, private_token, ssl))

    def submit_h5ad(
        self,
        group_id: str,
        study_s3_keys: Sequence[str],
        study_id: str | None = None,
        name: str = "To be detailed",
        authors: Sequence[str] = (),
        abstract: str = "",
        species: str = "human",
        input_matrix_type: str = "raw",
        min_counts: int | None = None,
        min_genes: int | None = None,
        max_counts: int | None = None,
        max_genes: int | None = None,
        mt_percentage: float | None = None,
    ) -> dict[str, Any]:
        """Submit h5ad files in the server's S3 bucket, under the method name of the SDK 1.0.1.

        Deprecated: use ``get_bbrowserx().submit_study_from_s3(batch_info=[{"matrix": key}, …], …)``.

        Parameters
        ----------
        group_id, study_id, name, authors, abstract, species, input_matrix_type
            As for ``submit_study_from_s3``.
        study_s3_keys
            Keys of the files, without the bucket.
        min_counts, min_genes, max_counts, max_genes, mt_percentage
            Filters; ``mt_percentage`` is in percent.

        Returns
        -------
        dict
            ``{"status": True, "study_info": …}``.

        Examples
        --------
        >>> import warnings
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server, warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", DeprecationWarning)
        ...     server.connect().submit_h5ad("personal", "GSE128223_1.h5ad")
        Traceback (most recent call last):
        biocolab_accessor.errors.InvalidArgument: study_s3_keys is the string 'GSE128223_1.h5ad': it must be a list, ...
        """
        warn(
            "submit_h5ad is the name of biocolabsdk 1.0.1: use get_bbrowserx().submit_study_from_s3(…)",
            DeprecationWarning,
        )
        if isinstance(study_s3_keys, str):
            msg = f"study_s3_keys is the string {quoted(study_s3_keys)}: it must be a list, [{quoted(study_s3_keys)}]"
            raise InvalidArgument(msg)
        result: dict[str, Any] = self.get_bbrowserx().submit_study_from_s3(
            group_id=group_id,
            batch_info=[{"matrix": key} for key in study_s3_keys],
            study_id=study_id,
            name=name,
            authors=list(authors),
            abstract=abstract,
            species=species,
            input_matrix_type=input_matrix_type,
            study_type=2,
            min_counts=min_counts,
            min_genes=min_genes,
            max_counts=max_counts,
            max_genes=max_genes,
            mt_percentage=mt_percentage,
        )
        return result

    def close(self) -> None:
        """Close all pooled connections of the connectors made here; the connectors can be used again.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     connector = server.connect()
        ...     found = connector.get_bbrowserx().get_user_groups()
        ...     connector.close()
        >>> len(found)
        2
        """
        for client in self._clients.values():
            client.http.close()

    def _bioflex(self, token: Any) -> Credentials:
        try:
            return self._resolve(_BIOFLEX, "", token)
        except MissingCredentials:
            own = self._tokens["public_token"]
            old = own or sealed(self.get_settings().get("bio_bbx_public_key", ""))
            if not old:
                raise
            old_name, name = (
                ("public_token", "bioflex_token") if own else ("bio_bbx_public_key", _BIOFLEX.token_keys[0])
            )
            _warn_of_old_name(old_name, name)
            return self._resolve(_BIOFLEX, "", old, place=old_name)

    def _resolve(self, service: Service, host: str, token: Any, place: str = "argument") -> Credentials:
        own = self._tokens[service.token_setting]
        arguments = [(place, host, token), (self._place, self._hosts[service.host_setting], own or "")]
        if self._place != _OWN_PLACE:  # the user made no EConnector, and calls none of its methods
            arguments = [each for each in arguments if each[1] or each[2]]
        stored_name = f"BioStudio at {self._studio_host}" if self._use_token_from_api else str(KeyFile())
        return resolve(service, arguments, self.get_settings, stored_name, self._keyring)

    def _client(self, kind: Callable[..., _Client], found: Credentials, ssl: bool | str | Path | None) -> _Client:
        ssl = next(each for each in (ssl, self._ssl, settings.ssl or True) if each is not None)
        key = (kind, found.host, found.token, str(ssl))
        if key not in self._clients:
            self._clients[key] = kind(host=found.host, token=found.token, ssl=ssl)
        return cast("_Client", self._clients[key])

    def _lens(self, server: str, name: str, host: str, token: Any, ssl: bool | str | Path | None) -> Any:
        try:
            kind = getattr(import_module(f"biocolab_accessor.clients.{server}"), name)
        except ModuleNotFoundError as error:
            msg = f"the installed bioturing_connector has no {name}: pip install -U bioturing-connector"
            raise ConfigurationError(msg) from error
        found = self._resolve(_PRIVATE, host, token)
        if not host and found.host.endswith(_T2D):
            # The servers of one company share a host, and the path of BBrowserX is never that of Lens.
            found = replace(found, host=f"{found.host.removesuffix(_T2D)}/{server}/")
        return self._client(kind, found, ssl)


def _warn_of_old_name(old: str, name: str) -> None:
    warn(f"{old} is used as BioFlex's token, as in biocolabsdk 1.0.1: use {name} instead", DeprecationWarning)
