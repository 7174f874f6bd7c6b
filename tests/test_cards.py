"""Cards of studies, submissions, collections and plans: what is known, and the next call, without a request."""

from __future__ import annotations

import html

import anndata as ad
import numpy as np
import pytest

import biocolab_accessor as bc
from biocolab_accessor.clients.http import HttpClient
from biocolab_accessor.sandbox.server import Sandbox


@pytest.fixture(scope="module")
def submission(server: Sandbox) -> bc.Submission:
    adata = ad.AnnData(np.eye(9, dtype=np.float32) + 1)
    adata.obs["grade"], adata.obsm["X_umap"] = "good", np.zeros((9, 2), np.float32)
    return adata.biocolab.submit(study_id="card", skip_dimred=True)


def shown(card: object) -> str:
    return html.unescape(card._repr_html_())  # type: ignore[attr-defined]


def test_a_card_of_a_study_shows_what_was_fetched_and_a_call_that_works(submission: bc.Submission) -> None:
    study = submission.study()
    assert "9 cells" not in shown(study)
    study.to_anndata()
    card = shown(study)
    assert "9 cells x 9 genes" in card
    assert "'grade'" in card
    assert "X_umap (sent)" in card
    assert submission.study_info["uuid"] in card
    call = f"bc.study('{submission.study_info['uuid']}', source='bbrowserx', species='human').to_anndata()"
    assert call in card
    assert eval(call).shape == (9, 9)


def test_the_servers_umap_is_told_from_the_senders(server: Sandbox, submission: bc.Submission) -> None:
    study = submission.study()
    study._parts.source.known_embeddings = ["X_umap", "UMAP"]
    assert "X_umap (sent), X_umap_2 (computed by the server)" in shown(study)


def test_cards_make_no_request(submission: bc.Submission, monkeypatch: pytest.MonkeyPatch) -> None:
    study, public = submission.study(), bc.study("PBMC68k_reduced")
    collection = bc.collection(["PBMC68k_reduced"])

    def fail(*_: object, **__: object) -> None:
        pytest.fail("a card made a request")

    monkeypatch.setattr(HttpClient, "_answer", fail)
    for card in (study, public, collection, submission):
        assert "next" in shown(card)
        repr(card)


def test_a_card_of_a_submission_shows_the_uuid_and_the_next_call(submission: bc.Submission) -> None:
    card = shown(submission)
    assert submission.study_info["uuid"] in card
    assert "submission.study().to_anndata()" in card


def test_a_card_of_a_collection_lists_its_studies_and_their_sizes_once_known(server: Sandbox) -> None:
    collection = bc.collection(["PBMC68k_reduced"])
    assert "Collection of 1 study" in shown(collection)
    collection.to_anndata(genes=["LYZ"], dry_run=True)
    assert "bioflex · 700 cells x 765 genes" in shown(collection)


def test_a_plan_says_how_to_send_it() -> None:
    plan = ad.AnnData(np.eye(3, dtype=np.float32)).biocolab.submit(dry_run=True)
    assert "to send: the same call without dry_run" in repr(plan)


def test_parts_that_are_not_sent_are_counted_after_five() -> None:
    adata = ad.AnnData(np.eye(3, dtype=np.float32), uns={f"u{i}": i for i in range(8)})
    found = next(each for each in bc.check(adata) if each.code == "BC501")
    assert found.examples == (*(f"uns['u{i}']" for i in range(5)), "and 3 more")
    assert found.count == 8
