"""Living meta-analyses: a run with further experiments beside the earlier ones, judged as one more look."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtr

from ale_dask.analyses.spending import boundaries, increments
from ale_dask.config.living import Living, Look
from ale_dask.config.study import Study, living_from, load_study, study_from, with_expanded_files
from ale_dask.coordinates.foci import concat, n_foci, subset
from ale_dask.coordinates.masks import load_space
from ale_dask.coordinates.readers.writers import write_table
from ale_dask.errors import InputError, did_you_mean
from ale_dask.reporting.common.phrases import counted
from ale_dask.reporting.compare.files import comparison_lines, write_comparison
from ale_dask.reporting.compare.runs import Comparison, compare
from ale_dask.reporting.tables.long import long_records
from ale_dask.storage.location import Place, place, replace_file
from ale_dask.storage.ownership import holds_run
from ale_dask.workflows.prepare import read_sample, read_samples
from ale_dask.workflows.run import collect, run, write
from ale_dask.workflows.run_directory import stored_study

log = logging.getLogger(__name__)
_DECIDED = ("planned", "alpha", "spending", "increments")
"""What is decided before the first look, and stays."""


@dataclass(frozen=True, eq=False)
class Update:
    """A look at more experiments: its study, its results, what changed since the look before, and notes."""

    study: Study
    results: dict[str, xr.Dataset]
    comparison: Comparison | None
    """The clusters of the look before and of this one; None at the first look."""
    notes: tuple[str, ...]

    @property
    def changes(self) -> list[str]:
        """Sentences on the clusters that appear, grow, shrink and disappear at the primary correction."""
        return [] if self.comparison is None else change_lines(self.comparison)


def update(
    before: str | Path,
    *new: str | Path,
    out: str | Path,
    sample: str | None = None,
    quiet: bool = False,
    **plan: Any,
) -> Update:
    """Run a study again with further experiments, in a new folder, and return what changed since the look before.

    Parameters
    ----------
    before
        Folder of the finished run of the look before; for the first look, a study.toml.
    *new
        Files of foci with the new experiments; experiments that the run has already count once. None at the first look.
    out
        New folder of this look; the look before keeps its own.
    sample
        Sample that the new experiments belong to; not needed if the study has only one.
    quiet
        Show no progress.
    **plan
        At the first look that has a plan: planned (number of experiments at which updates end), alpha (0.05), spending
        ("obrien-fleming" or "pocock") and increments ("any" or "independent"). Later looks keep it.

    Returns
    -------
    Update
        Study, results, comparison with the look before, sentences on changed clusters, and notes.

    Raises
    ------
    InputError
        For a file without new experiments, a plan that differs from that of earlier looks, or no error left to spend.

    Notes
    -----
    With t the share of the planned experiments, error is spent by 2 - 2 Phi(z(1 - alpha/2) / sqrt(t)) or by
    alpha ln(1 + (e - 1) t) (Lan & DeMets 1983, Biometrika 70:659); `cluster_p` of a look is what it may spend beyond
    earlier looks, or the level of a statistic with independent normal increments that spends it. Draws belong to
    experiments: those of earlier experiments stay. The null holds maxima over all experiments and is drawn anew.

    Examples
    --------
    >>> first = ale.update("study.toml", out="look1", planned=30, quiet=True)
    >>> second = ale.update("look1", "therapy.txt", sample="drug", out="look2", quiet=True)
    Traceback (most recent call last):
    ale_dask.errors.InputError: therapy.txt: its 6 experiments are in the study already; nothing is new
    """
    with ExitStack() as stack:
        study, notes = plan_update(before, *new, out=out, sample=sample, stack=stack, **plan)
        results, record = run(study, str(out), quiet=quiet)
        write(results, record, str(out), study=study, pictures=False)
    return Update(study, results, changes_since(before, str(out)), notes)


def plan_update(
    before: str | Path, *new: str | Path, out: str | Path, sample: str | None, stack: ExitStack, **plan: Any
) -> tuple[Study, tuple[str, ...]]:
    """Return the study of the next look and notes; temporary files in it live as long as `stack`."""
    where = place(before)
    finished = not (isinstance(where, Path) and where.is_file()) and holds_run(where)
    study = with_expanded_files(stored_study(where) if finished else load_study(_toml(where)))
    if finished and place(out) == where:
        raise InputError(f"{out}: holds the look before, which stays as it is; give a new -o")
    if finished and not new:
        raise InputError(f"{before}: give files with new experiments, or a study.toml for the first look")
    notes: list[str] = []
    earlier = list(study.living.looks) if study.living else []
    if finished and not earlier:
        earlier = [Look(experiments=_number(study), level=study.inference.cluster_p, out=where.name)]
        notes.append(
            f"the look before was judged at p < {earlier[0].level:g} before looks were planned, which the error over "
            "all looks adds to"
        )
    if new:
        study, note = _with_new(study, new, sample=sample, stack=stack)
        notes.append(note)
    settings = _settings(study.living, {k: v for k, v in plan.items() if v is not None})
    number = _number(study)
    look = Look(experiments=number, level=_level(settings, [*earlier, number], study), out=place(out).name)
    living = {**settings, "looks": [*(e.model_dump() for e in earlier), look.model_dump()]}
    data = study.model_dump()
    data["inference"]["cluster_p"] = look.level
    changed = study_from({**data, "living": living}, source="update")
    return changed, (*notes, *_told(changed))


def _toml(where: Place) -> Path:
    if not isinstance(where, Path) or not where.exists():
        raise InputError(f"{where}: no finished run and no study.toml; give the folder of the look before")
    return where / "study.toml" if where.is_dir() else where


def _with_new(study: Study, new: Sequence[str | Path], *, sample: str | None, stack: ExitStack) -> tuple[Study, str]:
    """Return the study with further files of a sample, and a note on the experiments in them."""
    if sample is None and len(study.foci) > 1:
        raise InputError(
            f"the study has the samples {', '.join(study.foci)}: name the one that the new experiments belong to, "
            "--sample NAME (in Python sample=NAME)"
        )
    name = sample or next(iter(study.foci))
    if name not in study.foci:
        raise InputError(f"sample '{name}': not in the study{did_you_mean(name, study.foci)}")
    source = study.foci[name]
    old = {int(k) for s in study.foci.values() for k in read_sample(s)["experiment_key"].values}
    read = [read_sample(source.model_copy(update={"files": [str(file)]})) for file in new]
    fresh = [np.array([int(k) not in old for k in foci["experiment_key"].values], dtype=bool) for foci in read]
    known = sum(int((~f).sum()) for f in fresh)
    number = sum(int(f.sum()) for f in fresh)
    if not number:
        listed = ", ".join(map(str, new))
        raise InputError(f"{listed}: its {counted(known, 'experiment')} are in the study already; nothing is new")
    files = [str(Path(file).resolve()) for file in new]
    if known:
        # An experiment may count once; the file with the others has the same experiments, and so the same keys.
        kept = concat([subset(foci, f) for foci, f in zip(read, fresh, strict=True) if f.any()])
        files = [str(Path(stack.enter_context(TemporaryDirectory())) / f"{Path(files[0]).name.split('.')[0]}-new.csv")]
        replace_file(Path(files[0]), write_table(kept).encode())
    changed = source.model_copy(update={"files": [*source.files, *files]})
    note = f"{name}: {counted(number, 'new experiment')}" + (
        f"; {known:,} are there already and count once" if known else ""
    )
    return study.model_copy(update={"foci": {**study.foci, name: changed}}), note


def _number(study: Study) -> int:
    """Return the number of experiments with a focus of all samples together, after their selection."""
    sources, _ = read_samples(study, mask=load_space(study.inference))
    return sum(int((n_foci(foci) > 0).sum()) for foci in sources.values())


def _settings(living: Living | None, plan: dict[str, Any]) -> dict[str, Any]:
    """Return the plan of looks: that of the study, else the given one.

    Raises
    ------
    InputError
        where a plan is given that differs from that of earlier looks.
    """
    if living is None or not living.looks:
        stated = {} if living is None else living.model_dump(include=set(_DECIDED), exclude_none=True)
        return {**stated, **plan}
    own = living.model_dump(include=set(_DECIDED), exclude_none=True)
    for key, value in plan.items():
        if own.get(key) != value:
            raise InputError(f"{key} {value}: earlier looks were planned with {own.get(key, 'none')}, which must stay")
    return own


def _level(settings: dict[str, Any], looks: Sequence[Look | int], study: Study) -> float:
    """Return the family-wise p at which the last of the looks is judged."""
    planned = settings.get("planned")
    if planned is None:
        return study.inference.cluster_p
    numbers = [look if isinstance(look, int) else look.experiments for look in looks]
    if len(numbers) > 1 and numbers[-2] >= planned:
        raise InputError(
            f"an earlier look had {numbers[-2]} of {planned} planned experiments: no error is left to spend"
        )
    # Checked before it is computed with.
    plan = living_from(settings)
    shares = [number / planned for number in numbers[:-1]] + [min(1.0, numbers[-1] / planned)]
    if plan.increments == "independent":
        return float(ndtr(-boundaries(shares, alpha=plan.alpha, spending=plan.spending)[-1]))
    return increments(shares, alpha=plan.alpha, spending=plan.spending)[-1]


def _told(study: Study) -> list[str]:
    """Return notes on the look, its level and the error over all looks."""
    living = study.living
    assert living is not None
    look, total = living.looks[-1], sum(each.level for each in living.looks)
    number = f"look {len(living.looks)}: {counted(look.experiments, 'experiment')}"
    if living.planned is None:
        error = f"the error over all looks may reach {min(total, 1):.3g}"
        return [f"{number}, judged at p < {look.level:.3g}; {error}: plan them (--planned N)"]
    notes = [
        f"{number} of {living.planned:,} planned, judged at p < {look.level:.3g}; levels so far add up to "
        f"{total:.3g} of {living.alpha:g} (spending {living.spending})"
    ]
    if look.level * (study.inference.iterations + 1) < 1:
        notes.append(
            f"no p of {study.inference.iterations:,} iterations is below {look.level:.3g}: nothing can survive"
        )
    return notes


def changes_since(before: str | Path, out: str) -> Comparison | None:
    """Return the comparison of a look with the one before, written to OUT/changes; None without a run before."""
    where = place(before)
    if (isinstance(where, Path) and where.is_file()) or not holds_run(where):
        return None
    (_, first, record1), (_, second, record2) = collect(where), collect(place(out))
    comparison = compare(first, second, records=(record1, record2))
    write_comparison(comparison, place(out) / "changes", names=(where.name, place(out).name), pictures=False)
    return comparison


_WORDS = {
    "appears": "appears",
    "vanishes": "disappears",
    "splits": "splits",
    "merges": "merges",
    "regroups": "regroups",
}


def change_lines(comparison: Comparison) -> list[str]:
    """Return sentences on the clusters that appear, grow, shrink and disappear, of maps at the primary correction."""
    decisive = {
        (row["analysis"], row["level"], row["input"], row["direction"])
        for row in long_records(comparison.summary)
        if row["primary"] == "yes" or (row["primary"] == "" and row["input"] == "cluster-fwe")
    }
    lines = []
    for row in long_records(comparison.clusters):
        if (row["analysis"], row["level"], row["input"], row["direction"]) not in decisive:
            continue
        side = "1" if row["change"] == "vanishes" else "2"
        at = " ".join(f"{row[f'{axis}_{side}'] + 0.0:.0f}" for axis in "xyz")
        whose = f"{row['direction'] or row['analysis']} [{row['level']}], cluster at {at}"
        grown = row["mm3_change"]
        word = "disappears" if row["change"] == "vanishes" else row["change"]
        if row["change"] in ("stays", "moves"):
            word = "grows" if grown > 0 else "shrinks" if grown < 0 else "stays as large"
        sizes = [f"{row[f'mm3_{s}']:,.0f}" for s in "12" if row[f"mm3_{s}"] is not None]
        lines.append(f"{whose}: {word}, {' to '.join(dict.fromkeys(sizes))} mm³")
    return lines or comparison_lines(comparison)[:1]
