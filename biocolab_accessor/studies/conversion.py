"""Conversion: genes, metadata and embeddings from the protocol's form to that of an AnnData or a SpatialData."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from biocolab_accessor.errors import (
    AmbiguousName,
    ConfigurationError,
    InvalidArgument,
    InvalidResponse,
    UnknownEmbedding,
    UnknownField,
    UnknownGene,
)
from biocolab_accessor.io.names import computed_embedding, is_barcodes, needs_escape, restored
from biocolab_accessor.io.values import labelled, numbers, text_index
from biocolab_accessor.messages import counted, did_you_mean, listing, natural_key, quoted, warn
from biocolab_accessor.protocol import argument_names

if TYPE_CHECKING:
    from spatialdata import SpatialData


def obsm_keys(names: list[str]) -> dict[str, str]:
    """The key of obsm for each name of an embedding."""
    # An embedding that the server computed gets the key that scanpy expects: t-SNE becomes X_tsne. Other names are keys
    # themselves, so spatial stays spatial and an escaped name gets its original key back. A name that no file can store
    # keeps its letters and digits: a/b becomes X_a_b. If two names result in one key, the name that equals the key gets
    # it, and the other one gets a number.
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
    """Embeddings by obsm key, and the key of each name; InvalidResponse if the number of cells is wrong."""
    keys = obsm_keys(list(embeddings))
    for name, coordinates in embeddings.items():
        if len(coordinates) != n_obs:
            msg = f"study {study_id}: embedding {quoted(name)} has {len(coordinates):,} rows for {n_obs:,} cells"
            raise InvalidResponse(msg)
    return {keys[name]: array for name, array in embeddings.items()}, keys


def select_embeddings(wanted: Sequence[str], names: Sequence[str], study_id: str | list[str]) -> list[str]:
    """The server's name of each requested embedding, given as that name, as its key in obsm, or without ``X_``."""
    keys = obsm_keys(list(names))
    meant = {spoken.casefold(): name for name, key in keys.items() for spoken in (key.removeprefix("X_"), key, name)}
    # The exact case before any other; keys before names, and names before keys without "X_".
    meant |= {key.removeprefix("X_"): name for name, key in keys.items()}
    meant |= {name: name for name in keys} | {key: name for name, key in keys.items()}
    found = [meant.get(each) or meant.get(each.casefold()) for each in wanted]
    missing = [each for each, name in zip(wanted, found, strict=True) if name is None]
    if missing and not keys:
        msg = f"{owner(study_id)} has no embeddings: none were submitted or computed"
        raise UnknownEmbedding(msg)
    if missing:
        near = "; ".join(f"{quoted(each)}{did_you_mean(each, [*keys, *keys.values()])}" for each in missing)
        msg = f"{owner(study_id)} has no embedding {near}. It has {listing(keys.values())}"
        raise UnknownEmbedding(msg)
    return list(dict.fromkeys(name for name in found if name is not None))


_Matrix = TypeVar("_Matrix", sparse.csc_matrix, sparse.csr_matrix)


def expect_shape(matrix: _Matrix, n_obs: int, n_vars: int, study_id: str) -> _Matrix:
    """The matrix, or InvalidResponse if it does not have the study's shape."""
    if matrix.shape != (n_obs, n_vars):
        n, m = matrix.shape
        msg = f"study {study_id}: the matrix is {n:,} x {m:,}, but there are {n_obs:,} barcodes and {n_vars:,} features"
        raise InvalidResponse(msg)
    return matrix


def owner(study_id: str | list[str]) -> str:
    """The subject of a message: a study by its id, or a collection by the ids of its studies."""
    if isinstance(study_id, str):
        return f"study {quoted(study_id)}"
    return f"the collection of {listing(study_id, limit=2)}"


def gene_names(genes: Sequence[str] | str) -> list[str]:
    """Gene names from an argument, each once."""
    wanted = list(dict.fromkeys(argument_names(genes, "genes")))
    if not wanted:
        msg = "genes is empty: give names, or None for all genes"
        raise InvalidArgument(msg)
    return wanted


def select_genes(genes: Sequence[str] | str, features: Sequence[str], study_id: str | list[str]) -> list[str]:
    """The requested genes, each once, in order, after a check that the study has each of them once."""
    wanted = gene_names(genes)
    counts = Counter(features)
    missing = [gene for gene in wanted if gene not in counts]
    if missing:
        near = ", ".join(f"{quoted(gene)}{did_you_mean(str(gene), counts)}" for gene in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        msg = f"{owner(study_id)} has no gene {near}{more}; see study.features()"
        raise UnknownGene(msg)
    twice = [gene for gene in wanted if counts[gene] > 1]
    if twice:
        msg = (
            f"{owner(study_id)} has several features named {listing(twice)}: "
            "fetch it without genes= and select by var['feature']"
        )
        raise AmbiguousName(msg)
    return wanted


def gene_stripes(
    query: Callable[[Sequence[str]], sparse.csc_matrix], genes: Sequence[str], first: int, most: int
) -> Generator[sparse.csc_matrix, None, None]:
    """The matrix in groups of consecutive genes, about ``most`` non-zeros each; ``first`` genes to begin with."""
    start, step = 0, max(1, first)
    while start < len(genes):
        stripe = query(genes[start : start + step])
        yield stripe
        start += step
        step = max(1, min(4 * step, int(step * most / max(stripe.nnz, 1))))


ObsColumn = pd.Series | pd.Categorical
"""Numbers, or labels."""


def categorical(codes: NDArray[np.uint16], categories: Sequence[str]) -> pd.Categorical[Any]:
    """A Categorical from codes and the server's labels, where a repeated label becomes one category."""
    place = {label: i for i, label in enumerate(dict.fromkeys(categories))}
    wide = np.asarray(codes, np.int32)
    if len(place) < len(categories):
        wide = np.array([place[label] for label in categories], np.int32)[wide]
    return pd.Categorical.from_codes(wide, categories=text_index(list(place)))


def column(values: Sequence[Any]) -> ObsColumn:
    """A JSON column as an obs column: bool, int64, uint64, float64, or a Categorical of strings."""
    # The JSON type decides, not the look of a string: "001" stays a string. null is a missing value: NaN in numbers
    # (integers become float64, or Int64 where float64 would not be exact), and no category in strings and booleans.
    # Numbers that no dtype holds exactly, such as -1 and 2**64-1 in one column, become labels. The protocol does not
    # transfer the order of categories; they get the natural order, with cluster 2 before cluster 10.
    present = [value for value in values if value is not None]
    kinds = {bool if isinstance(value, bool) else type(value) for value in present}
    if kinds & {list, dict}:
        msg = "a metadata column contains lists or objects instead of values"
        raise InvalidResponse(msg)
    if present and kinds <= {int, float}:
        try:
            found = numbers(values)
        except OverflowError as error:
            msg = "a metadata column contains a number that is too large for a float"
            raise InvalidResponse(msg) from error
        if found is not None:
            return found
    if kinds == {bool} and len(present) == len(values):
        return pd.Series(values, dtype=bool)
    if not present:
        return pd.Series(np.full(len(values), np.nan))
    labels = [None if value is None else str(value) for value in values]
    return labelled(labels, sorted({label for label in labels if label is not None}, key=natural_key))


def align(columns: Mapping[str, Sequence[Any]], barcodes: Sequence[str], what: str) -> dict[str, list[Any]]:
    """JSON columns in the order of ``barcodes``, without the barcode column."""
    # If several columns could hold the barcodes, the one with the name closest to the protocol's ``barcodes`` does.
    named = sorted(filter(is_barcodes, columns), key=lambda name: (name != "barcodes", name.casefold() != "barcodes"))
    key = named[0] if named else None
    lengths = {len(values) for values in columns.values()}
    if lengths - {len(barcodes)}:
        msg = f"{what}: {max(lengths):,} rows for {len(barcodes):,} cells"
        raise InvalidResponse(msg)
    rest = {name: list(values) for name, values in columns.items() if name != key}
    own = list(columns[key]) if key is not None else list(barcodes)
    if own == list(barcodes):
        return rest
    place = {str(barcode): i for i, barcode in enumerate(own)}
    if len(place) < len(own) or place.keys() != set(barcodes):
        msg = f"{what}: its barcodes differ from those of the matrix"
        raise InvalidResponse(msg)
    order = [place[barcode] for barcode in barcodes]
    return {name: [values[i] for i in order] for name, values in rest.items()}


def select_fields(fields: Sequence[str] | str | None, known: Sequence[str], study_id: str | list[str]) -> list[str]:
    """The requested fields, or all."""
    if fields is None:
        return list(known)
    wanted = list(dict.fromkeys(argument_names(fields, "fields")))
    missing = [name for name in wanted if name not in known]
    if missing:
        near = "; ".join(f"{quoted(name)}{did_you_mean(str(name), known)}" for name in missing)
        msg = f"{owner(study_id)} has no metadata field {near}. It has {listing(known)}"
        raise UnknownField(msg)
    return wanted


def unique_names(names: Sequence[str]) -> list[str]:
    """Names with ``-1``, ``-2``, … appended to repeated ones, without colliding with an existing name."""
    if len(set(names)) == len(names):
        return list(names)
    taken, seen, result = set(names), set[str](), list[str]()
    counts: dict[str, int] = {}
    for name in names:
        unique = name
        while unique in seen or (unique != name and unique in taken):
            counts[name] = counts.get(name, 0) + 1
            unique = f"{name}-{counts[name]}"
        seen.add(unique)
        result.append(unique)
    return result


_TABLE, _REGION, _CELL = "table", "region", "cell_id"


def expect_spatial(radius: Any) -> None:
    """Raise unless the radius is None or a positive number, and spatialdata is installed."""
    is_number = isinstance(radius, int | float | np.number) and not isinstance(radius, bool)
    if radius is not None and not (is_number and 0 < radius < math.inf):
        msg = f"radius is {quoted(radius):.80}: give a positive number in the unit of the cell centers, or None"
        raise InvalidArgument(msg)
    try:
        import spatialdata  # noqa: F401
    except ImportError as error:
        msg = f"to_spatialdata() needs spatialdata: pip install 'biocolab_accessor[spatial]' ({error})"
        raise ConfigurationError(msg) from error


def spatial_data(adata: AnnData, centers: pd.DataFrame, radius: float | None, study_id: str) -> SpatialData:
    """The AnnData as the table of circles around the cell centers; see :meth:`Study.to_spatialdata`."""
    import spatialdata
    from spatialdata.models import ShapesModel, TableModel
    from spatialdata.transformations import Identity

    placed = centers.loc[adata.obs_names]
    known = placed[["x", "y"]].notna().all(axis=1).to_numpy()
    if not known.any():
        msg = f"study {quoted(study_id)}: none of the {counted(len(placed), 'selected cell')} has a position"
        raise UnknownEmbedding(msg)
    if not known.all():
        warn(f"study {study_id}: {counted(int((~known).sum()), 'cell')} without a position left out")
        adata, placed = adata[known].copy(), placed[known]
    columns = list(adata.obs.columns)
    spatialdata.sanitize_table(adata)
    valid = spatialdata.sanitize_name
    if again := [new for old, new in zip(columns, adata.obs.columns, strict=True) if new != valid(old, True)]:
        warn(f"study {study_id}: SpatialData cannot tell some fields apart, so they got numbers: {listing(again)}")
    samples = placed["sample"].cat.remove_unused_categories()
    regions = _free_names(list(samples.cat.categories), [_TABLE], valid)
    region, cell = _free_names([_REGION, _CELL], list(adata.obs.columns), str)
    adata.obs[region] = pd.Categorical.from_codes(samples.cat.codes.to_numpy(), categories=text_index(regions))
    adata.obs[cell] = adata.obs_names
    adata.obsm["spatial"] = placed[["x", "y"]].to_numpy(np.float64)
    shapes = {}
    for name in regions:
        own = (adata.obs[region] == name).to_numpy()
        points = adata.obsm["spatial"][own]
        shapes[name] = ShapesModel.parse(
            points,
            geometry=0,
            radius=radius_of(points) if radius is None else float(radius),
            index=adata.obs_names[own],
            transformations={name: Identity()},
        )
    table = TableModel.parse(adata, region=regions, region_key=region, instance_key=cell)
    return spatialdata.SpatialData(shapes=shapes, tables={_TABLE: table})


def radius_of(points: NDArray[np.float64]) -> float:
    """Half the median distance of a cell to its nearest neighbor; 1 if all cells are in the same place."""
    from scipy.spatial import KDTree  # few studies need it

    places = np.unique(points, axis=0)
    if len(places) < 2:
        return 1.0
    return float(np.median(KDTree(places).query(places, k=2)[0][:, 1]) / 2)


def _free_names(names: Sequence[str], taken: Sequence[str], valid: Callable[[str], str]) -> list[str]:
    """Valid names, different from those taken and from each other, even ignoring case."""
    used = {name.casefold() for name in taken}
    found = []
    for name in names:
        free = base = valid(name)
        number = 1
        while free.casefold() in used:
            free = f"{base}_{number}"
            number += 1
        used.add(free.casefold())
        found.append(free)
    return found
