"""Draw how much each experiment contributes to each cluster, as stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ale_dask.analyses.findings.certainty import LARGEST_SHARE
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.palette import FAINT, INK, LINE, REST
from ale_dask.reporting.common.svg import WIDTH, box, short, svg, text
from ale_dask.reporting.figures.study_context import Part

NAMED = 4
"""Experiments named in a bar; the others are drawn as one."""
CLUSTERS = 12
"""Clusters in a figure; the table has them all."""
_LEFT, _BAR = 14, 16
_FULL = WIDTH - 2 * _LEFT
_CHARACTERS = 116


def bars_svg(
    clusters: Sequence[Cluster],
    shares: pd.DataFrame,
    parts: Mapping[str, Part],
    *,
    mask: Mask,
    title: str,
    alt: str,
) -> str:
    """Return as SVG a bar of 100 % for each cluster and main effect, with its largest experiments named.

    An experiment with more than half stands in bold. `shares` is the `contribution_table` of these clusters.
    """
    body = [text(_LEFT, 42, "Share of each experiment in a cluster (%), largest first", fill=FAINT)]
    y = 66.0
    for cluster in clusters[:CLUSTERS]:
        body.append(text(_LEFT, y, _cluster_words(cluster, mask), bold=True))
        y += 8
        of_cluster = shares[shares["Cluster ID"] == str(cluster.number)]
        first = next(iter(parts.values()))
        for arm, part in parts.items():
            rows = of_cluster[of_cluster["Arm"] == arm]
            if len(parts) > 1:
                y += 18 if part is not first else 12
                body.append(text(_LEFT, y, arm, fill=FAINT))
                y += 5
            drawn, y = _bar(rows, part.hue.flat, y)
            body += drawn
        y += 22
    if len(clusters) > CLUSTERS:
        body.append(
            text(_LEFT, y, f"and {len(clusters) - CLUSTERS} smaller clusters, which are in the table", fill=FAINT)
        )
        y += 22
    return svg(body, height=y - 8, title=title, alt=alt)


def bars_alt(clusters: Sequence[Cluster], shares: pd.DataFrame) -> str:
    """Return in words which experiment has the largest share of each cluster, and how many have more than half."""
    rows = shares[shares["Cluster ID"].isin([str(c.number) for c in clusters[:CLUSTERS]])]
    largest = rows.groupby(["Cluster ID", "Arm"], sort=False).first().reset_index()
    several = largest["Arm"].nunique() > 1
    words = []
    for row in largest.to_dict("records"):
        arm = f" of {row['Arm']}" if several else ""
        words.append(f"cluster {row['Cluster ID']}{arm} {row['Share (%)']:.0f} % {row['Experiment']}")
    dominant = int((shares["Share (%)"] > LARGEST_SHARE).sum())
    half = f"{dominant} of these are more than half" if dominant else "none is more than half"
    return f"Shares of experiments in {len(clusters)} clusters; the largest: {'; '.join(words)}; {half}."


def _cluster_words(cluster: Cluster, mask: Mask) -> str:
    x, y, z = (f"{v + 0.0:.0f}" for v in cluster.peak_mm.round())
    return f"Cluster {cluster.number} at {x}, {y}, {z} ({len(cluster.voxels) * mask.voxel_volume:,.0f} mm³)"


def _bar(rows: pd.DataFrame, colour: str, y: float) -> tuple[list[str], float]:
    rows = rows[rows["Share (%)"] > 0]
    if rows.empty:
        return [box(_LEFT, y, _FULL, _BAR, LINE), text(_LEFT + 6, y + 12, "no experiment", fill=FAINT)], y + _BAR
    drawn, x = [], float(_LEFT)
    records = rows.to_dict("records")
    # The others are never a single experiment.
    named = records if len(records) == NAMED + 1 else records[:NAMED]
    words = []
    for k, row in enumerate(named):
        share = float(row["Share (%)"])
        width = _FULL * share / 100
        drawn.append(
            box(x, y, max(width - 1, 0.5), _BAR, colour, opacity=round(1 - 0.16 * k, 2), alt=str(row["Experiment"]))
        )
        if width > 18:
            drawn.append(text(x + 5, y + 12, str(k + 1), fill="#fff" if k < 2 else INK, bold=True, size=11))
        x += width
        words.append((f"{k + 1} {row['Experiment']} {share:.1f} %", share > LARGEST_SHARE))
    others = records[len(named) :]
    if others:
        share = sum(float(row["Share (%)"]) for row in others)
        width = _FULL * share / 100
        drawn.append(box(x, y, max(width, 0.5), _BAR, REST))
        words_of_others = f"{len(others)} others {share:.1f} %"
        if width > 7 * len(words_of_others):
            drawn.append(text(x + 5, y + 12, words_of_others, size=11))
        else:
            words.append((words_of_others, False))
    y += _BAR
    if words[0][1]:
        y += 15
        drawn.append(text(_LEFT, y, f"▲ {words[0][0]}: more than half", bold=True))
        words = words[1:]
    for line in _lines([w for w, _ in words]):
        y += 15
        drawn.append(text(_LEFT, y, line))
    return drawn, y


def _lines(words: list[str]) -> list[str]:
    """Return the words joined to lines; no word is parted from its number."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 5 <= _CHARACTERS:
            lines[-1] += f"  ·  {word}"
        else:
            lines.append(short(word, _CHARACTERS))
    return lines
