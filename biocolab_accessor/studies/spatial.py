"""Spatial: a study with cell centers as a SpatialData object."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.spatial import KDTree

from biocolab_accessor.errors import ConfigurationError, InvalidArgument, UnknownEmbedding
from biocolab_accessor.io.values import text_index
from biocolab_accessor.messages import counted, listing, quoted, warn

if TYPE_CHECKING:
    from spatialdata import SpatialData

__all__ = ["expect_radius", "expect_spatialdata", "radius_of", "spatial_data"]

_TABLE, _REGION, _CELL = "table", "region", "cell_id"


def expect_spatialdata() -> None:
    """Raise ConfigurationError if spatialdata is not installed."""
    try:
        import spatialdata  # noqa: F401
    except ImportError as error:
        msg = f"to_spatialdata() needs spatialdata: pip install 'biocolab_accessor[spatial]' ({error})"
        raise ConfigurationError(msg) from error


def expect_radius(radius: Any) -> None:
    """Raise InvalidArgument unless the radius is None or a positive number."""
    is_number = isinstance(radius, int | float | np.number) and not isinstance(radius, bool)
    if radius is not None and not (is_number and 0 < radius < math.inf):
        msg = f"radius is {quoted(radius):.80}: give a positive number in the unit of the cell centers, or None"
        raise InvalidArgument(msg)


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
