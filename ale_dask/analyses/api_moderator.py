"""Moderators from Python: Dataset in, Dataset out, nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from ale_dask.analyses import moderator as moderators
from ale_dask.analyses import moderator_clusters
from ale_dask.analyses.execute import run_plan
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.in_memory import null_of_second_pass, sample_from
from ale_dask.analyses.moderator_columns import Moderated, moderated
from ale_dask.analyses.networks import with_networks
from ale_dask.analyses.sample import study_bits
from ale_dask.analyses.study_moderators import with_clusters
from ale_dask.config.analysis import Moderator
from ale_dask.config.inference import with_changes
from ale_dask.config.study import analysis_from
from ale_dask.coordinates import foci as foci_data
from ale_dask.errors import InputError

if TYPE_CHECKING:
    from distributed import Client


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
        changes = with_changes(model.inference.model_dump(), changes)
        foci = foci.drop_dims(set(foci.dims) - {"experiment", "focus", "axis", "tag"})
    else:
        mask = None
    spec = analysis_from(Moderator, {"kind": "moderator", "of": of, "on": on, **given}, source="moderator")
    title = name or "-by-".join(spec.on)
    chosen = sample_from(foci, mask, changes, name=of)
    scores = moderated(chosen, spec, name=title)
    return with_networks(_moderator(scores, bits=study_bits([chosen]), name=title, client=client))


def _moderator(scores: Moderated, *, bits: int, name: str, client: Client | None) -> xr.Dataset:
    inference = scores.sample.inference
    plan = moderators.plan_moderator(scores, bits=bits, name=name)
    iterations = moderators.how_many(plan, inference.iterations)
    arrays = run_plan(plan, iterations=iterations, client=client)
    clusters = null_of_second_pass(
        moderator_clusters, plan, mask=scores.sample.mask, inference=inference, iterations=iterations, client=client
    )
    exceed = arrays[moderators.EXCEED][:, 1:].sum(axis=0)
    return with_clusters(plan, arrays["null"][:, 1:], exceed, moderated=scores, name=name, clusters=clusters)
