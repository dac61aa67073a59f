"""Main effects of small samples with one scale, so that their integers can be compared."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

import ale_dask as ale

SETTINGS = {"iterations": 60, "voxel_p": 0.01, "min_volume": 8.0, "null": "uniform"}


BITS = 24


def effect(foci: xr.Dataset, tiny: Path, name: str, **changes: object) -> xr.Dataset:
    mask = str(tiny / "ball.nii.gz")
    return ale.main_effect(foci, mask=mask, name=name, scale_bits=BITS, **(SETTINGS | changes))
