"""What the base-rate null says of a result, in words and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.config.inference import LITERATURE, Inference, is_database
from ale_dask.datasets.base_rate import FWHM, UNIFORM
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.numerics.density_levels import Z_UNIT
from ale_dask.numerics.whole_studies import ENOUGH

QUESTIONS = {
    "uniform": "Do the foci converge more than foci spread evenly over the brain would?",
    "base-rate": "Do they converge more than this number of foci, reported where the literature reports them, would?",
}
"""What each null asks."""
MEANING = (
    "A cluster that does not survive the base rate is not thereby uninvolved: it is where many studies report foci "
    "whatever they are about, and this sample does not do so more often than they do. One that survives is reported by "
    "this sample more often than by the literature at large."
)
"""What failing and passing mean."""
PRICE = (
    "Against the base rate a place that many studies report anyway, such as the insula, needs more studies of this "
    "sample to be found, and one that few report needs fewer."
)
"""What the second question costs."""

BESIDE = {
    "p size base rate": "cluster_base_rate_size_p",
    "p mass base rate": "cluster_base_rate_mass_p",
    "p peak base rate": "cluster_base_rate_peak_p",
    "p TFCE base rate": "cluster_base_rate_tfce_p",
    "decision base rate": "cluster_base_rate_size_decision",
    "decision mass base rate": "cluster_base_rate_mass_decision",
    "Share base rate (%)": "cluster_base_rate_share",
}
"""Columns of what the base rate says of a cluster of the uniform null, and the variables that hold it."""
_ENDS = {"FWE": "p", "low": "p_low", "high": "p_high", "bound": "p_bound"}
SIZE_OF_BASE_RATE = {
    **{f"p size {column}": f"base_rate_cluster_size_{end}" for column, end in _ENDS.items()},
    "decision": "base_rate_cluster_size_decision",
}
MASS_OF_BASE_RATE = {
    **{f"p mass {column}": f"base_rate_cluster_mass_{end}" for column, end in _ENDS.items()},
    "decision mass": "base_rate_cluster_mass_decision",
}
OF_BASE_RATE = {**SIZE_OF_BASE_RATE, **MASS_OF_BASE_RATE, "p peak FWE": "base_rate_cluster_peak_p"}
"""The same of a cluster of the base-rate null."""


_ENHANCED = "TFCE was computed from that z in the same way, and corrected by its own largest value. "


def base_rate(i: Inference) -> str:
    """Return the paragraph on the base-rate null in the methods text."""
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
"""How the foci of an iteration are drawn, in the methods text."""


def _source(i: Inference) -> str:
    """Return of which foci the density is, in the methods text."""
    if i.base_rate in (LITERATURE, "neurosynth"):
        return "the foci of the Neurosynth database (version 7) [@yarkoni2011]"
    if i.base_rate == "neuroquery":
        return "the foci of the NeuroQuery database (version 1)"
    if is_database(i.base_rate):
        return f"the foci of the studies in “{i.base_rate}”"
    return f"the numbers of foci in the image “{i.base_rate}”"


def _drawn_facts(attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was drawn from a database of studies; nothing where foci were drawn one by one."""
    if "base_rate_draw_studies" not in attrs:
        return []
    number, foci, left_out, several = (
        int(attrs[f"base_rate_draw_{what}"]) for what in ("studies", "foci", "left_out", "several")
    )
    beyond = (
        f"; {several} of the experiments have more foci than {ENOUGH} studies have, and get those of several of the "
        f"{ENOUGH} with the most"
        if several
        else ""
    )
    return [
        (
            "Drawn, base rate",
            f"each experiment the foci of one of {number:,} studies, of like number of foci; the density is of as many "
            f"others{beyond}",
        ),
        (
            "Database, base rate",
            f"{foci:,} foci in the mask are drawn from; {left_out:,} of the database that a study has twice, are most "
            "likely no coordinates or lie outside do not count",
        ),
    ]


def base_rate_facts(result: xr.Dataset) -> list[tuple[str, str]]:
    """Return what stands beside a main effect on the page of its base-rate null; nothing without one."""
    if "z_base_rate" not in result:
        return []
    attrs = result.attrs
    volume = float(abs(np.linalg.det(np.array(attrs["affine"]).reshape(4, 4)[:3, :3])))
    said = {
        "size": "{:.0f} voxels = {:.0f} mm³".format(attrs["base_rate_cut_size"], attrs["base_rate_cut_size"] * volume),
        "mass": f"{attrs['base_rate_cut_mass'] / Z_UNIT:.4g}",
        "peak": f"{attrs['base_rate_cut_peak'] / Z_UNIT:.3g}",
    }
    if "base_rate_cut_tfce" in attrs:
        said["tfce"] = f"{attrs['base_rate_cut_tfce'] * attrs['base_rate_tfce_unit']:.4g}"
    cuts = {m: "none: too few iterations" if attrs[f"base_rate_cut_{m}"] >= UNREACHABLE else said[m] for m in said}
    share = 100 * attrs["base_rate_raised"] / result.sizes["voxel"]
    return [
        ("Base rate", "Neurosynth's foci" if attrs["base_rate"] == LITERATURE else str(attrs["base_rate"])),
        *_drawn_facts(attrs),
        ("Smallest cluster, size FWE, base rate", cuts["size"]),
        ("Smallest cluster, mass FWE, base rate", cuts["mass"]),
        ("Smallest z, voxel FWE, base rate", cuts["peak"]),
        *([("Smallest TFCE, FWE, base rate", cuts["tfce"])] if "tfce" in cuts else []),
        ("Threshold raised, base rate", f"in {share:.1f} % of voxels, where one focus alone would reach it"),
    ]


def base_rate_notes(result: xr.Dataset) -> list[str]:
    """Return what a reader must know of a main effect's two nulls; nothing without a base-rate null."""
    if "z_base_rate" not in result:
        return []
    first = "Two questions. " + QUESTIONS["uniform"] + " " + QUESTIONS["base-rate"]
    return [f"{first} {MEANING} {PRICE}"]
