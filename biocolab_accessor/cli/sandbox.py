"""``biocolab sandbox``: a local server until Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from biocolab_accessor.cli.options import Json
from biocolab_accessor.cli.output import err, out, print_json

__all__ = ["sandbox"]


def sandbox(
    path: Annotated[Path | None, typer.Option(help="Folder for its data; without one they go with it.")] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    reset: Annotated[bool, typer.Option("--reset", help="Forget the studies, uploads and tasks in --path.")] = False,
    control: Annotated[bool, typer.Option("--control", help="Offer faults, ledger, reset over HTTP.")] = False,
    study: Annotated[
        list[str] | None, typer.Option(metavar="ID=FILE", help="Make an h5ad a public study. Can be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the studies that are added.")] = "",
    reference: Annotated[str, typer.Option(help="Reference of the studies that are added.")] = "",
    as_json: Json = False,
) -> None:
    """Run a local server with the protocols of BioFlex, BBrowserX and Talk2Data, until Ctrl-C.

    The token is that of the variable BIOCOLAB_SANDBOX_TOKEN, else a random one, which --path keeps for the next start.
    With --json its hosts are printed once it listens, and the private file with the token that was made.

    Example: biocolab sandbox --path ./data --port 8765 --study GSE96583_batch2=gse96583.h5ad
    """
    from biocolab_accessor.sandbox.command import lines_to_paste, serving, wait

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
                "Ctrl-C ends it.",
            ]
            out.print("\n\n".join(parts), markup=False, soft_wrap=True)
        sys.stdout.flush()
        wait()
