"""Catalog: groups, studies and databases of the servers."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from biocolab_accessor.connection.default import current, how_to_reconnect
from biocolab_accessor.errors import (
    AmbiguousName,
    ConfigurationError,
    InvalidArgument,
    InvalidResponse,
    UnknownDatabase,
    UnknownGroup,
    UnknownStudy,
)
from biocolab_accessor.io.values import table_of
from biocolab_accessor.messages import did_you_mean, listing, quoted, shown
from biocolab_accessor.protocol import SOURCES, Server, Source, argument_names, known_species
from biocolab_accessor.studies.source_bbrowserx import ConnectorSource
from biocolab_accessor.studies.source_bioflex import BioFlexSource
from biocolab_accessor.studies.study import Study, address_of

if TYPE_CHECKING:
    from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
    from biocolab_accessor.clients.bioflex import Database

__all__ = [
    "connector_of",
    "database",
    "databases",
    "expression_summary",
    "group_id_of",
    "groups",
    "studies",
    "study",
    "study_of_database",
    "study_of_group",
    "study_of_origin",
]


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
    names = list(dict.fromkeys(argument_names(genes, "genes")))
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


# Of a study, said under names of our own.
_NAMED = frozenset({"study_hash_id", "accession_id", "study_title", "id", "study_id", "uuid"})

PUBLIC_STUDIES = "bioturing_public_studies"
"""Group id that BBrowserX servers know without listing it."""


def groups(*, source: Server = "bbrowserx") -> pd.DataFrame:
    """Groups that the token may read from and submit to.

    Parameters
    ----------
    source
        ``"bbrowserx"`` or ``"talk2data"``.

    Returns
    -------
    pandas.DataFrame
        ``id`` and ``name``, a row for each group.

    Raises
    ------
    MissingCredentials
        No host or token is known.
    Unauthorized
        The token is not accepted.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.groups()
                id                name
    0  all_members         All members
    1     personal  Personal workspace
    """
    return table_of([_seen(row) for row in _groups(connector_of(source))], ["id", "name"])


def studies(group: str = "personal", *, species: str = "human", source: Server = "bbrowserx") -> pd.DataFrame:
    """Studies of a group.

    Parameters
    ----------
    group
        Id or displayed name.
    species
        ``"human"``, ``"mouse"``, ``"primate"`` or ``"others"``; the server lists one at a time.
    source
        ``"bbrowserx"`` or ``"talk2data"``.

    Returns
    -------
    pandas.DataFrame
        ``study_id``, ``title``, ``created_by``, ``uuid``, and whatever else the server says; a row for each study.

    Raises
    ------
    UnknownGroup
        The token sees no such group.
    InvalidArgument
        There is no such species.
    InvalidResponse
        The server's list is none.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     "PBMC68k_reduced" in list(bc.studies("bioturing_public_studies")["study_id"])
    True
    """
    connector = connector_of(source)
    rows = _studies(connector, group_id_of(connector, group), species)
    try:
        frame = table_of([_seen(row) for row in rows])
    except OverflowError as error:
        msg = f"the list of studies of group {quoted(group)} holds a number beyond what a float holds"
        raise InvalidResponse(msg) from error
    first = ["study_id", "title", "created_by", "uuid"]
    return frame.reindex(columns=[*first, *(name for name in frame.columns if name not in first)])


def study(
    study_id: str,
    *,
    database: Database | None = None,
    source: Source = "bioflex",
    species: str = "human",
    group: str | None = None,
) -> Study:
    """One study, ready to be fetched.

    Parameters
    ----------
    study_id
        The id that people see (``"GSE96583_batch2"``), or, for BBrowserX and Talk2Data, the study's uuid.
    database
        A database of BioFlex, as :func:`database` gives it; None means the newest of the species.
    source
        ``"bioflex"``, ``"bbrowserx"`` or ``"talk2data"``.
    species
        Where to look.
    group
        Group of BBrowserX or Talk2Data, by id or name; None means all that the token sees.

    Returns
    -------
    Study
        Its ``to_anndata()`` fetches it.

    Raises
    ------
    UnknownStudy
        There is none; near ids are given where the server lists its studies.
    AmbiguousName
        Several studies have this id; their uuids are listed.
    InvalidArgument
        There is no such source or species, or a group of BioFlex, or a database of another server, is asked for.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.study("PBMC68k_reduced").fields[2:4]
    ['bulk_labels', 'n_genes']
    """
    if not isinstance(study_id, str) or not study_id.strip():
        msg = f"study_id is {quoted(study_id)}: give the study's id, such as 'GSE96583_batch2'"
        raise InvalidArgument(msg)
    species = getattr(species, "value", species)
    if not isinstance(source, str) or source not in SOURCES:
        msg = f"source is {quoted(source)}{did_you_mean(str(source), SOURCES)}: give one of {listing(SOURCES)}"
        raise InvalidArgument(msg)
    if group is not None and source == "bioflex":
        msg = (
            f"group is {quoted(group)}, but BioFlex has databases and no groups: give source='bbrowserx' or 'talk2data'"
        )
        raise InvalidArgument(msg)
    if database is not None and source != "bioflex":
        msg = f"source is {quoted(source)}, which has groups and no databases: give source='bioflex', or no database"
        raise InvalidArgument(msg)
    if source == "bioflex":
        found = database if database is not None else _newest(species)
        return study_of_database(found, study_id)
    connector = connector_of(source)
    group_id = group_id_of(connector, group) if group is not None else None
    return study_of_group(connector, study_id, species=species, group_id=group_id, source=source)


def study_of_database(database: Database, study_id: str) -> Study:
    """One study of a database of BioFlex."""
    return Study(BioFlexSource(database.get_study(study_id)))


def study_of_origin(origin: Mapping[str, Any]) -> Study:
    """The study that an AnnData came from; see :attr:`AnnDataAccessor.study`.

    Parameters
    ----------
    origin
        What ``uns["biocolab"]`` of the AnnData says.

    Raises
    ------
    ConfigurationError
        It came from another server than the one that is connected to now.
    UnknownDatabase, UnknownStudy
        It is no longer there.
    """
    source, species = str(origin["source"]), str(origin["species"])
    client = current().get_bioflex() if source == "bioflex" else connector_of(source)
    if client.http.host != origin["server"]:
        msg = (
            f"this object came from {origin['server']}, but the current connection is to {client.http.host}: connect "
            f"to that server again, {how_to_reconnect(source, str(origin['server']))}, or fetch the study anew with "
            "bc.study(…)"
        )
        raise ConfigurationError(msg)
    if source != "bioflex":
        uuid, group_id = str(origin["study_uuid"]), str(origin["group_id"])
        return study_of_group(connector_of(source), uuid, species=species, group_id=group_id, source=source)
    wanted = (origin["database"], species, int(origin["version"]))
    for found in databases():
        # Databases of several species have the same id and number their versions alike.
        if (found.id, found.species, found.version) == wanted:
            return study_of_database(found, str(origin["study_id"]))
    msg = f"database {origin['database']} version {origin['version']} is no longer there"
    raise UnknownDatabase(msg)


def connector_of(source: str) -> BBrowserXConnector:
    """The connector of the current connection to a server that groups and studies live on.

    Raises
    ------
    InvalidArgument
        There is no such kind of server.
    """
    if source == "bbrowserx":
        return current().get_bbrowserx()
    if source == "talk2data":
        return current().get_talk2data()
    msg = f"{quoted(source)} is not a server with groups: give 'bbrowserx' or 'talk2data'"
    raise InvalidArgument(msg)


def group_id_of(connector: BBrowserXConnector, group: str) -> str:
    """The id of a group that is given by id or by displayed name.

    Raises
    ------
    UnknownGroup
        The token sees no such group; near names and all groups are given.
    AmbiguousName
        Several groups have this name; their ids are listed.
    """
    if group == PUBLIC_STUDIES:
        return group
    known = _groups(connector)
    for row in known:
        if group in (row["id"], shown(row["id"])):
            return row["id"]
    wanted = str(group).casefold()
    named = [row["id"] for row in known if wanted in (row["name"].casefold(), shown(row["name"]).casefold())]
    if len(named) > 1:
        msg = f"several groups are named {quoted(group)}: give one of the ids {listing(named)}"
        raise AmbiguousName(msg)
    if not named:
        names = [name for row in known for name in (row["id"], row["name"])]
        there = ", ".join(f"{quoted(row['id'])} ({row['name']})" for row in known) or "none"
        msg = f"there is no group {quoted(group)}{did_you_mean(str(group), names)}. The token sees {there}"
        raise UnknownGroup(msg)
    return named[0]


def study_of_group(
    connector: BBrowserXConnector, study_id: str, *, species: str, group_id: str | None, source: str
) -> Study:
    """One study of a connector's groups; see :func:`study` for the arguments and errors.

    Parameters
    ----------
    connector
        The server.
    study_id, species, source
        As for :func:`study`.
    group_id
        Id of the group; None means all that the token sees.
    """
    group_ids = [row["id"] for row in _groups(connector)] if group_id is None else [group_id]
    every = [(row, group) for group in group_ids for row in _studies(connector, group, species)]
    found = {row["uuid"]: (row, group) for row, group in every if study_id in _names(row)}
    if len(found) > 1:
        named = "; ".join(f"{uuid} ({quoted(row['title'])} in {group})" for uuid, (row, group) in found.items())
        msg = f"several studies have the id {quoted(study_id)}: give one of the uuids {named}"
        raise AmbiguousName(msg)
    if not found:
        near = did_you_mean(study_id, [str(row["study_id"]) for row, _ in every])
        where = f"{connector.host} (groups {listing(group_ids)})"
        more = "see bc.studies(), and give species= if it is of another"
        msg = f"there is no {species} study {quoted(study_id)} on {where}{near}; {more}"
        raise UnknownStudy(msg)
    row, group = next(iter(found.values()))
    return Study(ConnectorSource(connector, row, group_id=group, species=species, name=source))


def _groups(connector: BBrowserXConnector) -> list[dict[str, str]]:
    rows = connector.get_user_groups()
    # The documentation says group_id and group_name, servers were seen to send id and name.
    return [
        {"id": str(_either(row, ("id", "group_id"))), "name": str(_either(row, ("name", "group_name")))}
        for row in _listed(rows)
    ]


def _studies(connector: BBrowserXConnector, group_id: str, species: str) -> list[dict[str, Any]]:
    rows = connector.get_all_studies_info_in_group(known_species(species), group_id)
    return [
        {
            "study_id": str(_either(row, ("study_hash_id", "accession_id", "uuid"))),
            "title": row.get("study_title", row.get("title", "")),
            "created_by": row.get("created_by", ""),
            "uuid": str(_either(row, ("uuid", "id"))),
            **{k: v for k, v in row.items() if k not in _NAMED},
        }
        for row in _listed(rows)
    ]


def _seen(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for a table that people look at: texts of a server are shown, and not obeyed by a terminal."""
    return {shown(key): shown(value) if isinstance(value, str) else value for key, value in row.items()}


def _names(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["uuid"], row["study_id"], shown(row["study_id"])


def _listed(rows: Any) -> list[Any]:
    if not isinstance(rows, list):
        msg = f"the server sent a {type(rows).__name__} where it lists groups or studies"
        raise InvalidResponse(msg)
    return rows


def _either(row: Any, keys: tuple[str, ...]) -> Any:
    if isinstance(row, Mapping):
        for key in keys:
            if row.get(key) not in (None, ""):
                return row[key]
    msg = f"the server listed something without {' or '.join(keys)}"
    raise InvalidResponse(msg)


def _reduced(study: Study) -> tuple[Callable[[Mapping[str, Any]], Study], tuple[dict[str, Any]]]:
    return study_of_origin, (address_of(study),)


# Registered here, where studies are looked up: a study pickles without a token, as the address to find it again.
copyreg.pickle(Study, _reduced)
