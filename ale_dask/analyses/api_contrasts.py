"""Contrasts from Python: Dataset in, Dataset out, nothing written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import balanced, balanced_clusters, contrast_clusters, contrast_result
from ale_dask.analyses import base_rate as base_rates
from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.api_main_effect import main_effect
from ale_dask.analyses.execute import run_plan
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.in_memory import computed_main_effect, limit_of, null_of_second_pass
from ale_dask.analyses.inside import Inside
from ale_dask.analyses.networks import with_networks
from ale_dask.analyses.sample import Sample, sample, study_bits
from ale_dask.config.analysis import BalancedContrast
from ale_dask.config.inference import with_changes
from ale_dask.config.study import analysis_from, inference_from
from ale_dask.coordinates import foci as foci_data
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask

if TYPE_CHECKING:
    from distributed import Client


def contrast(
    a: xr.Dataset,
    b: xr.Dataset,
    *,
    pooled: xr.Dataset | None = None,
    inside: xr.Dataset | Mask | str | None = None,
    inside_correction: str | None = None,
    name: str | None = None,
    client: Client | None = None,
    **changes: Any,
) -> xr.Dataset:
    """Return the contrast of two main effects in both directions, against relabelled experiments.

    Parameters
    ----------
    a, b
        Main effects of the two arms, computed by `main_effect` with the same settings, or the foci of both arms, whose
        main effects are then computed with the settings in `changes`, under the names "first" and "second".
    pooled
        Main effect of both arms' experiments together; computed when not given.
    inside
        What the contrast is limited to, correction included: the voxels above 0 of an image file or a Mask, or a main
        effect, whose significant clusters are the place. It has all experiments of both arms, or none of them.
    inside_correction
        Correction by which these clusters are significant: "cluster-size" or "cluster-mass"; by default that of the
        main effect.
    name
        Name of the result; by default the names of the arms, joined by "-vs-".
    client
        Dask client for the relabellings; by default the active client of this process, or none.
    **changes
        Settings that replace those of the arms: seed, iterations, gate, contrast_p, min_volume, shared, profile. With
        foci, any setting of `main_effect`, such as mask.

    Returns
    -------
    xr.Dataset
        Maps (voxel): difference of ALE, a minus b, p_greater and p_less, uncorrected; maps (input, voxel): signed
        z_contrast within the arms' thresholded maps of each input. Without a gate also corrected p and clusters
        (contrast_cluster).

    Raises
    ------
    InputError
        When the arms were computed with different settings, share an experiment, or are a result and foci, or when
        relabelling would change what the contrast is limited to.

    Notes
    -----
    p = (1 + r) / (1 + B), where r of B assignments of the experiments to the arms have a difference at least as large;
    all assignments are enumerated where that is possible (Eickhoff 2011).

    Examples
    --------
    >>> settings = {"mask": "ball.nii.gz", "null": "uniform", "iterations": 100, "seed": 1}
    >>> drug = ale.main_effect(ale.read_foci("drug.txt"), name="drug", **settings)
    >>> therapy = ale.main_effect(ale.read_foci("therapy.txt"), name="therapy", **settings)
    >>> ale.contrast(drug, therapy).attrs["name"]
    'drug-vs-therapy'
    """
    if not kind_of(a) and not kind_of(b):
        a, b = (main_effect(foci, name=arm, client=client, **changes) for foci, arm in ((a, "first"), (b, "second")))
        # The arms have all settings already.
        changes = {}
    elif not (kind_of(a) and kind_of(b)):
        raise InputError("contrast: one arm is a result and the other foci; give two results, or the foci of both")
    base = contrasts.settings_of(a, b)
    if changes.get("same_subjects", base.same_subjects) != base.same_subjects:
        raise InputError(
            f"contrast: the arms were computed with same_subjects = {base.same_subjects!r}, which decides what their "
            f"experiments are; compute the arms with {changes['same_subjects']!r}"
        )
    # Another profile's word on subjects comes too late for arms that there are.
    inference = inference_from(with_changes(base.model_dump(), {"same_subjects": base.same_subjects, **changes}))
    mask = model_of(a).mask
    title = name or f"{a.attrs['name']}-vs-{b.attrs['name']}"
    foci = contrasts.disjoint_arms(
        foci_data.foci_alone(a), foci_data.foci_alone(b), shared=inference.shared, name=title
    )
    one, two, both = (sample(f, mask=mask, inference=inference, name=title) for f in (*foci, foci_data.concat(foci)))
    limit = limit_of(inside, mask=mask, correction=inside_correction, arms=(one, two), name=title)
    plans, plan = _contrast_plans((one, two, both), name=title, inside=limit and limit[0])
    if pooled is None:
        pooled = computed_main_effect(both, plans[2], client=client)
    iterations = contrasts.how_many(plan, inference.iterations)
    arrays = run_plan(plan, iterations=iterations, client=client)
    clusters = null_of_second_pass(
        contrast_clusters, plan, mask=mask, inference=inference, iterations=iterations, client=client
    )
    found = contrast_result.collect(
        plan,
        arrays["null"][:, 1:],
        contrast_result.summed(arrays["exceed"]),
        parents=(a, b, pooled),
        inference=inference,
        second=clusters,
        limit=limit,
    )
    return with_networks(found)


def _contrast_plans(
    samples: tuple[Sample, Sample, Sample], *, name: str, inside: Inside | None
) -> tuple[list[main_effects.MainEffectPlan], contrasts.ContrastPlan]:
    """Return the plans of both arms and of all their experiments, and the plan of the contrast."""
    inference, bits = samples[0].inference, study_bits([samples[2]])
    names = (name, name, f"{name}_pooled")
    plans = [main_effects.plan_main_effect(s, bits=bits, name=n) for s, n in zip(samples, names, strict=True)]
    against = []
    if inference.null == "base-rate" and inference.gate != "none":
        pairs = zip(samples, plans, strict=True)
        against = [base_rates.plan_base_rate(s, main=plan, name=name) for s, plan in pairs]
    one, two, _ = samples
    return plans, contrasts.plan_contrast(one, two, plans=plans, against=against, inside=inside, name=name)


def balanced_contrast(
    a: xr.Dataset,
    b: xr.Dataset,
    *,
    size: int | None = None,
    subsamples: int = 100,
    share: float = 0.5,
    name: str | None = None,
    client: Client | None = None,
) -> xr.Dataset:
    """Return the share of pairs of equally large subsamples of two main effects in which each voxel differs.

    Parameters
    ----------
    a, b
        Main effects of the two arms, computed by `main_effect` with the same settings.
    size
        Number of groups of subjects in each subsample; by default one fewer than the smaller arm has.
    subsamples
        Number of pairs, drawn at random; where there are no more than these, all are taken.
    share
        Least share, in (0, 1], of the pairs in which voxels of the tables' clusters survive.
    name
        Name of the result; by default the names of the arms, joined by "-vs-", with "-balanced".
    client
        Dask client for the pairs; by default the active client of this process, or none.

    Returns
    -------
    xr.Dataset
        Maps (level, direction, voxel): balanced_share in [0, 1] by voxel FWE and uncorrected, and in clusters that
        survive by size and by mass, with balanced_share_low and balanced_share_high, its exact 95 % interval;
        balanced_clusters (level, voxel), signed, where the share is at least `share` in clusters of the minimum volume;
        balanced_difference (voxel), the mean difference of ALE; pair_has_first and pair_has_second (pair, group), bool;
        pair_volume (level, direction, pair), in voxels, and pair_clusters (direction, pair), the clusters tested.

    Raises
    ------
    InputError
        When the arms were computed with different settings, may share subjects, or are too small.

    Notes
    -----
    The groups of each pair are relabelled by themselves, as those of `contrast` are, and all relabellings enumerated
    where that is possible. Voxels are compared where the experiments of both arms together have an uncorrected p below
    `contrast_floor`, and corrected by the largest difference there, each direction by itself at `contrast_p`. Clusters
    are formed and tested in each pair as those of `contrast`, at `voxel_p` and `cluster_p`; where the correction is of
    voxels, or the relabellings are too few for `voxel_p`, none are.

    Examples
    --------
    >>> settings = {"mask": "ball.nii.gz", "null": "uniform", "iterations": 60, "seed": 1}
    >>> drug = ale.main_effect(ale.read_foci("drug.txt"), name="drug", **settings)
    >>> therapy = ale.main_effect(ale.read_foci("therapy.txt"), name="therapy", **settings)
    >>> found = ale.balanced_contrast(drug, therapy, subsamples=10)
    >>> found.attrs["size"], found.attrs["n_groups"]
    (5, [8, 6])
    """
    if kind_of(a) != "main-effect" or kind_of(b) != "main-effect":
        raise InputError("balanced_contrast: both arms must be main effects, as main_effect returns them")
    inference, mask = contrasts.settings_of(a, b), model_of(a).mask
    names = [str(arm.attrs["name"]) for arm in (a, b)]
    title = name or f"{'-vs-'.join(names)}-balanced"
    given = {"kind": balanced.KIND, "arms": names, "size": size, "subsamples": subsamples, "share": share}
    analysis = analysis_from(BalancedContrast, given, source=title)
    foci = contrasts.disjoint_arms(*map(foci_data.foci_alone, (a, b)), shared=inference.shared, name=title)
    one, two, both = (sample(f, mask=mask, inference=inference, name=title) for f in (*foci, foci_data.concat(foci)))
    balanced.check_balanced(one, two, analysis, name=title)
    plan = balanced.plan_balanced(one, two, analysis, bits=study_bits([both]), name=title)
    arrays = run_plan(plan, iterations=plan.pairs, client=client)
    of_clusters = None
    if balanced_clusters.second_pass(plan, inference):
        again = balanced_clusters.plan_clusters(plan, mask=mask, inference=inference, name=title)
        of_clusters = _of_pairs(run_plan(again, iterations=plan.pairs, client=client), plan)
    null, counts = _of_pairs(arrays, plan)
    return with_networks(balanced.collect(one, two, plan, null, counts, analysis=analysis, second=of_clusters))


def _of_pairs(
    arrays: Mapping[str, npt.NDArray[np.int64]], plan: balanced.BalancedPlan
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the null (pair, statistic) of a pass over pairs of subsamples, and its counts (count, candidate)."""
    return arrays["null"][:, 1:], arrays[balanced.SURVIVES][:, 1:].sum(axis=0).reshape(-1, len(plan.candidate))
