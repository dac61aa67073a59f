"""Make the card of evidence of every cluster of a result from the result and the follow-ups of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ale_dask.analyses.findings.certainty import Card, Evidence, Line
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.findings.prevalence import Prevalence, prevalences
from ale_dask.analyses.moderator import KIND as MODERATOR
from ale_dask.analyses.sensitivity.jackknife import REPEATED
from ale_dask.config.analysis import INPUTS
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.palette import pooled_names
from ale_dask.reporting.sensitivity import evidence_lines as lines
from ale_dask.reporting.sensitivity import evidence_of_arms as of_arms
from ale_dask.reporting.sensitivity.evidence_lines import Source
from ale_dask.reporting.sensitivity.evidence_of_moderators import of_moderator
from ale_dask.reporting.tables.contributions import contribution_table, surviving_clusters
from ale_dask.reporting.text.follow_up_files import asked_columns, follow_up_tables

COLUMNS = ("modality", "direction")
"""The columns by which prevalence is looked at, unless others are asked for."""
_KINDS = (*REPEATED, MODERATOR)
"""The kinds of analyses that have cards."""


@dataclass(frozen=True, eq=False)
class _Run:
    """The results of a run by name, its folder or a copy of it, its record, and the columns that are looked at."""

    results: Mapping[str, xr.Dataset]
    out: Path
    record: RunRecord
    columns: Sequence[str]

    def source(self, name: str) -> Source:
        """Return all that the cards of one result are made of."""
        result = self.results[name]
        tables = follow_up_tables(result, self.out, self.record)
        return Source(result, tables, contribution_table(result, self.results), self.columns)


def asked_evidence(results: Mapping[str, xr.Dataset], record: RunRecord, out: Path) -> dict[str, Evidence]:
    """Return the cards of the analyses of a run for which cards were made before, by name.

    Raises
    ------
    StoreError
        when a file of a follow-up is not as it was written.
    """
    asked = {name: asked_columns(name, out) for name in analyses_with_cards(results)}
    return {
        name: evidence_of_result(results[name], out, record, columns=columns, results=results)
        for name, columns in asked.items()
        if columns is not None
    }


def analyses_with_cards(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return the names of the analyses of a run with cards, without main effects that were pooled for a contrast."""
    pooled = pooled_names(results)
    return [name for name, result in results.items() if name not in pooled and model_of(result).kind in _KINDS]


def evidence_of_result(
    result: xr.Dataset,
    out: Path,
    record: RunRecord,
    *,
    columns: Sequence[str] = COLUMNS,
    results: Mapping[str, xr.Dataset] | None = None,
) -> Evidence:
    """Return a card for each cluster of a result at its primary correction; of a contrast inside the gate.

    Of a moderator without a cluster-level test, of the voxels that survive FWE.

    `out` is the folder of the run, or a copy of it, that holds the follow-ups; `columns` are those by which prevalence
    is looked at; `results` are the main effects of a contrast, conjunction or moderator by name.

    Raises
    ------
    StoreError
        when a file of a follow-up is not as it was written.
    """
    name, clusters = model_of(result).name, surviving_clusters(result, INPUTS[0])
    if not clusters or model_of(result).kind not in _KINDS:
        return Evidence(name, tuple(columns), ())
    held = _Run({**(results or {}), name: result}, out, record, columns)
    source = held.source(name)
    # By main effect, then by cluster.
    reached = {part: prevalences(held.results[part], clusters) for part in model_of(result).parts}
    parts = {part: source if part == name else held.source(part) for part in reached}
    volume = model_of(result).mask.voxel_volume
    cards = []
    for i, cluster in enumerate(clusters):
        x, y, z = (round(float(v), 2) + 0.0 for v in cluster.peak_mm)
        own = {part: (parts[part], found[i]) for part, found in reached.items()}
        cards.append(Card(name, cluster.number, (x, y, z), len(cluster.voxels) * volume, _lines(source, cluster, own)))
    return Evidence(name, tuple(columns), tuple(cards))


def _lines(source: Source, cluster: Cluster, parts: Mapping[str, tuple[Source, Prevalence]]) -> tuple[Line, ...]:
    kind = model_of(source.result).kind
    if kind == "contrast":
        return of_arms.of_contrast(source, cluster, parts)
    if kind == "conjunction":
        return of_arms.of_conjunction(source, cluster, parts)
    if kind == MODERATOR:
        ((_, reported),) = parts.values()
        return of_moderator(source, cluster, reported)
    _, found = parts[source.name]
    return (
        lines.prevalence(found),
        *lines.by_columns(source, found),
        lines.contributors(source, cluster),
        *lines.left_out(source, cluster),
        lines.fail_safe(source, cluster),
        lines.profiles(source, cluster),
        lines.voxel_level(source, cluster),
        lines.base_rate(source, cluster),
        lines.experiments(source),
        lines.power(source, found),
        lines.decision(source, cluster),
    )
