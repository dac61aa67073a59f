"""Subsampled main effects from Python: Dataset in, Dataset out, nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from ale_dask.analyses import base_rate as base_rates
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses import subsampled as subsampled_ale
from ale_dask.analyses import subsampled_base_rate
from ale_dask.analyses.execute import run_plan, sample_of
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.networks import with_networks
from ale_dask.config.analysis import Subsampled
from ale_dask.config.study import analysis_from
from ale_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client


def subsampled(
    result: xr.Dataset,
    *,
    size: int,
    subsamples: int = 100,
    share: float = 0.5,
    name: str | None = None,
    client: Client | None = None,
) -> xr.Dataset:
    """Return the share of subsamples of a main effect in which each voxel survives.

    Parameters
    ----------
    result
        Main effect, computed by `main_effect`; its settings, iterations and seed are those of each subsample.
    size
        Number of groups of subjects in each subsample, from 2 to one fewer than there are.
    subsamples
        Number of subsamples, drawn at random; where there are no more than these, all are taken.
    share
        Least share, in (0, 1], of the subsamples in which voxels of the tables' clusters survive.
    name
        Name of the result; by default that of the main effect with "-subsampled".
    client
        Dask client for the iterations; by default the active client of this process, or none.

    Returns
    -------
    xr.Dataset
        Maps (input, voxel): subsample_share in [0, 1] at the primary correction and uncorrected, subsample_share_low
        and subsample_share_high, its exact 95 % interval, and subsample_clusters, the share where it is at least
        `share` in clusters of the minimum volume; maps (voxel): subsample_share_voxel_fwe, and subsample_ale, the mean
        ALE; subsample_has (subsample, group), bool. If the null is base-rate or both, maps (voxel) of the same shares
        against the base rate: subsample_base_rate_share at the primary correction, its ends _low and _high, and
        _voxel_fwe.

    Raises
    ------
    InputError
        For a result that is no main effect, a size that leaves out no group, or TFCE.

    Notes
    -----
    Subsample s has the k groups with the smallest of one random number per group and s (Eickhoff 2016). Each has its
    own analytic null and cluster-forming value. Its null of clusters is that of the sample's own iterations without
    the foci of the groups left out, the one that it would have alone; JALE holds all subsamples to one cut. So has
    each its own base-rate null, with its own threshold of each voxel.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=60, seed=1)
    >>> found = ale.subsampled(result, size=7)
    >>> found.sizes["subsample"], bool(found.attrs["enumerated"])
    (8, True)
    """
    if kind_of(result) != "main-effect":
        raise InputError(f"'{result.attrs.get('name')}' is no main effect: subsamples are of the groups of one")
    of = str(result.attrs["name"])
    title = name or f"{of}-subsampled"
    given = {"kind": subsampled_ale.KIND, "of": of, "size": size, "subsamples": subsamples, "share": share}
    analysis = analysis_from(Subsampled, given, source=title)
    chosen = sample_of(result, inference=model_of(result).inference, mask=model_of(result).mask)
    subsampled_ale.check_subsampled(chosen, analysis, name=title)
    whole = main_effects.plan_main_effect(chosen, bits=int(result.attrs["scale_bits"]), name=of)
    plan = subsampled_ale.plan_subsampled(chosen, whole, analysis, name=title)
    iterations = chosen.inference.iterations
    null = run_plan(plan, iterations=iterations, client=client)["null"][:, 1:]
    found = subsampled_ale.collect(chosen, plan, null, analysis=analysis)
    if base_rates.wants_base_rate(chosen.inference):
        made = subsampled_base_rate.plan_passes(chosen, whole, analysis, name=title, keep=lambda *given: given[-1]())
        nulls = [run_plan(each, iterations=iterations, client=client)["null"][:, 1:] for each in made.values()]
        passes = list(zip(made.values(), nulls, strict=True))
        found = subsampled_base_rate.with_base_rate(found, chosen, passes, analysis=analysis)
    return with_networks(found)
