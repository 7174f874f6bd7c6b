"""``biocolab groups``, ``studies``, ``search``, ``summary`` and ``pull``: list and fetch the data of servers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from biocolab_accessor.cli.output import Json, Server, Source, Species, Unit, out, print_json, print_lines, print_table
from biocolab_accessor.errors import InvalidArgument, MissingFile, UnknownStudy


def groups(
    source: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx, as_json: Json = False
) -> None:
    """List the groups that you can read from and submit to.

    Example: biocolab groups --source talk2data
    """
    import biocolab_accessor as bc

    rows = bc.groups(source=source.value).to_dict("records")
    print_json(rows) if as_json else print_table(rows, empty="the token has no access to any group")


# Not every server sends these.
_WHERE_SENT = ("n_cells", "n_genes", "created_at")
_FEWEST_OF_UUID = 8


def _readable(value: object) -> str:
    """A number with commas, and a time to the minute."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None or value != value else str(value).replace("T", " ")[:16]


def _short(uuids: list[str]) -> list[str]:
    """The start of each uuid, which `bc.study` and `biocolab pull` accept."""
    length = _FEWEST_OF_UUID
    while len({uuid[:length] for uuid in uuids}) < len(set(uuids)):
        length += 1
    return [uuid if len(uuid) <= length else f"{uuid[:length]}…" for uuid in uuids]


def studies(
    name: Annotated[
        str | None, typer.Argument(metavar="GROUP", help="Id or name of the group; default personal.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="The same, named as for submit and pull.")] = None,
    species: Annotated[str, typer.Option(help="human, mouse, primate, others or all.")] = "human",
    source: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx,
    as_json: Json = False,
) -> None:
    """List the studies of a group. With --json, all details are shown.

    Example: biocolab studies "All members" --species mouse
    """
    import biocolab_accessor as bc

    if name is not None and group is not None and name != group:
        msg = f"the group is {name!r}, but --group is {group!r}: give only one"
        raise InvalidArgument(msg)
    group = next((each for each in (name, group) if each is not None), "personal")
    every = species == "all"
    rows = bc.studies(group, species=None if every else species, source=source.value).to_dict("records")
    if as_json:
        print_json(rows)
    else:
        more = [name for name in _WHERE_SENT if rows and name in rows[0]]
        names = ("study_id", *(["species"] if every else []), "title", *more, "created_by")
        shown = [{name: row[name] for name in names} for row in rows]
        for line, uuid in zip(shown, _short([row["uuid"] for row in rows]), strict=True):
            line |= {name: _readable(line[name]) for name in more}
            line["uuid"] = uuid
        if rows or every:  # else bc.studies has warned
            print_table(shown, empty=f"group {group!r} has no studies")


_BRIEF = ("study", "group", "species", "title", "matched", "reference")


def search(
    text: Annotated[list[str] | None, typer.Argument(help="Words to find, all of them, in any order.")] = None,
    cell_type: Annotated[str | None, typer.Option(help="Ontology term; it finds the terms below it.")] = None,
    tissue: Annotated[str | None, typer.Option(help="Ontology term; it finds the terms below it.")] = None,
    disease: Annotated[str | None, typer.Option(help="Ontology term; it finds the terms below it.")] = None,
    species: Annotated[
        list[str] | None, typer.Option(help="human, mouse, primate or others; default all. Can be repeated.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Id or name of a group; default all. Can be repeated.")
    ] = None,
    source: Annotated[Server | None, typer.Option(help="Which server; default all.")] = None,
    as_json: Json = False,
) -> None:
    """Find studies in all groups by words in titles and abstracts, and by ontology terms.

    Example: biocolab search lung fibrosis --species human

    Example: biocolab search --cell-type monocyte --json
    """
    import biocolab_accessor as bc

    found = bc.search(
        " ".join(text) if text else None,
        cell_type=cell_type,
        tissue=tissue,
        disease=disease,
        species=species,
        group=group,
        source=None if source is None else source.value,
    )
    rows = found.astype(object).where(found.notna(), None).to_dict("records")
    print_json(rows) if as_json else print_table([{name: row[name] for name in _BRIEF} for row in rows])


def summary(
    genes: Annotated[list[str], typer.Argument(help="Gene names.")],
    species: Species = "human",
    version: Annotated[int | None, typer.Option(help="Version of the database; default the latest.")] = None,
    top: Annotated[int, typer.Option(min=0, help="Number of cell types per gene; 0 shows all.")] = 0,
    as_json: Json = False,
) -> None:
    """Show in which cell types of the BioFlex database genes are expressed, highest rate first.

    rate is the fraction of cells that express the gene; mean is the mean expression in these cells.

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
    study_id: Annotated[
        str, typer.Argument(help="Id of the study; for BBrowserX and Talk2Data also its uuid, or its start.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="h5ad file to write; an existing file is replaced.")
    ] = None,
    source: Annotated[Source, typer.Option(help="Which server.")] = Source.bioflex,
    species: Species = "human",
    version: Annotated[int | None, typer.Option(help="Version of the BioFlex database; default the latest.")] = None,
    group: Annotated[str | None, typer.Option(help="Id or name of the group; default all groups.")] = None,
    unit: Annotated[Unit, typer.Option(help="Values of X: counts, or log-normalized values.")] = Unit["raw"],
    layers: Annotated[list[Unit] | None, typer.Option(help="Another unit to add as a layer.")] = None,
    genes: Annotated[
        list[str] | None, typer.Option(help="Only these genes, separated by commas. Can be repeated.")
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Option(help="Only this metadata field. Can be repeated; names may contain commas.")
    ] = None,
    obs_filter: Annotated[
        str | None, typer.Option("--filter", help="Only cells for which this holds, such as \"phase == 'S'\".")
    ] = None,
    cells: Annotated[
        Path | None, typer.Option(help="Only the cells of this text file, which has a barcode on each line.")
    ] = None,
    terms: Annotated[bool, typer.Option("--terms", help="Add the ontology terms of labels as columns.")] = False,
    cite: Annotated[
        Path | None, typer.Option(help="Add the study to this BibTeX file, unless an entry has its key.")
    ] = None,
    embeddings: Annotated[bool, typer.Option(help="Fetch the embeddings too.")] = True,
    obsm: Annotated[list[str] | None, typer.Option(help="Only this embedding, such as UMAP. Can be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the size.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a study into an h5ad file, with limited memory for any size.

    Example: biocolab pull GSE96583_batch2 -o gse96583.h5ad --layers lognorm

    Example: biocolab pull PBMC68k_reduced -o b_cells.h5ad --genes CD79A,MS4A1 --fields bulk_labels --unit lognorm

    Example: biocolab pull PBMC68k_reduced -o s_phase.h5ad --filter "phase == 'S' and n_genes > 200"

    Example: biocolab pull PBMC -o mine.h5ad --source bbrowserx --cells barcodes.txt --terms --obsm UMAP
    """
    import biocolab_accessor as bc
    from biocolab_accessor.io.safe_files import target_path
    from biocolab_accessor.studies.citation import add_to_bibliography
    from biocolab_accessor.studies.study import facts_of

    if output is None and not dry_run:
        msg = "no output file: give --output FILE.h5ad, or --dry-run to see the size"
        raise InvalidArgument(msg)
    if output is not None and output.suffix.lower() not in ("", ".h5ad"):
        msg = f"{output} ends in {output.suffix}, but pull writes h5ad: use --output {output.with_suffix('.h5ad')}"
        raise InvalidArgument(msg)
    if version is not None and source is not Source.bioflex:
        msg = f"version is {version}, but {source.value} has no databases: drop --version, or use --source bioflex"
        raise InvalidArgument(msg)
    if obsm is not None and not embeddings:
        msg = "--obsm names an embedding, but --no-embeddings leaves all of them out: give only one"
        raise InvalidArgument(msg)
    if cite is not None:
        target_path(cite)  # refuses a folder before the study is fetched
    barcodes = None if cells is None else _lines(cells)
    database = None if version is None else bc.database(species, version)
    names = None if genes is None else [name.strip() for each in genes for name in each.split(",") if name.strip()]
    try:
        study = bc.study(study_id, database=database, source=source.value, species=species, group=group)
    except UnknownStudy as error:
        if not getattr(error, "__notes__", ()):  # those say where it is
            error.line = error.line or f"bc.search({study_id!r})"
        raise
    wanted: dict[str, Any] = {
        "genes": names,
        "fields": fields,
        "unit": unit.value,
        "layers": [layer.value for layer in layers or ()],
        "obsm": embeddings if obsm is None else obsm,
        "terms": terms,
        "obs_filter": obs_filter,
        "cells": barcodes,
    }
    if output is None or dry_run:
        plan = study.to_anndata(**wanted, dry_run=True)
        if as_json:
            print_json(asdict(plan) | {"fits": plan.fits})
        else:
            out.print(repr(plan), markup=False, soft_wrap=True)
        return
    path = study.to_h5ad(output, **wanted)
    if cite is not None:
        add_to_bibliography(cite, [facts_of(study)])
    answer = {
        "study_id": study.id,
        "cells": study.n_obs if obs_filter is None and cells is None else _n_cells(path),
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


def replay(
    lock: Annotated[Path, typer.Argument(help="File of bc.lock.")] = Path("biocolab.lock"),
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if a part differs.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch each part of a lock again, and show whether it is the same.

    Example: biocolab replay biocolab.lock --check
    """
    import biocolab_accessor as bc

    table = bc.replay(lock, check=False)
    rows = table.to_dict("records")
    print_json(rows) if as_json else print_table(rows, empty="the lock has no parts")
    if check and (table["state"] != "same").any():
        raise typer.Exit(1)


def _lines(path: Path) -> list[str]:
    """The lines of a text file, without blank ones."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError as error:
        msg = f"{path} does not exist: give a text file with a barcode on each line"
        raise MissingFile(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as text with a barcode on each line: {error}"
        raise InvalidArgument(msg) from error


def _n_cells(path: Path) -> int:
    import h5py

    with h5py.File(path, "r") as file:
        return int(file["X"].attrs["shape"][0])
