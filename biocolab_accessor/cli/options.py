"""Options: what several commands take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = [
    "Json",
    "MatrixType",
    "MaxCounts",
    "MaxGenes",
    "MinCounts",
    "MinGenes",
    "MtPercentage",
    "Server",
    "Source",
    "Species",
    "Unit",
]


class Server(StrEnum):
    """Servers with groups."""

    bbrowserx = "bbrowserx"
    talk2data = "talk2data"


class Source(StrEnum):
    """Servers with studies."""

    bioflex = "bioflex"
    bbrowserx = "bbrowserx"
    talk2data = "talk2data"


class MatrixType(StrEnum):
    """What the matrix is."""

    auto = "auto"
    raw = "raw"
    normalized = "normalized"


class Unit(StrEnum):
    """What values are."""

    raw = "raw"
    lognorm = "lognorm"


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Species = Annotated[str, typer.Option(help="human, mouse, primate or others.")]

MinCounts = Annotated[float | None, typer.Option(help="Keep cells with at least so many counts.")]
MinGenes = Annotated[float | None, typer.Option(help="Keep cells with at least so many genes.")]
MaxCounts = Annotated[float | None, typer.Option(help="Keep cells with at most so many counts.")]
MaxGenes = Annotated[float | None, typer.Option(help="Keep cells with at most so many genes.")]
MtPercentage = Annotated[float | None, typer.Option(help="Most mitochondrial counts, in percent.")]
