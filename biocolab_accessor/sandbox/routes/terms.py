"""Routes about standardised terms: the ontologies, what a label means, and all that was said so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biocolab_accessor.naming import did_you_mean, quoted
from biocolab_accessor.sandbox.refusal import Refusal, text, texts
from biocolab_accessor.sandbox.routes.account import expect_group, ok
from biocolab_accessor.sandbox.routes.study import own_study
from biocolab_accessor.sandbox.site import Site
from biocolab_accessor.sandbox.store.terms import TREE

__all__ = ["ROUTES"]

Body = Mapping[str, Any]


def get_ontologies(site: Site, user: str, body: Body) -> Any:
    """The tree of terms."""
    expect_group(site, user, body, public=True)
    return ok({"tree": TREE})


def assign_standardized_term(site: Site, user: str, body: Body) -> Any:
    """Say which term a label of a metadata field means."""
    expect_group(site, user, body)
    record, folder = own_study(site, user, body)
    columns, field, label = folder.obs.columns, text(body, "group"), text(body, "name")
    if field not in columns:
        detail = f"study {quoted(record.hash_id)} has no field {quoted(field)}{did_you_mean(field, columns)}"
        raise Refusal(404, detail)
    labels = columns[field].labels or ()
    if label not in labels:
        detail = f"field {quoted(field)} has no label {quoted(label)}{did_you_mean(label, labels)}"
        raise Refusal(404, detail)
    try:
        site.terms.assign(record.uuid, field, label, text(body, "root_id"), text(body, "leaf_id"))
    except LookupError as error:
        raise Refusal(404, str(error)) from error
    return ok({})


def export_std_metadata(site: Site, user: str, body: Body) -> Any:
    """Rows of all assigned terms, of the studies named or of all that the user sees."""
    wanted = texts(body, "study_ids")
    studies = [site.by_uuid(user, uuid).uuid for uuid in wanted] or [r.uuid for r in site.catalogue.studies(user)]
    return ok(site.terms.of(studies))


ROUTES = {
    "get_ontologies": get_ontologies,
    "study/assign_standardized_term": assign_standardized_term,
    "export_std_metadata": export_std_metadata,
}
