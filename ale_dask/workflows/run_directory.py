"""What a run lays out in OUT before it computes, and what is read from there. OUT is all that a run leaves and needs.

OUT/study.toml   resolved: every default written out, foci files copied beside it
OUT/foci/        the input files as they were
OUT/plans/       frozen plans and segments, created once
OUT/store.zarr/  MA maps and nulls: the checkpoint
OUT/logs/        what went wrong, what submitted jobs say, and what to cite
OUT/run.json     what was run, with what, how long
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ale_dask.analyses.execute import seconds_of_first, seconds_per_iteration
from ale_dask.analyses.kinds import PLANS, counts_of, iterations_of
from ale_dask.analyses.study_plans import Null, PreparedStudy
from ale_dask.config.files import read_regular
from ale_dask.config.inference import DATABASES
from ale_dask.config.sealed_file import sealed
from ale_dask.config.study import Backend, Study, load_study, to_toml, with_expanded_files, with_files
from ale_dask.coordinates.readers.sdm import is_sdm
from ale_dask.datasets.fetch import fetched
from ale_dask.errors import InputError, StoreError
from ale_dask.execution.block_store import StoreSink, cover, gather, segments, sink
from ale_dask.execution.executors import Job
from ale_dask.execution.plan import Plan, Segment, block_size
from ale_dask.execution.progress import clock
from ale_dask.reporting.common.maps import stem
from ale_dask.storage.location import Place, create_once, local_copy, remove, replace_file, tidy
from ale_dask.storage.ownership import claim, holds_run
from ale_dask.workflows.prepare import cost, plans, prepare


def save_inputs(study: Study, out: Place, *, backend: Backend, name: str = "study.toml") -> None:
    """Write copies of a study's files into OUT, and a `name` that names these copies and a backend."""
    count: Counter[str] = Counter()
    hashes: dict[str, str] = {}

    def copied(sample: str, file: str) -> str:
        # Only the last part of the user's path: nothing may be written outside OUT.
        last = Path(file).name
        count[sample] += 1
        begin = f"{count[sample]}_"
        to = f"foci/{sample}/{last if last.startswith(begin) else begin + last}"
        if is_sdm(last):
            # Its name is that of its experiment.
            to = f"foci/{sample}/{count[sample]}/{last}"
        if sample.startswith(":"):
            # Of a sweep there may be several.
            which = f"-{count[sample]}" if count[sample] > 1 else ""
            to = f"{sample[1:]}{which}{''.join(Path(file).suffixes[-2:])}"
        data = read_regular(Path(file))
        replace_file(out / to, data)
        hashes[to] = hashlib.sha256(data).hexdigest()
        return to

    if study.inference.base_rate in DATABASES:
        # OUT must do without what this machine has fetched.
        named = study.inference.model_copy(update={"base_rate": str(fetched(study.inference.base_rate))})
        study = study.model_copy(update={"inference": named})
    resolved = with_files(with_expanded_files(study), copied).model_copy(update={"backend": backend})
    replace_file(out / name, sealed(to_toml(resolved), hashes).encode())


def kept_study(out: Place) -> Study:
    """Return the study that OUT holds, its files on this machine.

    Raises
    ------
    StoreError
        when it holds no run, or its study, or a copy of its files, is damaged or was changed.
    """
    path = out / "study.toml"
    if not path.is_file() or not holds_run(out):
        raise StoreError(f"{out}: holds no run; `ale-dask run STUDY -o {out}` makes one")
    only = ("study.toml", "foci/", "mask", "search", "base_rate")
    try:
        return load_study(local_copy(out, only=only) / "study.toml", recorded=True)
    except InputError as error:
        raise StoreError(
            f"{error}\n{path}: damaged or changed; run the original study again with the same -o"
        ) from error


def run_token(out: Place) -> str:
    """Return the word that tells a worker, by reading it, that it sees this OUT; made once per run."""
    path = out / "plans" / "nonce"
    word = uuid.uuid4().hex
    if path.is_file():
        # Where it is, nothing is written: a run on a read-only disk can be looked at.
        kept = path.read_bytes()
        if _NONCE.fullmatch(kept):
            return kept.decode()
        replace_file(path, word.encode())
        return word
    return create_once(path, word.encode()).decode()


_NONCE = re.compile(rb"[0-9a-f]{32}")


@dataclass(frozen=True)
class Run:
    """The blocks that OUT holds; a worker that reads the same token there sees the same OUT."""

    out: Place
    token: str

    @classmethod
    def at(cls, out: Place) -> Run:
        """Return the run in OUT."""
        return cls(out, run_token(out))

    def sink(self, plan: Plan, segment: Segment) -> StoreSink:
        """Return where the blocks of a segment are stored."""
        return sink(self.out, plan, segment, extra=counts_of(plan), nonce=self.token)

    def gather(self, plan: Plan, *, iterations: int) -> Null:
        """Return the null (iteration, statistic) and the summed counts of a plan's first iterations.

        Raises
        ------
        StoreError
            when a block is missing or damaged.
        """
        block = PLANS[plan.kind].block
        extra = counts_of(plan)
        return gather(self.out, plan, iterations=iterations, extra=extra, nonce=self.token, function=block)

    def jobs(self, plan: Plan, *, iterations: int, size: Callable[[], int]) -> list[Job]:
        """Return a job per segment of a plan.

        Where the segments hold fewer iterations than asked for, one more is planned, in blocks of `size()` iterations.
        """
        planned = segments(self.out, plan)
        if sum(s.iterations for s in planned) < iterations:
            planned = cover(self.out, plan, iterations=iterations, block_size=size())
        return [Job(plan, s, PLANS[plan.kind].block, self.sink(plan, s)) for s in planned]


def folders_of(prepared: PreparedStudy) -> list[str]:
    """Return the folders of a study's analyses below OUT."""
    return [stem(name) for name in (*prepared.study.analysis, *prepared.samples)]


def create_run(
    prepared: PreparedStudy, out: Place, *, overwrite: bool = False, backend: Backend | None = None
) -> dict[str, Plan]:
    """Return the frozen plans of a study, writing it and them to OUT: any worker can compute blocks then.

    `backend` is what OUT shall name for later runs; without one, what it names already, or else the study's.

    Raises
    ------
    StoreError
        when OUT holds an analysis with other settings; nothing of it is changed.
    InputError
        when OUT holds files that no run of ours wrote and this one would write over.
    """
    claim(out, folders_of(prepared))
    if overwrite:
        # Not foci/: the study that is about to run may be OUT's own, and read from there.
        remove(out / "store.zarr")
        remove(out / "plans")
    if isinstance(out, Path):
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out}: cannot be made ({error}); give another -o") from error
        tidy(out)
    run_token(out)
    made = plans(prepared, out=out)
    # Only now: a configuration that the store refuses must not replace the one it was made with.
    kept = out / "study.toml"
    if backend is None and kept.is_file():
        # The job that only finishes an array's work is not where the next run should go.
        with contextlib.suppress(StoreError):
            backend = kept_study(out).backend
    save_inputs(prepared.study, out, backend=backend or prepared.study.backend)
    return made


def jobs_of(prepared: PreparedStudy, out: Place, made: Mapping[str, Plan], *, workers: int) -> list[Job]:
    """Return the blocks of every plan in OUT, one job per segment, planning the segments that are lacking."""
    run = Run.at(out)
    return [
        job
        for name, plan in made.items()
        for job in run.jobs(
            plan,
            iterations=iterations_of(plan, prepared.study.inference),
            size=partial(_block_size, prepared, plan, name=name, workers=workers),
        )
    ]


def _block_size(prepared: PreparedStudy, plan: Plan, *, name: str, workers: int) -> int:
    return cost(prepared, plan, name=name, workers=workers).block_size


@dataclass(eq=False)
class Sizes:
    """Block sizes on some workers, by what an iteration takes here; `seconds` is what all that was asked for takes."""

    backend: Backend
    workers: int
    seconds: float = 0.0
    _timed: dict[object, float] = field(default_factory=dict)

    def of(self, plan: Plan, iterations: int, size: int | None = None) -> int:
        """Return the iterations of a block: `size` where it is not free, else what the backend says or time allows.

        Plans of the same shapes, as those of other seeds are, take as long as the first of them.
        """
        if size is None and self.backend.block_size:
            return self.backend.block_size
        alike = plan.kind, plan.statistics, tuple((name, array.shape) for name, array in plan.arrays.items())
        if alike not in self._timed:
            self._timed[alike] = (
                # It may take seconds: one is enough to say how long all of them will.
                seconds_of_first(plan) if size else seconds_per_iteration(plan, most=iterations)
            )
        self.seconds += iterations * self._timed[alike]
        return size or block_size(
            iterations=iterations,
            seconds_per_iteration=self._timed[alike],
            block_seconds=self.backend.block_seconds,
            workers=self.workers,
        )

    @property
    def takes(self) -> str:
        """How long that is, in words, or nothing where nothing was timed."""
        return f"about {clock(self.seconds / self.workers)} on {self.workers} thread(s)" if self.seconds else ""


def stored(out: Place) -> tuple[PreparedStudy, dict[str, Plan]]:
    """Return the study and plans that OUT holds.

    Raises
    ------
    StoreError
        when it holds no run.
    """
    prepared = prepare(kept_study(out))
    return prepared, plans(prepared, out=out)
