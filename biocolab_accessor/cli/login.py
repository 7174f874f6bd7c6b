"""``biocolab login`` and ``logout``: tokens in the keyring of this machine."""

from __future__ import annotations

import getpass
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biocolab_accessor.cli.output import Source, err, say
from biocolab_accessor.errors import BiocolabError, ConfigurationError, InvalidArgument, MissingCredentials
from biocolab_accessor.messages import quoted

if TYPE_CHECKING:
    from biocolab_accessor.connection.credentials import Service
    from biocolab_accessor.protocol import Source as SourceName
    from biocolab_accessor.security.redaction import Secret

__all__ = ["login", "logout"]

Host = Annotated[
    str | None, typer.Argument(metavar="HOST", help="Address of the server, https://company/t2d_index_tool/.")
]
Which = Annotated[Source, typer.Option(help="Which server.")]


def login(
    host: Host = None,
    source: Which = Source.bbrowserx,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from stdin, instead of asking for it.")
    ] = False,
    verify: Annotated[bool, typer.Option(help="Ask the server whether it accepts the token.")] = True,
) -> None:
    """Store the token for a server in the keyring of this machine. Without HOST, asks for it.

    The token is never shown, and is not an option: every user of a machine can read the command line of a program.
    The server that you logged in to last is the default of its kind. The package keyring must be installed.

    Example: biocolab login https://company.example/t2d_index_tool/
    Example: pass show biocolab | biocolab login https://company.example/t2d_index_tool/ --token-stdin
    """
    from biocolab_accessor.connection.connector import SERVICES
    from biocolab_accessor.connection.credentials import Keyring

    service, keyring = SERVICES[source.value], Keyring()
    if not token_stdin and not sys.stdin.isatty():
        msg = "stdin is not a terminal, where the token could be typed: pipe it in, with --token-stdin"
        raise InvalidArgument(msg)
    keyring.expect_usable()
    address = _address(service, host, ask=not token_stdin)
    token = _typed_token(address, from_stdin=token_stdin)
    if verify:
        try:
            _ask_server(source.value, service, address, token)
        except BiocolabError as error:
            error.add_note("Nothing was stored. --no-verify stores a token without asking the server.")
            raise
    keyring.store(service.host_setting, address, token)
    err.print(f"The token for {address} is in the keyring of this machine.", markup=False, soft_wrap=True)
    with suppress(ConfigurationError):  # biocolab doctor reports it
        _expect_used(source.value, address)


def logout(host: Host = None, source: Which = Source.bbrowserx) -> None:
    """Remove the token for a server from the keyring of this machine. Without HOST, that of the last login.

    The token stays valid: to revoke it, delete it in the user settings of the server.

    Example: biocolab logout --source talk2data
    """
    from biocolab_accessor.connection.connector import SERVICES
    from biocolab_accessor.connection.credentials import Keyring
    from biocolab_accessor.security.urls import normalize_host

    service, keyring = SERVICES[source.value], Keyring()
    found, place = keyring.get(service.host_setting)
    address = normalize_host(host, "HOST") if host else found.reveal() or service.default_host
    if address:
        found, place = keyring.get(address)
    if not found:
        msg = f"nothing to remove: no token for {address or service.title} in {place}"
        raise MissingCredentials(msg, ("token",))
    keyring.remove(service.host_setting, address)
    err.print(f"The token for {address} was removed from the keyring.", markup=False, soft_wrap=True)


def _address(service: Service, host: str | None, *, ask: bool) -> str:
    """The address of the server: the argument, what is typed, the setting, or the public server."""
    from biocolab_accessor.config import settings
    from biocolab_accessor.security.urls import normalize_host, without_user

    known = getattr(settings, service.host_setting) or service.default_host
    if not host and ask:
        host = typer.prompt(f"Address of {service.title}", default=known or None, err=True)
    if not (host or known):
        msg = f"the address of {service.title} is missing: biocolab login https://company/t2d_index_tool/ --token-stdin"
        raise InvalidArgument(msg)
    return normalize_host(without_user(host or known), "HOST")


def _typed_token(address: str, *, from_stdin: bool) -> Secret:
    """A token from the keyboard, which shows nothing, or from stdin; no variable holds it as plain text."""
    from biocolab_accessor.security.redaction import Secret, sealed

    if from_stdin:
        return Secret(sealed(sys.stdin.read(_LONGEST)), "stdin")
    return Secret(sealed(getpass.getpass(f"Token for {address} (it is not shown): ", sys.stderr)), "the terminal")


_LONGEST = 65536


def _ask_server(source: SourceName, service: Service, address: str, token: Secret) -> None:
    """Raise unless the server accepts the token."""
    from biocolab_accessor.cli.doctor import ask_for_little, client_of
    from biocolab_accessor.connection.connector import EConnector

    arguments: dict[str, Any] = {service.host_setting: address, service.token_setting: token}
    connector = EConnector(**arguments)
    try:
        ask_for_little(client_of(connector, source), source)
    finally:
        connector.close()


def _expect_used(source: SourceName, address: str) -> None:
    """Warn if the host or token of another place is used instead of the stored one."""
    from biocolab_accessor.connection.connector import EConnector

    found = EConnector().credentials(source)
    if found.host != address:
        say("warning", "yellow", f"the host {quoted(found.host)} from {found.place} comes first")
    elif "keyring" not in found.token.origin:
        say("warning", "yellow", f"the token from {found.token.origin} comes first: remove it to use the keyring")
