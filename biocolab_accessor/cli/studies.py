"""``biocolab studies``: which studies a group has."""

from __future__ import annotations

from typing import Annotated

import typer

from biocolab_accessor.cli.options import Json, Server, Species
from biocolab_accessor.cli.output import print_json, print_table

__all__ = ["studies"]

_SHOWN = ("study_id", "title", "created_by", "uuid")


def studies(
    group: Annotated[str, typer.Argument(help="Id or name of the group.")] = "personal",
    species: Species = "human",
    source: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx,
    as_json: Json = False,
) -> None:
    """List the studies of a group; with --json everything that the server says of them.

    Example: biocolab studies "All members" --species mouse
    """
    import biocolab_accessor as bc

    rows = bc.studies(group, species=species, source=source.value).to_dict("records")
    if as_json:
        print_json(rows)
    else:
        shown = [{name: row[name] for name in _SHOWN} for row in rows]
        print_table(shown, empty=f"no {species} study in {group!r}; the server lists one --species at a time")
