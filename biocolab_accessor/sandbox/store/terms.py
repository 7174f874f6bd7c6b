"""Terms: a small tree of real ontology terms, and which metadata labels were assigned to them."""

from __future__ import annotations

from typing import Any

from biocolab_accessor.naming import quoted
from biocolab_accessor.sandbox.store.database import Database

__all__ = ["TREE", "Terms"]

_SCHEMA = """
create table if not exists terms (
    study text not null, field text not null, label text not null, root text not null, leaf text not null,
    primary key (study, field, label, root)
);
"""


def _node(id_: str, name: str, *children: dict[str, Any]) -> dict[str, Any]:
    return {"id": id_, "name": name, "children": list(children)}


# Accessions of the Cell Ontology and of Uberon; two levels, which is as deep as the clients look.
TREE: dict[str, dict[str, Any]] = {
    "CL:0000000": {
        "name": "cell type",
        "children": [
            _node(
                "CL:0000084",
                "T cell",
                _node("CL:0000624", "CD4-positive, alpha-beta T cell"),
                _node("CL:0000625", "CD8-positive, alpha-beta T cell"),
            ),
            _node("CL:0000236", "B cell", _node("CL:0000786", "plasma cell")),
            _node("CL:0000623", "natural killer cell"),
            _node("CL:0000576", "monocyte", _node("CL:0000235", "macrophage")),
            _node("CL:0000451", "dendritic cell"),
            _node("CL:0000233", "platelet"),
            _node("CL:0000232", "erythrocyte"),
        ],
    },
    "UBERON:0000465": {
        "name": "tissue",
        "children": [
            _node("UBERON:0000178", "blood"),
            _node("UBERON:0002371", "bone marrow"),
            _node("UBERON:0002106", "spleen"),
            _node("UBERON:0000029", "lymph node"),
            _node("UBERON:0002048", "lung"),
            _node("UBERON:0002107", "liver"),
            _node("UBERON:0000955", "brain"),
        ],
    },
}
"""Roots by accession; a root has a name and children, a child its accession as ``id`` too."""


class Terms:
    """Assigned terms.

    Parameters
    ----------
    database
        Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)

    def assign(self, study: str, field: str, label: str, root: str, leaf: str) -> None:
        """Say what a label of a study means; another leaf of the same root replaces the one before.

        Raises
        ------
        LookupError
            The tree has no such root, or the root no such leaf.
        """
        if root not in TREE:
            msg = f"there is no ontology {quoted(root)}; there are {', '.join(TREE)}"
            raise LookupError(msg)
        if leaf not in _leaves(root):
            msg = f"ontology {quoted(root)} has no term {quoted(leaf)}"
            raise LookupError(msg)
        self._database.write("insert or replace into terms values (?, ?, ?, ?, ?)", study, field, label, root, leaf)

    def of(self, studies: list[str]) -> list[dict[str, str]]:
        """Rows of the standardised terms of some studies."""
        rows = self._database.rows("select * from terms order by rowid")
        return [
            {
                "study_id": row["study"],
                "metadata_field": row["field"],
                "metadata_label": row["label"],
                "ontology_accession_id": row["root"],
                "ontology_label": TREE[row["root"]]["name"],
                "node_accession_id": row["leaf"],
                "node_label": _leaves(row["root"])[row["leaf"]],
            }
            for row in rows
            if row["study"] in studies
        ]

    def clear(self) -> None:
        """Forget every assignment."""
        self._database.write("delete from terms")


def _leaves(root: str) -> dict[str, str]:
    """Names of all the terms below a root."""
    children = TREE[root]["children"]
    return {node["id"]: node["name"] for child in children for node in (child, *child["children"])}
