"""Write the methods sections on experiments, coordinates, ALE and software; [@key] cites a paper of references.toml."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from ale_dask.config.inference import BUILT_IN
from ale_dask.config.run_record import RunRecord
from ale_dask.coordinates.direction import DIRECTION, DOWN, MODALITY
from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS
from ale_dask.numerics.gaussian import SUBJECT_FWHM, TEMPLATE_FWHM
from ale_dask.reporting.common.phrases import (
    counted,
    inference_of_record,
    knows_n,
    listed,
    mains_of,
    voxel_mm3,
)

SIMULATED = "SIMULATED DATA: the coordinates were made up by a program. Nothing here is a finding."
_VARIANT = {"other": "software other than FSL and SPM", "fsl": "FSL", "spm": "SPM"}
_MASKS = {
    "brain": "the MNI152 (NLin6Asym) brain mask",
    "gm": "a grey-matter mask (probability above 10 % in the ICBM 2009 template)",
    "grey10": "the grey-matter mask of JALE and its predecessors in MATLAB",
}
_TOLD_ELSEWHERE = ("imputed-n", "converted-space", "pooled-groups", "kept-groups", "suspected-groups", "known-columns")
"""Codes of decisions that have sentences of their own."""
_MOST_DECISIONS = 20
"""Most decisions in the text; run.json has them all."""
_ROUNDED = {
    "none": "not rounded to voxels",
    "half-even": "rounded to the nearest voxel centre, halves to the even one",
    "half-up": "rounded to the nearest voxel centre, halves up",
    "ceil": "rounded up to the next voxel centre along each axis of the grid",
    "floor": "rounded down to the voxel centre before along each axis of the grid",
}
_CUBE = (
    "the kernels were cubes with half an edge of {{support}} standard deviations, rounded {} whole voxels, whose "
    "factors along each axis summed to 1"
)
_ENDED = {
    "density": "the kernels ended at {support} standard deviations",
    "lattice": _CUBE.format("to the nearest number of"),
    "lattice-ceil": _CUBE.format("up to"),
}


def experiments(record: RunRecord) -> list[str]:
    """Return paragraphs on files, selection and the samples' sizes."""
    paragraphs = [SIMULATED] if record["simulated"] else []
    paragraphs += [_read(name, record) for name in record["samples"]]
    paragraphs += [_selected(name, record) for name in record["samples"]]
    paragraphs.append(_seeded(record))
    paragraphs.append(_directions(record))
    paragraphs.append(_decided(record))
    paragraphs.append("Experiments that reported no focus did not enter the analyses.")
    mains = mains_of(record)
    sizes = listed(_sized(name, entry, record) for name, entry in mains.items())
    paragraphs.append(_subjects(record))
    paragraphs.append(f"Main effects were computed for {sizes}.")
    few = [f"{name} ({e['n_experiments']})" for name, e in mains.items() if e["n_experiments"] < ENOUGH_EXPERIMENTS]
    if few:
        paragraphs.append(
            f"Analyses of fewer than {ENOUGH_EXPERIMENTS} experiments are underpowered [@eickhoff2016]; this applied "
            f"to {listed(few)}."
        )
    return [paragraph for paragraph in paragraphs if paragraph]


def _read(name: str, record: RunRecord) -> str:
    sample, inputs = record["samples"][name], record["inputs"][name]
    n_images = sum(step.get("inside", BUILT_IN[0]) not in BUILT_IN for step in sample["select"])
    # Copies in OUT begin with a number, which the user's own name has not.
    files = [
        f"{file['file'].removeprefix(f'{i}_')} (SHA-256 {file['sha256'][:12]}…)"
        for i, file in enumerate(inputs[: len(inputs) - n_images], 1)
    ]
    clauses = [f"The sample “{name}” was read from {listed(files)}"]
    if sample.get("columns"):
        clauses.append(f"of its tables, {listed(f'“{c}” was read as {own}' for own, c in sample['columns'].items())}")
    if sample["space"]:
        clauses.append(f"coordinates without a stated space were taken to be in {sample['space']} space")
    if sample["n"]:
        clauses.append(
            f"experiments without a stated sample size ({sample['without_n']:,}) were given n = {sample['n']}"
        )
    return "; ".join(clauses) + "."


def _decided(record: RunRecord) -> str:
    """Return the sentence on decisions about the files that have no sentences of their own; "" without any."""
    made = {(d["where"], d["message"]): d["code"] for e in record["analyses"].values() for d in e.get("decisions", ())}
    decisions = [
        f"{where}: {text}" if where else text for (where, text), code in made.items() if code not in _TOLD_ELSEWHERE
    ]
    more = (
        f"; and {len(decisions) - _MOST_DECISIONS} more, which run.json lists"
        if len(decisions) > _MOST_DECISIONS
        else ""
    )
    return f"Decided while the files were read: {'; '.join(decisions[:_MOST_DECISIONS])}{more}." if decisions else ""


def _selected(name: str, record: RunRecord) -> str:
    rows = [row for row in record["selection"] if row["sample"] == name]
    if len(rows) < 2:
        return ""
    steps = record["samples"][name]["select"]
    clauses = []
    for i, (before, row) in enumerate(pairwise(rows)):
        excluded = steps[i].get("exclude", []) if i < len(steps) else []
        rule = f"“{row['rule']}”" + (f", namely {listed(excluded)}" if excluded else "")
        why = f" (reason: {row['why']})" if row["why"] else ""
        number = before["experiments"] - row["experiments"]
        # Turkeltaub et al. (2012) first pooled experiments of one group of subjects.
        how = "pooled [@turkeltaub2012]" if row["rule"].endswith("all pooled") else "removed"
        clauses.append(f"({i + 1}) {rule}{why}: {counted(number, 'experiment')} {how}, {_flow(row, record)} left")
    return (
        f"From “{name}”, with {_flow(rows[0], record)}, experiments were selected by these rules, in this order: "
        f"{'; '.join(clauses)}."
    )


def _seeded(record: RunRecord) -> str:
    """Return the sentences on convergence that a selection by place alone makes; "" without such a selection."""
    mains = {name: entry for name, entry in mains_of(record).items() if "seed_foci" in entry}
    if not mains:
        return ""
    against = inference_of_record(record).null == "base-rate"
    reached = [
        f"{counted(e['seed_foci'], 'focus')} of {name} lie there, which alone reach the cluster-forming value in "
        f"{e.get('seed_reach_base_rate_voxels' if against else 'seed_voxels', 0) * voxel_mm3(record):,.0f} mm³"
        for name, e in mains.items()
    ]
    return (
        "Experiments were selected by a focus in a seed, as in meta-analytic connectivity modelling [@robinson2010]. "
        f"They converge there whatever they studied: {listed(reached)}. Tables of clusters have the share of voxels "
        "for which this is so; only the others speak of regions that are active together with the seed."
    )


def _directions(record: RunRecord) -> str:
    """Return the sentences on directions and modalities of the findings; "" where no column states any."""
    mains = mains_of(record)
    sentences = [
        f"By their {what}, the experiments of {name} were {listed(entry[what])}."
        for what in (DIRECTION, MODALITY)
        for name, entry in mains.items()
        if entry.get(what)
    ]
    sides = [{count.partition(" ")[2] in DOWN for count in entry.get(DIRECTION, ())} for entry in mains.values()]
    if any(len(both) > 1 for both in sides):
        sentences.append(
            "Where one analysis holds foci of both directions, it tests the convergence of any change: ALE does not "
            "know directions [@mueller2018]."
        )
    return " ".join(sentences)


def _subjects(record: RunRecord) -> str:
    """Return the sentence on experiments of the same subjects; "" for a run without a choice about them."""
    choice, mains = inference_of_record(record).same_subjects, mains_of(record)
    if choice is None:
        return ""
    columns = [f"the column “{s['groups']}” in “{name}”" for name, s in record["samples"].items() if s.get("groups")]
    experiments = f"Experiments of the same subjects ({', or '.join(['of one study and one sample size', *columns])})"
    if choice == "refuse":
        return f"{experiments} would have been refused; there were none."
    if choice == "keep":
        ungrouped = [
            f"{counted(e['n_experiments'], 'experiment')} of {counted(e['n_groups'], 'group')} of subjects in {name}"
            for name, e in mains.items()
            if e["n_groups"] < e["n_experiments"]
        ]
        listing = (
            f": {listed(ungrouped)}; the analyses take them as independent, which they are not" if ungrouped else ""
        )
        return f"{experiments} were kept apart{listing or '; there were none'}. Subjects were counted once per group."
    pooled = [
        f"{before} became {after} in {name}" for name, e in mains.items() for before, after in [e["pooled"]] if before
    ]
    return (
        f"{experiments} were pooled into one experiment with all their foci, exact duplicates once, and the least of "
        f"their sample sizes [@turkeltaub2012]{f': {listed(pooled)}' if pooled else '; there were none'}."
    )


def coordinates(record: RunRecord) -> list[str]:
    """Return paragraphs on spaces and the mask."""
    converted = [
        f"{s['talairach']:,} of the {counted(s['experiments'], 'experiment')} read for “{name}” (the variant for data "
        f"normalised with {_VARIANT[s['talairach_variant']]})"
        for name, s in record["samples"].items()
        if s["talairach"]
    ]
    space = "All coordinates were in MNI space."
    if converted:
        space = (
            "Coordinates in Talairach space were converted to MNI space by the inverse of the icbm2tal transform "
            f"[@lancaster2007]: {listed(converted)}. All other coordinates were in MNI space."
        )
    i = record["inference"]
    edges = " × ".join(f"{edge:g}" for edge in i["mask_voxel_mm"])
    # The copy of an image in OUT has another name; the hash is of its grid and voxels.
    mask = _MASKS.get(i["mask"], f"a mask given as an image (SHA-256 of its voxels {i['mask_sha256'][:12]}…)")
    outside = [
        f"{counted(e['foci_outside_mask'], 'focus')} in {n}"
        for n, e in mains_of(record).items()
        if e["foci_outside_mask"]
    ]
    outside_words = f" Foci outside the mask were kept ({listed(outside)})." if outside else ""
    if i.get("outside") == "drop":
        outside_words = " Foci outside the mask were removed before anything was counted."
    return [
        f"{space} Coordinates were {_ROUNDED[i['rounding']]}. Analyses were restricted to {mask}, {i['mask_voxels']:,} "
        f"voxels of {edges} mm.{outside_words}",
        *_search(record),
    ]


def _search(record: RunRecord) -> list[str]:
    """Return a paragraph on the region of inference; none for the whole mask."""
    i = record["inference"]
    if i.get("search") is None:
        return []
    if "search_voxels" not in i:
        return [f"Inference was asked for in a region ({i['search']}) that holds the whole mask."]
    region = _MASKS.get(i["search"], f"given as the image {i['search']}")
    return [
        f"Inference was made in a small volume, {region} (SHA-256 of its voxels {i['search_sha256'][:12]}…): "
        f"{i['search_voxels']:,} voxels of the mask, {i['search_mm3']:,.0f} mm³. Foci of the null were drawn over the "
        "whole mask, whose voxelwise p-values were kept; ALE values were compared, clusters formed of the voxels "
        "inside, and maxima, thresholds and false discovery rates taken in the small volume alone. It has to have "
        "been chosen without regard to these data."
    ]


def model(record: RunRecord) -> list[str]:
    """Return paragraphs on kernel, modelled activation, ALE and the voxel null."""
    i = inference_of_record(record)
    width = (
        f"a fixed full width at half maximum (FWHM) of {i.fwhm:g} mm"
        if i.fwhm is not None
        else f"FWHM² = {TEMPLATE_FWHM:.2f}² + {SUBJECT_FWHM:.2f}²/n mm² (FWHM: full width at half maximum), n being "
        "the sample size, from empirical estimates of the uncertainty between templates and between subjects "
        "[@eickhoff2009]"
    )
    within = (
        "the largest probability of its foci, so that foci of one experiment did not add [@turkeltaub2012]"
        if i.within == "max"
        else "the union of its foci's probabilities, 1 − ∏(1 − p), so that neighbouring foci of one experiment added"
    )
    return [
        "Convergence was assessed by activation likelihood estimation (ALE) [@turkeltaub2002; @eickhoff2009; "
        f"@eickhoff2012]. Each focus was modelled as a three-dimensional Gaussian with {width}. The modelled "
        f"activation (MA) of an experiment was, in each voxel, {within}. ALE was the union over experiments, "
        "1 − ∏(1 − MA).",
        "The voxelwise p-value was derived analytically from the null distribution of ALE under spatial independence "
        "of the experiments, the convolution of their distributions of MA over the mask [@eickhoff2012]. For inference "
        f"{_ENDED[i.kernel].format(support=f'{i.support:g}')}, in the observed map as in its null.",
    ]


def _sized(name: str, entry: Mapping[str, Any], record: RunRecord) -> str:
    counts = [counted(entry["n_experiments"], "experiment"), counted(entry["n_foci"], "focus")]
    if knows_n(record, used=True):
        counts.append(counted(entry["n_subjects"], "subject"))
    sample = "" if entry["foci"] == [name] else f"sample {listed(entry['foci'])}; "
    return f"{name} ({sample}{', '.join(counts)})"


def _flow(row: Mapping[str, Any], record: RunRecord) -> str:
    parts = [
        counted(row["experiments"], "experiment") + f" of {counted(row['studies'], 'study')}",
        counted(row["foci"], "focus"),
    ]
    return ", ".join([*parts, counted(row["subjects"], "subject")] if knows_n(record, used=False) else parts)


def software(record: RunRecord) -> list[str]:
    """Return a paragraph on programs and their versions."""
    program, environment = record["program"], dict(record["environment"])
    python, machine = environment.pop("python"), environment.pop("machine")
    libraries = listed(f"{name} {version}" for name, version in environment.items())
    bits = listed(str(b) for b in sorted({e["scale_bits"] for e in record["analyses"].values() if "scale_bits" in e}))
    return [
        f"Analyses were run with {program['name']} {program['version']} (numerics version {program['numerics']}) on "
        f"Python {python} ({machine}) with {libraries}. Sums of −ln(1 − MA) were integers in units of 2^−{bits}, so "
        "that results do not depend on the number of workers or the order of the work."
    ]
