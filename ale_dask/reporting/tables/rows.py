"""What rows of every cluster table have: place, size, region, networks, and the columns in their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.atlas import regions
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.networks import NETWORK, network_shares, share_words
from ale_dask.analyses.seed_reach import deciding_reach
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.tables.columns import CENTER, FORMATS, NETWORKS, SEED_SHARE, columns_of


def columns_in(table: str, result: xr.Dataset) -> list[str]:
    """Return the names of the columns of a table that a result has, in their order."""
    return [column.name for column in columns_of(table) if not column.needs or column.needs in result]


def seed_share(result: xr.Dataset, cluster: Cluster, *, base_rate: bool | None = None) -> dict[str, float]:
    """Return the share of a cluster's voxels that foci in the seed reach alone; {} without a seed."""
    reach = deciding_reach(result, base_rate=base_rate)
    return {} if reach is None else {SEED_SHARE: 100 * float(reach[cluster.voxels].mean())}


def networks_of(result: xr.Dataset, cluster: Cluster) -> dict[str, str]:
    """Return the shares of a cluster's voxels in the networks of a result; {} where its settings name none."""
    return {NETWORKS: share_words(network_shares(result, cluster.voxels))} if NETWORK in result else {}


def place_of(cluster: Cluster, mask: Mask, weight: npt.NDArray[Any]) -> dict[str, Any]:
    """Return number, peak, size, centre (weighted by a map of (voxel)), bounds and regions of a cluster, by column."""
    peak = dict(zip("XYZ", cluster.peak_mm.tolist(), strict=True))
    center = dict(zip(CENTER, cluster.center(weight, mask=mask).tolist(), strict=True))
    n = len(cluster.voxels)
    size = {"Cluster Size (mm3)": n * mask.voxel_volume, "Cluster Size (voxels)": n}
    names = regions_at(cluster.peak_mm, mask.to_mm(mask.voxel_ijk[cluster.voxels]))
    bounds = {"Bounds (mm)": cluster.bounds(mask=mask)}
    return {"Cluster ID": str(cluster.number), **peak, **size, **center, **bounds, **names}


def regions_at(peak: npt.NDArray[Any], voxels: npt.NDArray[Any] | None = None) -> dict[str, str]:
    """Return the anatomical names of a peak in mm, and of all voxels of its cluster; {} where no atlas is installed."""
    return regions(peak, voxels) if available(*LABELS) else {}


def frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Return a table of rows with these columns: numbers as float64, and NaN where a row has no value."""
    listed = {column: [row.get(column, np.nan) for row in rows] for column in columns}
    return pd.DataFrame({c: np.array(v, dtype=np.float64) if c in FORMATS else v for c, v in listed.items()})
