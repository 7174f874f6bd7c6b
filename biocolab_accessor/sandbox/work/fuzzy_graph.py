"""Fuzzy graph: exact neighbours of cells, UMAP's weights of their edges, and UMAP's layout by igraph.

umap-learn and pynndescent compute the same, but are compiled first, for some twenty seconds in each process
(lmcinnes/pynndescent#111).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["FuzzyGraph"]

_CHUNK = 4096
_STEPS = 64
_TOLERANCE = 1e-5
# A scale that is shorter than this share of the mean distance counts as this share.
_SHORTEST = 1e-3
# python-igraph 1.0 takes distances as whole numbers and cuts the rest off; their unit is of no importance.
_UNIT = 1e6
_FARTHEST = 50.0
# In smaller graphs igraph keeps neighbours from repelling each other, and a few cells end up in one place.
_FEWEST_VERTICES = 100
_FAR_AWAY = 1e3
_EXTENT, _NOISE = 10.0, 1e-4
_MIN_DIST = 0.5  # as in scanpy
_MOST_EPOCHS, _FEWEST_EPOCHS, _EPOCHS_FOR_ALL = 500, 200, 1_000_000


@dataclass(frozen=True)
class FuzzyGraph:
    """Each cell's nearest neighbours.

    Attributes
    ----------
    indices
        Cells x neighbours, the nearest first, without the cell itself.
    distances
        As far away as they are, exactly zero for equal cells.
    memberships
        How much each neighbour belongs to the cell: 1 for the nearest that is not equal to it, and less for others.
    """

    indices: NDArray[np.intp]
    distances: NDArray[np.float64]
    memberships: NDArray[np.float64]

    @classmethod
    def of(cls, coordinates: NDArray[np.floating], n_neighbors: int) -> FuzzyGraph:
        """Find the neighbours; ``n_neighbors`` counts the cell itself, as it does in scanpy and umap-learn."""
        from sklearn.neighbors import NearestNeighbors

        finder = NearestNeighbors(n_neighbors=n_neighbors - 1, algorithm="brute").fit(coordinates)
        indices = finder.kneighbors(return_distance=False)
        # The search rounds: equal cells may lie 1e-6 apart in it, and which is the nearest decides about the weights.
        distances = np.empty(indices.shape)
        for start in range(0, len(indices), _CHUNK):
            here = slice(start, start + _CHUNK)
            between = coordinates[here, None] - coordinates[indices[here]]
            distances[here] = np.sqrt(np.einsum("ijk,ijk->ij", between, between, dtype=np.float64))
        order = np.argsort(distances, axis=1, kind="stable")
        indices, distances = np.take_along_axis(indices, order, 1), np.take_along_axis(distances, order, 1)
        return cls(indices, distances, _memberships(distances))

    def connectivities(self) -> sparse.csr_matrix:
        """Weights of the edges: the fuzzy union of what each of two cells says of the other."""
        n_obs, n_neighbors = self.indices.shape
        starts = np.arange(0, n_obs * n_neighbors + 1, n_neighbors)
        directed = sparse.csr_matrix((self.memberships.ravel(), self.indices.ravel(), starts), shape=(n_obs, n_obs))
        directed.sort_indices()
        reverse = directed.T.tocsr()
        union = sparse.csr_matrix(directed + reverse - directed.multiply(reverse))
        union.eliminate_zeros()
        return union

    def layout(self, start: NDArray[np.floating]) -> NDArray[np.float32]:
        """Place the cells in two dimensions, always in the same way; ``start`` is where they are in the beginning."""
        import igraph

        n_obs, n_neighbors = self.indices.shape
        n_vertices = max(n_obs, _FEWEST_VERTICES)
        with np.errstate(divide="ignore"):
            distances = np.minimum(-np.log(self.memberships), _FARTHEST)
        sources = np.repeat(np.arange(n_obs), n_neighbors)
        edges = np.column_stack([sources, self.indices.ravel()])
        graph = igraph.Graph(n=n_vertices, edges=edges.tolist(), directed=True)
        seed = np.full((n_vertices, 2), _FAR_AWAY)
        seed[:n_obs] = _scaled(start)
        igraph.set_random_number_generator(random.Random(0))
        try:
            placed = graph.layout_umap(
                dist=np.rint(distances * _UNIT).ravel().tolist(),
                seed=seed.tolist(),
                min_dist=_MIN_DIST,
                epochs=min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, _EPOCHS_FOR_ALL // n_obs)),
            )
        finally:
            igraph.set_random_number_generator(random)
        found = np.asarray(placed.coords)[:n_obs]
        return np.asarray(found - found.mean(axis=0), np.float32)


def _memberships(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that fall off from the nearest neighbour on, so fast that those of a cell sum up to log2 of their number.

    McInnes, Healy and Melville, arXiv:1802.03426, algorithm 3; equal cells are taken as umap-learn takes them.
    """
    n_obs, n_neighbors = distances.shape
    nearest = np.where(distances > 0, distances, np.inf).min(axis=1)
    nearest[np.isinf(nearest)] = 0
    beyond = np.maximum(distances - nearest[:, None], 0)
    target = np.log2(n_neighbors + 1)
    low, high, scale = np.zeros(n_obs), np.full(n_obs, np.inf), np.ones(n_obs)
    for _ in range(_STEPS):
        total = np.exp(-beyond / scale[:, None]).sum(axis=1)
        wrong = np.abs(total - target) >= _TOLERANCE
        if not wrong.any():
            break
        high = np.where(wrong & (total > target), scale, high)
        low = np.where(wrong & (total <= target), scale, low)
        middle = np.where(np.isinf(high), 2 * scale, (low + np.where(np.isinf(high), 0, high)) / 2)
        scale = np.where(wrong, middle, scale)
    # Of a cell and its neighbours, as in umap-learn, where the cell is the first of them.
    share = n_neighbors / (n_neighbors + 1)
    mean = np.where(nearest > 0, distances.mean(axis=1), distances.mean()) * share
    scale = np.maximum(scale, _SHORTEST * mean)
    return np.asarray(np.exp(-beyond / scale[:, None]))


def _scaled(start: NDArray[np.floating]) -> NDArray[np.float64]:
    """Where the layout starts: as wide as umap-learn's start, and no two cells in quite the same place."""
    centred = np.asarray(start, np.float64) - start.mean(axis=0)
    widest = np.abs(centred).max()
    noise = np.random.default_rng(0).normal(scale=_NOISE, size=centred.shape)
    return np.asarray(centred * (_EXTENT / widest if widest > 0 else 1) + noise)
