"""Catalog: groups, studies and databases of the servers."""

from __future__ import annotations

import copyreg
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import pandas as pd

from biocolab_accessor.concurrency import request_threads, result
from biocolab_accessor.config import settings
from biocolab_accessor.connection.default import current, how_to_reconnect
from biocolab_accessor.errors import (
    AmbiguousName,
    BiocolabError,
    ConfigurationError,
    InvalidArgument,
    InvalidResponse,
    UnknownDatabase,
    UnknownGroup,
    UnknownStudy,
    public,
)
from biocolab_accessor.io.values import table_of
from biocolab_accessor.messages import did_you_mean, listing, quoted, shown, warn
from biocolab_accessor.protocol import SERVERS, SOURCES, SPECIES, Server, Source, argument_names, known_species
from biocolab_accessor.studies import missing_study_hints
from biocolab_accessor.studies.sources.bbrowserx import ConnectorSource
from biocolab_accessor.studies.sources.bioflex import BioFlexSource
from biocolab_accessor.studies.study import Study, address_of

if TYPE_CHECKING:
    from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
    from biocolab_accessor.clients.bioflex import BioFlexConnection, Database


@public
def databases() -> list[Database]:
    """BioFlex databases, in the order in which the server lists them.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     [(found.species, found.version) for found in bc.databases()][:2]
    [('human', 1), ('human', 2)]
    """
    return current().get_bioflex().databases()


@public
def database(species: str = "human", version: int | None = None) -> Database:
    """One BioFlex database.

    Parameters
    ----------
    species
        ``"human"``, ``"mouse"``, ``"primate"``.
    version
        Version number; None means the newest.

    Raises
    ------
    UnknownDatabase
        The server has no database of this species or version; the message lists the databases it has.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.database("human").version
    3
    """
    every = databases()
    species = getattr(species, "value", species)
    fitting = [found for found in every if found.species == species and version in (None, found.version)]
    if not fitting:
        there = listing(f"{found.species} {found.version}" for found in every) or "none"
        wanted = species if version is None else f"{species} version {version}"
        msg = f"database {quoted(wanted)} not found; the token can access {there}"
        raise UnknownDatabase(msg)
    return max(fitting, key=lambda found: found.version)


_database = database  # for functions with an argument of this name


@public
def expression_summary(genes: Sequence[str] | str, *, database: Database | None = None) -> pd.DataFrame:
    """Expression of genes by cell type across a whole BioFlex database.

    Parameters
    ----------
    genes
        Gene names; a single string is one gene.
    database
        A database from :func:`database`; None means the newest human one.

    Returns
    -------
    pandas.DataFrame
        One row per gene and cell type: ``gene``, ``cell_type``, ``sum`` over the cells, ``mean``
        (``sum / count``, over expressing cells only), ``rate`` (``count / total``), ``count`` (number of expressing
        cells) and ``total`` (number of cells).

    Raises
    ------
    InvalidArgument
        ``genes`` is empty or contains a value that is not a string.
    UnknownGene
        The database does not have some of the genes.

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
    found = database if database is not None else _database("human")
    summaries = found.get_celltypes_expression_summary(names)
    columns = ["name", "sum", "mean", "rate", "count", "total"]
    rows = [(gene, *(getattr(item, name) for name in columns)) for gene, items in summaries.items() for item in items]
    frame = table_of(rows, ["gene", "cell_type", *columns[1:]])
    whole = ["count", "total"]  # the server sends one or both of them as floats
    return frame.astype({name: "int64" for name in whole if (frame[name] % 1 == 0).all()})


# Keys of a listed study that we return under our own names.
_NAMED = frozenset({"study_hash_id", "accession_id", "study_title", "id", "study_id", "uuid"})
_SHORTEST_UUID = 8
_last_groups: WeakKeyDictionary[BBrowserXConnector, list[dict[str, str]]] = WeakKeyDictionary()
PUBLIC_STUDIES = "bioturing_public_studies"
"""Id of a group that BBrowserX servers accept but do not list."""


@public
def groups(*, source: Server = "bbrowserx") -> pd.DataFrame:
    """Groups that the token can read from and submit to.

    Parameters
    ----------
    source
        ``"bbrowserx"`` or ``"talk2data"``.

    Returns
    -------
    pandas.DataFrame
        One row per group: ``id`` and ``name``.

    Raises
    ------
    MissingCredentials
        The host or the token is not set.
    Unauthorized
        The server rejects the token.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.groups()
                id                name
    0  all_members         All members
    1     personal  Personal workspace
    """
    return table_of([_seen(row) for row in list_groups(connector_of(source))], ["id", "name"])


@public
def buckets(group: str | None = None, *, source: Server = "bbrowserx") -> pd.DataFrame:
    """S3 buckets that the server has configured for you and your groups.

    Parameters
    ----------
    group
        Id or display name of the group whose shared buckets are listed next to your own; None means all groups.
    source
        ``"bbrowserx"`` or ``"talk2data"``.

    Returns
    -------
    pandas.DataFrame
        One row per bucket: ``id``, ``bucket``, ``prefix``, ``shared`` (whether it belongs to a group) and ``group``
        (the group's id; missing for your own). ``bc.submit_from_s3(key, group, s3_id=id, shared=shared)`` takes them.

    Raises
    ------
    UnknownGroup
        The token cannot access a group with this id or name.
    InvalidResponse
        The server's answer is not a list of buckets.

    Examples
    --------
    >>> import tempfile
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox() as server, tempfile.TemporaryDirectory() as folder:
    ...     bucket = server.add_bucket(folder)  # a folder as a bucket; real servers have their own
    ...     table = bc.buckets("personal")
    >>> (table["id"] == bucket).tolist(), table["shared"].tolist()
    ([True, True], [False, True])
    """
    connector = connector_of(source)
    ids = _group_ids(connector, group)
    with request_threads("biocolab-buckets") as threads:
        asked: dict[str | None, Any] = {None: threads.submit(connector.post_request, "api/v1/get_user_s3", {})}
        for each in ids:
            asked[each] = threads.submit(connector.post_request, "api/v1/get_shared_s3_of_group", {"group_id": each})
        answers = {owner: result(answer) for owner, answer in asked.items()}
    rows = [
        {
            "id": str(_either(row, ("id",))),
            **{name: str(row.get(name) or "") for name in ("bucket", "prefix")},
            "shared": owner is not None,
            "group": owner,
        }
        for owner, answer in answers.items()
        for row in _listed(answer.get("data"))
    ]
    return table_of([_seen(row) for row in rows], ["id", "bucket", "prefix", "shared", "group"])


@public
def studies(
    group: str | None = "personal", *, species: str | None = "human", source: Server = "bbrowserx"
) -> pd.DataFrame:
    """Studies of a group, or of all groups and species.

    Parameters
    ----------
    group
        Id or display name; None means all groups that :func:`groups` lists.
    species
        ``"human"``, ``"mouse"``, ``"primate"`` or ``"others"``; None means all of them. The server lists one group and
        species at a time; the requests run in parallel.
    source
        ``"bbrowserx"`` or ``"talk2data"``.

    Returns
    -------
    pandas.DataFrame
        One row per study: ``study_id``, ``title``, ``created_by``, ``uuid``, and all other fields that the server
        sends, ``n_cells``, ``n_genes`` and ``created_at`` first. If ``group`` or ``species`` is None, also ``group``
        (its id) and ``species``.

    Raises
    ------
    UnknownGroup
        The token cannot access a group with this id or name.
    InvalidArgument
        The species is unknown.
    InvalidResponse
        The server's answer is not a list of studies.

    Warns
    -----
    UserWarning
        There is no study of this species; other species may have some.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     "PBMC68k_reduced" in list(bc.studies("bioturing_public_studies")["study_id"])
    True
    >>> with bc.sandbox():
    ...     list(bc.studies(None, species=None).columns[:6])
    ['study_id', 'title', 'created_by', 'uuid', 'group', 'species']
    """
    several = ["group", "species"] if group is None or species is None else []
    lists = _lists_of_studies(connector_of(source), group, species)
    rows = [{**row, **{name: where[name] for name in several}} for where, found in lists for row in found]
    if not rows and species is not None:
        of = "your groups" if group is None else f"group {quoted(group)}"
        call = f"bc.studies({group!r}, species=None{'' if source == 'bbrowserx' else f', source={source!r}'})"
        warn(f"{of} has no {species} study; this lists all species: {call}")
    try:
        frame = table_of([_seen(row) for row in rows])
    except OverflowError as error:
        msg = f"the list of studies of group {quoted(group)} contains a number that is too large for a float"
        raise InvalidResponse(msg) from error
    first = ["study_id", "title", "created_by", "uuid", *several]
    first += [name for name in ("n_cells", "n_genes", "created_at") if name in frame.columns]
    return frame.reindex(columns=list(dict.fromkeys([*first, *frame.columns])))


def _lists_of_studies(
    connector: BBrowserXConnector, group: str | None, species: str | None
) -> list[tuple[dict[str, str], list[dict[str, Any]]]]:
    """The studies of one or all groups, and of one or all species, with the group and species of each list."""
    with request_threads("biocolab-studies") as threads:
        asked = [
            ({"group": each, "species": kind}, threads.submit(list_studies, connector, each, kind))
            for each in _group_ids(connector, group)
            for kind in (SPECIES if species is None else [species])
        ]
        return [(where, result(rows)) for where, rows in asked]


@public
def study(
    study_id: str | pd.Series,
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
        The displayed id (``"GSE96583_batch2"``), or, for BBrowserX and Talk2Data, the study's uuid or its first 8 or
        more characters. Or a row of :func:`search`, which says where the study is.
    database
        A BioFlex database from :func:`database`; None means the newest one of the species.
    source
        ``"bioflex"``, ``"bbrowserx"`` or ``"talk2data"``.
    species
        Species under which to look: ``"human"``, ``"mouse"``, ``"primate"`` or, for BBrowserX and Talk2Data,
        ``"others"``.
    group
        BBrowserX or Talk2Data group, by id or name; None means all groups that the token can access.

    Returns
    -------
    Study
        Call its ``to_anndata()`` to fetch it.

    Raises
    ------
    UnknownStudy
        The server has no study with this id; the message suggests similar ids where the server lists its studies, and
        says if the study was submitted and is not finished, or names the call if another source or species has it.
    AmbiguousName
        Several studies have this id; the message lists their uuids.
    InvalidArgument
        The source or the species is unknown, ``group`` is given for BioFlex, or ``database`` for another server.

    Examples
    --------
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox():
    ...     bc.study("PBMC68k_reduced").fields[2:4]
    ['bulk_labels', 'n_genes']
    """
    if isinstance(study_id, pd.Series):
        if missing := [name for name in ("uuid", "source", "species", "group") if name not in study_id.index]:
            msg = f"the row has no {listing(missing)}: give a row of bc.search(…), such as found.iloc[0], or an id"
            raise InvalidArgument(msg)
        row, study_id = study_id, str(study_id["uuid"])
        species, group, source = str(row["species"]), str(row["group"]), cast("Source", str(row["source"]))
    if not isinstance(study_id, str) or not study_id.strip():
        msg = f"study_id is {quoted(study_id)}: give the study's id, such as 'GSE96583_batch2'"
        raise InvalidArgument(msg)
    species = getattr(species, "value", species)
    if not isinstance(source, str) or source not in SOURCES:
        msg = f"source is {quoted(source)}{did_you_mean(str(source), SOURCES)}: give one of {listing(SOURCES)}"
        raise InvalidArgument(msg)
    if source == "bioflex" and group is not None:
        msg = f"group is {quoted(group)}, but BioFlex has databases, not groups: give source='bbrowserx' or 'talk2data'"
        raise InvalidArgument(msg)
    if source != "bioflex" and database is not None:
        msg = f"source is {quoted(source)}, which has groups, not databases: give source='bioflex', or omit database"
        raise InvalidArgument(msg)
    try:
        if source == "bioflex":
            return study_of_database(database if database is not None else _database(species), study_id)
        connector = connector_of(source)
        group_id = group_id_of(connector, group) if group is not None else None
        return study_of_group(connector, study_id, species=species, group_id=group_id, source=source)
    except UnknownStudy as error:
        hints = _hints(study_id, source)
        for hint in hints:
            error.add_note(hint)
        if not hints:
            _say_where_it_is(error, study_id)
        raise


def _hints(study_id: str, source: Source) -> list[str]:
    """Notes about a study that was not found, such as that it is not a study yet."""
    with suppress(BiocolabError, OSError, NotImplementedError):  # they are not worth an error of their own
        connector = connector_of(source if source in SERVERS else "bbrowserx")
        return [note for hint in missing_study_hints if (note := hint(study_id, connector))]
    return []


def _say_where_it_is(error: UnknownStudy, study_id: str) -> None:
    """Name the call for a study with this id that has another source or species."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for server in SERVERS:
        with suppress(BiocolabError, OSError, NotImplementedError), settings.override(max_retries=0):
            for place, rows in _lists_of_studies(connector_of(server), None, None):
                for row in rows:
                    if study_id in _names(row):
                        found.setdefault(row["uuid"], (server, place))  # a sandbox is both servers
    if len(found) == 1:
        [(source, where)] = found.values()
        species, group = where["species"], where["group"]
        error.add_note(f"It is in group {quoted(group)}: source {quoted(source)}, species {quoted(species)}")
        error.line = _call_for(study_id, source, species)


def _call_for(study_id: str, source: str, species: str) -> str:
    kind = "" if species == "human" else f", species={species!r}"
    return f"bc.study({study_id!r}, source={source!r}{kind})"


def study_of_database(database: Database, study_id: str) -> Study:
    """One study of a BioFlex database."""
    return Study(BioFlexSource(database.get_study(study_id)))


def study_of_origin(origin: Mapping[str, Any]) -> Study:
    """The study that an AnnData came from, by its ``uns["biocolab"]``; see :attr:`AnnDataAccessor.study`."""
    source, species = str(origin["source"]), str(origin["species"])
    if source != "bioflex":
        connector = connector_of(source)
        _expect_server(connector, origin)
        uuid, group_id = str(origin["study_uuid"]), str(origin["group_id"])
        return study_of_group(connector, uuid, species=species, group_id=group_id, source=source)
    _expect_server(current().get_bioflex(), origin)
    for found in databases():
        # Databases of different species can share an id and version numbers.
        if (found.id, found.species, found.version) == (origin["database"], species, int(origin["version"])):
            return study_of_database(found, str(origin["study_id"]))
    msg = f"database {origin['database']} version {origin['version']} is no longer on the server"
    raise UnknownDatabase(msg)


def _expect_server(client: BioFlexConnection | BBrowserXConnector, origin: Mapping[str, Any]) -> None:
    if client.http.host != origin["server"]:
        again = how_to_reconnect(str(origin["source"]), str(origin["server"]))
        msg = (
            f"this object came from {origin['server']}, but the current connection is to {client.http.host}: connect "
            f"to that server again, {again}, or fetch the study again with bc.study(…)"
        )
        raise ConfigurationError(msg)


def connector_of(source: str) -> BBrowserXConnector:
    """The current connection's connector for a server that has groups."""
    if source == "bbrowserx":
        return current().get_bbrowserx()
    if source == "talk2data":
        return current().get_talk2data()
    msg = f"{quoted(source)} is not a server with groups: give 'bbrowserx' or 'talk2data'"
    raise InvalidArgument(msg)


def group_id_of(connector: BBrowserXConnector, group: str, known: Sequence[Mapping[str, str]] | None = None) -> str:
    """The id of a group, given by id or display name; the list of groups is requested unless it is given."""
    if group == PUBLIC_STUDIES:
        return group
    known = list_groups(connector) if known is None else known
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
        msg = f"group {quoted(group)} not found{did_you_mean(str(group), names)}. The token can access {there}"
        raise UnknownGroup(msg)
    return named[0]


def _group_ids(connector: BBrowserXConnector, group: str | None) -> list[str]:
    """The id of a group, or of all that the token can access."""
    return [row["id"] for row in list_groups(connector)] if group is None else [group_id_of(connector, group)]


def study_of_group(
    connector: BBrowserXConnector, study_id: str, *, species: str, group_id: str | None, source: str
) -> Study:
    """One study of a connector's groups; without ``group_id``, of any group that the token can access."""
    group_ids = [row["id"] for row in list_groups(connector)] if group_id is None else [group_id]
    every = [(row, group) for group in group_ids for row in list_studies(connector, group, species)]
    found = {row["uuid"]: (row, group) for row, group in every if study_id in _names(row)}
    start = study_id.removesuffix("…")  # as `biocolab studies` shows it
    if not found and len(start) >= _SHORTEST_UUID:
        found = {row["uuid"]: (row, group) for row, group in every if row["uuid"].startswith(start)}
    if len(found) > 1:
        named = "; ".join(
            f"{uuid} ({', '.join(filter(None, [quoted(row['title']), str(row.get('created_at') or '')]))} in {group})"
            for uuid, (row, group) in found.items()
        )
        begins = "the id" if any(study_id in _names(row) for row, _ in found.values()) else "a uuid that begins with"
        msg = f"several studies have {begins} {quoted(study_id)}: give one of the uuids {named}"
        raise AmbiguousName(msg, line=_call_for(next(iter(found)), source, species))
    if not found:
        near = did_you_mean(study_id, [str(row["study_id"]) for row, _ in every])
        where = f"{connector.host} (groups {listing(group_ids)})"
        more = "see bc.studies(), or use species= if it belongs to another species"
        msg = f"{species} study {quoted(study_id)} not found on {where}{near}; {more}"
        raise UnknownStudy(msg)
    row, group = next(iter(found.values()))
    return Study(ConnectorSource(connector, row, group_id=group, species=species, name=source))


def list_groups(connector: BBrowserXConnector) -> list[dict[str, str]]:
    """Groups of the token: ``id`` and ``name``."""
    rows = connector.get_user_groups()
    # The documentation has group_id and group_name, but servers send id and name.
    _last_groups[connector] = [
        {"id": str(_either(row, ("id", "group_id"))), "name": str(_either(row, ("name", "group_name")))}
        for row in _listed(rows)
    ]
    return _last_groups[connector]


def expect_group_in_last_list(source: str, group: str) -> None:
    """Raise UnknownGroup if the server has listed its groups in this session, without this one; asks no server."""
    if _last_groups:  # otherwise no connection is needed, and no keyring is read
        with suppress(ConfigurationError):
            known = _last_groups.get(connector := connector_of(source))
            if known is not None:
                group_id_of(connector, group, known)


def list_studies(connector: BBrowserXConnector, group_id: str, species: str) -> list[dict[str, Any]]:
    """Studies of a group and species: ``study_id``, ``title``, ``created_by``, ``uuid``, and what else was sent."""
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
    """A row for display: control characters in the server's strings are escaped."""
    return {shown(key): shown(value) if isinstance(value, str) else value for key, value in row.items()}


def _names(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["uuid"], row["study_id"], shown(row["study_id"])


def _listed(rows: Any) -> list[Any]:
    if not isinstance(rows, list):
        msg = f"the server sent a {type(rows).__name__} instead of a list of groups or studies"
        raise InvalidResponse(msg)
    return rows


def _either(row: Any, keys: tuple[str, ...]) -> Any:
    if isinstance(row, Mapping):
        for key in keys:
            if row.get(key) not in (None, ""):
                return row[key]
    msg = f"the server listed an entry without {' or '.join(keys)}"
    raise InvalidResponse(msg)


# Registered here because a study pickles as its address, without a token, and is looked up again when unpickled.
copyreg.pickle(Study, lambda study: (study_of_origin, (address_of(study),)))
