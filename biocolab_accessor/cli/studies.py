"""``biocolab groups``, ``studies``, ``summary`` and ``pull``: what the servers have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biocolab_accessor.cli.output import Json, Server, Source, Species, Unit, out, print_json, print_lines, print_table
from biocolab_accessor.errors import InvalidArgument

__all__ = ["groups", "pull", "studies", "summary"]


def groups(
    source: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx, as_json: Json = False
) -> None:
    """List the groups that the token may read from and submit to.

    Example: biocolab groups --source talk2data
    """
    import biocolab_accessor as bc

    rows = bc.groups(source=source.value).to_dict("records")
    print_json(rows) if as_json else print_table(rows, empty="the token sees no group")


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


def pull(
    study_id: Annotated[str, typer.Argument(help="Id of the study; a uuid for BBrowserX and Talk2Data too.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="h5ad to write; an existing one is replaced.")
    ] = None,
    source: Annotated[Source, typer.Option(help="Which server.")] = Source.bioflex,
    species: Species = "human",
    version: Annotated[int | None, typer.Option(help="Of the BioFlex database; the newest else.")] = None,
    group: Annotated[str | None, typer.Option(help="Id or name of the group; all are looked through else.")] = None,
    unit: Annotated[Unit, typer.Option(help="What X holds: counts, or log-normalised values.")] = Unit.raw,
    layers: Annotated[list[Unit] | None, typer.Option(help="Another unit besides, as a layer.")] = None,
    genes: Annotated[
        list[str] | None, typer.Option(help="Only these: names with commas between; can be repeated.")
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Option(help="Only this metadata field; can be repeated. Names may hold commas.")
    ] = None,
    embeddings: Annotated[bool, typer.Option(help="Fetch the embeddings too.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how large it is.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a study into an h5ad file, with bounded memory whatever its size.

    Example: biocolab pull GSE96583_batch2 -o gse96583.h5ad --layers lognorm

    Example: biocolab pull PBMC68k_reduced -o b_cells.h5ad --genes CD79A,MS4A1 --fields bulk_labels --unit lognorm
    """
    import biocolab_accessor as bc

    if output is None and not dry_run:
        msg = "where to? Give --output FILE.h5ad, or --dry-run to see how large it is"
        raise InvalidArgument(msg)
    if output is not None and output.suffix == ".zarr":
        msg = f"{output} is named like a Zarr store, but this writes h5ad: --output {output.with_suffix('.h5ad')}"
        raise InvalidArgument(msg)
    if version is not None and source is not Source.bioflex:
        msg = f"version is {version}, but {source.value} has groups and no databases: leave it out, or --source bioflex"
        raise InvalidArgument(msg)
    database = None if version is None else bc.database(species, version)
    names = None if genes is None else [name.strip() for each in genes for name in each.split(",") if name.strip()]
    study = bc.study(study_id, database=database, source=source.value, species=species, group=group)
    others = [layer.value for layer in layers or ()]
    if output is None or dry_run:
        plan = study.to_anndata(
            genes=names, fields=fields, unit=unit.value, layers=others, obsm=embeddings, dry_run=True
        )
        if as_json:
            print_json({name: getattr(plan, name) for name in plan.__dataclass_fields__} | {"fits": plan.fits})
        else:
            out.print(repr(plan), markup=False, soft_wrap=True)
        return
    path = study.to_h5ad(output, genes=names, fields=fields, unit=unit.value, layers=others, obsm=embeddings)
    answer = {
        "study_id": study.id,
        "cells": study.n_obs,
        "genes": study.n_vars if names is None else len(set(names)),
        "fields": list(dict.fromkeys(study.fields if fields is None else fields)),
        "file": str(path),
        "file_bytes": path.stat().st_size,
    }
    if as_json:
        print_json(answer)
    else:
        shape = {"study": study.id, "cells": f"{answer['cells']:,}", "genes": f"{answer['genes']:,}"}
        print_lines(shape | {"file": path, "size": f"{path.stat().st_size / 1e6:,.1f} MB"})
