"""What a user is told about the input of a study before anything is computed: counts, decisions and findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from ale_dask.analyses.contrast import disjoint_arms
from ale_dask.config.inference import DATABASES, LITERATURE, Inference
from ale_dask.config.study import Contrast, MainEffect, Study
from ale_dask.coordinates.decisions import Decision, add_decisions, decisions
from ale_dask.coordinates.foci import n_foci
from ale_dask.coordinates.lint import Finding, lint, lint_contrast
from ale_dask.coordinates.masks import load_space
from ale_dask.coordinates.outside import placed
from ale_dask.coordinates.pooling import by_subjects
from ale_dask.coordinates.readers import read_foci
from ale_dask.coordinates.subject_groups import n_subjects
from ale_dask.datasets.base_rate.fit import base_rate_findings
from ale_dask.workflows.prepare import read_samples

WORST = 5
"""How many findings of one code are printed where not all are asked for."""


@dataclass(frozen=True)
class Notices:
    """What there is to say about one sample, main effect or contrast."""

    name: str
    counts: dict[str, int]
    decisions: tuple[Decision, ...]
    findings: tuple[Finding, ...]

    def record(self) -> dict[str, Any]:
        """Return the notices as plain values for JSON."""
        return {
            "name": self.name,
            **self.counts,
            "decisions": [asdict(one) for one in self.decisions],
            "warnings": [{"code": f.code, "message": f.message, "where": f.where} for f in self.findings],
        }


def study_notices(study: Study) -> list[Notices]:
    """Return the notices of a study: one entry per sample, and those that its analyses add.

    Raises
    ------
    InputError
        for a file, an experiment or a name that cannot be used.
    """
    mask = load_space(study.inference)
    foci, samples = read_samples(study, mask=mask)
    found = [_notices(name, [dataset], lint(dataset, mask=mask)) for name, dataset in foci.items()]
    for name, analysis in study.analysis.items():
        if isinstance(analysis, MainEffect):
            used = samples[name].foci
            pooled = lint(used, mask=mask) if len(analysis.foci) > 1 else []
            if study.inference.null != "uniform" and study.inference.base_rate in (LITERATURE, *DATABASES):
                pooled = [*pooled, *base_rate_findings(used)]
            added = _only_new(_notices(name, [used], pooled), found)
            if len(analysis.foci) > 1:
                found.append(added)
            elif added.decisions or added.findings:
                # The sample has an entry of its own, which says how many experiments it has before any are pooled.
                at = next(i for i, one in enumerate(found) if one.name == analysis.foci[0])
                found[at] = replace(
                    found[at],
                    decisions=(*found[at].decisions, *added.decisions),
                    findings=(*found[at].findings, *added.findings),
                )
        elif isinstance(analysis, Contrast):
            arms = [samples[arm].foci for arm in analysis.arms]
            said = lint_contrast(*arms)
            if study.inference.shared == "exclude":
                arms = list(disjoint_arms(*arms, shared="exclude", name=f"analysis.{name}"))
            found.append(_only_new(_notices(name, arms, said), found))
    return found


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
        The settings, of which mask, search and outside are heeded.
    n, space
        The sample size and the space of experiments whose file states none.
    columns
        Names of the columns of a table, where they are unusual.

    Raises
    ------
    InputError
        when the file cannot be read.
    """
    dataset = read_foci(path, n=n, space=space, columns=columns, require_n=False)
    mask = load_space(inference)
    if inference.outside == "drop":
        dataset = placed(dataset, mask=mask, outside="drop", name=path.name)
    # What an analysis would make of its experiments, with these settings.
    if inference.same_subjects != "refuse":
        used = by_subjects(dataset, inference.same_subjects, name=path.name)
        dataset = add_decisions(dataset, decisions(used))
    return [_notices(path.name, [dataset], lint(dataset, mask=mask))]


def notice_lines(notices: Iterable[Notices], *, verbose: bool = False) -> list[str]:
    """Return the lines that tell a user of notices: the five worst findings of each code, or all of them."""
    lines: list[str] = []
    for one in notices:
        lines.append(f"{one.name}: " + ", ".join(f"{n:,} {word}" for word, n in one.counts.items()))
        lines += [f"  note {d.code}: {_at(d.where)}{d.message}" for d in one.decisions]
        by_code: dict[str, list[Finding]] = {}
        for finding in one.findings:
            by_code.setdefault(finding.code, []).append(finding)
        for code, same in by_code.items():
            worst = sorted(same, key=lambda finding: -finding.severity)
            shown = worst if verbose else worst[:WORST]
            lines += [f"  warning {code}: {_at(f.where)}{f.message}" for f in shown]
            if len(shown) < len(same):
                lines.append(f"    and {len(same) - len(shown):,} more of {code}; --verbose prints all {len(same):,}")
    return lines


def _notices(name: str, foci: Sequence[xr.Dataset], findings: Iterable[Finding]) -> Notices:
    counts = {
        "experiments": sum(f.sizes["experiment"] for f in foci),
        "foci": sum(int(n_foci(f).sum()) for f in foci),
        "subjects": sum(map(n_subjects, foci)),
    }
    made = dict.fromkeys(d for f in foci for d in decisions(f))
    return Notices(name, counts, tuple(made), tuple(findings))


def _only_new(notices: Notices, told: Iterable[Notices]) -> Notices:
    """Return the notices without decisions and findings that earlier entries have told already."""
    before = list(told)
    known = {d for one in before for d in one.decisions}, {(f.code, f.message) for one in before for f in one.findings}
    return Notices(
        notices.name,
        notices.counts,
        tuple(d for d in notices.decisions if d not in known[0]),
        tuple(f for f in notices.findings if (f.code, f.message) not in known[1]),
    )


def _at(where: str) -> str:
    return f"{where}: " if where else ""
