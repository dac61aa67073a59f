"""Say line by line what is known of a cluster of a main effect, for its card of evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.findings import certainty
from ale_dask.analyses.findings.certainty import Line, Verdict
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.findings.prevalence import ByColumn, Prevalence, by_column
from ale_dask.analyses.main_effect_result import decision_variables
from ale_dask.analyses.sensitivity.power import TARGET
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import PROFILES
from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.phrases import counted, listed

_SETS = ("group", "experiment", "study")
"""The sets of experiments whose leave-one-out a card shows, in the order of preference."""
_NOT_COMPUTED = "not computed: `{}`"


@dataclass(frozen=True, eq=False)
class Source:
    """All that the cards of one result are made of."""

    result: xr.Dataset
    tables: Mapping[str, pd.DataFrame]
    """Tables of the follow-ups that hold, by name."""
    shares: pd.DataFrame
    columns: Sequence[str]

    @property
    def name(self) -> str:
        """The name of the result."""
        return model_of(self.result).name

    @property
    def null(self) -> str:
        """The null that decides."""
        return nulls_of(self.result)[0]

    def file(self, name: str) -> str:
        """Return the path below OUT of a table of the result."""
        return f"{stem(self.name)}/{stem(self.name)}_{name}.tsv"

    def rows(self, table: str, column: str, cluster: Cluster) -> list[dict[str, Any]]:
        """Return the rows of a cluster in the table of a follow-up; none where the table is not there."""
        rows = self.tables.get(table, pd.DataFrame({column: []}))
        if "Input" in rows:
            rows = rows[rows["Input"] == INPUTS[0]]
        own = rows[rows[column].astype(str) == str(cluster.number)].to_dict("records")
        return [{str(k): v for k, v in row.items()} for row in own]

    def row(self, table: str, column: str, cluster: Cluster) -> dict[str, Any] | None:
        """Return the first row of a cluster in the table of a follow-up; None where there is none."""
        return next(iter(self.rows(table, column, cluster)), None)


def judged(favours: bool) -> Verdict:
    """Return the verdict of a line for a cluster, or against it."""
    return "favours" if favours else "against"


def lacking(question: str, command: str, **values: Any) -> Line:
    """Return the line of what is not computed, with the command that computes it."""
    return Line(question, _NOT_COMPUTED.format(command), "unknown", command=command, values=values)


def prevalence(found: Prevalence) -> Line:
    """Return the line on how many experiments report a cluster."""
    n, (low, high) = len(found.reached), found.interval
    return Line(
        certainty.PREVALENCE,
        f"{found.number} of {n} ({100 * found.number / n:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %); "
        f"by chance {100 * found.by_chance:.0f} %",
        judged(low > found.by_chance),
        values={
            "reached": found.number,
            "experiments": n,
            "low": low,
            "high": high,
            "by_chance": found.by_chance,
        },
    )


def by_columns(source: Source, prevalence: Prevalence) -> list[Line]:
    """Return a line for each column: whether reports of a cluster depend on it."""
    found = {column: by_column(source.result, prevalence, column) for column in source.columns}
    tested = sum(each is not None and each.p is not None for each in found.values())
    return [_of_column(column, each, tested) for column, each in found.items()]


def _of_column(column: str, found: ByColumn | None, tested: int) -> Line:
    if found is None:
        return Line(certainty.BY_COLUMN, "the files have no such column", "unknown", values={"of": column})
    counts = "; ".join(f"{value} {within} of {n}" for value, (within, n) in found.counts.items())
    values = {"of": column, "counts": found.counts, "not_stated": found.not_stated, "p": found.p}
    rest = f"; not stated for {counted(found.not_stated, 'experiment')}" if found.not_stated else ""
    if found.p is None:
        why = "one value" if len(found.counts) < 2 else "too many values"
        return Line(certainty.BY_COLUMN, f"{counts}{rest}; {why}, not tested", "unknown", values=values)
    words = f"{counts}{rest}; Fisher's p {found.p:.3g}"
    return Line(certainty.BY_COLUMN, words, judged(found.p * tested >= certainty.SMALLEST_P), values=values)


def contributors(source: Source, cluster: Cluster, *, arm: str | None = None) -> Line:
    """Return the line on the experiments that a cluster comes from, of one main effect if it has several."""
    own = source.shares[source.shares["Cluster ID"] == str(cluster.number)]
    if arm is not None:
        own = own[own["Arm"] == arm]
    largest = own.iloc[0]
    share = float(largest["Share (%)"])
    inside = int((own["Foci"] > 0).sum())
    return Line(
        certainty.SHARES,
        f"{counted(inside, 'experiment')} with a focus inside; the largest share is {share:.0f} % "
        f"({largest['Experiment']})",
        judged(share <= certainty.LARGEST_SHARE),
        file=source.file("contributions"),
        values={"inside": inside, "largest_share": share, "largest": str(largest["Experiment"])},
    )


def _enhanced(source: Source) -> bool:
    return model_of(source.result).correction.enhanced


def left_out(source: Source, cluster: Cluster) -> list[Line]:
    """Return a line for each kind of set that was left out."""
    if _enhanced(source):
        return []
    lines = []
    for by in _SETS:
        row = source.row(f"leave-out-{by}", "Cluster ID", cluster)
        if row is None:
            continue
        lost = str(row["Lost Without"]) if isinstance(row["Lost Without"], str) else ""
        survives, sets, least = int(float(row["Survives"])), int(float(row["Sets"])), float(row["Least Retained (%)"])
        rest = f"; lost without {lost}" if lost else f"; at least {least:.0f} % of it stays"
        lines.append(
            Line(
                certainty.LEFT_OUT,
                f"survives {survives} of {sets}{rest}",
                judged(survives == sets),
                file=source.file(f"leave-out-{by}"),
                values={"of": by, "survives": survives, "sets": sets, "least_retained": least, "lost_without": lost},
            )
        )
    return lines or [lacking(certainty.LEFT_OUT, "ale-dask leave-one-out OUT", of=_SETS[0])]


def fail_safe(source: Source, cluster: Cluster) -> Line:
    """Return the line on the fail-safe N; of a conjunction with noise in each main effect alone, and in all."""
    if _enhanced(source):
        return Line(certainty.FAIL_SAFE, "there is none with TFCE", "tells")
    name = "fail-safe-base-rate" if source.null == "base-rate" else "fail-safe"
    rows = source.rows(name, "cluster", cluster)
    if not rows:
        return lacking(certainty.FAIL_SAFE, f"ale-dask fail-safe OUT {source.name}")
    words, values = _of_one_sample(rows[0]) if len(rows) == 1 else _of_each_sample(rows)
    reached = judged(all(row["reached"] == "yes" for row in rows))
    return Line(certainty.FAIL_SAFE, words, reached, file=source.file(name), values=values)


def _of_one_sample(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    least, share = int(float(row["least"])), float(row["share_at_least"])
    words = (
        f"N {_at_least(row['N'])}; 30 % of {row['experiments']} experiments is {least}, which {100 * share:.0f} % of "
        f"{row['series']} series reach"
    )
    return words, {"N": str(row["N"]), "least": least, "share_at_least": share}


def _of_each_sample(rows: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any]]:
    words = (f"N {_at_least(r['N'])} with noise in {r['noise_in']}, whose 30 % mark is {r['least']}" for r in rows)
    return "; ".join(words), {"N": {str(row["noise_in"]): str(row["N"]) for row in rows}}


def _at_least(n: object) -> str:
    return str(n).replace(">=", "at least ")


def profiles(source: Source, cluster: Cluster) -> Line:
    """Return the line on the conventions of other programs."""
    row = source.row("profiles", "Cluster ID", cluster)
    if row is None:
        return lacking(certainty.PROFILES, "ale-dask evidence OUT --compute")
    kept = {name.removesuffix(_KEPT): float(v) for name, v in row.items() if name.endswith(_KEPT) and v == v}
    without = [name for name, share in kept.items() if not share]
    untried = [name for name in PROFILES if name not in kept]
    words = f"found under {len(kept) - len(without)} of {len(kept)}: {listed(name for name in kept if kept[name])}"
    words += f"; not under {listed(without)}" if without else ""
    return Line(
        certainty.PROFILES,
        words + (f"; {listed(untried)} cannot be run with these settings" if untried else ""),
        judged(not without),
        file=source.file("profiles"),
        values={"retained": kept},
    )


_KEPT = " (%)"


def profiles_table(
    clusters: Sequence[Cluster], retained: Mapping[str, Sequence[float]], *, voxel_volume: float
) -> pd.DataFrame:
    """Return for each cluster the share (%) of its voxels that is significant under each profile (profile: cluster)."""
    rows = [
        {
            "Cluster ID": cluster.number,
            **dict(zip("XYZ", cluster.peak_mm.tolist(), strict=True)),
            "Cluster Size (mm3)": len(cluster.voxels) * voxel_volume,
            "Profiles": len(retained),
            "Found Under": sum(shares[i] > 0 for shares in retained.values()),
            **{f"{profile}{_KEPT}": round(100 * shares[i], 1) for profile, shares in retained.items()},
        }
        for i, cluster in enumerate(clusters)
    ]
    return pd.DataFrame(rows)


def voxel_level(source: Source, cluster: Cluster) -> Line:
    """Return the line on voxel-wise FWE."""
    row = CORRECTION_OF["voxel"]
    name = (row.base_rate if source.null == "base-rate" else row.uniform).map
    return surviving_voxels(source, source.result[name].values[cluster.voxels] != 0, table="clusters")


def surviving_voxels(source: Source, kept: npt.NDArray[np.bool_], *, table: str) -> Line:
    """Return the line on how many voxels of a cluster survive voxel-wise FWE, `kept` (voxel of the cluster)."""
    n, size, volume = int(kept.sum()), len(kept), model_of(source.result).mask.voxel_volume
    return Line(
        certainty.VOXELS,
        f"{n * volume:,.0f} of {size * volume:,.0f} mm³ survive" if n else "no voxel survives",
        judged(n > 0),
        file=source.file(table),
        values={"voxels": n, "of_voxels": size},
    )


def base_rate(source: Source, cluster: Cluster) -> Line:
    """Return the line on the base-rate null."""
    result = source.result
    nulls = nulls_of(result)
    if nulls == ("base-rate",):
        return Line(certainty.BASE_RATE, "it is the null that decides", "favours", file=source.file("clusters"))
    if "base-rate" not in nulls:
        return lacking(certainty.BASE_RATE, "ale-dask run OUT -o OUT --null both")
    correction = model_of(result).correction
    kept = result[correction.base_rate.map].values[cluster.voxels] != 0
    values: dict[str, Any] = {"share": float(kept.mean())}
    words = f"{100 * kept.mean():.0f} % of it survives" if kept.any() else "nothing of it survives"
    number = int(result["cluster_of_voxel"].values[cluster.peak])
    p = f"cluster_base_rate_{correction.base_rate_short}_p"
    if number and p in result and math.isfinite(values["share"]):
        values["p"] = float(result[p].values[number - 1])
        words += f", p {values['p']:.3g}" if math.isfinite(values["p"]) else ""
    return Line(certainty.BASE_RATE, words, judged(bool(kept.any())), file=source.file("clusters"), values=values)


def experiments(source: Source) -> Line:
    """Return the line on the number of experiments."""
    n = int(source.result.attrs["n_experiments"])
    enough = n >= ENOUGH_EXPERIMENTS
    words = f"{n} in the main effect" + ("" if enough else f", fewer than {ENOUGH_EXPERIMENTS}")
    return Line(certainty.EXPERIMENTS, words, judged(enough), values={"experiments": n})


def power(source: Source, prevalence: Prevalence) -> Line:
    """Return the line on the power of the design for such a place."""
    table = source.tables.get("power")
    if table is None:
        return lacking(certainty.POWER, f"ale-dask power OUT {source.name}")
    low_m = int(prevalence.interval[0] * len(prevalence.reached))
    at, least = (table.iloc[m] for m in (prevalence.number, low_m))
    power, low, high = (float(at[c]) for c in ("Power (%)", "Low (%)", "High (%)"))
    return Line(
        certainty.POWER,
        f"{power:.0f} % (95 % interval {low:.0f} to {high:.0f} %) if {prevalence.number} experiments report it, "
        f"{float(least['Power (%)']):.0f} % if {low_m} do, the lower end of its prevalence",
        judged(power >= 100 * TARGET),
        file=source.file("power"),
        values={
            "power": power / 100,
            "low": low / 100,
            "high": high / 100,
            "at_low_end": float(least["Power (%)"]) / 100,
        },
    )


def decision(source: Source, cluster: Cluster) -> Line:
    """Return the line on the decision of the cluster's p."""
    result = source.result
    variable = decision_variables(result).get(source.null)
    labels = "base_rate_cluster_of_voxel" if source.null == "base-rate" else "cluster_of_voxel"
    number = int(result[labels].values[cluster.peak])
    if variable is None or not number:
        return Line(certainty.DECISION, "this correction decides voxels, not clusters", "tells")
    return decided(source, str(result[variable].values[number - 1]), after="iterations", table="clusters")


def decided(source: Source, said: str, *, after: str, table: str, by: str = "") -> Line:
    """Return the line on a decision as results have it: significant, not or undecided, `after` so many iterations."""
    iterations = int(source.result.attrs["iterations"])
    words = {"significant": "decided: significant", "not": "decided: not significant"}.get(said, said)
    command = f"ale-dask extend OUT -i {10 * iterations}" if said == "undecided" else ""
    return Line(
        certainty.DECISION,
        f"{words}{by}, after {iterations:,} {after}" + (f"; `{command}` goes on" if command else ""),
        judged(said == "significant"),
        file=source.file(table),
        command=command,
        values={"decision": said, "iterations": iterations},
    )
