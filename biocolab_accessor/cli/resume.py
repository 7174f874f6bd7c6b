"""``biocolab resume``: submissions that were broken off are carried on, or dropped."""

from __future__ import annotations

from typing import Annotated

import typer

from biocolab_accessor.cli.options import Json
from biocolab_accessor.cli.output import err, print_json, print_submission, print_table
from biocolab_accessor.errors import InvalidArgument

__all__ = ["resume"]


def resume(
    name: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the study, or how it begins. Not needed for the only one.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Drop it instead; the server is not asked.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List them and do nothing.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the study is there.")] = True,
    as_json: Json = False,
) -> None:
    """Carry on a submission that was broken off, or drop it.

    Files that are still there unchanged are sent on. An object of a notebook is carried on by the same submit call
    there; where the server has it already, also by this command.

    Example: biocolab resume --list

    Example: biocolab resume my_study

    Example: biocolab resume --forget my_study
    """
    import biocolab_accessor as bc
    from biocolab_accessor.outbound.broken_off import as_json as plain
    from biocolab_accessor.outbound.broken_off import find

    known = bc.submissions(finished=forget and name is not None)
    if show or (name is None and len(known) != 1):
        rows = [plain(each) for each in known]
        if as_json:
            print_json(rows)
        else:
            print_table([each.row() for each in known], empty="no submission was broken off")
        if known and not show:
            msg = f"{len(known)} submissions were broken off: give the ID of one"
            raise InvalidArgument(msg)
        return
    chosen = known[0] if name is None else find(name, known)
    if forget:
        if name is None:
            msg = f"give the ID of the submission to forget: biocolab resume --forget {chosen.study_id}"
            raise InvalidArgument(msg)
        chosen.forget()
        err.print(f"forgotten: {chosen}", markup=False, soft_wrap=True)
        return
    submission = chosen.resume(wait=wait)
    print_submission(submission, as_json=as_json)
