"""Say what contrasts, their conjunctions and moderators have in common: directions, and labels that are permuted."""

from __future__ import annotations

import xarray as xr
from scipy import special

from ale_dask.analyses.findings.model import PAIR, model_of
from ale_dask.config.inference import Inference
from ale_dask.reporting.common.map_spec import MapSpec
from ale_dask.reporting.common.wording import controls, label


def levels_fact(i: Inference) -> str:
    """Return the levels at which voxels survive in each direction."""
    return f"uncorrected p < {i.contrast_p:g}, at least {i.min_volume:g} mm³; voxel FWE p ≤ {i.contrast_p:g}"


def clusters_facts(result: xr.Dataset, *, dimension: str, permuted: str) -> list[tuple[str, str]]:
    """Return how many clusters were tested and what formed them; nothing where none were.

    `dimension` is that of the tested clusters, and `permuted` the word for relabellings or permutations.
    """
    if f"{dimension}_size" not in result:
        return []
    i, n = model_of(result).inference, result.sizes[dimension]
    formed = f"formed where p < {i.voxel_p:g} among all {permuted}"
    return [("Clusters tested", f"{n}, {formed}; FWE p ≤ {i.cluster_p:g}")]


def permuted_note(result: xr.Dataset, spec: MapSpec, *, heading: str, permuted: str, ties: str = "") -> str:
    """Return what the note below the table of a paper says of the p of a map, and the error that is controlled.

    `ties` says which voxel of equal z is the peak.
    """
    attrs, i = result.attrs, model_of(result).inference
    n = int(attrs["iterations"])
    number = f"{n:,} {permuted}{', which are all' if attrs['enumerated'] else ''}"
    if spec.level != "uncorrected":
        of = "peak" if spec.level in ("voxel-fwe", PAIR) else f"cluster's {spec.level[:4]}"
        return (
            f"{heading}, {label(result, spec)}: p is of the {of}, family-wise, from {number}. Controlled is the "
            f"{controls(result, spec)}."
        )
    least = 1 / n if attrs["enumerated"] or i.relabel_p == "share" else 1 / (1 + n)
    return (
        f"{heading}, uncorrected: p is of the peak, uncorrected, from {number}, so that Z is at most "
        f"{-special.ndtri(least):.2f}{ties}. Shown is {controls(result, spec)}."
    )
