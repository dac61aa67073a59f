"""Write the test of a statistic on a null as a table, a figure, lines for a terminal, and a sentence of the methods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ale_dask.analyses.statistics.given import GIVEN
from ale_dask.datasets.atlases import ATLAS_IMAGES
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.palette import FAINT, HUES, INK, LINE, REST
from ale_dask.reporting.common.phrases import listed
from ale_dask.reporting.common.svg import WIDTH, box, fitting, svg, text
from ale_dask.reporting.common.ticks import tick_words, ticks
from ale_dask.reporting.text.follow_up_files import write_follow_up

COLUMNS = ("Against", "Measure", "Of", "Observed", "p", "p low", "p high", "p FWE", "Null mean", "Null SD")
MOST_ROWS = 24
"""Rows of a group that a figure shows, those of the smallest p; the table has them all."""
_LEFT, _ROW, _RIGHT = 230, 18, 92
_TAILS = {"upper": "upper tail", "lower": "lower tail", "two-sided": "both tails"}


def null_table(test: xr.Dataset) -> pd.DataFrame:
    """Return a row for each number of a statistic and each null: observed value, p with its interval, and the null.

    p and the interval have four digits, other numbers six; the intervals are 95 % intervals of Clopper and Pearson.
    """
    rows = []
    for against in test["against"].values:
        of = test.sel(against=against)
        quantiles = {f"Null {100 * q:g} %": of["null_quantile"].sel(quantile=q).values for q in of["quantile"].values}
        for i in range(of.sizes["number"]):
            values = (of[name].values[i] for name in ("p", "p_low", "p_high", "p_fwe"))
            null = (of["null_mean"].values[i], of["null_sd"].values[i], *(q[i] for q in quantiles.values()))
            rows.append(
                (
                    str(against),
                    str(of["group"].values[i]),
                    str(of["label"].values[i]),
                    f"{of['observed'].values[i]:.6g}",
                    *(f"{p:.4g}" for p in values),
                    *(f"{value:.6g}" for value in null),
                )
            )
    return pd.DataFrame(rows, columns=[*COLUMNS, *quantiles])


def null_lines(test: xr.Dataset) -> list[str]:
    """Return the observed value and the p of each number of a statistic in lines for a terminal."""
    lines = []
    for row in null_table(test).to_dict("records"):
        fwe = f", family-wise p {row['p FWE']}" if row["p FWE"] != row["p"] else ""
        measure = f"{row['Measure']}, " if row["Measure"] else ""
        lines.append(
            f"{test.attrs['name']}, {row['Against']} null: {measure}{row['Of']} {row['Observed']}, p {row['p']} "
            f"[{row['p low']}, {row['p high']}]{fwe}; null {row['Null mean']} (SD {row['Null SD']})"
        )
    if note := test.attrs.get("image_note"):
        lines.append(f"image: {note}")
    return lines


def image_words(test: xr.Dataset) -> str:
    """Return the name of the image that a statistic takes in words."""
    name = str(test.attrs.get("image", ""))
    return ATLAS_IMAGES[name].title if name in ATLAS_IMAGES else f"“{name}”"


def methods_sentence(test: xr.Dataset) -> str:
    """Return what was tested and how, with keys of references, for the methods text; {names} are the analyses."""
    attrs = test.attrs
    if attrs["given"]:
        citation = f" [@{attrs['image_citation']}]" if attrs.get("image_citation") else ""
        what = GIVEN[attrs["statistic"]].says.format(image=f"{image_words(test)}{citation}")
    else:
        beside = f" and {image_words(test)}" if "image" in attrs else ""
        what = f"a function of the map{beside} of our own, “{attrs['statistic']}” (sha256 {attrs['source'][:12]}…),"
    groups = test["group"].values.tolist()
    largest = max(groups.count(group) for group in set(groups))
    fwe = (
        " Family-wise p are those of the largest standardised deviation among the numbers of one measure."
        if largest > 1
        else ""
    )
    nulls = {"uniform": "foci drawn uniformly from the mask", "base-rate": "foci drawn from the base rate"}
    drawn = listed(nulls[str(word)] for word in test["against"].values)
    z = " z is floored at 0." if attrs["given"] and attrs["statistic"] != "dice" else ""
    return (
        f"For {{names}}, {what} was compared with the same of {attrs['iterations']:,} maps of {drawn}, the iterations "
        f"of the cluster-level null, in {_TAILS[attrs['tail']]}; p = (1 + r)/(1 + B) [@phipson2010].{fwe}{z}"
    )


def write_null(test: xr.Dataset, base: Path, *, origin: Sequence[Any] = (), pictures: bool = True) -> list[Path]:
    """Write BASE.tsv, .json and .svg of a test and return their paths.

    Raises
    ------
    StoreError
        when a file cannot be written.
    """
    return write_follow_up(base, null_table(test), _about(test, origin), figure=null_svg(test) if pictures else "")


def title_of(test: xr.Dataset) -> str:
    """Return the title of the test in a report."""
    image = f" of {image_words(test)}" if "image" in test.attrs else ""
    return f"Statistic “{test.attrs['statistic']}”{image} against the null"


def _about(test: xr.Dataset, origin: Sequence[Any]) -> dict[str, Any]:
    attrs = test.attrs
    mirrored = (
        " Left is compared with the voxel at −x. The MNI152 template of the default mask is not symmetric, nor is the "
        "mask; the null has the same mask, and its mean shows what that alone makes."
        if attrs["given"] and attrs["statistic"] == "laterality"
        else ""
    )
    note = f" Image: {attrs['image_note']}." if attrs.get("image_note") else ""
    return {
        "title": title_of(test),
        "says": f"Observed, and the same of {attrs['iterations']:,} iterations of the null; p in "
        f"{_TAILS[attrs['tail']]} with its 95 % interval from the number of iterations; p FWE: within the numbers of "
        "one measure. Figure: 95 % of the null (bar), its median (line) and the observed value (dot)."
        f"{mirrored}{note}",
        "methods": methods_sentence(test),
        "of_results": list(origin),
        "statistic": attrs["statistic"],
        "source_sha256": attrs["source"],
        "arguments": json.loads(attrs["arguments"]),
        "tail": attrs["tail"],
        "iterations": attrs["iterations"],
        **{key: attrs[key] for key in ("image", "image_note") if key in attrs},
        "numbers": json.loads(null_table(test).to_json(orient="records")),
    }


def null_svg(test: xr.Dataset) -> str:
    """Return as SVG the observed value of each number beside 95 % of its null, each measure on an axis of its own."""
    parts: list[str] = []
    y = 44.0
    for against in test["against"].values:
        of = test.sel(against=against)
        for group in dict.fromkeys(of["group"].values.tolist()):
            numbers = np.flatnonzero(of["group"].values == group)
            heading = f"{group or test.attrs['statistic']}, against the {against} null"
            more = f" ({MOST_ROWS} of {len(numbers)}, the smallest p)" if len(numbers) > MOST_ROWS else ""
            parts.append(text(14, y + 4, heading + more, bold=True))
            shown = np.sort(numbers[np.argsort(of["p"].values[numbers], kind="stable")[:MOST_ROWS]])
            y = _group(of.isel(number=shown), y + 12, parts, hue=HUES[0 if against == "uniform" else 1].flat)
    mark = f"{SIMULATED} · " if test.attrs.get("simulated") else ""
    title = fitting(f"{mark}{test.attrs['name']}: {title_of(test)}", width=WIDTH - 28, size=15)
    return svg(parts, height=y + 4, title=title, alt="\n".join(null_lines(test)))


def _group(of: xr.Dataset, y: float, parts: list[str], *, hue: str) -> float:
    """Add the rows and the axis of the numbers of one measure, from y downwards, and return where they end."""
    low, middle, high = (of["null_quantile"].sel(quantile=q).values for q in (0.025, 0.5, 0.975))
    observed, p = of["observed"].values, of["p_fwe"].values
    which = "p FWE" if len(p) > 1 else "p"
    least, most = float(min(low.min(), observed.min())), float(max(high.max(), observed.max()))
    if most <= least:
        least, most = least - 1.0, most + 1.0
    right = WIDTH - _RIGHT
    scale = (right - _LEFT) / (most - least)

    def at(value: float) -> float:
        return _LEFT + (float(value) - least) * scale

    for i in range(of.sizes["number"]):
        label = fitting(str(of["label"].values[i]), width=_LEFT - 24, size=11)
        parts.append(text(_LEFT - 8, y + 13, label, size=11, anchor="end"))
        parts.append(box(_LEFT, y + _ROW - 1, right - _LEFT, 1, LINE))
        parts.append(box(at(low[i]), y + 5, max(at(high[i]) - at(low[i]), 1), 8, REST))
        parts.append(box(at(middle[i]) - 0.75, y + 3, 1.5, 12, FAINT))
        filled = hue if p[i] <= 0.05 else "#fff"
        parts.append(
            f'<circle cx="{at(observed[i]):.1f}" cy="{y + 9:.1f}" r="4" fill="{filled}" stroke="{INK}">'
            f"<title>p {of['p'].values[i]:.4g}, family-wise {p[i]:.4g}</title></circle>"
        )
        parts.append(text(right + 8, y + 13, f"{which} {p[i]:.3g}", size=11, fill=INK if p[i] <= 0.05 else FAINT))
        y += _ROW
    for value in ticks(least, most):
        parts.append(text(at(value), y + 12, tick_words(value), size=11, anchor="middle", fill=FAINT))
    return y + 34
