"""Terms: ontology terms that were assigned to labels of a study, as a table and as columns of obs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.io.values import table_of, text_index
from biocolab_accessor.messages import listing, warn

__all__ = ["SUFFIX", "Term", "add_term_columns", "read_terms", "table_of_terms"]

SUFFIX = "_ontology_term_id"
"""Ends the name of a column of ids, as in the schema of CELLxGENE."""

_SEVERAL = " || "  # between the ids of one label, as there
_KEYS = ("study_id", "metadata_field", "metadata_label")
_NODES = ("ontology_accession_id", "ontology_label", "node_accession_id", "node_label")


class Term(NamedTuple):
    """A term of a label, in the order of the server's keys."""

    study_id: str  # the study's uuid
    field: str
    label: str
    ontology_id: str
    ontology_label: str
    node: str
    node_label: str


def read_terms(answer: Mapping[str, Any]) -> list[Term]:
    """The rows of an answer of ``export_std_metadata``; labels without a term are left out."""
    rows = answer.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        msg = "export_std_metadata: expected a list of terms with their labels"
        raise InvalidResponse(msg)
    terms = []
    for row in rows:
        if missing := [key for key in _KEYS if not isinstance(row.get(key), str | int)]:
            msg = f"export_std_metadata: a term has no {listing(missing)}"
            raise InvalidResponse(msg)
        if row.get("node_accession_id") not in (None, ""):
            terms.append(Term(*(str("" if row.get(key) is None else row[key]) for key in (*_KEYS, *_NODES))))
    return terms


def table_of_terms(terms: Sequence[Term]) -> pd.DataFrame:
    """See :meth:`Study.terms`."""
    return table_of([term[1:] for term in terms], list(Term._fields[1:]))


def add_term_columns(frame: pd.DataFrame, terms: Sequence[Term], study_id: str) -> None:
    """Add a column of ids for each field that has terms; see :meth:`Study.to_anndata`."""
    ids: dict[str, dict[str, list[str]]] = {}
    for term in terms:
        ids.setdefault(term.field, {}).setdefault(term.label, []).append(term.node)
    fields, taken = [field for field in ids if field in frame.columns], []
    for field in fields:
        if f"{field}{SUFFIX}" in frame.columns:
            taken.append(f"{field}{SUFFIX}")
            continue
        column = frame.iloc[:, list(frame.columns).index(field)].astype("category")
        # A server names the label of a number by its text.
        labels = [str(label).removesuffix(".0") for label in column.cat.categories]
        found = [_SEVERAL.join(dict.fromkeys(ids[field].get(label, ()))) for label in labels]
        categories = sorted({text for text in found if text})
        place = {text: code for code, text in enumerate(categories)}
        codes = np.array([*(place.get(text, -1) for text in found), -1], np.intp)[column.cat.codes.to_numpy()]
        frame[f"{field}{SUFFIX}"] = pd.Categorical.from_codes(codes, categories=text_index(categories))
    if taken:
        warn(f"study {study_id}: terms of {listing(taken)} were left out because the study has fields of these names")
    if not fields:
        warn(f"study {study_id} has no ontology terms for these fields: obs has none")
