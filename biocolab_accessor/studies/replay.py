"""Replay: the parts of a lock, fetched again and compared."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pandas as pd

from biocolab_accessor.errors import DataChanged, UnknownName, public
from biocolab_accessor.io.values import table_of
from biocolab_accessor.messages import quoted
from biocolab_accessor.studies.catalog import study_of_origin
from biocolab_accessor.studies.lock import Entry, Recorder, read_lock, recording
from biocolab_accessor.studies.study import parts_of
from biocolab_accessor.studies.study_data import StudyParts


@public
def replay(path: str | Path = "biocolab.lock", check: bool = True) -> pd.DataFrame:
    """Fetch each part of a lock again, and compare it with its hash.

    Nothing is taken from ``bc.cache``. Matrices are fetched in pieces, so they need not fit into memory.

    Parameters
    ----------
    path
        A file of :func:`biocolab_accessor.lock`.
    check
        Raise :class:`~biocolab_accessor.errors.DataChanged` if a part differs.

    Returns
    -------
    pandas.DataFrame
        One row per part: ``study_id``, ``part`` (barcodes, features, obs, obsm, cell_centers, terms, matrix, genes),
        ``name`` (of the field or embedding, or the unit and genes), and ``state`` (same, changed or missing).

    Raises
    ------
    DataChanged
        Parts differ from the lock, or the server does not have them any more; the message names each of them.
    InvalidFile
        The file is not a lock, is cut off, was edited, or has another version.
    ConfigurationError
        The lock is of another server than the current connection.

    Examples
    --------
    >>> import tempfile
    >>> import biocolab_accessor as bc
    >>> with bc.sandbox(), tempfile.TemporaryDirectory() as folder:
    ...     with bc.lock(f"{folder}/biocolab.lock"):
    ...         found = bc.study("PBMC68k_reduced").metadata("phase")
    ...     bc.replay(f"{folder}/biocolab.lock")[["part", "name", "state"]]
           part   name state
    0  barcodes         same
    1       obs  phase  same
    """
    rows = []
    for study, entries in groupby(read_lock(path), key=itemgetter("study")):
        try:
            parts = parts_of(study_of_origin(study))
        except UnknownName:
            parts = None
        for entry in entries:
            state = "missing" if parts is None else _state(parts, entry)
            rows.append({"study_id": study["study_id"], "part": entry["part"], "name": _name(entry), "state": state})
    table = table_of(rows, ["study_id", "part", "name", "state"])
    different = [row for row in rows if row["state"] != "same"]
    if check and different:
        named = "\n".join(
            f"  {row['study_id']}: {row['part']} {row['name']}".rstrip() + f" ({row['state']})" for row in different
        )
        msg = f"{len(different):,} of {len(rows):,} parts of {path} differ from what the server has now:\n{named}"
        line = f"bc.replay({str(path)!r}, check=False)  # all parts; with bc.lock({str(path)!r}): records them anew"
        raise DataChanged(msg, line=line)
    return table


def _name(entry: Entry) -> str:
    if "unit" not in entry:
        return str(entry.get("name", ""))
    genes = entry.get("genes", [])
    return " ".join([entry["unit"], *genes[:3], *([f"and {len(genes) - 3:,} more"] if len(genes) > 3 else [])])


def _state(parts: StudyParts, entry: Entry) -> str:
    found = Recorder()
    try:
        with recording(found):
            _fetch(parts, entry)
    except UnknownName:
        return "missing"
    same = [each for each in found.entries if all(each.get(key) == entry.get(key) for key in ("part", "name", "unit"))]
    if not same:
        return "missing"
    return "same" if any(each["sha256"] == entry["sha256"] for each in same) else "changed"


def _fetch(parts: StudyParts, entry: Entry) -> None:
    """Fetch the part of an entry; the active recorder gets its hash."""
    part, name = entry["part"], entry.get("name", "")
    if part in ("matrix", "genes"):
        genes = entry["genes"] if part == "genes" else None
        if genes is not None and not set(genes) <= set(parts.features):
            msg = f"study {quoted(parts.study_id)} lacks some of the genes"
            raise UnknownName(msg)
        parts.record_matrix(genes, entry["unit"])
    elif part == "obs" and name in parts.fields:
        parts.metadata([name])
    elif part == "obsm":
        parts.embeddings([name])
    elif part == "cell_centers":
        parts.cell_centers()
    elif part == "terms":
        parts.terms()
    elif part == "barcodes":
        _ = parts.barcodes
    elif part == "features":
        _ = parts.features
