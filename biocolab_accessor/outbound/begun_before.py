"""Begun before: which studies a group has, and the word that a submission begins from the start."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from biocolab_accessor.clients.bbrowserx import BBrowserXConnector
from biocolab_accessor.naming import quoted
from biocolab_accessor.notice import notice

__all__ = ["listed", "rows_of_id", "tell_of_namesakes", "tell_of_new_start"]

logger = logging.getLogger("biocolab_accessor.outbound")


def listed(connector: BBrowserXConnector, species: str, group_id: str) -> list[Mapping[str, Any]]:
    """What the server says of the studies of a group."""
    rows = connector.get_all_studies_info_in_group(species, group_id)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def rows_of_id(
    connector: BBrowserXConnector, species: str, group_id: str, study_id: str
) -> dict[str, Mapping[str, Any]]:
    """Studies of a group that have an id, by their uuid."""
    rows = listed(connector, species, group_id)
    mine = [row for row in rows if study_id in (row.get("study_hash_id"), row.get("accession_id"))]
    return {str(row.get("uuid", row.get("id"))): row for row in mine}


def tell_of_namesakes(connector: BBrowserXConnector, species: str, group_id: str, study_id: str) -> list[str]:
    """Uuids of the studies that have an id already, which a warning names.

    Servers take any number of studies of one id, and people find out when they look for theirs.
    """
    found = list(rows_of_id(connector, species, group_id, study_id))
    if found:
        notice(
            f"group {quoted(group_id)} has a study {quoted(study_id)} already (uuid {found[0]}): this will be "
            "a second one of that id, told from the first by its uuid only. Give another study_id to avoid that"
        )
    return found


def tell_of_new_start(study_id: str, reason: object) -> None:
    """Say that a submission which was begun before is begun from the start."""
    message = f"study {study_id}: the submission that was begun before cannot be continued ({reason}): starting again"
    logger.warning("%s", message)
    notice(message)
