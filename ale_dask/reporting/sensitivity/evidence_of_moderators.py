"""Say line by line what is known of a cluster of a moderator, for its card of evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ale_dask.analyses.findings import certainty
from ale_dask.analyses.findings.certainty import Line
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.findings.prevalence import Prevalence
from ale_dask.analyses.moderator_columns import CORRELATED
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS
from ale_dask.reporting.sensitivity import evidence_lines as lines
from ale_dask.reporting.sensitivity.evidence_lines import Source, judged

_FAIL_SAFE = Line(
    certainty.FAIL_SAFE,
    "not computed for moderators, because noise experiments have no value of the moderator",
    "tells",
)
_BASE_RATE = Line(
    certainty.BASE_RATE,
    "not needed: permutations of the moderator leave all foci where they are, also where foci are often reported",
    "tells",
)
_POWER = Line(
    certainty.POWER,
    "not computed for moderators, because it would depend on how reports of the place follow the moderator",
    "tells",
)


def of_moderator(source: Source, cluster: Cluster, found: Prevalence) -> tuple[Line, ...]:
    """Return the lines on a cluster of a moderator; `found` are the experiments of its main effect that report it."""
    return (
        replace(lines.prevalence(found), verdict="tells"),
        _effect(source, cluster),
        _number_of_foci(source),
        lines.contributors(source, cluster),
        _leverage(source),
        _FAIL_SAFE,
        lines.profiles(source, cluster),
        _corrected(source, cluster),
        _BASE_RATE,
        _experiments(source),
        _POWER,
        _decision(source, cluster),
    )


def _table(source: Source) -> str:
    """Return the end of the name of the table of the clusters that have cards."""
    model = model_of(source.result)
    of_voxels = model.shown_level(INPUTS[0]) == "voxel-fwe"
    return "clusters_level-voxel" if of_voxels else f"clusters_desc-{model.correction.short}_level-cluster"


def _effect(source: Source, cluster: Cluster) -> Line:
    """Return the line on the moderator's mean at the peak, whose interval by jackknife leaves out each group."""
    result, direction = source.result, model_of(source.result).sides[cluster.sign]
    if "effect" not in result:
        return Line(certainty.EFFECT, f"{direction}; groups of a column have no effect in a unit of their own", "tells")
    names = ("effect", "effect_low", "effect_high")
    effect, low, high = (float(result[name].values[cluster.peak]) for name in names)
    values = {"effect": effect, "low": low, "high": high}
    if not np.isfinite(low):
        words = (
            f"{direction}: {effect:+.3g} at its peak, without an interval: one group has more than 90 % of the weight"
        )
        return Line(certainty.EFFECT, words, "against", values=values)
    words = f"{direction}: {effect:+.3g} at its peak, 95 % interval {low:+.3g} to {high:+.3g} by jackknife over groups"
    beyond = low > 0 if cluster.sign > 0 else high < 0
    return Line(certainty.EFFECT, words, judged(beyond), file=source.file(_table(source)), values=values)


def _number_of_foci(source: Source) -> Line:
    """Return the line on whether the moderator goes with the number of foci, which raises X everywhere."""
    attrs = source.result.attrs
    if "foci" in attrs["nuisance"]:
        return Line(certainty.FOCI, "its linear effect is taken out of the moderator", "favours")
    if "foci_r" not in attrs:
        return Line(certainty.FOCI, "its correlation with the moderator is not defined", "tells")
    r = float(attrs["foci_r"])
    words = f"r {r:.2f} with the moderator" + (
        "" if abs(r) <= CORRELATED else ', and not among its nuisance = ["foci"]'
    )
    return Line(certainty.FOCI, words, judged(abs(r) <= CORRELATED), values={"r": r})


def _leverage(source: Source) -> Line:
    """Return the line that stands for leave-one-out: how much of the moderator's variance is one group's."""
    attrs, without = source.result.attrs, "leave-one-out is not computed for moderators"
    if "leverage" not in attrs:
        return Line(
            certainty.LEFT_OUT, f"{without}; groups of a column have no leverage", "tells", values={"of": "group"}
        )
    share, group = float(attrs["leverage"]), str(attrs["leverage_of"])
    return Line(
        certainty.LEFT_OUT,
        f"{without}, whose largest leverage tells most of it: {100 * share:.0f} % of the sum of squares ({group})",
        judged(share < certainty.LARGEST_LEVERAGE),
        values={"of": "group", "leverage": share, "leverage_of": group},
    )


def _corrected(source: Source, cluster: Cluster) -> Line:
    kept = source.result["z_moderator_voxel_fwe"].values[cluster.voxels] != 0
    return lines.surviving_voxels(source, kept, table="clusters_level-voxel")


def _experiments(source: Source) -> Line:
    n = int(source.result.attrs["groups"])
    enough = n >= ENOUGH_EXPERIMENTS
    words = f"{n} groups of subjects with a value" + ("" if enough else f", fewer than {ENOUGH_EXPERIMENTS}")
    return Line(certainty.EXPERIMENTS, words, judged(enough), values={"groups": n})


def _decision(source: Source, cluster: Cluster) -> Line:
    """Return the line on the decision of the tested cluster in which the peak lies."""
    result, short = source.result, model_of(source.result).correction.short
    variable = f"moderator_cluster_{short}_decision"
    if variable not in result:
        return Line(certainty.DECISION, "no cluster of the moderator was tested, only voxels", "tells")
    number = int(result["moderator_cluster_of_voxel"].values[0 if cluster.sign > 0 else 1, cluster.peak])
    said = str(result[variable].values[number - 1])
    return lines.decided(source, said, after="permutations", table=_table(source), by=f" by cluster {short}")
