"""Plot maps of results as a figure for print: one map, or several below each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ale_dask.analyses.findings.model import Results, by_name, is_simulated
from ale_dask.errors import BackendError, InputError, did_you_mean
from ale_dask.reporting.common.extra import LABELS, PICTURES, missing_extra

if TYPE_CHECKING:
    from ale_dask.reporting.figures.print.page import Drawing, PrintFigure
    from ale_dask.reporting.figures.print.shown import ShownMap

STYLES = {
    "slices": "Axial slices",
    "glass": "Glass brain",
    "surface": "Cortical surface",
    "subcortex": "Subcortical slices",
    "composite": "Cortical surface and axial slices",
}
"""How a map can be drawn, and in words."""
BACKGROUNDS = ("white", "black")
_INCH = 25.4
_TWO_ROWS, _LEFT = 4.5, 0.36
"""Width in inches below which slices stand below the surface, and the surface's share of the width beside slices."""


def plot_map(
    results: Results,
    *,
    style: str = "slices",
    map_name: str = "",
    values: str = "",
    background: str = "white",
    width: float = 180.0,
    study: Results = (),
) -> PrintFigure:
    """Return a figure for print of a map of a result, or of several results below each other, lettered.

    Parameters
    ----------
    results
        What `main_effect`, `contrast` and `conjunction` return: one, or several in the order of the figure.
    style
        "slices" (axial, on the MNI template of 1 mm), "glass" (the glass brain from four sides), "surface" (the
        inflated cortex of fsaverage5), "subcortex" (enlarged, with the outlines of AAL2) or "composite" (surface and
        slices).
    map_name
        A level, such as "cluster-size", "voxel", "uncorrected" or "size-fwe", or the end of the name of a map's file;
        by default what survives the primary correction, of a contrast what is uncorrected inside its gate.
    values
        What is coloured in the voxels of the map: "z", "logp" (−log10 p), "ale" or "difference". By default the
        difference of ALE of a contrast, whose z and p are limited by the number of relabellings, and z of others.
    background
        "white" or "black".
    width
        Width in mm; most journals have columns of about 90 mm, and 180 mm for both.
    study
        All results of the study, by default those of the figure: they give each main effect its colour.

    Returns
    -------
    PrintFigure
        A figure of matplotlib without a title. `savefig` writes PDF, SVG or PNG (300 dpi), with equal bytes for equal
        results. The colour bar begins at the threshold, which is marked, and ends at the largest value; clusters have
        the numbers of the table of this map. `alt` says in words what is shown.

    Raises
    ------
    InputError
        When a name is not known, or nothing of a map is there to be drawn.
    BackendError
        When the extra [report] is not installed.

    Notes
    -----
    fsaverage lies in MNI305: its vertices are taken to MNI152 by FreeSurfer's affine matrix, and each shows the value
    farthest from 0 between white matter and pial surface.

    Examples
    --------
    >>> a, b = (
    ...     ale.main_effect(ale.read_foci(f"{name}.txt"), name=name, mask="ball.nii.gz", iterations=60, seed=1)
    ...     for name in ("drug", "therapy")
    ... )
    >>> ale.plot_map(a, map_name="uncorrected", width=90).savefig("drug.pdf")
    >>> figure = ale.plot_map([a, b], style="glass", map_name="uncorrected")
    >>> [text.get_text() for text in figure.texts if text.get_weight() == "bold"]
    ['A', 'B']
    """
    check_style(style, background)
    from ale_dask.reporting.figures.print.page import LOOKS, lettered, page
    from ale_dask.reporting.figures.print.shown import shown_map

    named = by_name(results)
    if not named:
        raise InputError("no result to plot")
    colours = by_name(study) or named
    maps = [shown_map(result, map_name, values, study=colours) for result in named.values()]
    several = len(maps) > 1
    inches = width / _INCH
    parts = [_part(shown, style, background, inches, name=shown.name if several else "") for shown in maps]
    return page(
        lettered(parts) if several else [drawing for part in parts for drawing in part],
        look=LOOKS[background],
        width=inches,
        simulated=is_simulated(*named.values()),
        alt=" ".join(shown.description(STYLES[style]) for shown in maps),
    )


def check_style(style: str, background: str) -> None:
    """Check that a style and a background are known, and that what draws them is installed.

    Raises
    ------
    InputError
        when one is not known.
    BackendError
        when the extra [report] is not installed.
    """
    for what, given, known in (("style", style, tuple(STYLES)), ("background", background, BACKGROUNDS)):
        if given not in known:
            raise InputError(f"{what} '{given}'{did_you_mean(given, known)}; give one of {', '.join(known)}")
    message = missing_extra(*PICTURES, *(LABELS if style == "subcortex" else ()))
    if message is not None:
        raise BackendError(message)


def _part(shown: ShownMap, style: str, background: str, width: float, *, name: str) -> list[Drawing]:
    """Return the drawings of one map, its colour bar last."""
    from ale_dask.reporting.figures.print.brain_slices import slices
    from ale_dask.reporting.figures.print.glass_brain import glass
    from ale_dask.reporting.figures.print.page import beside, colour_bar
    from ale_dask.reporting.figures.print.subcortex import subcortex
    from ale_dask.reporting.figures.print.surface import surface

    if style == "glass" and background == "white":
        shown = shown.turned()
    bar = colour_bar(shown, width=width, name=name)
    if style == "composite" and width < _TWO_ROWS:
        return [surface(shown, width=width), slices(shown, width=width), bar]
    if style == "composite":
        left = _LEFT * width
        return [beside(surface(shown, width=left), slices(shown, width=width - left, most=4), left), bar]
    draw = {"slices": slices, "glass": glass, "surface": surface, "subcortex": subcortex}[style]
    return [draw(shown, width=width), bar]
