"""``biocolab studies``: which studies a group has."""

from __future__ import annotations

from typing import Annotated

import typer

from biocolab_accessor.cli.options import Json, Server, Species
from biocolab_accessor.cli.output import print_json, print_table
from biocolab_accessor.errors import InvalidArgument

__all__ = ["studies"]

_SHOWN = ("study_id", "title", "created_by", "uuid")


def studies(
    name: Annotated[str | None, typer.Argument(metavar="GROUP", help="Id or name of the group; personal else.")] = None,
    group: Annotated[str | None, typer.Option(help="The same, as submit and pull take it.")] = None,
    species: Species = "human",
    source: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx,
    as_json: Json = False,
) -> None:
    """List the studies of a group; with --json everything that the server says of them.

    Example: biocolab studies "All members" --species mouse
    """
    import biocolab_accessor as bc

    if name is not None and group is not None and name != group:
        msg = f"the group is {name!r}, and --group is {group!r}: give one of them"
        raise InvalidArgument(msg)
    group = next((each for each in (name, group) if each is not None), "personal")
    rows = bc.studies(group, species=species, source=source.value).to_dict("records")
    if as_json:
        print_json(rows)
    else:
        shown = [{name: row[name] for name in _SHOWN} for row in rows]
        print_table(shown, empty=f"no {species} study in {group!r}; the server lists one --species at a time")
