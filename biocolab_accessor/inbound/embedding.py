"""Embeddings: names of the server as keys of obsm."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.escape import escaped, restored

__all__ = ["obsm_keys", "to_obsm"]

_KNOWN = {"umap": "X_umap", "tsne": "X_tsne", "pca": "X_pca"}


def obsm_keys(names: list[str]) -> dict[str, str]:
    """For each embedding's name the obsm key that scanpy would look under.

    Names that are keys already (``X_umap``) keep them; ``t-SNE`` becomes ``X_tsne``, ``My map`` becomes ``X_my_map``.
    A key that was sent under a safe name (:mod:`biocolab_accessor.escape`) is what it was. Where two names meet in one
    key, the one that is spelled as the key has it, and the other gets a number.

    Examples
    --------
    >>> obsm_keys(["UMAP", "X_umap", "t-SNE"])
    {'UMAP': 'X_umap_2', 'X_umap': 'X_umap', 't-SNE': 'X_tsne'}
    """
    keys = {
        name: original
        for name, original in restored(names).items()
        if original != name or re.fullmatch(r"X_[A-Za-z0-9_.-]+", name)
    }
    taken = set(keys.values())
    for name in names:
        if name in keys:
            continue
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "embedding"
        base = key = _KNOWN.get(plain, f"X_{slug}")
        number = 2
        while key in taken:
            key = f"{base}_{number}"
            number += 1
        taken.add(key)
        keys[name] = key
    return {name: keys[name] for name in names}


def to_obsm(
    embeddings: Mapping[str, NDArray[np.float32]], n_obs: int, study_id: str
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Embeddings by obsm key, and the server's name of each key.

    Raises
    ------
    InvalidResponse
        One has another number of cells.
    """
    keys = obsm_keys(list(embeddings))
    for name, coordinates in embeddings.items():
        if len(coordinates) != n_obs:
            msg = f"study {study_id}: embedding {name!r} has {len(coordinates):,} rows for {n_obs:,} cells"
            raise InvalidResponse(msg)
    arrays = {keys[name]: array for name, array in embeddings.items()}
    # A key that was made safe says so itself, and would be no key for the provenance to be written with.
    return arrays, {key: name for name, key in keys.items() if escaped(key) != name or key == name}
