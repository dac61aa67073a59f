"""Commands for runs in the background, and for trying a machine before them: submit, status, cancel, logs, doctor."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ale_dask.cli.messages import show_messages
from ale_dask.cli.options import (
    Backend,
    Json,
    Out,
    Overwrite,
    Pictures,
    Stored,
    StudyFile,
    SubgroupCut,
    SubgroupSample,
    SubgroupsBy,
    SweepAxis,
    Workers,
    taking_settings,
)
from ale_dask.cli.studies import backend_of_atlas, is_atlas, is_sweep, load, with_settings
from ale_dask.errors import InputError, UnfinishedError

if TYPE_CHECKING:
    from ale_dask.workflows.status import AnalysisStatus

_LOG_SECONDS = 15.0


@taking_settings
def submit(
    study: StudyFile,
    out: Out,
    settings: dict[str, Any],
    dry_run: Annotated[
        bool, typer.Option("-n", "--dry-run", help="Print the job script or the manifests; submit nothing.")
    ] = False,
    overwrite: Overwrite = False,
    pictures: Pictures = True,
    axis: SweepAxis = None,
    by: SubgroupsBy = None,
    cut: SubgroupCut = None,
    sample: SubgroupSample = None,
) -> None:
    """Start a run in the background, on this machine or a queue, and return at once.

    With --set it is a sweep, with --by a run of the subgroups of a sample.
    """
    from ale_dask.workflows.follow import describe
    from ale_dask.workflows.subgroups import subgroups
    from ale_dask.workflows.submit import job_scripts, submit_literature
    from ale_dask.workflows.submit import submit as start
    from ale_dask.workflows.sweep_cells import axis_from

    if axis and by is not None:
        raise InputError("submit: --set is for a sweep and --by for subgroups; give one of them")
    if is_atlas(study):
        backend = backend_of_atlas(study, out, settings)
        begin = partial(submit_literature, out, backend=backend)
    else:
        chosen = with_settings(load(study), **settings)
        if by is not None:
            chosen = subgroups(chosen, by=by, cuts=cut or (), sample=sample)
        axes = dict(map(axis_from, axis)) if axis else {} if is_sweep(study) else None
        backend = chosen.backend
        begin = partial(start, chosen, out, overwrite=overwrite, pictures=pictures, axes=axes)
    if dry_run:
        print(job_scripts(backend, out), end="")
        return
    submission = begin()
    print(f"submitted: {describe(submission)}")
    where = shlex.quote(out)
    print(f"  ale-dask status {where} --watch\n  ale-dask logs {where}\n  ale-dask cancel {where}")


def _status_line(analysis: AnalysisStatus) -> str:
    """Return the line that shows how far an analysis is."""
    from ale_dask.execution.progress import clock, per_second

    text = f"{analysis.analysis:28} {analysis.done:10,} of {analysis.iterations:10,} {analysis.counts}"
    if analysis.done < analysis.iterations and analysis.rate > 0:
        text += f", {per_second(analysis.rate)}, {clock((analysis.iterations - analysis.done) / analysis.rate)} left"
    if analysis.cut is not None:
        value, low, high = (f"{number:,.4g}" for number in analysis.cut)
        text += f", threshold {value} ({low}-{high}) {analysis.unit}"
    return text


def status_lines(statuses: list[AnalysisStatus]) -> list[str]:
    """Return a line per analysis that shows how far it is, and a line of advice."""
    from ale_dask.execution.monitor.state import Known, advice

    lines = [_status_line(s) for s in statuses]
    total = sum(s.iterations for s in statuses)
    missing = total - sum(min(s.done, s.iterations) for s in statuses)
    if statuses and not any(s.unit or s.failed for s in statuses):
        # Neither a pass of a sweep nor an atlas has a threshold that one could wait for.
        counts = statuses[0].counts
        some = f"wait: {missing:,} of {total:,} {counts} are missing"
        return [*lines, some if missing else f"enough: all {counts} are there"]
    known = [Known(s.analysis, s.done >= s.iterations, s.failed, s.cut, s.clusters) for s in statuses]
    return [*lines, advice(known)]


def status_printer() -> Callable[[list[AnalysisStatus]], None]:
    """Return a function that prints how far a run is: in place on a terminal, every 15 s in a log."""
    terminal, last, shown, ended = sys.stderr.isatty(), 0.0, 0, False

    def tell(statuses: list[AnalysisStatus]) -> None:
        nonlocal last, shown, ended
        ending = not ended and all(s.done >= s.iterations for s in statuses)
        if not (terminal or ending) and time.monotonic() - last < _LOG_SECONDS:
            return
        last, ended = time.monotonic(), ended or ending
        # Move above the lines printed last and erase them; a narrow terminal has broken some of them into several rows.
        up = f"\x1b[{shown}A\x1b[J" if terminal and shown else ""
        lines = status_lines(statuses)
        print(up + "\n".join(lines), file=sys.stderr, flush=True)
        columns = shutil.get_terminal_size().columns
        shown = sum(max(1, -(-len(each) // columns)) for each in lines)

    return tell


def status(
    out: Stored,
    watch: Annotated[bool, typer.Option("--watch", help="Update the lines until the run has ended.")] = False,
    as_json: Json = False,
) -> None:
    """Print the iterations done of each analysis, their rate, the time left and the threshold so far."""
    from dataclasses import asdict

    from ale_dask.workflows.status import status as of

    if watch:
        from ale_dask.workflows.follow import follow

        if not follow(out, status_printer()):
            raise UnfinishedError(f"{out}: ended before it was done; `ale-dask logs {out}` says why, `submit` goes on")
    statuses = of(out)
    if as_json:
        print(json.dumps([asdict(s) for s in statuses]))
    else:
        if not watch:
            print("\n".join(status_lines(statuses)))
        if all(s.done >= s.iterations for s in statuses):
            print(_report_of(out))


def _report_of(out: str) -> str:
    """Return where the report of a run is whose iterations are all done, or how to write it."""
    from ale_dask.storage.location import place

    written = (place(out) / "report.html").is_file()
    return (
        f"done; report: {out.rstrip('/')}/report.html"
        if written
        else f"done; `ale-dask collect {out}` writes the report"
    )


def cancel(out: Stored) -> None:
    """Stop a submitted run; its finished blocks are kept."""
    from ale_dask.workflows.follow import cancel as stop

    print(stop(out))


def logs(out: Stored) -> None:
    """Print the events of a run, with the place and traceback of every failure."""
    from ale_dask.workflows.follow import logs as of

    for each in of(out):
        print(each)


def doctor(
    study: Annotated[str | None, typer.Argument(metavar="STUDY", help="study.toml whose [backend] is tried.")] = None,
    backend: Backend = None,
    workers: Workers = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="Folder or URL of a future run; nothing stays there.")
    ] = None,
) -> None:
    """Try what a run needs before the first one on a new machine: workers, OUT, versions, kernels."""
    from ale_dask.config.study import backend_from
    from ale_dask.workflows.doctor import examine

    if study is not None:
        settings = with_settings(load(study), backend=backend, workers=workers).backend
    else:
        settings = backend_from({"name": backend or "auto", "workers": workers}, source="command line")
    show_messages(on_stdout=True)
    examine(settings, out)
