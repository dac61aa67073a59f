"""What the base-rate null says of a result, in words and as a table."""

from __future__ import annotations

from ale_dask.data.base_rate import FWHM, UNIFORM
from ale_dask.words.config import LITERATURE, Inference

QUESTIONS = {
    "uniform": "Do the foci converge more than foci spread evenly over the brain would?",
    "base-rate": "Do they converge more than this number of foci, reported where the literature reports them, would?",
}
"""What each null asks."""
MEANING = (
    "A cluster that does not survive the base rate is not thereby uninvolved: it is where many studies report foci "
    "whatever they are about, and this sample does not do so more often than they do. One that survives is specific to "
    "this sample."
)
"""What failing and passing mean."""


def base_rate(i: Inference) -> str:
    """Return the paragraph on the base-rate null in the methods text."""
    literature = (
        "the foci of the Neurosynth database (version 7) [@yarkoni2011]" if i.base_rate == LITERATURE
        else f"the numbers of foci in the image “{i.base_rate}”"
    )  # fmt: skip
    first = (
        "As foci are reported unevenly over the brain whatever was studied [@langner2014; @albajes2018], the test was "
        "repeated against that base rate."
        if i.null == "both"
        else "As foci are reported unevenly over the brain whatever was studied [@langner2014; @albajes2018], what is "
        "reported as surviving was tested against that base rate; the test against foci spread evenly over the mask, "
        "described above, was computed beside it."
    )
    return (
        f"{first} The density was that of {literature}, smoothed by a Gaussian of {FWHM:g} mm FWHM and cut to the "
        f"mask, with a share of {UNIFORM:g} spread evenly. In each of as many iterations the foci of every experiment "
        "were drawn from it, and the p of each voxel was that under this density, so that the ALE value that forms "
        f"clusters (p ≤ {i.voxel_p:g}) differs between voxels; it was nowhere so low that a single focus reached it. "
        "The mass of a cluster was the sum of z beyond the cluster-forming one, and voxels were corrected by the "
        f"largest z. {MEANING}"
    )
