"""Lookup: expression summaries of those genes that a database knows."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from biocolab_accessor.atlas import expression_summary
from biocolab_accessor.clients.bioflex import Database
from biocolab_accessor.errors import UnknownGene
from biocolab_accessor.naming import listing

__all__ = ["summaries_of"]

_AT_ONCE = 200
_NEAR = re.compile(r"\(did you mean .*?\)")


def summaries_of(genes: Sequence[str], database: Database) -> tuple[pd.DataFrame, list[str]]:
    """Expression summaries of many genes, and the genes that the database does not know.

    Servers refuse a whole request for one unknown gene, and there is no list of those that they know. The genes that a
    refusal names are left out; where it names none, the request is halved.

    Raises
    ------
    UnknownGene
        It knows none of them; the server's words are given.
    """
    frames: list[pd.DataFrame] = []
    missing: set[str] = set()
    refusals: list[UnknownGene] = []
    waiting = [list(genes[i : i + _AT_ONCE]) for i in range(0, len(genes), _AT_ONCE)]
    while waiting:
        asked = waiting.pop(0)
        try:
            frames.append(expression_summary(asked, database=database))
        except UnknownGene as error:
            refusals.append(error)
            named = _named(str(error), asked)
            if named:
                missing.update(named)
                waiting.append([gene for gene in asked if gene not in named])
            elif len(asked) == 1:
                missing.update(asked)
            else:
                waiting += [asked[: len(asked) // 2], asked[len(asked) // 2 :]]
    if not frames:
        msg = (
            f"the database ({database.species} version {database.version}) has none of the {len(genes)} marker genes "
            f"{listing(genes, limit=4)}: {refusals[0]}. Is it of the right species, and are these gene symbols? "
            "gene_symbols= names a column of var that has them"
        )
        raise UnknownGene(msg) from refusals[0]
    return pd.concat(frames, ignore_index=True), [gene for gene in genes if gene in missing]


def _named(message: str, asked: Sequence[str]) -> set[str]:
    """Genes that a refusal names, where it names some and not all of those that were asked for."""
    plain = _NEAR.sub("", message)
    named = {gene for gene in asked if repr(gene) in plain}
    return named if len(named) < len(asked) else set()
