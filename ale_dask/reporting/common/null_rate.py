"""Say how many of the uniform null's voxels reach the cluster-forming value, and when they are too many."""

from __future__ import annotations

from ale_dask.config.inference import Inference
from ale_dask.reporting.common.phrases import decimal

MANY = 2.0
"""Times `voxel_p` from which the null is said to have little power."""


def percent(share: float) -> str:
    """Return a share as a percentage with two significant digits."""
    return f"{decimal(float(f'{100 * share:.2g}'))} %"


def little_power(rate: float, inference: Inference) -> str:
    """Return a sentence on a null with more than twice the nominal share of voxels in clusters, and "" for others."""
    nominal = inference.voxel_p
    if rate <= MANY * nominal:
        return ""
    own = "" if inference.null_cut == "own" else ' null_cut = "own" forms them at the value of drawn foci instead.'
    return (
        f"In the uniform null {percent(rate)} of the voxels reach the cluster-forming value, "
        f"{rate / nominal:.1f} times the nominal {percent(nominal)}: reported foci overlap more within experiments "
        "than drawn ones. The null's clusters are larger for it, and few true clusters exceed them: the test is valid, "
        f"but has little power.{own}"
    )
