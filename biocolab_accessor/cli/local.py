"""``biocolab cache``, ``sandbox``, ``demo``, ``doctor``, ``login`` and ``logout``: what runs on this machine."""

from __future__ import annotations

import getpass
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from biocolab_accessor.cli.output import (
    HelpByDefault,
    Json,
    Source,
    assignment,
    err,
    for_terminal,
    literal,
    out,
    print_json,
    print_lines,
    print_table,
    say,
)
from biocolab_accessor.concurrency import until
from biocolab_accessor.errors import (
    BiocolabError,
    ConfigurationError,
    InvalidArgument,
    MissingCredentials,
    SandboxError,
)
from biocolab_accessor.messages import counted, quoted

if TYPE_CHECKING:
    from biocolab_accessor.connection.credentials import Service
    from biocolab_accessor.diagnostics import Observation
    from biocolab_accessor.protocol import Source as SourceName
    from biocolab_accessor.sandbox.server import Sandbox
    from biocolab_accessor.security.redaction import Secret

app = typer.Typer(cls=HelpByDefault, help="The cache of database answers on this machine.")


@app.command()
def info(as_json: Json = False) -> None:
    """Show the location and size of the cache.

    Example: biocolab cache info --json
    """
    from biocolab_accessor.io.cache import cache

    found = cache.info()
    if as_json:
        print_json(found._asdict())
        return
    print_lines(
        {
            "folder": f"{found.folder} ($BIOCOLAB_CACHE_DIR)",
            "entries": f"{found.entries:,}",
            "size": f"{found.n_bytes / 1e6:,.1f} MB of {found.most / 1e6:,.1f} MB ($BIOCOLAB_CACHE_SIZE, in bytes)",
        }
    )


@app.command()
def clear(as_json: Json = False) -> None:
    """Empty the cache. Data is fetched again when it is needed.

    Example: biocolab cache clear
    """
    from biocolab_accessor.io.cache import cache

    before = cache.info()
    cache.clear()
    after = cache.info()
    gone = {"entries": before.entries - after.entries, "n_bytes": before.n_bytes - after.n_bytes}
    if as_json:
        print_json(gone)
    else:
        err.print(f"{gone['entries']:,} entries removed, {gone['n_bytes'] / 1e6:,.1f} MB")


def sandbox(
    path: Annotated[Path | None, typer.Option(help="Folder for its data. Without it, the data is temporary.")] = None,
    port: Annotated[int, typer.Option(help="Port; 0 selects a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 admits other machines.")] = "127.0.0.1",
    reset: Annotated[bool, typer.Option("--reset", help="Delete the studies, uploads and tasks in --path.")] = False,
    control: Annotated[bool, typer.Option("--control", help="Offer faults, ledger and reset over HTTP.")] = False,
    study: Annotated[
        list[str] | None, typer.Option(metavar="ID=FILE", help="Add an h5ad file as a public study. Can be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the added studies.")] = "",
    reference: Annotated[str, typer.Option(help="Reference of the added studies.")] = "",
    as_json: Json = False,
) -> None:
    """Run a local server with the protocols of BioFlex, BBrowserX and Talk2Data, until Ctrl-C.

    The token is taken from BIOCOLAB_SANDBOX_TOKEN, or else is random and kept in --path for the next start. With
    --json, the hosts are printed as soon as the server listens, with the path of the private file that holds a random
    token.

    Example: biocolab sandbox --path ./data --port 8765 --study GSE96583_batch2=gse96583.h5ad
    """
    with serving(path, port=port, host=host, reset=reset, control=control) as server:
        for entry in study or []:
            study_id, _, file = entry.partition("=")
            server.add_study(study_id, file, title=title or None, reference=reference)
            (err if as_json else out).print(f"added {study_id} from {file}", markup=False, soft_wrap=True)
        if as_json:
            hosts = ("url", "private_host", "public_host", "bioflex_host", "path", "token_file")
            print_json({name: getattr(server, name) for name in hosts})
        else:
            shell, python = lines_to_paste(server)
            parts = [
                f"Sandbox at {server.url}/, data in {server.path}",
                f"To see it in a browser, open this link, which works once:\n\n{server.sign_in_link()}",
                "In another terminal:\n\n" + "\n".join(shell),
                "Or in Python:\n\n" + "\n".join(python),
                "Press Ctrl-C to stop it.",
            ]
            out.print("\n\n".join(parts), markup=False, soft_wrap=True)
        sys.stdout.flush()
        until(threading.Event().wait)  # until Ctrl-C or SIGTERM, which end the block


TOKEN = "BIOCOLAB_SANDBOX_TOKEN"
"""Variable with the token of a sandbox; on the command line, every user of the machine could read it."""


@contextmanager
def serving(
    path: Path | None, *, port: int = 0, host: str = "127.0.0.1", reset: bool = False, control: bool = False
) -> Iterator[Sandbox]:
    """Run a sandbox, with the token in the environment if any; Ctrl-C and SIGTERM end the block."""
    from biocolab_accessor.sandbox.server import Sandbox

    if reset and path is None:
        msg = "--reset deletes the data in --path: without --path, a sandbox starts empty"
        raise InvalidArgument(msg)

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # On Windows, a program can send SIGBREAK to its child.
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        with Sandbox(path, port=port, host=host, token=os.environ.get(TOKEN) or None, control=control) as sandbox:
            if reset:
                sandbox.reset()
            with suppress(KeyboardInterrupt):
                yield sandbox
    except SandboxError as error:
        if path is not None and error.line.startswith("bc.connect("):
            error.line = "\n  ".join(_lines_of_running(path))
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lines_to_paste(sandbox: Sandbox) -> tuple[list[str], list[str]]:
    """Lines for a shell and for Python that connect to a sandbox; a token from the environment is not shown."""
    known = sandbox.token_file is not None
    windows = os.name == "nt"
    python = ["import biocolab_accessor as bc"] if known else ["import os", "import biocolab_accessor as bc"]
    shell = []
    arguments = []
    for name, value in sandbox.environment().items():
        argument = name.removeprefix("BIOCOLAB_").lower()
        if known or not name.endswith("_TOKEN"):
            assigned, given = literal(value), repr(value)
        else:
            assigned, given = f"$env:{TOKEN}" if windows else f'"${TOKEN}"', f'os.environ["{TOKEN}"]'
        shell.append(assignment(name, assigned))
        arguments.append(f"    {argument}={given},")
    return shell, [*python, "bc.connect(", *arguments, ")"]


def _lines_of_running(path: Path) -> list[str]:
    """Lines for a shell that connect to the sandbox that runs in a folder, without showing its token."""
    from biocolab_accessor.sandbox.server import Hosts
    from biocolab_accessor.sandbox.store.files import TOKEN_FILE, stored_port

    hosts, file = Hosts(), literal(str(path.absolute() / TOKEN_FILE))
    hosts.url, hosts.token = f"http://127.0.0.1:{stored_port(path)}", ""
    token = f"(Get-Content {file})" if os.name == "nt" else f'"$(cat {file})"'
    return [assignment(name, literal(value) if value else token) for name, value in hosts.environment().items()]


def demo(
    picture: Annotated[Path, typer.Option(help="File for the UMAP plot.")] = Path("biocolab_demo.png"),
    as_json: Json = False,
) -> None:
    """Send real cells to a sandbox, let it process them, fetch them, compare the values, and plot a UMAP.

    Needs no account and no network. The exit code is 1 if any count differs.

    Example: biocolab demo --picture umap.png
    """
    from biocolab_accessor.cli.demo import run_demo

    console = err if as_json else out
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("loading", total=None)
        result = run_demo(
            picture.absolute(),
            lambda line: progress.console.print(Text("✓ ", "green") + Text(line), soft_wrap=True),
            lambda line: progress.update(bar, description=line),
        )
    if as_json:
        print_json(result._asdict())
    elif result.exact:
        summary = (
            f" {result.n_obs:,} cells x {result.n_vars:,} genes, {result.n_counts:,} counts compared bit for bit, "
            f"in {result.seconds:.0f} s. Picture: {result.picture}"
        )
        out.print(Text("The round trip was exact:", "bold") + Text(summary), soft_wrap=True)
    if not result.exact:
        err.print("[bold red]The round trip was not exact.[/]")
        raise typer.Exit(1)


_MARKS = {"ok": ("✓", "green"), "note": ("·", "dim"), "warning": ("!", "yellow"), "broken": ("✗", "bold red")}


def doctor(
    network: Annotated[bool, typer.Option(help="Contact the servers that have a token.")] = True,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds per connection and answer.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Examine versions, credentials, servers, clock, certificates, proxies and cache, and show how to fix problems.

    Tokens are never shown. The exit code is 1 if something is broken; warnings do not count.

    Example: biocolab doctor --json | jq -r '.[] | select(.state == "broken") | .fix'
    """
    from biocolab_accessor.diagnostics import examine

    found = examine(network=network, timeout=timeout)
    broken, warned, noted = (sum(seen.state == state for seen in found) for state in ("broken", "warning", "note"))
    if as_json:
        print_json([asdict(seen) for seen in found])
    elif not out.is_terminal:
        print_table([{name: for_terminal(text) for name, text in asdict(seen).items()} for seen in found])
    else:
        _print_topics(found)
    if not as_json:
        numbers = {f"{broken} broken": broken, counted(warned, "warning"): warned, counted(noted, "note"): noted}
        said = [] if broken or warned else ["no problems found"]
        said += [text for text, number in numbers.items() if number]
        err.print(f"[{'bold red' if broken else 'yellow' if warned else 'bold green'}]{', '.join(said)}[/]")
    raise typer.Exit(1 if broken else 0)


def _print_topics(found: list[Observation]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    topic = ""
    for seen in found:
        if seen.topic != topic:
            topic = seen.topic
            table.add_row("", Text(topic, "bold"), "")
        mark, style = _MARKS[seen.state]
        message = Text(for_terminal(seen.message))
        if seen.fix:
            message.append(f"\n→ {for_terminal(seen.fix)}", "cyan" if seen.state in ("warning", "broken") else "dim")
        table.add_row(Text(mark, style), Text(seen.subject), message)
    out.print(table)


Host = Annotated[
    str | None, typer.Argument(metavar="HOST", help="Address of the server, https://company/t2d_index_tool/.")
]
Which = Annotated[Source, typer.Option(help="Which server.")]
_LONGEST_TOKEN = 65536


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
    from biocolab_accessor.security.redaction import Secret, sealed

    service, keyring = SERVICES[source.value], Keyring()
    if not token_stdin and not sys.stdin.isatty():
        msg = "stdin is not a terminal, where the token could be typed: pipe it in, with --token-stdin"
        raise InvalidArgument(msg)
    keyring.expect_usable()
    address = _address(service, host, ask=not token_stdin)
    # No variable holds the token as plain text.
    if token_stdin:
        token = Secret(sealed(sys.stdin.read(_LONGEST_TOKEN)), "stdin")
    else:
        token = Secret(sealed(getpass.getpass(f"Token for {address} (it is not shown): ", sys.stderr)), "the terminal")
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


def _ask_server(source: SourceName, service: Service, address: str, token: Secret) -> None:
    """Raise unless the server accepts the token."""
    from biocolab_accessor.connection.connector import EConnector
    from biocolab_accessor.diagnostics import ask_for_little, client_of

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
