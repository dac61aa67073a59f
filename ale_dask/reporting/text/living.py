"""Write the methods section on repeated looks at a growing sample, and the error over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ale_dask.config.living import Living
from ale_dask.reporting.common.phrases import counted, listed

_FUNCTIONS = {
    "obrien-fleming": "2 − 2 Φ(z(1 − α/2)/√t), which spends little at early looks as O’Brien and Fleming do",
    "pocock": "α ln(1 + (e − 1) t), which spends about equally at each look as Pocock does",
}
_INCREMENTS = {
    "any": "Each look was judged at the error that it may spend beyond the looks before it, so that the error over all "
    "looks is at most α however they depend on each other (Boole’s inequality)",
    "independent": "Each look was judged at the level that spends this error if the test statistic gains independent, "
    "normally distributed increments with the experiments (a Brownian motion), which for clusters is an approximation",
}


def looks_table(record: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row per look at a growing sample: experiments, level, and the sum of the levels so far."""
    if "living" not in record:
        return pd.DataFrame()
    living, total, rows = Living.model_validate(record["living"]), 0.0, []
    for number, look in enumerate(living.looks, 1):
        total += look.level
        share = {"Of the plan (%)": f"{100 * look.experiments / living.planned:.0f}"} if living.planned else {}
        levels = {"Judged at p <": f"{look.level:.3g}", "Levels so far": f"{total:.3g}"}
        rows.append({"Look": number, "Experiments": look.experiments, **share, **levels, "Run": look.out})
    return pd.DataFrame(rows)


def repeated_looks(record: Mapping[str, Any]) -> list[str]:
    """Return the paragraph on repeated looks; none for a study that is no living meta-analysis."""
    if "living" not in record:
        return []
    living = Living.model_validate(record["living"])
    looks = [
        f"{counted(look.experiments, 'experiment')} (p < {look.level:.3g}"
        + (f", {look.experiments / living.planned:.0%} of the information" if living.planned else "")
        + ")"
        for look in living.looks
    ]
    first = f"This is look {len(looks)} of a living meta-analysis: {listed(looks)}."
    drawn = (
        "Random draws belong to the experiments, so that earlier experiments have the draws of earlier looks; the null "
        "of each look was drawn over all of its experiments."
    )
    total = sum(look.level for look in living.looks)
    bound = f"The levels of the looks so far add up to {total:.3g}, which bounds the error over them."
    if living.planned is None:
        spent = "No error was spent by plan: each look was judged at its own level."
        return [" ".join((first, spent, bound, drawn))]
    spent = (
        f"Error was spent over the looks by the function of the share t of {living.planned:,} planned experiments "
        f"{_FUNCTIONS[living.spending]}, with a family-wise error α of {living.alpha:g} over all looks "
        f"[@lan1983]. {_INCREMENTS[living.increments]}. It assumes that neither when to look nor how many experiments "
        "to include was decided by earlier results."
    )
    return [" ".join((first, spent, bound if living.increments == "any" else "", drawn)).replace("  ", " ")]
