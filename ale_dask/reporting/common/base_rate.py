"""Describe the base-rate null and its results: facts, notes and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.config.inference import LITERATURE
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.numerics.density_levels import Z_UNIT
from ale_dask.numerics.whole_studies import ENOUGH

QUESTIONS = {
    "uniform": "Do the foci converge more than foci spread evenly over the brain would?",
    "base-rate": "Do they converge more than this number of foci, reported where the literature reports them, would?",
}
"""The question that each null answers."""
MEANING = (
    "A cluster that does not survive the base rate is not thereby uninvolved: it is where many studies report foci "
    "whatever they are about, and this sample does not do so more often than they do. One that survives is reported by "
    "this sample more often than by the literature at large."
)
"""How to interpret whether a cluster survives the base rate."""
PRICE = (
    "Against the base rate a place that many studies report anyway, such as the insula, needs more studies of this "
    "sample to be found, and one that few report needs fewer."
)
"""The cost of the base-rate null in power."""


def _drawn_facts(attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return facts on the database whose studies were drawn; none if foci were drawn one by one."""
    if "base_rate_draw_studies" not in attrs:
        return []
    number, foci, left_out, several = (
        int(attrs[f"base_rate_draw_{name}"]) for name in ("studies", "foci", "left_out", "several")
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
    """Return the facts (name, value) of a main effect's base-rate null; none without that null."""
    if "z_base_rate" not in result:
        return []
    attrs = result.attrs
    volume = float(abs(np.linalg.det(np.array(attrs["affine"]).reshape(4, 4)[:3, :3])))
    words = {
        "size": "{:.0f} voxels = {:.0f} mm³".format(attrs["base_rate_cut_size"], attrs["base_rate_cut_size"] * volume),
        "mass": f"{attrs['base_rate_cut_mass'] / Z_UNIT:.4g}",
        "peak": f"{attrs['base_rate_cut_peak'] / Z_UNIT:.3g}",
    }
    if "base_rate_cut_tfce" in attrs:
        words["tfce"] = f"{attrs['base_rate_cut_tfce'] * attrs['base_rate_tfce_unit']:.4g}"
    cuts = {m: "none: too few iterations" if attrs[f"base_rate_cut_{m}"] >= UNREACHABLE else words[m] for m in words}
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
    """Return notes that explain a main effect's two nulls; none without a base-rate null."""
    if "z_base_rate" not in result:
        return []
    return [f"Two questions. {QUESTIONS['uniform']} {QUESTIONS['base-rate']} {MEANING} {PRICE}"]
