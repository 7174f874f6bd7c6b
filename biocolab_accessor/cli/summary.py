"""``biocolab summary``: expression of genes by cell type, over a whole database."""

from __future__ import annotations

from typing import Annotated

import typer

from biocolab_accessor.cli.options import Json, Species
from biocolab_accessor.cli.output import print_json, print_table

__all__ = ["summary"]


def summary(
    genes: Annotated[list[str], typer.Argument(help="Names of genes.")],
    species: Species = "human",
    version: Annotated[int | None, typer.Option(help="Of the database; the newest else.")] = None,
    top: Annotated[int, typer.Option(min=0, help="Cell types of each gene that are shown; 0 is all.")] = 0,
    as_json: Json = False,
) -> None:
    """Say in which cell types of the BioFlex database genes are expressed, the highest rate first.

    rate is the part of the cells that express the gene, mean is over those cells only.

    Example: biocolab summary CD3D CD79A LYZ --top 3
    """
    import biocolab_accessor as bc

    table = bc.expression_summary(genes, database=bc.database(species, version))
    order = {gene: number for number, gene in enumerate(dict.fromkeys(genes))}
    table = table.sort_values("rate", ascending=False, kind="stable")
    table = table.sort_values("gene", key=lambda column: column.map(order), kind="stable")
    rows = (table.groupby("gene", sort=False).head(top) if top else table).to_dict("records")
    if as_json:
        print_json(rows)
        return
    shown = [
        {
            "gene": row["gene"],
            "cell type": row["cell_type"],
            "rate": f"{row['rate']:.1%}",
            "mean": f"{row['mean']:.3g}",
            "expressing": f"{row['count']:,}",
            "cells": f"{row['total']:,}",
        }
        for row in rows
    ]
    print_table(shown, numbers=("rate", "mean", "expressing", "cells"))
