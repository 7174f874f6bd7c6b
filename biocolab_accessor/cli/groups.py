"""``biocolab groups``: which groups the token sees."""

from __future__ import annotations

from typing import Annotated

import typer

from biocolab_accessor.cli.options import Json, Server
from biocolab_accessor.cli.output import print_json, print_table

__all__ = ["groups"]


def groups(
    source: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx, as_json: Json = False
) -> None:
    """List the groups that the token may read from and submit to.

    Example: biocolab groups --source talk2data
    """
    import biocolab_accessor as bc

    rows = bc.groups(source=source.value).to_dict("records")
    print_json(rows) if as_json else print_table(rows, empty="the token sees no group")
