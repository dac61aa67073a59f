"""Describe a result in words: thresholds, control of error, sizes of samples, and notes to its readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import EPS
from ale_dask.analyses.moderator_columns import follows_foci
from ale_dask.analyses.sensitivity.power import BESIDE, THIRDS
from ale_dask.config.inference import OF_CLUSTERS, Inference
from ale_dask.coordinates.decisions import decisions
from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS
from ale_dask.numerics.ale import ale_from_s
from ale_dask.numerics.correct import UNREACHABLE, clopper_pearson
from ale_dask.reporting.common.base_rate import PRICE, base_rate_notes
from ale_dask.reporting.common.base_rate_maps import AGAINST, UNIFORM, is_base_rate
from ale_dask.reporting.common.maps import MapSpec, find_map_spec
from ale_dask.reporting.common.null_rate import little_power
from ale_dask.reporting.common.presentation import presentation_of

UNLIKE = "that alone can reject exchangeability, without any difference in where the effects are"
"""The consequence of arms that differ more than 1.5-fold."""
KEPT = (
    "Experiments of both arms that may be of the same subjects were kept: relabelling takes all experiments as "
    "independent."
)

_DECISION_AND_BOUND = (
    " Decision: whether a cluster's family-wise p is below the level (significant), above it (not), or not told apart "
    "from it by so few iterations (undecided: run more with `extend`); it may be looked at as often as one likes. "
    "Bound: the most that p can be on the same terms."
)
_GIVEN_FORMING_VALUES = " Both take the cluster-forming values, which come from the same relabellings, as given."


def decision_words(result: xr.Dataset, spec: MapSpec) -> str:
    """Return the meaning of the columns "decision" and "bound" of a map's clusters; "" if it has no such columns."""
    if not any(str(variable).endswith("_decision") for variable in result):
        return ""
    if spec.level in ("size-fwe", "mass-fwe"):
        return _DECISION_AND_BOUND + _GIVEN_FORMING_VALUES
    return _DECISION_AND_BOUND if correction_of(spec) in OF_CLUSTERS else ""


def correction_of(spec: MapSpec) -> str:
    """Return the correction of a main effect's map, without its null; its level if it has no correction."""
    return spec.level.removeprefix(AGAINST).removeprefix(UNIFORM)


def input_words(source: str, *, correction: str) -> str:
    """Return an input in words; "cluster-fwe" stands for the primary correction."""
    return {"cluster-fwe": CORRECTION_OF[correction].label, "voxel-fwe": "voxel FWE"}.get(source, "uncorrected p")


def label(result: xr.Dataset, spec: MapSpec) -> str:
    """Return the threshold of a map in a few words."""
    return presentation_of(result).label(result, spec) + small_volume(result)


def level_words(inference: Inference) -> str:
    """Return the family-wise level of a main effect: "p ≤ 0.05" if its cut is defined by p, else "level 0.05".

    A cut by rank or quantile retains values whose p = (1 + r)/(1 + B) may lie just above the level, and a number of
    iterations that depends on the data leaves no p.
    """
    by_p = inference.cluster_cut in ("plus-one", "share") and inference.until_decided is None
    return f"{'p ≤' if by_p else 'level'} {inference.cluster_p:g}"


def controls(result: xr.Dataset, spec: MapSpec) -> str:
    """Return in words the error that a map of a result controls."""
    if spec.controls is not None:
        return controlled(spec, model_of(result).inference) + small_volume(result)
    if spec.level == "label":
        return controls(result, find_map_spec(result, level=model_of(result).inference.correction))
    return str(result.attrs["controls"]) + small_volume(result)


def controlled(spec: MapSpec, inference: Inference) -> str:
    """Return in words the error that a map controls under these settings; the map must have a template."""
    floor = inference.contrast_floor
    mask = f"the mask where the pooled uncorrected p is below {floor:g}" if floor else "the mask"
    region = mask if inference.gate == "none" else "the thresholded map of the pooled experiments"
    words = str(spec.controls).format(**inference.model_dump(), region=region)
    if inference.until_decided is None or correction_of(spec) not in OF_CLUSTERS:
        return words
    drawn = "where the literature reports them anyway" if is_base_rate(spec) else "at random"
    null = " against the base rate" if is_base_rate(spec) else ""
    # Undecided clusters have no bound, since the number of iterations depends on the data.
    return (
        f"family-wise error at {inference.cluster_p + EPS:g} of the clusters called significant{null}: were the "
        f"foci {drawn}, the chance of one such cluster or more anywhere in the mask is at most that, resampling risk "
        "included; it does not say which of its voxels are active, and clusters kept but undecided have no such bound"
    )


def setting(result: xr.Dataset, name: str) -> Any:
    """Return a setting or threshold of a result as JSON has it; None for a threshold that no value reaches."""
    if name == "cut_ale" and _plain(result.attrs["cut_s"]) is None:
        return None
    value = result.attrs[name] if name in result.attrs else getattr(model_of(result).inference, name)
    return [_plain(v) for v in value] if isinstance(value, tuple | list | np.ndarray) else _plain(value)


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    unreachable = isinstance(value, int | float) and (value >= UNREACHABLE or not math.isfinite(value))
    return None if unreachable else value


def facts(result: xr.Dataset) -> list[tuple[str, str]]:
    """Return the facts (name, value) of a result for the page, thresholds with their intervals."""
    return presentation_of(result).facts(result)


def notes(result: xr.Dataset) -> list[str]:
    """Return the notes on a result that its readers must know, such as few experiments or unlike arms."""
    notes = []
    attrs = result.attrs
    if model_of(result).kind == "main-effect" and attrs["n_experiments"] < ENOUGH_EXPERIMENTS:
        notes.append(f"Only {attrs['n_experiments']} experiments, fewer than {ENOUGH_EXPERIMENTS}: underpowered.")
    notes += shortfalls(result)
    if "null_voxel_rate" in attrs and (words := little_power(attrs["null_voxel_rate"], model_of(result).inference)):
        notes.append(words)
    if model_of(result).kind == "contrast" and attrs["shared"] and model_of(result).inference.shared == "keep":
        notes.append(KEPT)
    notes += base_rate_notes(result)
    if words := detectable(attrs):
        effect = "difference" if model_of(result).kind == "contrast" else "overlap"
        notes.append(
            f"Finding no {effect} does not show that there is none: a place is found with "
            f"{100 * attrs['power_target']:.0f} % power if this many experiments report it: {words}."
            + (f" {price(attrs)}" if price(attrs) else "")
        )
    if attrs.get("unbalanced"):
        notes.append(f"The arms differ more than 1.5-fold in foci or subjects per experiment; {UNLIKE}.")
    if model_of(result).kind == "moderator" and "foci" not in (*attrs["on"], *attrs["nuisance"]):
        notes += [words[:1].upper() + words[1:] for words in (follows_foci(attrs.get("foci_r")),) if words]
    notes += [f"{d.where}: {d.message}" if d.where else d.message for d in decisions(result)]
    return notes


def subject_words(attrs: Mapping[str, Any]) -> str:
    """Return in words how many experiments were pooled, or how many groups of subjects they are of; "" if neither."""
    before, after = attrs.get("pooled", (0, 0))
    ungrouped = attrs["n_experiments"] - attrs.get("n_groups", attrs["n_experiments"])
    if before:
        return f" ({before} of the same subjects pooled into {after})"
    return f" of {attrs['n_groups']} groups of subjects" if ungrouped else ""


def shortfalls(result: xr.Dataset) -> list[str]:
    """Return the reasons why a result has no corrected test: too few iterations, or no region."""
    attrs, i = result.attrs, model_of(result).inference
    if model_of(result).kind == "main-effect" and _plain(attrs["cut_size"]) is None:
        return [f"{attrs['iterations']:,} iterations are too few for family-wise error at {i.cluster_p:g}."]
    kind = model_of(result).kind
    if kind not in ("contrast", "moderator"):
        return []
    n, reasons = attrs["iterations"], []
    what = "relabellings" if kind == "contrast" else "permutations"
    least = 1 / n if attrs["enumerated"] else 1 / (1 + n)
    if least > i.contrast_p:
        reasons.append(f"{n:,} {what} are too few for any voxel's p to reach {i.contrast_p:g}.")
    if i.correction in OF_CLUSTERS:
        if not attrs["components" if kind == "contrast" else "candidates"]:
            reasons.append(
                "The pooled experiments have no voxel above the cluster-forming value: no cluster is tested."
                if kind == "contrast"
                else "The experiments together have no voxel below the floor: none is tested."
            )
        elif f"z_{kind}_size_fwe" not in result:
            reasons.append(
                f"{n:,} {what} are too few for any voxel's p to fall below {i.voxel_p:g}: no cluster is tested."
            )
    return reasons


def detectable(attrs: Mapping[str, Any]) -> str:
    """Return in words how many experiments must report a place for the main effects of a result to find it.

    `attrs` are the result's attributes or its entry in a run's record; "" if no power was simulated.
    """
    parts = []
    for at, name in enumerate(attrs.get("power_of", ())):
        words = _needs(attrs, at)
        if attrs.get("power_null") == "base-rate":
            words = f"against the base rate {words}"
        if f"power_needed{BESIDE}" in attrs:
            words += f", against the base rate {_needs(attrs, at, end=BESIDE)}"
        if THIRDS[0] in attrs:
            least, most = (str(attrs[key][at] or "more than all") for key in THIRDS)
            words += f" [{least} in the third of the mask where foci are reported least, {most} where most]"
        parts.append(f"{name}: {words}")
    return "; ".join(parts)


def _needs(attrs: Mapping[str, Any], at: int, *, end: str = "") -> str:
    """Return in words how many experiments of one main effect must report a place, and the simulated power."""
    needed, detected = (attrs[f"power_{name}{end}"][at] for name in ("needed", "found"))
    n, simulations = attrs["power_experiments"][at], int(attrs["power_simulations"])
    low, high = (100 * float(share) for share in clopper_pearson(detected, simulations))
    power = f"power {100 * detected / simulations:.0f} %, 95 % interval {low:.0f}-{high:.0f} %"
    if needed:
        return f"{needed} of {n} experiments ({100 * needed / n:.0f} %; {power})"
    return f"not even all {n} experiments ({power})"


def price(attrs: Mapping[str, Any]) -> str:
    """Return the sentence on the base rate's cost in power; "" if no power against it was simulated."""
    return PRICE if THIRDS[0] in attrs else ""


def detectable_facts(attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fact for the page that `detectable` puts in words, none if no power was simulated."""
    words = detectable(attrs)
    return [(f"Found with {100 * attrs['power_target']:.0f} % power, if reported by", words)] if words else []


def shared_words(shared: Sequence[str], inference: Inference) -> str:
    """Return in words the subjects that both arms of a contrast may share, and whether they were excluded."""
    if not shared:
        return "none found by experiment, foci, study, or first author, year and sample size"
    done = "kept, as different subjects" if inference.shared == "keep" else "excluded from both arms"
    return f"{'; '.join(shared)}: {done}"


def ale_of(result: xr.Dataset, s: int) -> float:
    """Return the ALE of a fixed-point sum of a main effect."""
    return float(ale_from_s(np.array([s]), bits=int(result.attrs["scale_bits"]))[0])


def mask_name(result: xr.Dataset) -> str:
    """Return the mask's name, without the folder of a file, which is private."""
    return str(result.attrs["mask"]).replace("\\", "/").rsplit("/", 1)[-1]


def mask_words(result: xr.Dataset) -> str:
    """Return the mask of a result, its size, and the region of inference in words."""
    return f"{mask_name(result)}, {result.sizes['voxel']:,} voxels{small_volume(result)}"


def small_volume(result: xr.Dataset) -> str:
    """Return ", small volume …" and ", inside …" with the region of inference and its size; "" for the whole mask."""
    attrs, size = result.attrs, "{:,} voxels, {:,.0f} mm³".format
    small = ""
    if "search" in attrs:
        small = f", small volume {attrs['search']} ({size(attrs['search_voxels'], attrs['search_mm3'])})"
    if "inside_voxels" in attrs:
        small += f", inside {inside_words(attrs)} ({size(attrs['inside_voxels'], attrs['inside_mm3'])})"
    return small


def inside_words(attrs: Mapping[str, Any]) -> str:
    """Return in words what an analysis is limited to: an image, or the clusters of a main effect."""
    if not attrs.get("inside_correction"):
        return str(attrs["inside"])
    return f"the clusters of {attrs['inside']} ({attrs['inside_correction']})"
