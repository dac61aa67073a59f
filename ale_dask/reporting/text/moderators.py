"""Write the methods section on moderators, and what is said of the column of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.main_effect import EPS
from ale_dask.analyses.moderator_columns import CORRELATED
from ale_dask.analyses.moderator_pairs import MOST_PAIRS
from ale_dask.config.inference import Inference
from ale_dask.config.run_record import RunRecord
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.reporting.common.phrases import counted, decimal, inference_of_record, listed, of_kind, volume
from ale_dask.reporting.common.wording import controlled
from ale_dask.reporting.text.inference import many, specs_by_level

_KINDS = {
    "interaction": "the product of both columns, each centred",
    "linear contrast of ordered levels": "its levels in their order, as 0, 1, 2 …",
    "ranks of a number": "its ranks",
}
_OF_PAIRS = (
    " Each pair of levels has a map of its own, held against the largest T over all voxels and pairs in each "
    "permutation, so that pairs share one correction; where only other levels differ, permuting all of them "
    "approximates the null of a pair."
)


def range_words(attrs: Mapping[str, Any]) -> str:
    """Return the range and mean of a moderator, or the groups of subjects at each of its levels, in words."""
    if len(attrs["levels"]):
        pairs = zip(attrs["levels"], attrs["level_groups"], strict=True)
        return ", ".join(f"{level} {n}" for level, n in pairs)
    if "range" not in attrs:
        return "a product of two columns"
    low, high = attrs["range"]
    return f"{low:g} to {high:g}, mean {attrs['mean']:.4g}"


def left_out_words(attrs: Mapping[str, Any]) -> str:
    """Return how many groups of subjects lack a value and were left out, in words; "" where none."""
    out, kept = int(attrs["groups_left_out"]), int(attrs["groups"])
    if not out:
        return ""
    return f"{out:,} of {out + kept:,} groups ({100 * out / (out + kept):.0f} %), which lack a value"


def leverage_words(attrs: Mapping[str, Any]) -> str:
    """Return the largest share of the moderator's sum of squares that a group has, and which; "" of k groups."""
    if "leverage" not in attrs:
        return ""
    return f"{100 * attrs['leverage']:.0f} % of the sum of squares ({attrs['leverage_of']})"


def moderators(record: RunRecord) -> list[str]:
    """Return paragraphs on moderators: statistic, permutations, region, and the error that is controlled."""
    entries, i = of_kind(record, "moderator"), inference_of_record(record)
    if not entries:
        return []
    floor = decimal(i.contrast_floor)
    where = (
        f"in the voxels in which the experiments together, whom no permutation changes, had an uncorrected p < {floor}"
        if i.contrast_floor
        else "over the whole mask, also where hardly any focus lies"
    )
    specs = specs_by_level("moderator")
    paragraphs = [
        "Moderators were tested by T, in each voxel the sum over groups of subjects of the centred moderator times "
        "−ln(1 − MA) of the group, against the same sum after permutations of the moderator over whole groups "
        f"[@winkler2014], {where}; each direction was tested by itself.{_nuisance(entries)} Kernels were cut only "
        f"below the resolution of the arithmetic. The seed was {i.seed}.",
        *(_moderated(name, entry, i) for name, entry in entries.items()),
        f"Maps at an uncorrected p < {decimal(i.contrast_p)}, in clusters of at least {volume(i, record)}, show "
        f"{listed(dict.fromkeys(entry['controls'] for entry in entries.values()))}. The largest T over its permutation "
        "standard deviation in each permutation gave voxels with a corrected p ≤ "
        f"{decimal(i.contrast_p)}, which controlled {controlled(specs['voxel-fwe'], i)}.",
        *_clusters(entries, i),
    ]
    if any("range" in entry for entry in entries.values()):
        paragraphs.append(
            "The effect shown is the mean of the moderator weighted by MA in a voxel minus its mean over all groups, "
            "in its own unit, with a 95 % interval by jackknife over groups; nuisance columns are not taken out of it."
        )
    return paragraphs


def _nuisance(entries: Mapping[str, Any]) -> str:
    if not any(entry["nuisance"] or entry["moderator_kind"] == "interaction" for entry in entries.values()):
        return ""
    return (
        " Where there are nuisance columns, the residuals of the moderator on them were permuted, and their linear "
        "effect was taken out again after each permutation, which gives the statistic of Freedman and Lane "
        "[@freedman1983]."
    )


def _clusters(entries: Mapping[str, Any], i: Inference) -> list[str]:
    correction = CORRECTION_OF[i.correction]
    if not correction.of_clusters:
        return []
    spec = specs_by_level("moderator")[f"{correction.short}-fwe"]
    mass = ", the sum of T over its standard deviation beyond the cluster-forming value" if correction.by_mass else ""
    tested = [entry["enumerated"] for entry in entries.values() if entry["clusters_tested"] is not None]
    decided = (
        " They were called significant, not significant or undecided by a confidence sequence [@robbins1970], with an "
        f"error of at most {decimal(EPS)} per moderator, the cluster-forming values being taken as given."
        if tested and not all(tested)
        else ""
    )
    paragraphs = [
        f"Clusters were tested in two passes: the first set, in each voxel, the T with a one-sided p < "
        f"{decimal(i.voxel_p)} among the observed and all permuted ones; the second formed clusters by it in every "
        f"permutation and recorded the largest cluster {correction.short}{mass}. Clusters with p ≤ "
        f"{decimal(i.cluster_p)} were retained, which controlled {controlled(spec, i)}.{decided}"
    ]
    untested = [name for name, entry in entries.items() if entry["clusters_tested"] is None]
    if untested:
        paragraphs.append(
            f"No cluster could be tested in {listed(untested)}: no voxel was tested, or the permutations were too few "
            "for the cluster-forming p."
        )
    return paragraphs


def _moderated(name: str, entry: Mapping[str, Any], i: Inference) -> str:
    kind = _KINDS.get(entry["moderator_kind"], "")
    what = f"{entry['moderator']}{f' ({kind})' if kind else ''}"
    out = left_out_words(entry)
    words = [
        f"“{name}”: {what} of {counted(entry['groups'], 'group')} of subjects of “{entry['of']}” "
        f"({range_words(entry)}){f'; {out}, were left out' if out else ''}.",
        _tested(entry),
        _permuted(entry, i),
        f"The largest leverage of a group is {leverage_words(entry)}." if "leverage" in entry else "",
    ]
    if "foci_r" in entry:
        words.append(f"The correlation of the moderator with the number of foci was {entry['foci_r']:.2f}.")
        if abs(entry["foci_r"]) > CORRELATED:
            words.append("More foci alone raise MA, so that T may follow their number rather than where they lie.")
    return " ".join(word for word in words if word)


def _tested(entry: Mapping[str, Any]) -> str:
    nuisance = f"Nuisance columns were {listed(entry['nuisance'])}." if entry["nuisance"] else ""
    if entry["moderator_kind"] == "interaction":
        nuisance = f"Nuisance columns were {listed([*entry['on'], *entry['nuisance']])}."
    within = f" It was permuted within the values of {entry['strata']}." if entry["strata"] else ""
    pairs = (
        " T was the largest absolute difference of mean −ln(1 − MA) of any two levels, over its permutation standard "
        f"deviation.{_OF_PAIRS if len(entry['pairs']) <= MOST_PAIRS else ''}"
        if "pairs" in entry
        else ""
    )
    return f"{nuisance}{within}{pairs}".strip()


def _permuted(entry: Mapping[str, Any], i: Inference) -> str:
    n, possible = entry["iterations"], entry["permutations"]
    if entry["enumerated"]:
        return f"All N = {n:,} different permutations were enumerated, so that p = r/N is exact."
    of_all = f" of the {many(possible)} different ones" if possible < UNREACHABLE else ""
    drawn = f"N = {n:,} permutations{of_all} were drawn at random, with p = (1 + r)/(1 + N) [@phipson2010]"
    return f"{drawn}{', or max(r, 1)/N where it is uncorrected' if i.relabel_p == 'share' else ''}."
