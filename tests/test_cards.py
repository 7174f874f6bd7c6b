"""Cards of studies, submissions, collections and plans: what is known, and the next call, without a request."""

from __future__ import annotations

import copy
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
    assert "9 cells x 9 genes" in shown(study)  # as the server said when it made the study
    found = bc.study("card", source="bbrowserx", group="personal")
    assert "9 cells" not in shown(found)
    study.to_anndata()
    card = shown(study)
    assert "9 cells x 9 genes" in card
    assert "'grade'" in card
    assert "X_umap (sent)" in card
    assert submission.study_info["uuid"] in card
    call = f"bc.study('{submission.study_info['uuid']}', source='bbrowserx', species='human').to_anndata()"
    assert call in card
    assert eval(call).shape == (9, 9)


def test_the_card_of_a_study_of_the_database_shows_its_fields(server: Sandbox) -> None:
    assert "'bulk_labels', 'n_genes'" in shown(bc.study("PBMC68k_reduced"))


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


def test_a_submission_shows_how_many_cells_of_each_batch_were_kept(server: Sandbox) -> None:
    counts = np.ones((2100, 9), np.float32)
    counts[:600] = 0
    adata = ad.AnnData(counts)
    adata.obs["sample"] = ["gone"] * 500 + ["some"] * 600 + ["all"] * 1000
    card = shown(adata.biocolab.submit(batch_key="sample", min_counts=1, skip_dimred=True))
    assert "<td style='text-align:left'>1,500 of 2,100 cells x 9 genes<" in card
    assert "some 500 of 600, all 1,000, gone 0 of 500" in card


def test_a_submission_shows_no_size_that_its_server_did_not_send(submission: bc.Submission) -> None:
    assert "9 cells x 9 genes" in shown(submission)
    other = copy.copy(submission)
    for size in ({}, {"n_cells": "9", "batches": [1]}, {"n_cells": -1}, {"n_cells": True}):
        other.study_info = {"uuid": "u", **size}
        assert "kept" not in shown(other)


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
