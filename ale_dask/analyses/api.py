"""The analyses from Python: Dataset in, Dataset out, nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import (
    balanced,
    balanced_clusters,
    base_rate_result,
    contrast_conjunction,
    moderator_clusters,
    subsampled_base_rate,
)
from ale_dask.analyses import base_rate as base_rates
from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses import contrast_clusters as second
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses import moderator as moderators
from ale_dask.analyses import subsampled as subsamples_
from ale_dask.analyses.execute import run_plan, sample_of
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.inside import Inside, Limit, check_correction, check_invariant, of_image, of_result
from ale_dask.analyses.ma import ale_union, ma_maps
from ale_dask.analyses.moderator_columns import Moderated, moderated
from ale_dask.analyses.networks import check_networks, with_networks
from ale_dask.analyses.sample import Sample, enough, sample, study_bits
from ale_dask.analyses.sensitivity import leave_one_out_maps as left_out
from ale_dask.analyses.study_moderators import with_clusters
from ale_dask.config.analysis import BalancedContrast, Moderator, Subsampled
from ale_dask.config.inference import IMAGES, Inference, changed
from ale_dask.config.study import analysis_from, inference_from
from ale_dask.coordinates import foci as foci_data
from ale_dask.coordinates.masks import load_mask, load_space
from ale_dask.coordinates.pooling import by_subjects
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.plan import Plan
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
    chosen = _chosen(foci, None, settings, name=name)
    plan = main_effects.plan_main_effect(chosen, bits=scale_bits or study_bits([chosen]), name=name)
    return with_networks(_main_effect(chosen, plan, client=client))


def _chosen(foci: xr.Dataset, grid: Mask | None, settings: Mapping[str, Any], *, name: str) -> Sample:
    """Return the sample of foci under settings, whose mask and search may be a `Mask`; on a grid that is known, if any.

    Raises
    ------
    InputError
        for foci or settings that cannot be used.
    """
    images = {key: image for key in ("mask", "search") if isinstance(image := settings.get(key), Mask)}
    files = {k: str(value) for k, value in settings.items() if k in IMAGES and value is not None}
    inference = inference_from({**settings, **files, **{key: image.name for key, image in images.items()}})
    grid = grid or load_space(inference, **images)
    check_networks(inference, grid)
    used = by_subjects(foci, inference.same_subjects, name=name)
    return enough(sample(used, mask=grid, inference=inference, name=name), name=name)


def _main_effect(chosen: Sample, plan: main_effects.MainEffectPlan, *, client: Client | None) -> xr.Dataset:
    ale = ale_union(ma_maps(chosen)).values
    beside = None
    if base_rates.wants_base_rate(chosen.inference):
        beside = base_rates.plan_base_rate(chosen, main=plan, name=base_rates.base_rate_name(plan.name))
    null, other = (np.empty((0, 0 if p is None else len(p.statistics)), dtype=np.int64) for p in (plan, beside))
    n, most = chosen.inference.iterations, chosen.inference.until_decided
    while True:
        null = _longer(null, plan, iterations=n, client=client)
        result = main_effects.collect(chosen, plan, null, ale=ale)
        if beside is not None:
            other = _longer(other, beside, iterations=n, client=client)
            result = base_rate_result.with_base_rate(result, chosen, beside, other)
        if most is None or n >= most or not main_effects.undecided([result]):
            return result
        # The settings stay as they were asked for, so that arms of a contrast may end at different numbers.
        n = min(2 * n, most)


def _longer(
    null: npt.NDArray[np.int64], plan: Plan, *, iterations: int, client: Client | None
) -> npt.NDArray[np.int64]:
    """Return a null (iteration, statistic) with the iterations that it lacks added to those that it has."""
    arrays = run_plan(plan, first=len(null), iterations=iterations - len(null), client=client)
    return np.concatenate([null, arrays["null"][:, 1:]])


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
    inference = inference_from(changed(base.model_dump(), {"same_subjects": base.same_subjects, **changes}))
    mask = model_of(a).mask
    title = name or f"{a.attrs['name']}-vs-{b.attrs['name']}"
    foci = contrasts.disjoint_arms(
        foci_data.foci_alone(a), foci_data.foci_alone(b), shared=inference.shared, name=title
    )
    one, two, both = (sample(f, mask=mask, inference=inference, name=title) for f in (*foci, foci_data.concat(foci)))
    limit = _limit(inside, mask=mask, correction=inside_correction, arms=(one, two), name=title)
    plans, plan = _contrast_plans((one, two, both), name=title, inside=limit and limit[0])
    if pooled is None:
        pooled = _main_effect(both, plans[2], client=client)
    iterations = contrasts.how_many(plan, inference.iterations)
    arrays = run_plan(plan, iterations=iterations, client=client)
    clusters = _second_pass(second, plan, mask=mask, inference=inference, iterations=iterations, client=client)
    found = contrasts.collect(
        plan,
        arrays["null"][:, 1:],
        contrasts.summed(arrays["exceed"]),
        parents=(a, b, pooled),
        inference=inference,
        second=clusters,
        limit=limit,
    )
    return with_networks(found)


def _second_pass(
    passes: Any, plan: Any, *, mask: Mask, inference: Inference, iterations: int, client: Client | None
) -> tuple[Any, npt.NDArray[np.int64]] | None:
    """Return the plan of the cluster-level pass of a contrast or moderator and its null; None where it has none.

    `passes` is the module of that pass.
    """
    if not passes.second_pass(plan, inference, iterations=iterations):
        return None
    again = passes.plan_clusters(
        plan, mask=mask, inference=inference, iterations=iterations, name=plan.name, threads=cpu_count()
    )
    return again, run_plan(again, iterations=iterations, client=client)["null"][:, 1:]


def _limit(
    inside: xr.Dataset | Mask | str | None,
    *,
    mask: Mask,
    correction: str | None,
    name: str,
    arms: Sequence[Sample] = (),
) -> Limit | None:
    """Return what an analysis is limited to, with the main effect whose clusters it is; None for no limit.

    Raises
    ------
    InputError
        for a result that is no main effect, of another mask, or which relabelling the arms would change.
    """
    if inside is None:
        return None
    where = f"{name}: inside"
    if not isinstance(inside, xr.Dataset):
        image = inside if isinstance(inside, Mask) else load_mask(inside, key=where)
        return of_image(image, mask=mask), None
    if kind_of(inside) != "main-effect" or model_of(inside).mask.sha256 != mask.sha256:
        raise InputError(f"{where}: give a main effect on the same mask; of another result, save the map as an image")
    check_correction(model_of(inside).inference, correction, name=where)
    check_invariant(inside["experiment_key"].values, arms, name=where)
    return of_result(inside, correction=correction), inside


def moderator(
    foci: xr.Dataset | Mapping[str, xr.Dataset],
    on: str | Sequence[str],
    *,
    name: str | None = None,
    of: str = "main-effect",
    client: Client | None = None,
    **changes: Any,
) -> xr.Dataset:
    """Return where the experiments of a sample report foci the more, the larger a column of theirs is.

    Parameters
    ----------
    foci
        Foci Dataset, mm in MNI space, from `read_foci`, whose files have the column; or a main effect of it, whose
        settings and mask are then used; or several foci Datasets by name, which are joined.
    on
        The column: numbers, yes and no, or names of groups; or two columns, whose interaction is tested. "n" and "foci"
        are the numbers of subjects and of foci; "year" is read from the names of studies if the files have no such
        column; "sample" is the name of each of several foci Datasets.
    name
        Name of the result; by default that of the column.
    of
        Name of the sample in the report; that of the main effect, if one is given.
    client
        Dask client for the permutations; by default the active client of this process, or none.
    **changes
        Of the moderator: levels (values of the column in their order), ranks (of numbers), nuisance (columns whose
        linear effect is taken out) and strata (the column within whose values is permuted). All others are settings of
        `main_effect`: mask, search, iterations, seed, voxel_p, cluster_p, correction, contrast_p, contrast_floor ….

    Returns
    -------
    xr.Dataset
        Maps (voxel): t_moderator, in permutation standard deviations; p_greater and p_less, one-sided, uncorrected and
        NaN where not tested; p_voxel_fwe_greater and p_voxel_fwe_less; signed z_moderator, z_moderator_voxel_fwe,
        z_moderator_size_fwe …, 0 where nothing survives; effect, effect_low and effect_high in the unit of the column.
        Per cluster (moderator_cluster): moderator_cluster_size_p, moderator_cluster_size_decision ….

    Raises
    ------
    InputError
        For a column that there is not or that is of no use, too few groups of subjects, or a setting.

    Notes
    -----
    T(v) = sum_i z_i X_i(v) over groups of subjects, z_i the centred column and X_i = -ln(1 - MA_i), in whole numbers.
    p = (1 + r) / (1 + B), where r of B permutations of the column over groups have a T at least as large; all different
    permutations are enumerated where that is possible. With nuisance columns, residuals are permuted as Freedman & Lane
    (1983) do (Winkler 2014). The family-wise p of a voxel is that of the largest T / sd, sd(v) the standard deviation
    of T over permutations. A contrast of two arms is the special case of a column of two values.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.moderator(foci, "n", mask="ball.nii.gz", iterations=100, seed=1)
    >>> result.attrs["directions"]
    ['higher n', 'lower n']
    """
    given: dict[str, Any] = {
        key: changes.pop(key) for key in ("levels", "ranks", "nuisance", "strata") if key in changes
    }
    foci = foci if isinstance(foci, xr.Dataset) else foci_data.together(foci)
    if kind_of(foci):
        model = model_of(foci)
        if kind_of(foci) != "main-effect":
            raise InputError(f"moderator: '{model.name}' is no main effect; give one, or foci")
        of, mask = model.name, None if {"mask", "search"} & set(changes) else model.mask
        changes = changed(model.inference.model_dump(), changes)
        foci = foci.drop_dims(set(foci.dims) - {"experiment", "focus", "axis", "tag"})
    else:
        mask = None
    spec = analysis_from(Moderator, {"kind": "moderator", "of": of, "on": on, **given}, source="moderator")
    title = name or "-by-".join(spec.on)
    chosen = _chosen(foci, mask, changes, name=of)
    scores = moderated(chosen, spec, name=title)
    return with_networks(_moderator(scores, bits=study_bits([chosen]), name=title, client=client))


def _moderator(scores: Moderated, *, bits: int, name: str, client: Client | None) -> xr.Dataset:
    inference = scores.sample.inference
    plan = moderators.plan_moderator(scores, bits=bits, name=name)
    iterations = moderators.how_many(plan, inference.iterations)
    arrays = run_plan(plan, iterations=iterations, client=client)
    clusters = _second_pass(
        moderator_clusters, plan, mask=scores.sample.mask, inference=inference, iterations=iterations, client=client
    )
    exceed = arrays[moderators.EXCEED][:, 1:].sum(axis=0)
    return with_clusters(plan, arrays["null"][:, 1:], exceed, moderated=scores, name=name, clusters=clusters)


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
        inference = inference_from(changed(model_of(results[0]).inference.model_dump(), changes))
    limit = None
    if inside is not None and results:
        limit = _limit(inside, mask=model_of(results[0]).mask, correction=inside_correction, name=name)
    kinds = {kind_of(result) for result in results}
    if contrasts.KIND in kinds and len(kinds) > 1:
        raise InputError(f"{name}: give contrasts alone, or main effects alone, not both")
    collect = contrast_conjunction.collect if kinds == {contrasts.KIND} and len(results) > 1 else conjunctions.collect
    return with_networks(collect(results, name=name, inference=inference, limit=limit))


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
    given = {"kind": subsamples_.KIND, "of": of, "size": size, "subsamples": subsamples, "share": share}
    analysis = analysis_from(Subsampled, given, source=title)
    chosen = sample_of(result, inference=model_of(result).inference, mask=model_of(result).mask)
    subsamples_.check_subsampled(chosen, analysis, name=title)
    whole = main_effects.plan_main_effect(chosen, bits=int(result.attrs["scale_bits"]), name=of)
    plan = subsamples_.plan_subsampled(chosen, whole, analysis, name=title)
    iterations = chosen.inference.iterations
    null = run_plan(plan, iterations=iterations, client=client)["null"][:, 1:]
    found = subsamples_.collect(chosen, plan, null, analysis=analysis)
    if base_rates.wants_base_rate(chosen.inference):
        made = subsampled_base_rate.plan_passes(chosen, whole, analysis, name=title, keep=lambda *given: given[-1]())
        nulls = [run_plan(each, iterations=iterations, client=client)["null"][:, 1:] for each in made.values()]
        passes = list(zip(made.values(), nulls, strict=True))
        found = subsampled_base_rate.with_base_rate(found, chosen, passes, analysis=analysis)
    return with_networks(found)


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
