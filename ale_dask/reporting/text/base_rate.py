"""Write the methods paragraph on the base-rate null, and lines on the clusters that survive it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from ale_dask.analyses.base_rate_result import only_against_base_rate
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.inference import LITERATURE, Inference, is_database
from ale_dask.datasets.base_rate import FWHM, UNIFORM
from ale_dask.numerics.whole_studies import ENOUGH
from ale_dask.reporting.common.base_rate import MEANING
from ale_dask.reporting.common.base_rate_maps import AGAINST
from ale_dask.reporting.common.once import kept
from ale_dask.reporting.common.phrases import counted, volume_at
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.text import formatted, rows_of

_LISTED = 5


def base_rate_overlap_words(result: xr.Dataset) -> str:
    """Return how many clusters of the uniform null survive against the base rate, and which clusters only that finds.

    A cluster survives when it overlaps a cluster that survives against the base rate.
    """
    correction = model_of(result).correction
    uniform = result[correction.uniform.map].values != 0
    base_rate = result[correction.base_rate.map].values != 0
    clusters = model_of(result).clusters(uniform.astype(int))
    surviving = [cluster for cluster in clusters if base_rate[cluster.voxels].any()]
    new = model_of(result).clusters(
        only_against_base_rate(result, uniform).astype(int), level=f"{AGAINST}{correction.word}"
    )
    volume = model_of(result).mask.voxel_volume
    survive = "survives" if len(surviving) == 1 else "survive"
    words = (
        f"{len(surviving)} of {counted(len(clusters), 'cluster')} {survive} at least in part"
        if clusters
        else "nothing to test"
    )
    both = base_rate & uniform
    if surviving:
        words += f" ({int(both.sum()) * volume:,.0f} of {int(uniform.sum()) * volume:,.0f} mm³)"
    only_base_rate = "; ".join(
        volume_at(len(c.voxels) * volume, c.peak_mm.tolist())
        for c in sorted(new, key=lambda c: -len(c.voxels))[:_LISTED]
    )
    return f"{words}; found only by this test: {only_base_rate or 'nothing'}"


def _p_words(row: Mapping[Any, str]) -> str:
    """Return the p of a cluster by TFCE, or by size and by mass, in words; its decisions where it has no p."""
    if "p TFCE FWE" in row:
        return f"p {row['p TFCE FWE']} by TFCE"
    if row["p size FWE"]:
        return f"p {row['p size FWE']} by size, {row['p mass FWE']} by mass"
    return f"{row['decision']} by size, {row['decision mass']} by mass"


def base_rate_lines(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return a line for a terminal of each main effect that was tested against the base rate."""
    lines = []
    for name, result in results.items():
        if model_of(result).kind != "main-effect" or "z_base_rate" not in result:
            continue
        if model_of(result).inference.null == "both":
            first, *others = clusters_beside_uniform(result)
            lines += [f"{name}, against the base rate: {first}", *others]
        else:
            lines.append(f"{name}: these clusters survive against the base rate ({result.attrs['base_rate']})")
    return lines


@kept
def clusters_beside_uniform(result: xr.Dataset) -> list[str]:
    """Return in words what both nulls of a main effect have in common, and a line per cluster against the base rate."""
    table = cluster_table(result, null="base-rate")
    table = table[table["Cluster Size (mm3)"].notna()].head(_LISTED)
    lines = [base_rate_overlap_words(result)]
    for row, text in zip(rows_of(table), rows_of(formatted(table)), strict=True):
        where = volume_at(row["Cluster Size (mm3)"], (row["X"], row["Y"], row["Z"]))
        lines.append(f"  {where}: {_p_words(text)}; uniform null: {text['Uniform null']}")
    return lines


_ENHANCED = "TFCE was computed from that z in the same way, and corrected by its own largest value. "


def base_rate_paragraph(i: Inference) -> str:
    """Return the paragraph of the methods text on the base-rate null."""
    first = (
        "As foci are reported unevenly over the brain whatever was studied [@langner2014; @albajes2018], the test was "
        "repeated against that base rate."
        if i.null == "both"
        else "As foci are reported unevenly over the brain whatever was studied [@langner2014; @albajes2018], what is "
        "reported as surviving was tested against that base rate; the test against foci spread evenly over the mask, "
        "described above, was computed beside it."
    )
    return (
        f"{first} The density was that of {_source(i)}, smoothed by a Gaussian of {FWHM:g} mm FWHM and cut to the "
        f"mask, with a share of {UNIFORM:g} spread evenly. In each of as many iterations {_DRAWN[i.base_rate_draw]}. "
        "The p of each voxel was that of foci drawn from the density, so that the ALE value that forms "
        f"clusters (p ≤ {i.voxel_p:g}) differs between voxels; it was nowhere so low that a single focus reached it. "
        f"{'Its maxima and clusters were looked for in the mask. ' if i.null_space == 'grid' else ''}"
        "The mass of a cluster was the sum of z beyond the cluster-forming one, and voxels were corrected by the "
        f"largest z. {_ENHANCED if i.correction == 'tfce' else ''}{MEANING}"
    )


_DRAWN = {
    "foci": "the foci of every experiment were drawn from it",
    "studies": "every experiment was given the foci of one study of this database, so that foci that are reported "
    "together stay together; the density was made of the other half of its studies. The study was drawn from the "
    f"{ENOUGH} or more whose numbers of foci are the nearest at or above the experiment’s, and of a study with more "
    f"foci as many as the experiment has were drawn; where fewer than {ENOUGH} studies have as many foci, several of "
    f"the {ENOUGH} with the most were drawn. "
    "No two experiments were given the same study",
}
"""How the foci of an iteration are drawn."""


def _source(i: Inference) -> str:
    """Return in words the foci from which the density was made."""
    if i.base_rate in (LITERATURE, "neurosynth"):
        return "the foci of the Neurosynth database (version 7) [@yarkoni2011]"
    if i.base_rate == "neuroquery":
        return "the foci of the NeuroQuery database (version 1)"
    if is_database(i.base_rate):
        return f"the foci of the studies in “{i.base_rate}”"
    return f"the numbers of foci in the image “{i.base_rate}”"
