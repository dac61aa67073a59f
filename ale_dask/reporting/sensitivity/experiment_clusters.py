"""Write groups of experiments with alike MA maps: criteria, members, what goes with membership, and a figure."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import is_simulated
from ale_dask.analyses.sensitivity.experiment_clusters import (
    CRITERIA,
    METHODS,
    associations,
    members,
    summary,
)
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.palette import FAINT, HUES, INK
from ale_dask.reporting.common.panel import Line, Panel
from ale_dask.reporting.common.phrases import listed
from ale_dask.reporting.common.svg import WIDTH, svg, text
from ale_dask.reporting.figures.matrix import shade
from ale_dask.reporting.text.follow_up_files import write_follow_up

METHOD_WORDS = {"average": "average linkage", "medoids": "k-medoids"}
_CRITERION_WORDS = {
    "silhouette": "Silhouette",
    "variation": "Variation of information to k + 1 (bits)",
    "stability": "Stability (adjusted Rand index)",
}
CIRCULAR = (
    "Experiments were grouped by where their foci lie, so that the ALE of an experiment cluster converges by "
    "construction: it describes the group, and its p do not hold."
)
_MOST_PIXELS = 360


def criteria_table(solutions: xr.Dataset) -> pd.DataFrame:
    """Return the three criteria for each number of experiment clusters: a row per method and k."""
    rows = []
    for method in METHODS:
        for k in solutions["k"].values:
            one = solutions.sel(grouping=method, k=k)
            sizes = np.bincount(one["experiment_cluster"].values)[1:]
            rows.append(
                {
                    "Method": METHOD_WORDS[method],
                    "Experiment Clusters": int(k),
                    "Silhouette": float(one["silhouette"]),
                    "Variation To Next (bits)": float(one["variation"]),
                    "Stability": float(one["stability"]),
                    "Stability Low": float(one["stability_low"]),
                    "Stability High": float(one["stability_high"]),
                    "Sizes": " ".join(map(str, sizes)),
                    "Spoken For By": ", ".join(c for c in CRITERIA if int(one["best_k"].sel(criterion=c)) == k),
                }
            )
    return pd.DataFrame(rows).round(4)


def criteria_lines(solutions: xr.Dataset) -> list[str]:
    """Return what each criterion says of the number of experiment clusters, in a line per method."""
    lines = []
    for method in METHODS:
        best = {c: int(solutions["best_k"].sel(grouping=method, criterion=c)) for c in CRITERIA}
        if len(set(best.values())) == 1:
            said = f"all three criteria speak for {best['silhouette']}"
        else:
            named = {k: [c for c in CRITERIA if best[c] == k] for k in sorted(set(best.values()))}
            said = "; ".join(f"{listed(_short(c) for c in who)} for {k}" for k, who in named.items())
        alone = solutions["smallest"].sel(grouping=method)
        single = [int(k) for k in solutions["k"].values if int(alone.sel(k=k)) == 1]
        note = f" (with {listed(map(str, single))}, one experiment is alone)" if single else ""
        lines.append(f"{METHOD_WORDS[method]}: {said}{note}")
    return lines


def _short(criterion: str) -> str:
    return {"variation": "variation of information"}.get(criterion, criterion)


def write_criteria(solutions: xr.Dataset, folder: Path, *, origin: Sequence[Any] = ()) -> list[Path]:
    """Write NAME_experiment-clusters-criteria.tsv, .json and .svg into an analysis's folder; return their paths."""
    about = {
        "title": "Experiment clusters: how many the criteria speak for",
        "says": "Groups of experiments with alike MA maps (1 - Spearman's rho), for each number of groups. More "
        "silhouette and more stability (adjusted Rand index of "
        f"{solutions.attrs['subsamples']} subsamples of {100 * solutions.attrs['share']:.0f} % with the whole) are "
        "better, and less variation of information between a number of groups and the next. The criteria need not "
        f"agree, and nothing is chosen here. {'. '.join(criteria_lines(solutions))}.",
        "of_results": list(origin),
    }
    base = folder / f"{stem(solutions.attrs['name'])}_experiment-clusters-criteria"
    return write_follow_up(base, criteria_table(solutions), about, figure=criteria_svg(solutions))


def write_groups(
    result: xr.Dataset, solutions: xr.Dataset, folder: Path, *, method: str, k: int, origin: Sequence[Any] = ()
) -> list[Path]:
    """Write who is in each of k experiment clusters, their largest ALE, and the columns that go with membership.

    The files are NAME_experiment-clusters-METHOD-K-groups, -members and -columns, each .tsv and .json.
    """
    what = f"{k} experiment clusters by {METHOD_WORDS[method]}"
    tables = {
        "groups": (
            summary(result, solutions, method=method, k=k),
            f"Size, medoid (the experiment most like the others) and largest ALE of each group. {CIRCULAR}",
        ),
        "members": (
            members(solutions, method=method, k=k),
            "Silhouette: 1 for an experiment amid its group, 0 between two groups, below 0 nearer to another.",
        ),
        "columns": (
            associations(solutions, method=method, k=k),
            "Whether a value of a column is more or less frequent inside a group than elsewhere: Fisher's exact test, "
            "for numbers the Mann-Whitney test; q is adjusted for all rows (Benjamini-Hochberg).",
        ),
    }
    paths = []
    for part, (table, says) in tables.items():
        about = {"title": f"{what}: {part}", "says": says, "of_results": list(origin)}
        base = folder / f"{stem(solutions.attrs['name'])}_experiment-clusters-{method}-{k}-{part}"
        paths += write_follow_up(base, _headed(table), about)
    return paths


def _headed(table: pd.DataFrame) -> pd.DataFrame:
    names = {"largest_ale": "Largest ALE", "n": "Subjects", "p": "p", "q": "q"}
    return table.rename(columns=lambda c: names.get(c, c.replace("_", " ").title() if c.islower() else c)).round(5)


def group_lines(result: xr.Dataset, solutions: xr.Dataset, *, method: str, k: int) -> list[str]:
    """Return each experiment cluster in a line for a terminal, with the columns that go with it at q < .05."""
    found = associations(solutions, method=method, k=k)
    lines = []
    for row in summary(result, solutions, method=method, k=k).to_dict("records"):
        number = row["experiment_cluster"]
        own = found[(found["experiment_cluster"] == number) & (found["q"] < 0.05)].head(3)
        with_it = [
            f"{r['column']}{' ' + r['value'] if r['value'] else ''}: {r['inside']} (elsewhere {r['elsewhere']})"
            for r in own.to_dict("records")
        ]
        lines.append(
            f"experiment cluster {number}: {row['experiments']} experiments, {row['foci']} foci, largest ALE "
            f"{row['largest_ale']:.4f} at {row['x']:.0f} {row['y']:.0f} {row['z']:.0f}, medoid '{row['medoid']}'"
            + (f"; {'; '.join(with_it)}" if with_it else "")
        )
    return lines


def criteria_svg(solutions: xr.Dataset) -> str:
    """Return a figure: the criteria by the number of groups, and the similarity of experiments below a dendrogram."""
    says = ". ".join(criteria_lines(solutions))
    parts = _criteria(solutions, 46) + _similarity(solutions, 270)
    mark = f"{SIMULATED} · " if is_simulated(solutions) else ""
    return svg(parts, height=930, title=f"{mark}{solutions.attrs['name']}: experiment clusters", alt=says)


def _criteria(solutions: xr.Dataset, top: float) -> list[str]:
    k = solutions["k"].values.astype(float).tolist()
    parts = []
    for number, criterion in enumerate(CRITERIA):
        lines = []
        for hue, dash, method in zip(HUES, ("", "5 3"), METHODS, strict=False):
            best = k.index(int(solutions["best_k"].sel(grouping=method, criterion=criterion)))
            lines.append(Line(solutions[criterion].sel(grouping=method).values.tolist(), hue.flat, dash, best))
        panel = Panel(52 + 242 * number, top + 20, 190, 140, _CRITERION_WORDS[criterion])
        parts += panel.draw(k, lines)
    words = "number of experiment clusters; a point is where the criterion is best"
    parts.append(text(52, top + 194, words, size=11, fill=FAINT))
    for n, (hue, method) in enumerate(zip(HUES, METHODS, strict=False)):
        parts.append(text(470 + 130 * n, top + 194, METHOD_WORDS[method], size=11, fill=hue.flat, bold=True))
    return parts


def _similarity(solutions: xr.Dataset, top: float) -> list[str]:
    """Return the dendrogram of average linkage above rho of all pairs of experiments, in its order."""
    from scipy.cluster.hierarchy import dendrogram

    leaf, size, left, high = solutions["leaf"].values, 520.0, 120.0, 100.0
    drawn = dendrogram(solutions["join"].values, no_plot=True)
    scale, most = size / (10 * len(leaf)), max(float(solutions["join"].values[:, 2].max()), 1e-9)
    lines = "".join(
        "M"
        + "L".join(f"{left + scale * a:.1f} {top + 20 + high * (1 - b / most):.1f}" for a, b in zip(i, d, strict=True))
        for i, d in zip(drawn["icoord"], drawn["dcoord"], strict=True)
    )
    rho = 1 - solutions["distance"].values[np.ix_(leaf, leaf)]
    np.fill_diagonal(rho, np.nan)
    known = rho[~np.isnan(rho)]
    low, largest = float(np.quantile(known, 0.02)), float(np.quantile(known, 0.995))
    levels = np.clip((np.nan_to_num(_reduced(rho), nan=1.0) - low) / max(largest - low, 1e-9), 0, 1)
    data = base64.b64encode(_png(np.rint(255 * levels).astype(np.uint8))).decode()
    alt = "Spearman's rho of the MA maps of all pairs of experiments, in the order of the dendrogram"
    y = top + 20 + high + 4
    return [
        text(14, top + 6, alt, size=11),
        f'<path d="{lines}" fill="none" stroke="{INK}" stroke-width=".7"/>',
        f'<image x="{left:g}" y="{y:g}" width="{size:g}" height="{size:g}" image-rendering="pixelated" '
        f'href="data:image/png;base64,{data}"><title>{escape(alt)}</title></image>',
        *_scale(WIDTH - 100, y + 20, low, largest),
    ]


def _scale(x: float, y: float, low: float, high: float) -> list[str]:
    cells = [f'<rect x="{x}" y="{y + 12 * n}" width="14" height="12" fill="{shade(1 - n / 10)}"/>' for n in range(11)]
    words = ((y + 9, f"≥ {high:.2f}"), (y + 130, f"≤ {low:.2f}".replace("-", "−")))
    return [*cells, text(x, y - 8, "rho", size=11), *(text(x + 20, at, word, size=11) for at, word in words)]


def _reduced(rho: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a matrix of at most so many pixels a side: means of neighbours."""
    step = -(-len(rho) // _MOST_PIXELS)
    if step == 1:
        return rho
    n = -(-len(rho) // step) * step
    padded = np.pad(rho, ((0, n - len(rho)),) * 2, constant_values=np.nan)
    blocks = padded.reshape(n // step, step, n // step, step)
    counts = (~np.isnan(blocks)).sum(axis=(1, 3))
    return np.asarray(np.nansum(blocks, axis=(1, 3)) / np.maximum(counts, 1), dtype=np.float64)


def _png(levels: npt.NDArray[np.uint8]) -> bytes:
    """Return levels (row, column) as a PNG in the colours of a matrix: no library is needed for so little."""
    colours = b"".join(bytes.fromhex(shade(n / 255)[1:]) for n in range(256))
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": colours, b"IDAT": zlib.compress(rows, 9), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )
