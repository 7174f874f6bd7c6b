"""``biocolab doctor``: what is wrong with this machine's set-up, and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from biocolab_accessor.cli.options import Json
from biocolab_accessor.cli.output import err, out, print_json, print_table
from biocolab_accessor.naming import counted

if TYPE_CHECKING:
    from biocolab_accessor.doctor import Observation

__all__ = ["doctor"]

_MARKS = {"ok": ("✓", "green"), "note": ("·", "dim"), "warning": ("!", "yellow"), "broken": ("✗", "bold red")}


def doctor(
    network: Annotated[bool, typer.Option(help="Ask the servers that have a token.")] = True,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each connection and answer.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Look at versions, credentials, servers, clock, certificates, proxies and cache, and say what to do.

    No token is ever shown. The exit code is 1 if something is broken; a warning does not count.

    Example: biocolab doctor --json | jq -r '.[] | select(.state == "broken") | .fix'
    """
    from biocolab_accessor.doctor import examine

    found = examine(network=network, timeout=timeout)
    broken, warned, noted = (sum(seen.state == state for seen in found) for state in ("broken", "warning", "note"))
    if as_json:
        print_json([asdict(seen) for seen in found])
    elif not out.is_terminal:
        print_table([asdict(seen) for seen in found])
    else:
        _say(found)
    if not as_json:
        numbers = {f"{broken} broken": broken, counted(warned, "warning"): warned, counted(noted, "note"): noted}
        said = [] if broken or warned else ["nothing is wrong"]
        said += [text for text, number in numbers.items() if number]
        err.print(f"[{'bold red' if broken else 'yellow' if warned else 'bold green'}]{', '.join(said)}[/]")
    raise typer.Exit(1 if broken else 0)


def _say(found: list[Observation]) -> None:
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
        message = Text(seen.message)
        if seen.fix:
            message.append(f"\n→ {seen.fix}", "cyan" if seen.state in ("warning", "broken") else "dim")
        table.add_row(Text(mark, style), Text(seen.subject), message)
    out.print(table)
