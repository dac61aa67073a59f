"""What a run did, in the sentences of a paper, from its record alone; [@key] cites a reference."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ale_dask.analyses.contrast import WORDS
from ale_dask.analyses.main_effect import EPS
from ale_dask.numerics.kernels import SUBJECT_FWHM, TEMPLATE_FWHM
from ale_dask.results.views import VIEWS
from ale_dask.results.wording import CORRECTED, FEWEST, UNLIKE, UNREACHABLE, controlled
from ale_dask.words.config import BUILT_IN, Inference

Record = Mapping[str, Any]
SIMULATED = "SIMULATED DATA: the coordinates were made up by a program. Nothing here is a finding."
_VARIANT = {"other": "software other than FSL and SPM", "fsl": "FSL", "spm": "SPM"}
_MASKS = {
    "brain": "the MNI152 (NLin6Asym) brain mask",
    "gm": "a grey-matter mask (probability above 10 % in the ICBM 2009 template)",
}
_LARGEST = {
    "cluster-size": "size of the largest cluster",
    "cluster-mass": "largest cluster mass, the sum over a cluster's voxels of how far −ln(1 − ALE) lay above its "
    "cluster-forming value [@bullmore1999],",
    "voxel": "largest ALE",
    "tfce": "largest threshold-free cluster enhancement (TFCE) [@smith2009; @frahm2022]",
}
_CUT = {"cluster-size": "cut_size", "cluster-mass": "cut_mass", "voxel": "cut_s", "tfce": "cut_tfce"}


def inference_of_record(record: Record) -> Inference:
    """Return the settings that a record holds."""
    return Inference.model_validate({name: record["inference"][name] for name in Inference.model_fields})


def experiments(record: Record) -> list[str]:
    """Return paragraphs on files, selection and the samples' sizes."""
    found = [SIMULATED] if record["simulated"] else []
    found += [_read(name, record) for name in record["samples"]]
    found += [_selected(name, record) for name in record["samples"]]
    found.append("Experiments that reported no focus did not enter the analyses.")
    mains = _mains(record)
    sizes = _listed(_sized(name, entry, record) for name, entry in mains.items())
    found.append(f"Main effects were computed for {sizes}.")
    few = [f"{name} ({e['n_experiments']})" for name, e in mains.items() if e["n_experiments"] < FEWEST]
    if few:
        found.append(
            f"Analyses of fewer than {FEWEST} experiments are underpowered [@eickhoff2016]; this applied to "
            f"{_listed(few)}."
        )
    return [paragraph for paragraph in found if paragraph]


def _read(name: str, record: Record) -> str:
    sample, inputs = record["samples"][name], record["inputs"][name]
    n_images = sum(step.get("inside", BUILT_IN[0]) not in BUILT_IN for step in sample["select"])
    # OUT numbers its copies; the name is the user's own.
    files = [
        f"{file['file'].removeprefix(f'{i}_')} (SHA-256 {file['sha256'][:12]}…)"
        for i, file in enumerate(inputs[: len(inputs) - n_images], 1)
    ]
    said = [f"The sample “{name}” was read from {_listed(files)}"]
    if sample["space"]:
        said.append(f"coordinates without a stated space were taken to be in {sample['space']} space")
    if sample["n"]:
        said.append(f"experiments without a stated sample size ({sample['without_n']:,}) were given n = {sample['n']}")
    return "; ".join(said) + "."


def _selected(name: str, record: Record) -> str:
    rows = [row for row in record["selection"] if row["sample"] == name]
    if len(rows) < 2:
        return ""
    steps = record["samples"][name]["select"]
    said = []
    for i, (before, row) in enumerate(pairwise(rows)):
        excluded = steps[i].get("exclude", []) if i < len(steps) else []
        rule = f"“{row['rule']}”" + (f", namely {_listed(excluded)}" if excluded else "")
        why = f" (reason: {row['why']})" if row["why"] else ""
        gone = before["experiments"] - row["experiments"]
        # Turkeltaub 2012 is where experiments of one group of subjects were first pooled.
        how = "pooled [@turkeltaub2012]" if row["rule"].endswith("all pooled") else "removed"
        said.append(f"({i + 1}) {rule}{why}: {_n(gone, 'experiment')} {how}, {_flow(row, record)} left")
    return (
        f"From “{name}”, with {_flow(rows[0], record)}, experiments were selected by these rules, in this order: "
        f"{'; '.join(said)}."
    )


def coordinates(record: Record) -> list[str]:
    """Return paragraphs on spaces and the mask."""
    converted = [
        f"{s['talairach']:,} of the {_n(s['experiments'], 'experiment')} read for “{name}” (the variant for data "
        f"normalised with {_VARIANT[s['talairach_variant']]})"
        for name, s in record["samples"].items()
        if s["talairach"]
    ]
    space = "All coordinates were in MNI space."
    if converted:
        space = (
            "Coordinates in Talairach space were converted to MNI space by the inverse of the icbm2tal transform "
            f"[@lancaster2007]: {_listed(converted)}. All other coordinates were in MNI space."
        )
    i = record["inference"]
    edges = " × ".join(f"{edge:g}" for edge in i["mask_voxel_mm"])
    # OUT's copy of an image has another name; the hash is of its grid and voxels.
    mask = _MASKS.get(i["mask"], f"a mask given as an image (SHA-256 of its voxels {i['mask_sha256'][:12]}…)")
    outside = [
        f"{_n(e['foci_outside_mask'], 'focus')} in {n}" for n, e in _mains(record).items() if e["foci_outside_mask"]
    ]
    kept = f" Foci outside the mask were kept ({_listed(outside)})." if outside else ""
    return [
        f"{space} Coordinates were not rounded to voxels. Analyses were restricted to {mask}, {i['mask_voxels']:,} "
        f"voxels of {edges} mm.{kept}"
    ]


def model(record: Record) -> list[str]:
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
        f"activation (MA) of an experiment was, in each voxel, {within}. ALE was the union over experiments, 1 − ∏(1 − MA).",
        "The voxelwise p-value was derived analytically from the null distribution of ALE under spatial independence "
        "of the experiments, the convolution of their distributions of MA over the mask [@eickhoff2012]. For inference "
        f"the kernels ended at {i.support:g} standard deviations, in the observed map as in its null.",
    ]


def inference(record: Record) -> list[str]:
    """Return paragraphs on thresholds, corrections, Monte-Carlo p-values and decisions of main effects."""
    i, mains = inference_of_record(record), _mains(record)
    views = {v.level: v for v in VIEWS["main-effect"]}
    of_clusters = i.correction in ("cluster-size", "cluster-mass")
    forming = (
        f"Clusters were formed of voxels with p < {_p(i.voxel_p)} that share a face; the ALE value that corresponds to "
        "it was held fixed in the null. "
        if of_clusters
        else ""
    )
    enhanced = (
        " TFCE (E = 0.5, H = 2) was computed from z, floored at 0, as the exact sum over all its levels."
        if i.correction == "tfce"
        else ""
    )
    survivor = "clusters" if of_clusters else "voxels"
    found = [
        f"Maps were corrected by {CORRECTED[i.correction].replace('FWE', 'family-wise error (FWE)')}. {forming}The "
        f"null consisted of {i.iterations:,} iterations (seed {i.seed}). In each, the foci of every experiment were drawn "
        "anew, uniformly and with replacement, from the voxels of the mask, the numbers of foci and subjects of each "
        f"experiment being kept, and the {_LARGEST[i.correction]} was recorded.{enhanced} With r of B iterations at "
        f"least as extreme as the observed value, p = (1 + r)/(1 + B) [@phipson2010]; {survivor} with p ≤ "
        f"{_p(i.cluster_p)} were retained. This controlled {controlled(views[i.correction], i)}."
    ]
    if of_clusters:
        found.append(
            "For each cluster, p is reported with its exact (Clopper–Pearson) 95 % interval for the finite number of "
            f"iterations. Clusters were called significant, not significant or undecided at {_p(i.cluster_p)} by a "
            "confidence sequence, which is valid at any number of iterations [@robbins1970], with an error of at most "
            f"{_p(EPS)} per analysis."
        )
    cuts = [f"{name}, {cut}" for name, entry in mains.items() if (cut := _cut(entry, i, record))]
    if cuts:
        found.append(f"The resulting thresholds were: {'; '.join(cuts)}.")
    none = [name for name, entry in mains.items() if entry[_CUT[i.correction]] >= UNREACHABLE]
    if none:
        found.append(f"With so few iterations no {survivor[:-1]} of {_listed(none)} could reach that level.")
    if any(len(entry["segments"]) > 1 for entry in mains.values()):
        found.append(
            "The iterations were computed in several instalments. If their number was raised in the light of "
            "earlier results, the p-values above are not exact, whereas decisions by the confidence sequence are valid."
        )
    found.append(
        f"Maps at an uncorrected p < {_p(i.voxel_p)}, in clusters of at least {_volume(i, record)}, were produced "
        f"beside them. This controlled {controlled(views['uncorrected'], i)}."
    )
    if i.profile == "gingerale":
        found.append("As in GingerALE, positions of tied maxima were averaged.")
    return found


def contrasts(record: Record) -> list[str]:
    """Return paragraphs on contrasts: relabellings, gate, and what is and is not controlled."""
    entries, i = _of_kind(record, "contrast"), inference_of_record(record)
    if not entries:
        return []
    gate = {
        "arms": "Each direction was examined within the thresholded main effect of its first-named arm",
        "pooled": "Both directions were examined within the thresholded map of the pooled experiments of both arms",
        "none": "Both directions were examined over the whole mask",
    }[i.gate]
    shared = (
        "No experiment belonged to both arms of a contrast; shared ones would have been refused."
        if i.shared == "refuse"
        else "Experiments that belonged to both arms of a contrast were excluded from it."
    )
    views = {v.level: v for v in VIEWS["contrast"]}
    found = [
        "Samples were contrasted by the difference of their ALE maps, compared in each voxel with differences after "
        f"relabelling whole experiments at fixed group sizes [@eickhoff2011]; each direction was tested by itself. "
        f"{shared} Kernels were cut only below the resolution of the arithmetic. The seed was {i.seed}.",
        *(_contrasted(name, entry, record) for name, entry in entries.items()),
        f"{gate}, at {_inputs(i)}, at p < {_p(i.contrast_p)} in clusters of at least {_volume(i, record)}. These maps "
        f"show {WORDS[i.gate]}.",
        f"Beside them, the largest difference in each relabelling gave voxels with a corrected p ≤ {_p(i.contrast_p)}, "
        f"which controlled {controlled(views['voxel-fwe'], i)}.",
    ]
    if i.correction in ("cluster-size", "cluster-mass"):
        kind = i.correction.removeprefix("cluster-")
        found.append(
            f"Clusters were tested in two passes: the first set, in each voxel, the difference with a one-sided p < "
            f"{_p(i.voxel_p)} among the observed and all relabelled ones; the second formed clusters by it in every "
            f"relabelling and recorded the largest cluster {kind}. Clusters with p ≤ {_p(i.cluster_p)} were retained, "
            f"which controlled {controlled(views[f'{kind}-fwe'], i)}."
        )
        untested = [name for name, entry in entries.items() if entry["clusters_tested"] is None]
        if untested:
            found.append(
                f"No cluster could be tested in {_listed(untested)}: the region was empty, or the relabellings were "
                "too few for the cluster-forming p."
            )
    return found


def _contrasted(name: str, entry: Record, record: Record) -> str:
    (first, a), (second, b) = ((arm, record["analyses"][arm]["n_experiments"]) for arm in entry["arms"])
    pooled = next(e for e in record["analyses"].values() if e.get("pooled_for") == name)
    both = (a + b - pooled["n_experiments"]) // 2
    excluded = f", of which {_n(both, 'experiment')} in both arms {_were(both)} excluded from each" if both else ""
    n = entry["iterations"]
    # A number above 2^62 is not kept.
    of = f" of the {_many(entry['relabellings'])} possible" if entry["relabellings"] < UNREACHABLE else ""
    how = (
        f"all B = {n:,} relabellings were enumerated, so that p = r/B is exact"
        if entry["enumerated"]
        else f"B = {n:,} relabellings{of} were drawn at random, with p = (1 + r)/(1 + B) [@phipson2010]"
    )
    if not entry["enumerated"] and record["inference"]["profile"] == "gingerale":
        how = (
            f"B = {n:,} relabellings{of} were drawn at random, with p = max(r, 1)/B as in GingerALE where it is "
            "uncorrected, and (1 + r)/(1 + B) [@phipson2010] where it is corrected"
        )
    foci, subjects = entry["foci_per_experiment"], entry["subjects_per_experiment"]
    means = f"{foci[0]:.1f} and {foci[1]:.1f} foci"
    if _knows_n(record):
        means += f", {subjects[0]:.1f} and {subjects[1]:.1f} subjects"
    unlike = f" The arms differed more than 1.5-fold in these means; {UNLIKE}." if entry["unbalanced"] else ""
    return (
        f"The contrast “{name}” compared {first} ({_n(a, 'experiment')}) with {second} ({_n(b, 'experiment')})"
        f"{excluded}; the pooled analysis had {_n(pooled['n_experiments'], 'experiment')}. With r of B relabellings "
        f"at least as extreme as the observed labels, {how}. On average, experiments of the arms had {means}.{unlike}"
    )


def conjunctions(record: Record) -> list[str]:
    """Return paragraphs on conjunctions and what an overlap does not show."""
    entries, i = _of_kind(record, "conjunction"), inference_of_record(record)
    if not entries:
        return []
    view = next(v for v in VIEWS["conjunction"] if v.level == "voxel-fwe")
    which = _listed(f"“{name}” of {_listed(entry['of'])}" for name, entry in entries.items())
    said = {entry["controls"] for entry in entries.values()}
    return [
        f"Conjunctions ({which}) were the voxelwise minimum of the thresholded maps [@nichols2005], at {_inputs(i)}, "
        f"in clusters of at least {_volume(i, record)}. They show the {_listed(said)}.",
        f"Beside them, the minimum of the voxel-FWE maps controlled {controlled(view, i)}.",
    ]


def software(record: Record) -> list[str]:
    """Return a paragraph on programs and their versions."""
    program, environment = record["program"], dict(record["environment"])
    python, machine = environment.pop("python"), environment.pop("machine")
    libraries = _listed(f"{name} {version}" for name, version in environment.items())
    bits = _listed(str(b) for b in sorted({e["scale_bits"] for e in record["analyses"].values() if "scale_bits" in e}))
    return [
        f"Analyses were run with {program['name']} {program['version']} (numerics version {program['numerics']}) on "
        f"Python {python} ({machine}) with {libraries}. Sums of −ln(1 − MA) were integers in units of 2^−{bits}, so "
        "that results do not depend on the number of workers or the order of the work."
    ]


def _of_kind(record: Record, kind: str) -> dict[str, Any]:
    return {name: entry for name, entry in record["analyses"].items() if entry["kind"] == kind}


def _mains(record: Record) -> dict[str, Any]:
    return {n: e for n, e in _of_kind(record, "main-effect").items() if "pooled_for" not in e}


def _knows_n(record: Record) -> bool:
    # Only a kernel of fixed width lets a missing sample size through.
    return not any(s["without_n"] and not s["n"] for s in record["samples"].values())


def _sized(name: str, entry: Record, record: Record) -> str:
    counts = [_n(entry["n_experiments"], "experiment"), _n(entry["n_foci"], "focus")]
    if _knows_n(record):
        counts.append(_n(entry["n_subjects"], "subject"))
    of = "" if entry["foci"] == [name] else f"sample {_listed(entry['foci'])}; "
    return f"{name} ({of}{', '.join(counts)})"


def _flow(row: Record, record: Record) -> str:
    parts = [_n(row["experiments"], "experiment") + f" of {_n(row['studies'], 'study')}", _n(row["foci"], "focus")]
    return ", ".join([*parts, _n(row["subjects"], "subject")] if _knows_n(record) else parts)


def _cut(entry: Record, i: Inference, record: Record) -> str:
    value = entry[_CUT[i.correction]]
    if value >= UNREACHABLE:
        return ""
    if i.correction == "voxel":
        return f"ALE ≥ {entry['cut_ale']:.4g}"
    if i.correction == "tfce":
        return f"TFCE ≥ {value * entry['tfce_unit']:.4g}"
    forming = f"ALE ≥ {entry['threshold_ale']:.4g}"
    if i.correction == "cluster-mass":
        return f"{forming}, mass ≥ {value * 2.0 ** -entry['scale_bits']:.4g}"
    return f"{forming}, at least {_n(value, 'voxel')} ({value * _voxel_mm3(record):,.0f} mm³)"


def _inputs(i: Inference) -> str:
    return f"{CORRECTED[i.correction]} and at an uncorrected p < {_p(i.voxel_p)}"


def _volume(i: Inference, record: Record) -> str:
    return f"{i.min_volume:g} mm³ ({_n(i.min_voxels(_voxel_mm3(record)), 'voxel')})"


def _voxel_mm3(record: Record) -> float:
    return math.prod(record["inference"]["mask_voxel_mm"])


def _p(value: float) -> str:
    text = f"{value:g}"
    return text if "e" not in text else f"{value:.20f}".rstrip("0")


def _n(number: int, word: str) -> str:
    plural = {"focus": "foci", "study": "studies"}.get(word, f"{word}s")
    return f"{number:,} {word if number == 1 else plural}"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _many(number: int) -> str:
    if number < 10**6:
        return f"{number:,}"
    power = len(str(number)) - 1
    return f"{number / 10**power:.1f} × 10^{power}"


def _listed(words: Iterable[str]) -> str:
    *first, last = list(words)
    return f"{', '.join(first)} and {last}" if first else last


def plain(text: str) -> str:
    """Return a text on one line."""
    return re.sub(r"\s+", " ", text).strip()


SECTIONS: Sequence[tuple[str, Any]] = (
    ("Experiments", experiments),
    ("Coordinates and mask", coordinates),
    ("Activation likelihood estimation", model),
    ("Inference", inference),
    ("Contrasts", contrasts),
    ("Conjunctions", conjunctions),
    ("Software", software),
)
"""The sections of methods text, in order; one without a paragraph is left out."""
