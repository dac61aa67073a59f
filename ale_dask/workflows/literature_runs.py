"""Run the sets of a database from their folder alone, on any backend and again after any crash, and write their page.

OUT/atlas.json     title and words of the page, and the backend
OUT/plans, store   the plan, and a row per set, from which a killed run resumes
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ale_dask.analyses.literature import CONTROL, KIND, LiteraturePlan, SetResult, read_rows
from ale_dask.config.backend import Backend
from ale_dask.errors import InputError, StoreError
from ale_dask.execution.block_store import store_plan, stored_plan
from ale_dask.execution.executors import Job, Report, Step, execute, pending
from ale_dask.execution.journal import Journal
from ale_dask.execution.plan import digest, of_type
from ale_dask.execution.progress import Progress
from ale_dask.reporting.common.written import writing_results
from ale_dask.storage.checksums import whole, with_hash
from ale_dask.storage.location import Place, place, replace_file
from ale_dask.storage.ownership import ATLAS, claim
from ale_dask.workflows.carry_out import workers_of
from ale_dask.workflows.run_directory import Run, run_token

if TYPE_CHECKING:
    from distributed import Client

_WRITTEN = (ATLAS, "report.html", "sets", "sets.tsv", "figure.svg")


@dataclass(frozen=True)
class About:
    """What the page says of its sets beside what was found: a title, words, and facts by name."""

    title: str
    words: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def create_literature(plan: LiteraturePlan, out: str | Place, about: About, *, backend: Backend) -> LiteraturePlan:
    """Write a plan of sets and what its page says to OUT, and return the plan that OUT holds.

    Raises
    ------
    StoreError, InputError
        when OUT holds other sets, a run of a study, or files that no run wrote.
    """
    out = place(out)
    claim(out, _WRITTEN)
    if (out / "study.toml").is_file() or (out / "sweep.toml").is_file():
        raise InputError(f"{out}: holds a run of a study; give the sets another -o")
    run_token(out)
    stored = store_plan(out, lambda: plan, name=plan.name, identity=plan.identity, conventions=plan.conventions)
    keep_about(out, about, backend=backend)
    return stored


def keep_about(out: Place, about: About, *, backend: Backend) -> None:
    """Write what the page says, and the backend of later runs, to OUT."""
    told = asdict(about) | {"backend": json.loads(backend.model_dump_json())}
    replace_file(out / ATLAS, (json.dumps(with_hash(told), indent=1) + "\n").encode())


def stored_literature(out: Place) -> tuple[LiteraturePlan, About, Backend]:
    """Return the plan, what the page says, and the backend that OUT holds.

    Raises
    ------
    StoreError
        when one of them is damaged.
    """
    try:
        told = json.loads((out / ATLAS).read_bytes())
    except ValueError:
        told = None
    if not whole(told):
        raise StoreError(f"{out / ATLAS}: damaged or changed; give the command that wrote it again")
    facts = tuple((str(name), str(words)) for name, words in told["facts"])
    about = About(told["title"], tuple(told["words"]), facts)
    return of_type(LiteraturePlan, stored_plan(out, KIND)), about, Backend.model_validate(told["backend"])


def literature_jobs(out: Place, plan: LiteraturePlan) -> list[Job]:
    """Return the job of the sets in OUT, of which each is a block."""
    return Run.at(out).jobs(plan, iterations=len(plan.names), size=lambda: 1)


def run_literature(
    out: str | Place,
    *,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
    on_step: Report = lambda step: None,
) -> Mapping[str, Any]:
    """Compute the sets that OUT lacks, write the page, and return what was found; `on_step` is called after each set.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        as `run`; the same call resumes.
    """
    out = place(out)
    plan, _, kept = stored_literature(out)
    backend, journal = backend or kept, Journal(out)
    started = time.process_time()
    with workers_of(backend, client=client) as connected:
        jobs = literature_jobs(out, plan)
        todo = pending(jobs)
        journal("started", backend=backend.name, blocks=len(todo))
        progress = Progress(len(plan.names), done=len(plan.names) - len(todo), quiet=quiet, unit="sets")

        def report(step: Step) -> None:
            progress(step)
            journal.step(step)
            on_step(step)

        try:
            execute(todo, client=connected, report=report)
        except BaseException as error:
            journal("stopped", error=f"{type(error).__name__}: {error}")
            raise
        finally:
            progress.end()
        journal("computed", sets=len(todo), cpu_seconds=round(time.process_time() - started, 1))
    return write_page(out)


def collect_literature(out: Place, plan: LiteraturePlan) -> tuple[list[SetResult], str]:
    """Return what a finished run says of each set, and the digest of its rows."""
    rows, _ = Run.at(out).gather(plan, iterations=len(plan.names))
    return read_rows(plan, rows), digest(rows)


def write_page(out: str | Place) -> Mapping[str, Any]:
    """Write the page and the tables of the sets of a finished run to OUT, and return what was found.

    Raises
    ------
    StoreError
        when a set is missing or damaged.
    """
    # Workers that compute a set need neither templates nor figures.
    from ale_dask.reporting.html.literature_page import LiteraturePage, summary, write_literature

    out = place(out)
    plan, about, _ = stored_literature(out)
    results, sha256 = collect_literature(out, plan)
    parts: tuple[list[SetResult], list[SetResult]] = ([], [])
    for result in results:
        parts[result.name.startswith(CONTROL)].append(result)
    facts = [*about.facts, ("Digest of all rows", sha256)]
    page = LiteraturePage(about.title, about.words, *parts, plan.mask, facts)
    with writing_results(out) as folder:
        write_literature(page, folder)
    Journal(out)("finished")
    return summary(page, sha256=sha256)


def found_lines(told: Mapping[str, Any], out: str) -> list[str]:
    """Return what was found in sentences, where the page is, and the digest."""
    return [*told["sentences"], f"{out.rstrip('/')}/report.html; digest {told['sha256']}"]
