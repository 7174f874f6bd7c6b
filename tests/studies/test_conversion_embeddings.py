from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor.io.names import escaped, unwritable_key
from biocolab_accessor.studies.conversion import obsm_keys, select_embeddings


def test_computed_embeddings_get_scanpys_keys() -> None:
    assert obsm_keys(["PCA", "t-SNE", "UMAP"]) == {"PCA": "X_pca", "t-SNE": "X_tsne", "UMAP": "X_umap"}


def test_other_names_are_keys_themselves() -> None:
    names = ["spatial", "X_spatial", "My map!", "X_scVI", "50 %"]
    assert obsm_keys(names) == {name: name for name in names}


def test_an_embedding_submitted_under_a_key_keeps_it() -> None:
    assert obsm_keys(["UMAP", "X_umap", "umap"]) == {"UMAP": "X_umap_2", "X_umap": "X_umap", "umap": "X_umap_3"}


@given(st.lists(st.text(), unique=True))
def test_keys_are_all_different_and_can_be_written(names: list[str]) -> None:
    keys = obsm_keys(names)
    assert list(keys) == names
    assert len(set(keys.values())) == len(names)
    assert not any(unwritable_key(key) for key in keys.values())


@given(st.lists(st.text(max_size=5) | st.sampled_from(["umap", "UMAP", "t-SNE", "a/b", "spatial"]), unique=True))
def test_submitted_keys_are_restored_next_to_computed_embeddings(keys: list[str]) -> None:
    sent = [escaped(key, embedding=True) for key in keys]
    back = obsm_keys(["PCA", *sent, "UMAP", "t-SNE"])
    assert [back[name] for name in sent] == keys


def test_names_that_files_cannot_store_keep_letters_and_digits() -> None:
    assert obsm_keys(["a/b", "../My Map_1/", "X/x", "//", "/"]) == {
        "a/b": "X_a_b",
        "../My Map_1/": "X_my_map_1",
        "X/x": "X_x_x",
        "//": "X_embedding",
        "/": "X_embedding_2",
    }


@pytest.mark.parametrize("spoken", ["UMAP", "umap", "X_umap", "X_UMAP"])
def test_an_embedding_is_named_as_on_the_server_or_as_in_obsm(spoken: str) -> None:
    assert select_embeddings([spoken, "UMAP"], ["PCA", "UMAP"], "s") == ["UMAP"]


def test_a_name_of_the_server_goes_before_one_of_obsm() -> None:
    assert select_embeddings(["X_own", "own"], ["own", "X_own"], "s") == ["X_own", "own"]


def test_an_embedding_in_the_exact_case_is_chosen_before_others() -> None:
    assert select_embeddings(["PCA"], ["X_PCA", "pca"], "s") == ["X_PCA"]
    assert select_embeddings(["pca"], ["X_PCA", "pca"], "s") == ["pca"]
    assert select_embeddings(["Pca"], ["X_PCA"], "s") == ["X_PCA"]
