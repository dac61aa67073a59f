"""Say line by line what is known of a cluster of a contrast or a conjunction, for its card of evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ale_dask.analyses.findings import certainty
from ale_dask.analyses.findings.certainty import Line
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.findings.prevalence import Prevalence, fisher_p
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.phrases import listed
from ale_dask.reporting.sensitivity import evidence_lines as lines
from ale_dask.reporting.sensitivity.evidence_lines import Source, judged
from ale_dask.reporting.tables.contributions import foci_used

Parts = Mapping[str, tuple[Source, Prevalence]]
"""Of each main effect by name: what its cards are made of, and the experiments within reach of the cluster."""
_FAIL_SAFE = Line(
    certainty.FAIL_SAFE,
    "not computed for contrasts, because noise experiments weaken convergence, but in one arm of a contrast they can "
    "make a difference smaller or larger",
    "tells",
)
_POWER = Line(
    certainty.POWER,
    "not computed for contrasts, because it would depend on how many experiments of either arm report the place",
    "tells",
)


def of_conjunction(source: Source, cluster: Cluster, parts: Parts) -> tuple[Line, ...]:
    """Return the lines on a cluster of a conjunction: those of each main effect, and those of the overlap itself."""
    of_each = [
        *(_in(lines.prevalence(found), name) for name, (_, found) in parts.items()),
        *(_in(lines.contributors(source, cluster, arm=name), name) for name in parts),
        *lines.left_out(source, cluster),
        lines.fail_safe(source, cluster),
        lines.profiles(source, cluster),
    ]
    for name, (own, found) in parts.items():
        judged_alone = (lines.voxel_level(own, cluster), lines.base_rate(own, cluster), lines.experiments(own))
        of_each += [_in(line, name) for line in (*judged_alone, lines.power(own, found), lines.decision(own, cluster))]
    return tuple(sorted(of_each, key=lambda line: list(certainty.TITLES).index(line.question)))


def of_contrast(source: Source, cluster: Cluster, parts: Parts) -> tuple[Line, ...]:
    """Return the lines on a cluster of a contrast: both arms beside each other, and the greater arm by itself."""
    first, second = parts
    greater = first if cluster.sign > 0 else second
    own, _ = parts[greater]
    return (
        _reports_differ(source, parts, greater=greater),
        _in(lines.contributors(source, cluster, arm=greater), greater),
        *lines.left_out(source, cluster),
        _FAIL_SAFE,
        lines.profiles(source, cluster),
        _corrected(source, cluster),
        _in(lines.base_rate(own, cluster), greater),
        *(_in(lines.experiments(arm), name) for name, (arm, _) in parts.items()),
        _POWER,
        _decision(source, cluster),
    )


def _in(line: Line, name: str) -> Line:
    """Return a line that says in its title which main effect it is about."""
    return replace(line, values={**line.values, "of": f"in {name}"})


def _reports_differ(source: Source, parts: Parts, *, greater: str) -> Line:
    """Return the line on how many experiments of each arm report the cluster, and whether the arms differ in that."""
    used = foci_used(source.result, {name: own.result for name, (own, _) in parts.items()})
    counts = {}
    for name, (own, found) in parts.items():
        # Experiments that both arms share take no part in the contrast, where its settings say so.
        taken = np.isin(own.result["experiment_key"].values, used[name]["experiment_key"].values)
        counts[name] = (int(found.reached[taken].sum()), int(taken.sum()))
    p = fisher_p(list(counts.values()))
    (within, n), *rest = (counts[name] for name in (greater, *(name for name in counts if name != greater)))
    more = all(within * number > other * n for other, number in rest)
    said = listed(f"{reached} of {number} in {name}" for name, (reached, number) in counts.items())
    if p is None:
        return Line(certainty.PREVALENCE, f"{said}; too many experiments to test", "unknown", values={"counts": counts})
    return Line(
        certainty.PREVALENCE,
        f"{said}; Fisher's p {p:.3g}",
        judged(more and p < certainty.SMALLEST_P),
        values={"counts": counts, "p": p},
    )


def _corrected(source: Source, cluster: Cluster) -> Line:
    """Return the line on how much of a contrast's cluster survives voxel-wise FWE."""
    kept = source.result["z_contrast_voxel_fwe"].sel(input=INPUTS[0]).values[cluster.voxels] != 0
    return lines.surviving_voxels(source, kept, table="clusters_level-voxel")


def _decision(source: Source, cluster: Cluster) -> Line:
    """Return the line on the decision of the tested cluster of a contrast in which the peak of a cluster lies."""
    result, correction = source.result, model_of(source.result).correction
    variable = f"contrast_cluster_{correction.short}_decision"
    if variable not in result:
        return Line(certainty.DECISION, "no cluster of the contrast was tested", "tells")
    number = int(result["contrast_cluster_of_voxel"].values[0 if cluster.sign > 0 else 1, cluster.peak])
    said = str(result[variable].sel(input=INPUTS[0]).values[number - 1]) if number else ""
    if not said:
        words = "its peak lies in no cluster at the cluster-forming p, so that no corrected p decides"
        return Line(certainty.DECISION, words, "against")
    return lines.decided(
        source,
        said,
        after="relabellings",
        table=f"clusters_desc-{correction.short}_level-cluster",
        by=f" by cluster {correction.short}",
    )
