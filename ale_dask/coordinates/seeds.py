"""Places by which experiments were selected: their foci there converge by construction."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.config.foci_source import Step
from ale_dask.config.inference import BUILT_IN
from ale_dask.coordinates.masks import load_mask
from ale_dask.numerics.space import Mask

SEED = "seed"
"""The key of a row of a selection that holds the place by which it selected."""


def seed_record(step: Step) -> dict[str, Any]:
    """Return the place of a rule that asks for a focus in a sphere or an image, as plain values; {} for other rules.

    A mask that comes with the package is no such place: hardly an experiment has no focus in the brain.
    """
    if step.near is not None:
        return {SEED: {"near": list(step.near), "mm": step.mm}}
    if step.inside is None or step.inside in BUILT_IN:
        return {}
    region = load_mask(step.inside, key="inside")
    packed = base64.b64encode(zlib.compress(np.packbits(region.volume).tobytes(), 9)).decode()
    return {SEED: {"bits": packed, "shape": list(region.volume.shape), "affine": region.affine.tolist()}}


def foci_in_seeds(foci: xr.Dataset) -> npt.NDArray[np.bool_] | None:
    """Return whether each focus (focus) lies in a place by which its sample was selected; None without such a place."""
    seeds = [row[SEED] for row in json.loads(foci.attrs.get("selection", "[]")) if SEED in row]
    if not seeds:
        return None
    xyz = foci["focus_xyz"].values
    return np.asarray(np.any([_inside(seed, xyz) for seed in seeds], axis=0), dtype=bool)


def _inside(seed: dict[str, Any], xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    if "near" in seed:
        return np.asarray(((xyz - np.array(seed["near"])) ** 2).sum(axis=1) <= seed["mm"] ** 2)
    shape = tuple(seed["shape"])
    bits = np.frombuffer(zlib.decompress(base64.b64decode(seed["bits"])), dtype=np.uint8)
    volume = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
    return np.asarray(Mask(volume, np.array(seed["affine"]), name=SEED).voxel_at(xyz) >= 0)
