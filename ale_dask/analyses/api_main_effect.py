"""Main effects, conjunctions and leave-one-out maps from Python: Dataset in, Dataset out, nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses import contrast_conjunction
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.execute import sample_of
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.in_memory import computed_main_effect, limit_of, sample_from
from ale_dask.analyses.networks import with_networks
from ale_dask.analyses.sample import study_bits
from ale_dask.analyses.sensitivity import leave_one_out_maps as left_out
from ale_dask.config.inference import with_changes
from ale_dask.config.study import inference_from
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask

if TYPE_CHECKING:
    from distributed import Client


def main_effect(
    foci: xr.Dataset,
    *,
    name: str = "main-effect",
    mask: Mask | str | None = None,
    search: Mask | str | None = None,
    client: Client | None = None,
    scale_bits: int | None = None,
    **settings: Any,
) -> xr.Dataset:
    """Return the ALE main effect of a foci Dataset: maps, null distribution and clusters.

    Parameters
    ----------
    foci
        Foci Dataset, mm in MNI space, from `read_foci`; or a result, whose experiments are analysed anew.
    name
        Name of the result in tables, files and the report.
    mask
        "brain", "gm", "grey10", an image file or a Mask; by default the mask of the profile, usually "brain".
    search
        Region in which inference is made, given as `mask` is; foci of the null are drawn over the mask all the same.
    client
        Dask client for the iterations; by default the active client of this process, or none.
    scale_bits
        Binary digits of the fixed point, when results of several samples must share them.
    **settings
        Settings of `[inference]` in study.toml: voxel_p, cluster_p, iterations, seed, correction, fwhm, profile …
        With `until_decided` iterations are added until every cluster is decided.

    Returns
    -------
    xr.Dataset
        Maps (voxel): ale in [0, 1), s as integers, z, logp = -log10 p, and z_size_fwe, z_mass_fwe, z_voxel_fwe … where
        it survives; per cluster (cluster): cluster_size_p, cluster_size_decision …; null (iteration, statistic), int64;
        and the foci. `attrs` holds settings, identity and thresholds.

    Raises
    ------
    InputError
        For foci or settings that cannot be used.

    Notes
    -----
    ALE = 1 - prod_i (1 - MA_i) over experiments i, computed as S = sum_i -ln(1 - MA_i) in integers (Turkeltaub 2012;
    Eickhoff 2009, 2012). Corrected p count the iterations with random foci whose largest statistic is at least the
    observed one: p = (1 + r) / (1 + B).

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=100, seed=1)
    >>> result["null"].shape
    (100, 3)
    >>> float(result["ale"].max()) < 1
    True
    """
    given = {"mask": mask, "search": search}
    settings |= {key: value for key, value in given.items() if value is not None}
    if kind_of(foci):
        # A result's foci are analysed anew: what another null has left beside them is none of this one's.
        foci = foci.drop_dims(set(foci.dims) - {"experiment", "focus", "axis", "tag"})
    chosen = sample_from(foci, None, settings, name=name)
    plan = main_effects.plan_main_effect(chosen, bits=scale_bits or study_bits([chosen]), name=name)
    return with_networks(computed_main_effect(chosen, plan, client=client))


def leave_one_out(result: xr.Dataset) -> xr.Dataset:
    """Return the ALE maps of a main effect without each of its experiments, computed when they are read.

    Parameters
    ----------
    result
        Main effect, from `main_effect`.

    Returns
    -------
    xr.Dataset
        Maps ale_without, float32 probability, and s_without, int32, each (experiment, voxel), as Dask arrays.

    Raises
    ------
    InputError
        For a result that is no main effect.

    Notes
    -----
    S without experiment i is S - X_i, in the integers of the main effect, X_i = -ln(1 - MA_i) in fixed point.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=100, seed=1)
    >>> maps = ale.leave_one_out(result)
    >>> bool((maps["s_without"] <= result["s"]).all())
    True
    """
    if kind_of(result) != "main-effect":
        raise InputError(f"'{result.attrs.get('name')}' is no main effect: only experiments of one can be left out")
    chosen = sample_of(result, inference=model_of(result).inference, mask=model_of(result).mask)
    return left_out.leave_one_out(chosen, s=result["s"].values, bits=int(result.attrs["scale_bits"]))


def conjunction(
    results: Sequence[xr.Dataset],
    *,
    inside: xr.Dataset | Mask | str | None = None,
    inside_correction: str | None = None,
    name: str = "conjunction",
    **changes: Any,
) -> xr.Dataset:
    """Return the conjunction of main effects, or of contrasts: the minimum of their thresholded maps.

    Parameters
    ----------
    results
        Two or more main effects, or two or more contrasts, on the same mask.
    inside
        What the conjunction is limited to: an image file, a Mask, or a main effect, whose significant clusters count.
    inside_correction
        Correction by which these clusters are significant: "cluster-size" or "cluster-mass"; by default that of the
        main effect.
    name
        Name of the result.
    **changes
        Settings that replace those of the first main effect: min_volume, conjunction_of, profile.

    Returns
    -------
    xr.Dataset
        Maps ale_min and z_min (input, voxel), 0 where any of the main effects does not survive. Of contrasts signed
        z_joint and z_joint_voxel_fwe (input, voxel), each direction by itself, and p_max_greater, p_max_less (voxel).

    Raises
    ------
    InputError
        For fewer than two results, different masks, or main effects beside contrasts.

    Notes
    -----
    The minimum statistic against the conjunction null (Nichols 2005): a voxel is in it if it is in every map.

    Examples
    --------
    >>> settings = {"mask": "ball.nii.gz", "null": "uniform", "iterations": 100, "seed": 1}
    >>> results = [ale.main_effect(ale.read_foci(f"{x}.txt"), name=x, **settings) for x in ("drug", "therapy")]
    >>> ale.conjunction(results)["ale_min"].dims
    ('input', 'voxel')
    """
    inference = None
    if changes and results:
        inference = inference_from(with_changes(model_of(results[0]).inference.model_dump(), changes))
    limit = None
    if inside is not None and results:
        limit = limit_of(inside, mask=model_of(results[0]).mask, correction=inside_correction, name=name)
    kinds = {kind_of(result) for result in results}
    if contrasts.KIND in kinds and len(kinds) > 1:
        raise InputError(f"{name}: give contrasts alone, or main effects alone, not both")
    collect = contrast_conjunction.collect if kinds == {contrasts.KIND} and len(results) > 1 else conjunctions.collect
    return with_networks(collect(results, name=name, inference=inference, limit=limit))
