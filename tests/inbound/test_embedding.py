from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from biocolab_accessor.inbound.embedding import obsm_keys


def test_usual_names_get_scanpys_keys() -> None:
    assert obsm_keys(["PCA", "t-SNE", "UMAP", "My map!"]) == {
        "PCA": "X_pca",
        "t-SNE": "X_tsne",
        "UMAP": "X_umap",
        "My map!": "X_my_map",
    }


def test_what_was_submitted_under_a_key_keeps_it() -> None:
    assert obsm_keys(["UMAP", "X_umap", "umap"]) == {"UMAP": "X_umap_2", "X_umap": "X_umap", "umap": "X_umap_3"}


@given(st.lists(st.text(), unique=True))
def test_keys_are_all_different_and_can_be_written(names: list[str]) -> None:
    keys = obsm_keys(names)
    assert list(keys) == names
    assert len(set(keys.values())) == len(names)
    assert all("/" not in key and key.startswith("X_") for key in keys.values())
