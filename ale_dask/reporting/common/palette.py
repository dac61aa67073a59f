"""Give each main effect of a study one colour, the same in every figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import xarray as xr

from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.findings.model import model_of

INK, FAINT, LINE, REST = "#1d2329", "#5d6873", "#d5dbe1", "#c9d0d6"
"""Colours of text, of lesser text, of rules, and of items drawn as one."""


@dataclass(frozen=True)
class Hue:
    """A colour: its name, its shade on white, and its ramp on a map from dark (weak) to light (strong)."""

    name: str
    flat: str
    ramp: tuple[str, str, str]


# At least 20 apart in CIELAB for normal sight, protan-, deuter- and tritanopia (Machado et al. 2009,
# IEEE Trans. Vis. Comput. Graph. 15:1291), each with a contrast of 3:1 or more against white.
HUES = (
    Hue("orange", "#d95f02", ("#a33b00", "#f28a1c", "#ffe08a")),
    Hue("blue", "#3494dd", ("#0f4fa8", "#3f9fe0", "#bfe6ff")),
    Hue("green", "#00694a", ("#00563c", "#12a578", "#b0f0d2")),
    Hue("pink", "#cf6aa8", ("#7d2a5f", "#d873b1", "#ffd9ef")),
    Hue("violet", "#4f3fae", ("#3a2b8f", "#7f6fe0", "#ddd6ff")),
)
OVERLAP = Hue("yellow", "#f0e442", ("#8a7a00", "#f0e442", "#fffbd0"))
"""The colour of voxels that several maps share; no main effect has it."""


def hues_of(results: Mapping[str, xr.Dataset]) -> dict[str, Hue]:
    """Return the colour of each main effect in the order of the study, main effects pooled for a contrast last.

    The sixth main effect has the first colour again.
    """
    pooled = pooled_names(results)
    main = [name for name, result in results.items() if model_of(result).kind == "main-effect"]
    ordered = sorted(main, key=lambda name: name in pooled)
    return {name: HUES[i % len(HUES)] for i, name in enumerate(ordered)}


def pooled_names(results: Mapping[str, xr.Dataset]) -> set[str]:
    """Return the names of the main effects that a run pooled for its contrasts."""
    return {pooled_name(name) for name, result in results.items() if model_of(result).kind == "contrast"} & set(results)
