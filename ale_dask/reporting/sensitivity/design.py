"""Write what a planned meta-analysis could find as a table, a figure and sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import xarray as xr

from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS
from ale_dask.reporting.common.palette import FAINT, HUES
from ale_dask.reporting.common.panel import Line, Panel
from ale_dask.reporting.common.svg import WIDTH, lines_of, svg, text
from ale_dask.reporting.tables.text import tsv
from ale_dask.reporting.text.references import REFERENCES
from ale_dask.storage.location import fill_folder

_NULLS = {"uniform": "foci anywhere", "base-rate": "the base rate"}
_LEFT, _TOP, _PANEL, _HIGH = 60, 70, 640, 240


def design_table(made: xr.Dataset) -> pd.DataFrame:
    """Return a row per place and null: how many experiments must report the place, and the power then."""
    rows = []
    for place in made["place"].values:
        for null in made["null"].values:
            one = made.sel(place=place, null=null)
            needed = int(one["needed"])
            at = one.isel(reporting=needed or -1)
            power, low, high = (100 * float(at[name]) for name in ("power", "power_low", "power_high"))
            rows.append(
                {
                    "Place": place,
                    "Base Rate": round(float(one["base_rate"]), 2),
                    "Null": null,
                    "Experiments": made.attrs["experiments"],
                    "Reporting": str(needed or f">{made.attrs['experiments']}"),
                    "Prevalence (%)": round(100 * float(at["prevalence"]), 1) if needed else None,
                    "Power (%)": round(power, 1),
                    "Low (%)": round(low, 1),
                    "High (%)": round(high, 1),
                }
            )
    return pd.DataFrame(rows)


def curves_table(made: xr.Dataset) -> pd.DataFrame:
    """Return the power for every number of reports: a row per place, null and number."""
    names = ["power", "power_low", "power_high"]
    return made[names].to_dataframe().reset_index()[["place", "null", "reporting", "prevalence", *names]]


def design_lines(made: xr.Dataset) -> list[str]:
    """Return in sentences what the design could find."""
    attrs = made.attrs
    k = attrs["experiments"]
    lines = [
        f"{k} experiments of {attrs['foci_per_experiment']:g} foci and {attrs['subjects']:g} subjects (medians), "
        f"{attrs['correction']} FWE, {100 * attrs['target']:.0f} % power, found within {attrs['within_mm']:g} mm:"
    ]
    for row in design_table(made).to_dict("records"):
        where = "a place anywhere" if row["Place"] == "anywhere" else f"{row['Place']}"
        if row["Place"] != "anywhere" and row["Base Rate"] == row["Base Rate"]:
            where += f" (reported {row['Base Rate']:g} times as often as an even share)"
        power = f"power {row['Power (%)']:.0f} %, 95 % interval {row['Low (%)']:.0f}-{row['High (%)']:.0f} %"
        enough = not row["Reporting"].startswith(">")
        needed = (
            f"{row['Reporting']} of {k} must report it ({row['Prevalence (%)']:.0f} %; "
            if enough
            else (f"not even all {k} are enough (")
        )
        lines.append(f"  {where}, against {_NULLS[row['Null']]}: {needed}{power})")
    if "needed_least_reported" in attrs:
        least, most = (attrs[f"needed_{which}_reported"] or f"more than {k}" for which in ("least", "most"))
        lines.append(f"  against the base rate, {least} in the third of the mask reported least, {most} in the most")
    if k < ENOUGH_EXPERIMENTS:
        lines.append(f"fewer than {ENOUGH_EXPERIMENTS} experiments: underpowered")
    advice = "at least 20 experiments are advised for sufficient power for moderate effects"
    lines.append(f"{REFERENCES['eickhoff2016'].short}: {advice}")
    return lines


def design_text(made: xr.Dataset) -> str:
    """Return methods text on the power of a planned meta-analysis, with its reference, as Markdown."""
    attrs = made.attrs
    nulls = " and ".join(_NULLS[null] for null in made["null"].values)
    sentences = [
        f"Before the search, the power of an ALE meta-analysis of {attrs['experiments']} experiments with a median of "
        f"{attrs['foci_per_experiment']:g} foci and {attrs['subjects']:g} subjects was simulated "
        f"{attrs['simulations']:,} times per place, against {nulls} (seed {attrs['seed']}).",
        "In each simulation one place was reported by 0, 1, … all experiments, each with a focus displaced as its "
        f"kernel says; all other foci lay at random. It was found if a voxel within {attrs['within_mm']:g} mm survived "
        f"{attrs['correction']} correction, with the cut of {attrs['iterations']:,} iterations of the null.",
        *(f"{line.strip()[0].upper()}{line.strip()[1:]}." for line in design_lines(made)[1:-1]),
        f"An earlier simulation study advises at least 20 experiments ({REFERENCES['eickhoff2016'].short}).",
    ]
    reference = ["", "## References", "", REFERENCES["eickhoff2016"].line(), ""]
    return "\n".join(["# Power of the design", "", *sentences, *reference])


def design_svg(made: xr.Dataset) -> str:
    """Return a figure of the power by prevalence: a colour per place, dotted against the base rate."""
    prevalence = [100 * float(v) for v in made["prevalence"].values]
    lines, names = [], []
    for number, place in enumerate(made["place"].values):
        colour = HUES[number % len(HUES)].flat
        names.append(text(_LEFT + 130 * (number % 5), 346 + 18 * (number // 5), place, size=11, fill=colour, bold=True))
        for null in made["null"].values:
            power = (100 * made["power"].sel(place=place, null=null).values).tolist()
            lines.append(Line(power, colour, "3 3" if null == "base-rate" else ""))
    wanted = 100 * made.attrs["target"]
    lines.append(Line([wanted] * len(prevalence), FAINT, "8 4"))
    panel = Panel(_LEFT, _TOP, _PANEL, _HIGH, "Power (%) by the share of experiments that report the place (%)")
    alt = " ".join(line.strip() for line in design_lines(made))
    bottom = 356 + 18 * (len(made["place"]) // 5)
    legend = f"Long dashes: {wanted:.0f} %. " + (
        "Dotted: against the base rate; solid: against foci anywhere." if len(made["null"]) > 1 else ""
    )
    words = [
        text(_LEFT, bottom + 16 + 16 * i, w, size=11, fill=FAINT)
        for i, w in enumerate(lines_of(legend, width=WIDTH - 2 * _LEFT, size=11))
    ]
    title = f"What {made.attrs['experiments']} experiments could find"
    return svg([*panel.draw(prevalence, lines, most=100), *names, *words], height=bottom + 50, title=title, alt=alt)


def write_design(made: xr.Dataset, folder: Path) -> None:
    """Write design.tsv, design_curves.tsv, design.json, design.svg and design.md into a folder.

    Raises
    ------
    InputError
        when the folder cannot be written, or holds other files of these names.
    """
    about = {"says": design_lines(made), **made.attrs}
    content = {
        "design.tsv": tsv(design_table(made)),
        "design_curves.tsv": tsv(curves_table(made)),
        "design.json": f"{json.dumps(about, indent=1, ensure_ascii=False)}\n".encode(),
        "design.svg": design_svg(made).encode(),
        "design.md": design_text(made).encode(),
    }
    fill_folder(folder, content, what="the design")
