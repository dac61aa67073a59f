"""Collect what a user is told about the input of a study before a run: counts, decisions and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from ale_dask.analyses.contrast import disjoint_arms
from ale_dask.analyses.moderator_columns import moderated, moderator_findings
from ale_dask.config.analysis import BalancedContrast, Contrast, MainEffect, Moderator
from ale_dask.config.inference import DATABASES, LITERATURE, Inference
from ale_dask.config.protocol import deviations, protocol_of
from ale_dask.config.study import Study
from ale_dask.coordinates.decisions import Decision, add_decisions, decisions
from ale_dask.coordinates.foci import n_foci
from ale_dask.coordinates.lint import MIXED, Finding, lint, lint_contrast
from ale_dask.coordinates.masks import load_space
from ale_dask.coordinates.outside import placed
from ale_dask.coordinates.pooling import by_subjects
from ale_dask.coordinates.readers import read_foci
from ale_dask.coordinates.subject_groups import n_subjects
from ale_dask.datasets.base_rate.fit import base_rate_findings
from ale_dask.workflows.prepare import read_samples

WORST = 5
"""Number of findings of one code that are printed unless all are asked for."""
MOST_ENTRIES = 30
"""Number of samples and contrasts of which each line is printed unless all are asked for."""


@dataclass(frozen=True)
class Notices:
    """The counts, decisions and findings of one sample, main effect, contrast or moderator."""

    name: str
    counts: dict[str, int]
    decisions: tuple[Decision, ...]
    findings: tuple[Finding, ...]

    def record(self) -> dict[str, Any]:
        """Return the notices as plain values for JSON."""
        return {
            "name": self.name,
            **self.counts,
            "decisions": [asdict(decision) for decision in self.decisions],
            "warnings": [{"code": f.code, "message": f.message, "where": f.where} for f in self.findings],
        }


def study_notices(study: Study) -> list[Notices]:
    """Return the notices of a study: one entry per sample, one per analysis that adds any, and one of its protocol.

    Raises
    ------
    InputError
        for a file, an experiment or a name that cannot be used.
    """
    mask = load_space(study.inference)
    foci, samples = read_samples(study, mask=mask)
    notices = [_notices(name, [dataset], lint(dataset, mask=mask)) for name, dataset in foci.items()]
    told = _Told(notices)
    at = {entry.name: number for number, entry in enumerate(notices)}
    for name, analysis in study.analysis.items():
        if isinstance(analysis, MainEffect):
            used = samples[name].foci
            # Who pools several samples by their names does so knowingly.
            findings = [f for f in lint(used, mask=mask) if f.code not in MIXED] if len(analysis.foci) > 1 else []
            if study.inference.null != "uniform" and study.inference.base_rate in (LITERATURE, *DATABASES):
                findings = [*findings, *base_rate_findings(used)]
            added = told.only_new(_notices(name, [used], findings))
            if len(analysis.foci) > 1:
                notices.append(added)
            elif added.decisions or added.findings:
                # The sample already has an entry, whose counts are those before any experiments are pooled.
                entry = notices[at[analysis.foci[0]]]
                notices[at[analysis.foci[0]]] = replace(
                    entry,
                    decisions=(*entry.decisions, *added.decisions),
                    findings=(*entry.findings, *added.findings),
                )
        elif isinstance(analysis, Contrast | BalancedContrast):
            arms = [samples[arm].foci for arm in analysis.arms]
            findings = lint_contrast(*arms)
            if study.inference.shared == "exclude":
                arms = list(disjoint_arms(*arms, shared="exclude", name=f"analysis.{name}"))
            notices.append(told.only_new(_notices(name, arms, findings)))
        elif isinstance(analysis, Moderator):
            scores = moderated(samples[analysis.of], analysis, name=f"analysis.{name}")
            used = add_decisions(scores.sample.foci, scores.decisions)
            notices.append(told.only_new(_notices(name, [used], moderator_findings(scores))))
    if (protocol := protocol_of(study)) is not None:
        differing = [Finding("deviation", d.words(), protocol.file) for d in deviations(study, protocol)]
        notices.append(
            Notices(
                "protocol", {"deviation" if len(differing) == 1 else "deviations": len(differing)}, (), tuple(differing)
            )
        )
    return notices


def file_notices(
    path: Path,
    *,
    inference: Inference,
    n: int | None = None,
    space: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[Notices]:
    """Return the notices of one file of foci.

    Parameters
    ----------
    inference
        The settings; mask, search, outside and same_subjects are used.
    n, space
        The sample size and the space of experiments for which the file states none.
    columns
        The names of columns of a table that differ from the expected ones.

    Raises
    ------
    InputError
        when the file cannot be read.
    """
    dataset = read_foci(path, n=n, space=space, columns=columns, require_n=False)
    return foci_notices(dataset, name=path.name, inference=inference)


def foci_notices(dataset: xr.Dataset, *, name: str, inference: Inference) -> list[Notices]:
    """Return the notices of the foci of one file; of the settings, mask, outside and same_subjects are used."""
    mask = load_space(inference)
    if inference.outside == "drop":
        dataset = placed(dataset, mask=mask, outside="drop", name=name)
    # An analysis with these settings would pool experiments of the same subjects, and say so.
    if inference.same_subjects != "refuse":
        used = by_subjects(dataset, inference.same_subjects, name=name)
        dataset = add_decisions(dataset, decisions(used))
    return [_notices(name, [dataset], lint(dataset, mask=mask))]


def notice_lines(notices: Iterable[Notices], *, verbose: bool = False) -> list[str]:
    """Return notices as lines of text, with the five worst findings of each code, or with all if `verbose`.

    Without `verbose`, what is said of the samples after the first 30 is only counted.
    """
    lines: list[str] = []
    entries = list(notices)
    shown_entries = entries if verbose else entries[:MOST_ENTRIES]
    for entry in shown_entries:
        lines.append(f"{entry.name}: " + ", ".join(f"{n:,} {word}" for word, n in entry.counts.items()))
        lines += [f"  note {d.code}: {_prefix(d.where)}{d.message}" for d in entry.decisions]
        by_code: dict[str, list[Finding]] = {}
        for finding in entry.findings:
            by_code.setdefault(finding.code, []).append(finding)
        for code, same in by_code.items():
            worst = sorted(same, key=lambda finding: -finding.severity)
            shown = worst if verbose else worst[:WORST]
            lines += [f"  warning {code}: {_prefix(f.where)}{f.message}" for f in shown]
            if len(shown) < len(same):
                rest = len(same) - len(shown)
                more = f"{rest:,} more {'warning' if rest == 1 else 'warnings'} {code}"
                lines.append(f"    and {more}; --verbose prints all {len(same):,}")
    return lines + _counted(entries[len(shown_entries) :])


def _counted(entries: Sequence[Notices]) -> list[str]:
    """Return how many of these entries have a decision or a warning of each code, with the name of the first."""
    if not entries:
        return []
    having: dict[str, list[str]] = {}
    for entry in entries:
        codes = [f"note {d.code}" for d in entry.decisions] + [f"warning {f.code}" for f in entry.findings]
        for code in dict.fromkeys(codes):
            having.setdefault(code, []).append(entry.name)
    lines = [f"and {len(entries):,} more; --verbose prints what is said of each"]
    return lines + [f"  {code}: {len(names):,} of them, first {names[0]}" for code, names in having.items()]


def _notices(name: str, foci: Sequence[xr.Dataset], findings: Iterable[Finding]) -> Notices:
    """Return findings with the counts and the decisions of some foci Datasets."""
    counts = {
        "experiments": sum(f.sizes["experiment"] for f in foci),
        "foci": sum(int(n_foci(f).sum()) for f in foci),
        "subjects": sum(map(n_subjects, foci)),
    }
    distinct = dict.fromkeys(d for f in foci for d in decisions(f))
    return Notices(name, counts, tuple(distinct), tuple(findings))


class _Told:
    """The decisions and findings that entries have already."""

    def __init__(self, entries: Iterable[Notices]) -> None:
        self.decisions: set[Decision] = set()
        self.findings: set[tuple[str, str]] = set()
        for entry in entries:
            self._add(entry)

    def _add(self, entry: Notices) -> None:
        self.decisions.update(entry.decisions)
        self.findings.update((f.code, f.message) for f in entry.findings)

    def only_new(self, notices: Notices) -> Notices:
        """Return an entry without the decisions and findings that earlier ones have, which from now on has its own."""
        new = replace(
            notices,
            decisions=tuple(d for d in notices.decisions if d not in self.decisions),
            findings=tuple(f for f in notices.findings if (f.code, f.message) not in self.findings),
        )
        self._add(new)
        return new


def _prefix(where: str) -> str:
    return f"{where}: " if where else ""
