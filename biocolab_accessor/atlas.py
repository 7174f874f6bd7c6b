"""Atlas: the databases of BioFlex, and what they say about genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from biocolab_accessor.connection import current
from biocolab_accessor.errors import InvalidArgument, UnknownDatabase
from biocolab_accessor.given import given_names
from biocolab_accessor.naming import listing, quoted
from biocolab_accessor.values import table_of

if TYPE_CHECKING:
    from biocolab_accessor.clients.bioflex import Database

__all__ = ["database", "databases", "expression_summary"]


def databases() -> list[Database]:
    """Databases of BioFlex, as the server lists them.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     [(found.species, found.version) for found in bc.databases()][:2]
    [('human', 1), ('human', 2)]
    """
    return current().get_bioflex().databases()


def database(species: str = "human", version: int | None = None) -> Database:
    """One database of BioFlex.

    Parameters
    ----------
    species
        ``"human"``, ``"mouse"``, ``"primate"``.
    version
        None means the newest.

    Raises
    ------
    UnknownDatabase
        There is none of this species or version; those that there are, are listed.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.database("human").version
    3
    """
    every = databases()
    species = getattr(species, "value", species)
    of_species = [found for found in every if found.species == species]
    fitting = [found for found in of_species if version is None or found.version == version]
    if not fitting:
        there = listing(f"{found.species} {found.version}" for found in every) or "none"
        wanted = species if version is None else f"{species} version {version}"
        msg = f"there is no database {quoted(wanted)}; the token sees {there}"
        raise UnknownDatabase(msg)
    return max(fitting, key=lambda found: found.version)


def expression_summary(genes: Sequence[str] | str, *, database: Database | None = None) -> pd.DataFrame:
    """Expression of genes by cell type over a whole database of BioFlex.

    Parameters
    ----------
    genes
        Names; one text is one gene.
    database
        As :func:`database` gives it; None means the newest human one.

    Returns
    -------
    pandas.DataFrame
        A row for each gene and cell type: ``gene``, ``cell_type``, ``sum`` over the cells, ``mean``
        (``sum / count``, over expressing cells only),
        ``rate`` (``count / total``), ``count`` (expressing cells), ``total``.

    Raises
    ------
    InvalidArgument
        There is no gene, or something else than names.
    UnknownGene
        The database has no such genes.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     table = bc.expression_summary(["CD3D", "CD79A"])
    >>> list(table.columns)
    ['gene', 'cell_type', 'sum', 'mean', 'rate', 'count', 'total']
    """
    names = list(dict.fromkeys(given_names(genes, "genes")))
    if not names:
        msg = "genes is empty: give at least one name"
        raise InvalidArgument(msg)
    found = database if database is not None else _newest("human")
    summaries = found.get_celltypes_expression_summary(names)
    rows = [
        (gene, item.name, item.sum, item.mean, item.rate, item.count, item.total)
        for gene, items in summaries.items()
        for item in items
    ]
    frame = table_of(rows, ["gene", "cell_type", "sum", "mean", "rate", "count", "total"])
    whole = ["count", "total"]  # the server sends them as floats, or one so and one so
    return frame.astype({name: "int64" for name in whole if (frame[name] % 1 == 0).all()})


def _newest(species: str) -> Database:
    """Where an argument is named ``database``, which hides the function."""
    return database(species)
