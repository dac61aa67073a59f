"""Print the costs of a run before it, and its results after it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ale_dask.cli.signals import ignore_signals

if TYPE_CHECKING:
    import pandas as pd

    from ale_dask.config.run_record import RunRecord
    from ale_dask.config.study import Study
    from ale_dask.workflows.notices import Notices
    from ale_dask.workflows.prepare import Cost
    from ale_dask.workflows.sweep import Sweep
    from ale_dask.workflows.unchanged import Answer

log = logging.getLogger(__name__)


def print_sweep(planned: Sweep, *, as_json: bool) -> None:
    """Print the cells of a sweep, its passes and how long they take."""
    from ale_dask.analyses.execute import seconds_per_iteration
    from ale_dask.execution.progress import clock
    from ale_dask.workflows.sweep import descriptive, shares

    seconds_of = {
        name: seconds_per_iteration(p.plan, most=p.iterations) * p.iterations
        for name, p in planned.passes.by_name.items()
    }
    core_seconds = sum(seconds_of.values())
    if as_json:
        cells = {label: {k: str(v) for k, v in planned.cells[label].values.items()} for label in planned.prepared}
        content = {"cells": cells, "failed": dict(planned.failed), "nulls": planned.passes.asked, "passes": seconds_of}
        print(
            json.dumps(content | {"core_hours": core_seconds / 3600, "tests": planned.tests, "shares": shares(planned)})
        )
        return
    for label, why in planned.failed.items():
        print(f"cannot be run: cell {label}: {why}")
    for axis, words in shares(planned).items():
        print(f"{axis}: {words}")
    print(
        f"{len(planned.prepared):,} cells, {planned.passes.asked:,} nulls in {len(seconds_of):,} passes: "
        f"{core_seconds / 3600:.3g} core-hours ({clock(core_seconds)} on one core like this one's)"
    )
    print(descriptive(planned))


def print_sweep_result(
    table: pd.DataFrame, record: Mapping[str, Any], out: str, *, as_json: bool, notices: Sequence[Notices] = ()
) -> None:
    """Print what a sweep found in sentences, and where its page is; `notices` are of its input."""
    from ale_dask.storage.location import place

    if as_json:
        shown = {key: value for key, value in record.items() if key != "run"}
        print(json.dumps({"input": [one.record() for one in notices], **shown}))
        return
    for name, words in record["shares"].items():
        print(f"{name}: {words}")
    for sentence in record["summary"]:
        print(sentence)
    print(f"{len(table):,} rows: {out}/sweep.tsv")
    if (place(out) / "report.html").is_file():
        print(f"report: {out.rstrip('/')}/report.html")


def print_sets(told: Mapping[str, Any], out: str, *, as_json: bool) -> None:
    """Print what was found in the sets of a database, and where the page on them is."""
    from ale_dask.workflows.literature_runs import found_lines

    print(json.dumps(told) if as_json else "\n".join(found_lines(told, out)))


def print_costs(study: Study, *, as_json: bool, price: float | None = None) -> None:
    """Print the blocks of each analysis of a study, their time, memory and size, and what they cost."""
    import resource

    from ale_dask.execution.backends.connect import cpu_count
    from ale_dask.workflows.prepare import costs, prepare, scheduler_share

    workers = study.backend.most or cpu_count()
    analyses = costs(prepare(study), workers=workers)
    core_seconds = sum(c.core_seconds for c in analyses)
    totals = {
        "core_hours": core_seconds / 3600,
        **({} if price is None else {"price": price * core_seconds / 3600}),
        "bytes_written": sum(c.bytes_written for c in analyses),
        "workers": workers,
        # This process has just planned and timed the blocks; a worker computes blocks only and needs no more memory.
        "memory_per_worker": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
        "scheduler_share": scheduler_share(analyses, workers=workers),
    }
    if as_json:
        each = ("core_seconds", "block_seconds")
        rows = [asdict(c) | {name: getattr(c, name) for name in each} for c in analyses]
        print(json.dumps({"analyses": rows, **totals}))
    else:
        _print_cost_table(analyses, totals, price)
        _print_null_rates(analyses, study)


_LISTED = 12
"""Main effects that a line names at most; a study may have thousands."""


def _print_null_rates(costs: Sequence[Cost], study: Study) -> None:
    """Print how many voxels of each main effect's null reach the cluster-forming value, and what it means."""
    from ale_dask.reporting.common.null_rate import little_power, percent

    rates = {c.name: c.null_voxel_rate for c in costs if c.null_voxel_rate is not None}
    if not rates:
        return
    each = ", ".join(f"{name} {percent(rate)}" for name, rate in list(rates.items())[:_LISTED])
    if len(rates) > _LISTED:
        each += (
            f" … {percent(min(rates.values()))} to {percent(max(rates.values()))} in all {len(rates):,} main effects"
        )
    nominal = percent(study.inference.voxel_p)
    print(f"voxels of the uniform null that reach the cluster-forming value, nominally {nominal}: {each}")
    for name, rate in rates.items():
        if words := little_power(rate, study.inference):
            print(f"{name}: {words}")


def _print_cost_table(costs: Sequence[Cost], totals: Mapping[str, float], price: float | None) -> None:
    from ale_dask.execution.progress import clock

    print(
        f"{'analysis':28} {'experiments':>11} {'foci':>6} {'iterations':>10} {'blocks':>6} {'s each':>6} "
        f"{'core time':>9} {'MB':>7}"
    )
    for c in costs:
        print(
            f"{c.name:28} {c.experiments:11,} {c.foci:6,} {c.iterations:10,} {c.blocks:6,} {c.block_seconds:6.2f} "
            f"{clock(c.core_seconds):>9} {c.bytes_written / 1e6:7.1f}"
        )
    written, core_seconds = totals["bytes_written"] / 1e6, sum(c.core_seconds for c in costs)
    print(f"{'in all':28} {totals['core_hours']:.3g} core-hours, {written:,.1f} MB, timed on this machine's cores")
    print(
        f"{totals['workers']} worker(s): {clock(core_seconds / totals['workers'])} at best, "
        f"{totals['memory_per_worker'] / 1e9:.1f} GB of memory each at most, a scheduler "
        f"{totals['scheduler_share']:.1%} busy"
    )
    if price is not None:
        print(f"price: {totals['price']:,.2f} at {price:g} per core-hour like this machine's, for the computing alone")


def finish(
    results: Any,
    record: RunRecord,
    out: str,
    *,
    study: Study,
    as_json: bool,
    pictures: bool,
    notices: Sequence[Notices] = (),
) -> Answer:
    """Write the results of a run, print a summary of them, and return what was printed; `notices` are of its input."""
    from ale_dask.reporting import each_table_once, study_table, summary_lines
    from ale_dask.reporting.sensitivity.evidence_files import as_record, certainty_lines
    from ale_dask.workflows.notices import notice_lines
    from ale_dask.workflows.run import write
    from ale_dask.workflows.unchanged import Answer

    log.info("writing maps, tables and pictures" if pictures else "writing maps and tables")
    with each_table_once():
        evidence = write(results, record, out, study=study, pictures=pictures)
        ignore_signals()
        values = {
            "input": [one.record() for one in notices],
            "wall_seconds": record["wall_seconds"],
            "results": json.loads(study_table(results).to_json(orient="records")),
            "analyses": record["analyses"],
            **(
                {"evidence": [as_record(card) for each in evidence.values() for card in each.cards]} if evidence else {}
            ),
        }
        answer = Answer(notice_lines(notices), [*summary_lines(results), *certainty_lines(evidence)], values)
    print_answer(answer, out, as_json=as_json)
    return answer


def print_answer(answer: Answer, out: str, *, as_json: bool) -> None:
    """Print the results of a run as lines, or with its input as JSON."""
    if as_json:
        print(json.dumps({"out": out, **answer.values}))
        return
    for line in answer.lines:
        print(line)
    print(f"report: {out.rstrip('/')}/report.html")
