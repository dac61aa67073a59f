"""Write the methods sections on inference and contrasts, and the error that each of them controls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ale_dask.analyses.contrast import shown_by
from ale_dask.analyses.corrections import CORRECTION_OF, Scales
from ale_dask.analyses.main_effect import EPS
from ale_dask.analyses.null_threshold import DRAWS
from ale_dask.config.inference import PROGRAMS, Inference, departures
from ale_dask.config.run_record import RunRecord
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.reporting.common.map_spec import MapSpec
from ale_dask.reporting.common.null_rate import little_power, percent
from ale_dask.reporting.common.phrases import (
    counted,
    decimal,
    in_instalments,
    inference_of_record,
    knows_n,
    listed,
    mains_of,
    of_kind,
    volume,
    voxel_mm3,
)
from ale_dask.reporting.common.presentation import presentation
from ale_dask.reporting.common.wording import KEPT, UNLIKE, controlled, detectable, inside_words, price, shared_words
from ale_dask.reporting.text.base_rate import base_rate_paragraph

_FORMING = {
    "observed": "the ALE value that corresponds to it was held fixed in the null",
    "own": "in the null they were formed at the ALE value that corresponds to it for foci drawn at random, the mean of "
    f"{DRAWS} draws",
}
_NULL_SPACE = {"mask": "", "grid": " from the whole grid, beyond the mask, too"}
_PLUS_ONE = "With r of B iterations at least as extreme as the observed value, p = (1 + r)/(1 + B) [@phipson2010]"
_LET_THROUGH = {
    "plus-one": f"{_PLUS_ONE}; {{survivor}} with p ≤ {{level}} were retained.",
    "share": "With r of B iterations at least as extreme as the observed value, p = r/B, kept between 1/B and 1 − 1/B; "
    "{survivor} with p ≤ {level} were retained.",
    "at": f"{_PLUS_ONE}; independently of it, {{survivor}} were retained that reached the value of rank ⌈{{level}} B⌉ "
    "of the null, its largest being the first.",
    "above": f"{_PLUS_ONE}; independently of it, {{survivor}} were retained beyond the 1 − {{level}} quantile of the "
    "null, interpolated between two values.",
}
# If the number of iterations B depends on the data, neither share is a p-value.
_EXTREME = "was at most {level}, r of B iterations having been at least as extreme as the observed value."
_LET_THROUGH_UNTIL = {
    "plus-one": f"Clusters were retained for which (1 + r)/(1 + B) {_EXTREME}",
    "share": f"Clusters were retained for which r/B, kept between 1/B and 1 − 1/B, {_EXTREME}",
    "at": "Clusters were retained that reached the value of rank ⌈{level} B⌉ of the null of B iterations, its largest "
    "being the first.",
    "above": "Clusters were retained beyond the 1 − {level} quantile of the null, interpolated between two values.",
}
_NONE_SHARED = "Experiments that may be of the same subjects would have been kept in both arms; there were none."
_UNIT = {"pool": "experiments", "keep": "groups of subjects", "refuse": "experiments", None: "experiments"}
_STILL_VALID = (
    ", whereas decisions by the confidence sequence and the upper bounds of p that it gives are valid: the chance that "
    "a decision is not that of infinitely many iterations is at most {eps}, the error of what is called significant at "
    "most {both}"
)


def inference(record: RunRecord) -> list[str]:
    """Return paragraphs on thresholds, corrections, Monte-Carlo p-values and decisions of main effects."""
    i = inference_of_record(record)
    paragraphs = [_correction(i), *_cluster_decisions(i), *_thresholds(record, i)]
    paragraphs.append(
        f"Maps at an uncorrected p < {decimal(i.voxel_p)}, in clusters of at least {volume(i, record)}, were produced "
        f"beside them. This controlled {controlled(specs_by_level('main-effect')['uncorrected'], i)}."
    )
    if i.null != "uniform":
        paragraphs.append(base_rate_paragraph(i))
    if i.profile != "recommended":
        paragraphs.append(_profile(i))
    if i.tied_peaks == "mean":
        paragraphs.append("Positions of tied maxima were averaged.")
    return paragraphs


def specs_by_level(kind: str) -> dict[str, MapSpec]:
    """Return the maps of a kind of result by level."""
    return {spec.level: spec for spec in presentation(kind).maps}


def _by_cluster(i: Inference) -> bool:
    return CORRECTION_OF[i.correction].of_clusters


def _survivor(i: Inference) -> str:
    return "clusters" if _by_cluster(i) else "voxels"


def _iterated(i: Inference) -> bool:
    """Return whether iterations went on until every cluster was decided."""
    return _by_cluster(i) and i.until_decided is not None


def _correction(i: Inference) -> str:
    """Return the paragraph on the null and the statistic that maps were corrected by."""
    edge = " or an edge" if i.connectivity == 18 else ""
    forming = (
        f"Clusters were formed of voxels with p < {decimal(i.voxel_p)} that share a face{edge}; "
        f"{_FORMING[i.null_cut]}. "
        if _by_cluster(i)
        else ""
    )
    enhanced = (
        " TFCE (E = 0.5, H = 2) was computed from z, floored at 0, as the exact sum over all its levels."
        if CORRECTION_OF[i.correction].enhanced
        else ""
    )
    correction = CORRECTION_OF[i.correction]
    rules = _LET_THROUGH_UNTIL if _iterated(i) else _LET_THROUGH
    return (
        f"Maps were corrected by {correction.label.replace('FWE', 'family-wise error (FWE)')}. {forming}The "
        f"null consisted of {i.iterations:,} iterations (seed {i.seed}). In each, the foci of every experiment were "
        "drawn anew, uniformly and with replacement, from the voxels of the mask, the numbers of foci and subjects "
        f"of each experiment being kept, and the {correction.largest} was "
        f"recorded{_NULL_SPACE[i.null_space]}.{enhanced} "
        f"{rules[i.cluster_cut].format(survivor=_survivor(i), level=decimal(i.cluster_p))} "
        f"This controlled {controlled(specs_by_level('main-effect')[i.correction], i)}."
    )


def _cluster_decisions(i: Inference) -> list[str]:
    """Return the paragraph on the p and the decision of each cluster; none for a correction by voxel."""
    if _iterated(i):
        return [_until_decided(i)]
    if not _by_cluster(i):
        return []
    return [
        "For each cluster, p is reported with its exact (Clopper–Pearson) 95 % interval for the finite number of "
        f"iterations. Clusters were called significant, not significant or undecided at {decimal(i.cluster_p)} by "
        "a confidence sequence, which is valid at any number of iterations [@robbins1970], with an error of at "
        f"most {decimal(EPS)} per analysis{'' if i.null == 'uniform' else ' and null'}."
    ]


def _thresholds(record: RunRecord, i: Inference) -> list[str]:
    """Return paragraphs on the thresholds that the null gave, and on iterations in several instalments."""
    mains, paragraphs = mains_of(record), []
    cuts = [f"{name}, {cut}" for name, entry in mains.items() if (cut := _cut(entry, i, record))]
    if cuts:
        paragraphs.append(f"The resulting thresholds were: {'; '.join(cuts)}.")
    rates = {name: entry["null_voxel_rate"] for name, entry in mains.items() if "null_voxel_rate" in entry}
    if rates and _by_cluster(i):
        each = "; ".join(f"{name}, {percent(rate)}" for name, rate in rates.items())
        paragraphs.append(f"The share of the null's voxels that reached the cluster-forming ALE was: {each}.")
        paragraphs += [f"“{name}”: {words}" for name, rate in rates.items() if (words := little_power(rate, i))]
    unreached = [name for name, entry in mains.items() if entry[CORRECTION_OF[i.correction].uniform.cut] >= UNREACHABLE]
    if unreached:
        paragraphs.append(
            f"With so few iterations no {_survivor(i)[:-1]} of {listed(unreached)} could reach that level."
        )
    if in_instalments(record) and not _iterated(i):
        levels = {"eps": decimal(EPS), "both": decimal(round(i.cluster_p + EPS, 10))}
        still_valid = _STILL_VALID.format(**levels) if _by_cluster(i) else ""
        paragraphs.append(
            "The iterations were computed in several instalments. If their number was raised in the light of "
            f"earlier results, the p-values above are not exact{still_valid}."
        )
    return paragraphs


_DECIDED = {
    "uniform": "for each cluster whether its p",
    "base-rate": "for each cluster that was formed against the base rate (below) whether its p under that null",
    "both": "for each cluster of either null, that of foci spread evenly and that of the base rate (below), whether "
    "its p under that null",
}


def _until_decided(i: Inference) -> str:
    """Return the paragraph on iterations that went on until every cluster was decided."""
    return (
        "The number of iterations was not fixed: it was doubled until a confidence sequence, which is valid at any "
        f"number of iterations [@robbins1970], had decided {_DECIDED[i.null]} lies below "
        f"{decimal(i.cluster_p)}, or there were {i.until_decided:,}. As the data had a part in that number, "
        "clusters are given no p, but the ends of that sequence. The resampling risk was at most "
        f"{decimal(EPS)} per analysis{'' if i.null == 'uniform' else ' and null'}, and the error so at most "
        f"{decimal(round(i.cluster_p + EPS, 6))}."
    )


def _profile(i: Inference) -> str:
    """Return the sentence on the program whose conventions were followed, and the departures from them."""
    departed = {name: value for name, value in departures(i.model_dump()).items() if value is not None}
    changes = listed(f"{name} was {value}" for name, value in departed.items()) if departed else ""
    words = f"; departing from it, {changes}" if departed else ""
    return f"These conventions are those of {PROGRAMS[i.profile]} (profile “{i.profile}”){words}."


def contrasts(record: RunRecord) -> list[str]:
    """Return paragraphs on contrasts: relabellings, gate, and the error that is controlled."""
    entries, i = of_kind(record, "contrast"), inference_of_record(record)
    if not entries:
        return []
    gate = {
        "arms": "A > B was examined only within the thresholded main effect of A, and B > A only within that of B",
        "pooled": "Both directions were examined within the thresholded map of the pooled experiments of both arms",
        "none": f"Both directions were examined over the whole mask{_floor(i)}",
    }[i.gate]
    shared = {
        "refuse": "Arms that share an experiment, or may share subjects, would have been refused.",
        "exclude": "Experiments that both arms share, or that may be of the same subjects, were excluded from both.",
        "keep": KEPT if any(entry["shared"] for entry in entries.values()) else _NONE_SHARED,
    }[i.shared]
    specs = specs_by_level("contrast")
    paragraphs = [
        "Samples A and B were contrasted by the difference of their ALE maps, compared in each voxel with differences "
        f"after relabelling whole {_UNIT[i.same_subjects]} at fixed group sizes [@eickhoff2011]; each direction "
        f"was tested by itself. {shared} Kernels were cut only below the resolution of the arithmetic. The seed was "
        f"{i.seed}.",
        *(_contrasted(name, entry, record) for name, entry in entries.items()),
        f"{gate}, at {inputs(i)}, at p < {decimal(i.contrast_p)} in clusters of at least {volume(i, record)}. These "
        f"maps show {shown_by(i)}.",
        f"Beside them, the largest difference in each relabelling gave voxels with a corrected p ≤ "
        f"{decimal(i.contrast_p)}, which controlled {controlled(specs['voxel-fwe'], i)}.",
    ]
    if CORRECTION_OF[i.correction].of_clusters:
        kind = CORRECTION_OF[i.correction].short
        paragraphs.append(
            f"Clusters were tested in two passes: the first set, in each voxel, the difference with a one-sided p < "
            f"{decimal(i.voxel_p)} among the observed and all relabelled ones; the second formed clusters by it in "
            f"every relabelling and recorded the largest cluster {kind}. Clusters with p ≤ {decimal(i.cluster_p)} were "
            f"retained, which controlled {controlled(specs[f'{kind}-fwe'], i)}.{_decided(entries)}"
        )
        untested = [name for name, entry in entries.items() if entry["clusters_tested"] is None]
        if untested:
            paragraphs.append(
                f"No cluster could be tested in {listed(untested)}: the region was empty, or the relabellings were "
                "too few for the cluster-forming p."
            )
    return paragraphs + power(entries, i)


def _floor(i: Inference) -> str:
    if not i.contrast_floor:
        return ", also where hardly any focus lies"
    below = decimal(i.contrast_floor)
    return f", where the pooled experiments, whom no relabelling changes, had an uncorrected p < {below}"


def _decided(entries: Mapping[str, Any]) -> str:
    """Return sentences on the decisions of contrasts' clusters; enumerated contrasts have an exact p."""
    tested = [entry["enumerated"] for entry in entries.values() if entry["clusters_tested"] is not None]
    if not tested or all(tested):
        return ""
    exact = " Clusters of contrasts whose relabellings were all enumerated have an exact p." if any(tested) else ""
    return (
        " They, too, were called significant, not significant or undecided by a confidence sequence [@robbins1970], "
        f"with an error of at most {decimal(EPS)} per contrast, the cluster-forming values being taken as given.{exact}"
    )


def _contrasted(name: str, entry: Mapping[str, Any], record: RunRecord) -> str:
    (first, a), (second, b) = ((arm, _compared(arm, entry, record)) for arm in entry["arms"])
    pooled = next(e for e in record["analyses"].values() if e.get("pooled_for") == name)
    n = entry["iterations"]
    # The record holds no number above 2^62.
    possible = f" of the {many(entry['relabellings'])} possible" if entry["relabellings"] < UNREACHABLE else ""
    how = (
        f"all N = {n:,} relabellings were enumerated, so that p = r/N is exact"
        if entry["enumerated"]
        else f"N = {n:,} relabellings{possible} were drawn at random, with p = (1 + r)/(1 + N) [@phipson2010]"
    )
    if not entry["enumerated"] and inference_of_record(record).relabel_p == "share":
        how = (
            f"N = {n:,} relabellings{possible} were drawn at random, with p = max(r, 1)/N where it is "
            "uncorrected, and (1 + r)/(1 + N) [@phipson2010] where it is corrected"
        )
    foci, subjects = entry["foci_per_experiment"], entry["subjects_per_experiment"]
    means = f"{foci[0]:.1f} and {foci[1]:.1f} foci"
    if knows_n(record, used=True):
        means += f", {subjects[0]:.1f} and {subjects[1]:.1f} subjects"
    unlike = f" The arms differed more than 1.5-fold in these means; {UNLIKE}." if entry["unbalanced"] else ""
    inference = inference_of_record(record)
    return (
        f"The contrast “{name}” compared A, {first} ({a}), with B, {second} ({b}). "
        f"Subjects that both may share: {shared_words(entry['shared'], inference)}. The "
        f"analysis of both pooled had {counted(pooled['n_experiments'], 'experiment')}.{limited(entry)} With r of N "
        f"relabellings at least as extreme as the observed labels, {how}. On average, experiments of A and B had "
        f"{means}.{unlike}"
    )


def limited(entry: Mapping[str, Any]) -> str:
    """Return a sentence on what a contrast or conjunction is limited to; "" where it is not."""
    if not entry.get("inside"):
        return ""
    size = f" ({entry['inside_voxels']:,} voxels)" if "inside_voxels" in entry else ""
    corrected = "" if entry["kind"] == "conjunction" else ", the only ones that its corrected p count"
    return f" It was limited to the voxels of {inside_words(entry)}{size}{corrected}."


def _compared(arm: str, entry: Mapping[str, Any], record: RunRecord) -> str:
    """Return in words how many experiments of an arm a contrast compared, and how many it excluded."""
    total = record["analyses"][arm]["n_experiments"]
    used = dict(zip(entry["arms"], entry.get("experiments_compared", ()), strict=False)).get(arm, total)
    return counted(used, "experiment") + (f" of its {total:,}; {total - used:,} excluded" if used < total else "")


_OTHER_FOCI = {
    "uniform": "at random",
    "base-rate": "as the base rate has them",
    "both": "at random or, for the power against the base rate, as that has them",
}


def power(entries: Mapping[str, Any], i: Inference) -> list[str]:
    """Return a paragraph on the simulated power of results without a cluster; none for other results."""
    needed = {name: words for name, entry in entries.items() if (words := detectable(entry))}
    if not needed:
        return []
    first = next(entry for entry in entries.values() if "power_of" in entry)
    return [
        f"For results without a cluster, power was simulated {first['power_simulations']:,} times for each sample: "
        "some experiments had one focus at a random place, displaced as their own kernel says, and all other foci lay "
        f"{_OTHER_FOCI[first.get('power_null', 'uniform')]}; the place was found where what survived "
        f"{CORRECTION_OF[i.correction].label} came within {first['power_within_mm']:g} mm. A power of "
        f"{100 * first['power_target']:.0f} % took "
        f"{'; '.join(f'(“{name}”) {words}' for name, words in needed.items())}. This is a prevalence of reports at one "
        "place, not an effect size." + (f" {price(first)}" if price(first) else "")
    ]


def _cut(entry: Mapping[str, Any], i: Inference, record: RunRecord) -> str:
    correction = CORRECTION_OF[i.correction]
    uniform, cut = correction.uniform, entry[correction.uniform.cut]
    if cut >= UNREACHABLE:
        return ""
    scales = Scales(entry["scale_bits"], voxel_mm3(record), tfce=entry.get("tfce_unit", math.nan))
    least = f"{uniform.unit} ≥ {uniform.words(cut, scales)}"
    if uniform.unit == "voxels":
        least = f"at least {counted(cut, 'voxel')} ({cut * scales.mm3:,.0f} mm³)"
    return f"ALE ≥ {entry['threshold_ale']:.4g}, {least}" if correction.of_clusters else least


def inputs(i: Inference) -> str:
    """Return both inputs of a contrast or a conjunction in words."""
    return f"{CORRECTION_OF[i.correction].label} and at an uncorrected p < {decimal(i.voxel_p)}"


def many(number: int) -> str:
    """Return a number in words, beyond a million as a power of ten."""
    if number < 10**6:
        return f"{number:,}"
    power = len(str(number)) - 1
    return f"{number / 10**power:.1f} × 10^{power}"
