"""``biocolab submit``: files on disk become a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from biocolab_accessor.cli.options import (
    Json,
    MatrixType,
    MaxCounts,
    MaxGenes,
    MinCounts,
    MinGenes,
    MtPercentage,
    Server,
    Species,
)
from biocolab_accessor.cli.output import print_submission

__all__ = ["submit"]


def submit(
    files: Annotated[list[Path], typer.Argument(help="Files, or folders for mtx_10x; several are batches.")],
    group: Annotated[str, typer.Option(help="Id or name of the group.")] = "personal",
    study_type: Annotated[str, typer.Option(help="h5ad, h5_10x, mtx_10x, tsv, rds, …")] = "h5ad",
    study_id: Annotated[str | None, typer.Option(help="The id that people will see.")] = None,
    name: Annotated[str | None, typer.Option(help="Title of the study; else its --study-id.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="Can be repeated.")] = None,
    abstract: Annotated[str, typer.Option(help="Shown with the study.")] = "",
    species: Species = "human",
    input_matrix_type: Annotated[MatrixType, typer.Option(help="auto looks for counts.")] = MatrixType.auto,
    min_counts: MinCounts = None,
    min_genes: MinGenes = None,
    max_counts: MaxCounts = None,
    max_genes: MaxGenes = None,
    mt_percentage: MtPercentage = None,
    skip_dimred: Annotated[bool, typer.Option("--skip-dimred", help="Compute no embedding, keep the file's.")] = False,
    obs: Annotated[
        list[str] | None, typer.Option(help="A column of obs to send, of h5ad; can be repeated. Else all.")
    ] = None,
    to: Annotated[Server, typer.Option(help="Which server.")] = Server.bbrowserx,
    wait: Annotated[bool, typer.Option(help="Wait until the study is there.")] = True,
    as_json: Json = False,
) -> None:
    """Submit files on disk to a group of BBrowserX or Talk2Data.

    h5ad files are checked first; what stands in the way is said before anything is sent.

    Example: biocolab submit sample1.h5ad sample2.h5ad --study-id my_study --species mouse

    Example: biocolab submit x.h5ad --obs cell_type --obs donor

    Example: uuid=$(biocolab submit x.h5ad --json | jq -r .uuid)
    """
    import biocolab_accessor as bc

    submission = bc.submit(
        files,
        group,
        study_type=study_type,
        study_id=study_id,
        name=name,
        authors=author or (),
        abstract=abstract,
        species=species,
        input_matrix_type=input_matrix_type.value,
        min_counts=min_counts,
        min_genes=min_genes,
        max_counts=max_counts,
        max_genes=max_genes,
        mt_percentage=mt_percentage,
        skip_dimred=skip_dimred,
        to=to.value,
        obs=obs or None,
        wait=wait,
    )
    print_submission(submission, as_json=as_json)
