"""Embeddings: names of the server as keys of obsm."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from biocolab_accessor.errors import InvalidResponse
from biocolab_accessor.escape import computed_embedding, needs_escape, restored
from biocolab_accessor.naming import quoted

__all__ = ["obsm_keys", "to_obsm"]


def obsm_keys(names: list[str]) -> dict[str, str]:
    """For each embedding's name the key of obsm.

    What a server computes has the key under which scanpy looks for it: ``t-SNE`` becomes ``X_tsne``. Every other name
    is the key itself, so that what was sent under ``spatial`` is back as ``spatial``, and a key that was sent under a
    safe name (:mod:`biocolab_accessor.escape`) is what it was. Of names that no file could hold letters and digits are
    left: ``a/b`` becomes ``X_a_b``. Where two names meet in one key, the one that is spelled as the key has it, and the
    other gets a number.

    Examples
    --------
    >>> obsm_keys(["UMAP", "X_umap", "t-SNE", "spatial", "X_spatial"])
    {'UMAP': 'X_umap_2', 'X_umap': 'X_umap', 't-SNE': 'X_tsne', 'spatial': 'spatial', 'X_spatial': 'X_spatial'}
    """
    computed = {name: key for name in names if (key := computed_embedding(name))}
    sent = restored((name for name in names if name not in computed), embedding=True)
    keys = {name: key for name, key in sent.items() if key != name or not needs_escape(name)}
    taken = set(keys.values())
    for name in names:
        if name in keys:
            continue
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "embedding"
        base = key = computed.get(name, f"X_{slug}")
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
    """Embeddings by obsm key, and for each server's name the key that it became.

    Raises
    ------
    InvalidResponse
        One has another number of cells.
    """
    keys = obsm_keys(list(embeddings))
    for name, coordinates in embeddings.items():
        if len(coordinates) != n_obs:
            msg = f"study {study_id}: embedding {quoted(name)} has {len(coordinates):,} rows for {n_obs:,} cells"
            raise InvalidResponse(msg)
    return {keys[name]: array for name, array in embeddings.items()}, keys
