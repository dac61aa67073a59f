"""List the maps of each pair of groups where a moderator compares several, and say what survives in each."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.model import PAIR, model_of
from ale_dask.analyses.moderator_pairs import MOST_PAIRS, groups_of_pairs
from ale_dask.reporting.common.map_spec import MapSpec, Read
from ale_dask.reporting.common.maps import map_specs_of, with_cluster_numbers

_PAIRS = (
    "family-wise error of voxels and pairs of groups at {contrast_p:g}, over the tested voxels, a region that no "
    "permutation changes, against the null that no two groups differ; where only other groups differ, permuting all of "
    "them approximates the null of a pair"
)


def pair_maps(result: xr.Dataset) -> tuple[MapSpec, ...]:
    """Return the maps of each pair of groups, where a moderator compares several: T / sd, p, and what survives."""
    if "t_pair" not in result:
        return ()
    levels = [str(level) for level in result.attrs["levels"]]
    ends = [re.sub(r"[^A-Za-z0-9]+", "", level) for level in levels]
    # Names of groups that differ only in signs that file names lack have their numbers instead.
    ends = (
        ends if len({end.lower() for end in ends if end}) == len(ends) else [f"group{n + 1}" for n in range(len(ends))]
    )
    named = dict(zip(levels, ends, strict=True))
    maps: list[MapSpec] = []
    for number, (first, second) in enumerate(groups_of_pairs(levels)):
        desc, both = f"desc-{named[first]}Minus{named[second]}", f"{first} against {second}"
        corrected = f"{desc}_level-voxel_corr-FWE"
        what = f"{both}: T over its permutation standard deviation, positive where {first} has more"
        shown = MapSpec(
            f"z_{corrected}",
            _pair_reader("z_pair_voxel_fwe", number),
            f"{what}, where the pair survives FWE over voxels and pairs",
            _PAIRS,
            PAIR,
            both,
            units="sd",
            cuts=("contrast_p",),
            directions=(f"{first} > {second}", f"{second} > {first}"),
            table=f"_{desc}_level-voxel",
        )
        maps += [
            MapSpec(f"stat_{desc}", _pair_reader("t_pair", number), f"{what}; 0: not tested", units="sd"),
            MapSpec(
                f"p_{corrected}",
                _pair_reader("p_pair_voxel_fwe", number),
                f"{both}: two-sided p, family-wise over voxels and pairs; NaN: not tested",
                _PAIRS,
                units="p",
            ),
            shown,
        ]
    return with_cluster_numbers(tuple(maps))


def _pair_reader(variable: str, number: int) -> Read:
    def read(result: xr.Dataset) -> npt.NDArray[Any]:
        return np.asarray(result[variable].values[number])

    return read


def pair_facts(result: xr.Dataset) -> list[tuple[str, str]]:
    """Return what survives in each pair of groups in words; of too many pairs, that they have no maps."""
    pairs = result.attrs.get("pairs", ())
    if "t_pair" not in result:
        many = f"{len(pairs):,} pairs, more than {MOST_PAIRS}: only the largest difference has a map"
        return [("Pairs of groups", many)] if len(pairs) else []
    said = []
    for spec in map_specs_of(result):
        if spec.level == PAIR:
            volumes = [(spec.read(result) * sign > 0).sum() * model_of(result).mask.voxel_volume for sign in (1, -1)]
            found = [f"{way} {v:,.0f} mm³" for way, v in zip(spec.directions, volumes, strict=True) if v]
            said.append(" and ".join(found) or f"{spec.source} nothing")
    return [
        (f"Pairs of groups, FWE over voxels and pairs p ≤ {model_of(result).inference.contrast_p:g}", "; ".join(said))
    ]
