"""Write the study and the plans of a run to its folder OUT, and read them from there; a run needs nothing else.

OUT/study.toml   the study with every default written out, naming the copies of its files
OUT/foci/        copies of the input files
OUT/plans/       frozen plans and segments, created once
OUT/store.zarr/  MA maps and nulls, from which an interrupted run resumes
OUT/logs/        events, output of submitted jobs, methods text
OUT/run.json     settings, inputs, versions, digests and wall time of the run
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ale_dask.analyses.execute import seconds_of_first, seconds_per_iteration
from ale_dask.analyses.kinds import PLANS, counts_of, iterations_of
from ale_dask.analyses.statistics.images import label_file
from ale_dask.analyses.study_plans import Null, PreparedStudy
from ale_dask.config.backend import Backend
from ale_dask.config.files import read_regular
from ale_dask.config.inference import DATABASES, Inference
from ale_dask.config.sealed_file import sealed
from ale_dask.config.study import Study, are_many, load_study, main_effects_of, to_toml, with_expanded_files, with_files
from ale_dask.coordinates.readers.sdm import is_sdm
from ale_dask.datasets.fetch import fetched
from ale_dask.errors import InputError, StoreError
from ale_dask.execution.block_store import StoreSink, cover, gather, segments, sink
from ale_dask.execution.executors import Job
from ale_dask.execution.plan import Plan, Segment, block_size
from ale_dask.execution.progress import clock
from ale_dask.reporting.common.maps import stem
from ale_dask.storage.location import Place, create_once, local_copy, remove, replace_file, tidy
from ale_dask.storage.ownership import claim, holds_atlas, holds_run, holds_sweep
from ale_dask.workflows.prepare import cost, make_plans, prepare

log = logging.getLogger(__name__)


def save_inputs(study: Study, out: Place, *, backend: Backend, name: str = "study.toml") -> None:
    """Write copies of the files of a study to OUT, and the study as file `name` with these copies and a backend."""
    count: Counter[str] = Counter()
    hashes: dict[str, str] = {}
    shared: dict[str, str] = {}

    def copied(sample: str, file: str) -> str:
        if not sample.startswith(":") and file in shared:
            # One table may hold the experiments of thousands of samples.
            return shared[file]
        # Only the last part of the path: nothing may be written outside OUT.
        last = Path(file).name
        count[sample] += 1
        begin = f"{count[sample]}_"
        to = f"foci/{sample}/{last if last.startswith(begin) else begin + last}"
        if is_sdm(last):
            # The name of such a file is the name of its experiment, and must not change.
            to = f"foci/{sample}/{count[sample]}/{last}"
        if sample in (":networks", ":statistic"):
            return file
        if sample.startswith(":sweep/"):
            # Combinations are named by the images, in the tables of a sweep and in its record.
            to = f"{sample.removeprefix(':sweep/')}/{count[sample]}/{last}"
        elif sample.startswith(":"):
            to = f"{sample[1:]}{''.join(Path(file).suffixes[-2:])}"
        data = read_regular(Path(file))
        replace_file(out / to, data)
        hashes[to] = hashlib.sha256(data).hexdigest()
        if not sample.startswith(":"):
            shared[file] = to
        return to

    if study.inference.base_rate in DATABASES:
        # OUT must not depend on files that this machine has fetched.
        named = study.inference.model_copy(update={"base_rate": str(fetched(study.inference.base_rate))})
        study = study.model_copy(update={"inference": named})
    resolved = with_files(with_expanded_files(study), copied).model_copy(update={"backend": backend})
    resolved = _with_images(resolved, partial(_save_image, out=out, hashes=hashes))
    replace_file(out / name, sealed(to_toml(resolved), hashes).encode())


def _with_images(study: Study, save: Callable[[str], str]) -> Study:
    """Return a study with the images of its networks and statistics replaced by their copies."""
    networks, mains = study.inference.networks, main_effects_of(study)
    inference = study.inference.model_copy(update={"networks": None if networks is None else save(networks)})
    statistic = [
        each if each.image is None or each.image in mains else each.model_copy(update={"image": save(each.image)})
        for each in study.statistic
    ]
    return study.model_copy(update={"inference": inference, "statistic": statistic})


def _save_image(name: str, *, out: Place, hashes: dict[str, str]) -> str:
    """Write copies of an image and the names of its labels to OUT, add their hashes, and return its new name."""
    found = label_file(name)
    if found is None:
        return name
    stem, path, labels = found
    image = f"image_{stem}{''.join(path.suffixes[-2:] if path.suffix == '.gz' else path.suffixes[-1:])}"
    names = "".join(f"{number}\t{label}\n" for number, label in sorted(labels.items())).encode()
    for to, data in {image: read_regular(path), **({f"image_{stem}.txt": names} if names else {})}.items():
        digest = hashlib.sha256(data).hexdigest()
        if hashes.setdefault(to, digest) != digest:
            raise InputError(f"image '{name}': another image of the study has this name, too; rename one of them")
        replace_file(out / to, data)
    return image


def stored_study(out: Place) -> Study:
    """Return the study that OUT holds, of a sweep with its axes, with its files on this machine.

    Raises
    ------
    StoreError
        when OUT holds no run, or its study or a copy of an input file is damaged or was changed.
    """
    name = "sweep.toml" if holds_sweep(out) else "study.toml"
    path = out / name
    if holds_atlas(out):
        raise StoreError(
            f"{out}: holds sets of a database and no study; run, submit, block, status, logs, cancel, collect and "
            "verify take it"
        )
    if not path.is_file() or not holds_run(out):
        raise StoreError(f"{out}: holds no run; `ale-dask run STUDY -o {out}` makes one")
    only = (name, "foci/", "mask", "search", "base_rate", "image_", "protocol")
    try:
        return load_study(local_copy(out, only=only) / name, recorded=True)
    except InputError as error:
        raise StoreError(
            f"{error}\n{path}: damaged or changed; run the original study again with the same -o"
        ) from error


def run_token(out: Place) -> str:
    """Return the random token in OUT, created once per run: a worker that reads the same token sees the same OUT."""
    path = out / "plans" / "nonce"
    token = uuid.uuid4().hex
    if path.is_file():
        # Nothing is written where the file exists, so that a run on a read-only disk can be read.
        content = path.read_bytes()
        if _TOKEN.fullmatch(content):
            return content.decode()
        replace_file(path, token.encode())
        return token
    return create_once(path, token.encode()).decode()


_TOKEN = re.compile(rb"[0-9a-f]{32}")


@dataclass(frozen=True)
class Run:
    """The stored blocks of a run: its folder OUT, and the token by which workers know that they see this folder."""

    out: Place
    token: str

    @classmethod
    def at(cls, out: Place) -> Run:
        """Return the run in OUT."""
        return cls(out, run_token(out))

    def sink(self, plan: Plan, segment: Segment) -> StoreSink:
        """Return the sink that reads and writes the blocks of a segment."""
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

        If the segments hold fewer iterations than `iterations`, one more is planned, in blocks of `size()` iterations.
        """
        planned = segments(self.out, plan)
        if sum(s.iterations for s in planned) < iterations:
            planned = cover(self.out, plan, iterations=iterations, block_size=size())
        return [Job(plan, s, PLANS[plan.kind].block, self.sink(plan, s)) for s in planned]


def folders_of(prepared: PreparedStudy) -> list[str]:
    """Return the names of the folders below OUT that the analyses of a study have."""
    return [stem(name) for name in (*prepared.study.analysis, *prepared.samples)]


def create_run(
    prepared: PreparedStudy, out: Place, *, overwrite: bool = False, backend: Backend | None = None
) -> dict[str, Plan]:
    """Write a study and its frozen plans to OUT, so that any worker can compute blocks, and return the plans.

    `backend` is the backend that study.toml in OUT names for later runs; by default the one that it names already, or
    that of the study.

    Raises
    ------
    StoreError
        when OUT holds an analysis with other settings; nothing of it is changed.
    InputError
        when OUT holds files that no run wrote and that this run would replace.
    """
    claim(out, folders_of(prepared))
    if overwrite:
        # Not foci/: the study that is about to run may be the one in OUT, whose files are there.
        remove(out / "store.zarr")
        remove(out / "plans")
    if isinstance(out, Path):
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out}: cannot be created ({error}); give another -o") from error
        tidy(out)
    run_token(out)
    plans = make_plans(prepared, out=out)
    # After the plans: a study that the store refuses must not replace the one in OUT.
    if (out / "study.toml").is_file():
        with contextlib.suppress(StoreError):
            before = stored_study(out)
            _tell_fewer(before.inference, prepared.study.inference, out)
            # A job that only collects what an array has computed runs with another backend than the next run should.
            backend = backend or before.backend
    save_inputs(prepared.study, out, backend=backend or prepared.study.backend)
    return plans


def _tell_fewer(before: Inference, now: Inference, out: Place) -> None:
    # A run that goes on until its clusters are decided begins with the same iterations each time.
    if now.iterations < before.iterations and now.until_decided is None:
        log.warning(
            f"{out}: holds {before.iterations:,} iterations, and these results are those of the first "
            f"{now.iterations:,}; -i {before.iterations} shows the results of all of them again"
        )


def jobs_of(prepared: PreparedStudy, out: Place, plans: Mapping[str, Plan], *, workers: int) -> list[Job]:
    """Return a job per segment of every plan in OUT; segments are added where iterations are missing."""
    run = Run.at(out)
    # None where each plan is timed.
    known: dict[object, int] | None = {} if are_many(prepared.study) else None
    return [
        job
        for name, plan in plans.items()
        for job in run.jobs(
            plan,
            iterations=iterations_of(plan, prepared.study.inference),
            size=partial(_block_size, prepared, plan, name=name, workers=workers, known=known),
        )
    ]


def _block_size(
    prepared: PreparedStudy, plan: Plan, *, name: str, workers: int, known: dict[object, int] | None
) -> int:
    if known is None or name not in prepared.samples:
        return cost(prepared, plan, name=name, workers=workers).block_size
    # One of those with about as many foci, to a power of 2, is timed: an iteration takes as long as its foci.
    alike = plan.kind, plan.statistics, int(prepared.samples[name].n_foci.sum()).bit_length()
    if alike not in known:
        known[alike] = cost(prepared, plan, name=name, workers=workers).block_size
    return known[alike]


@dataclass(eq=False)
class Sizes:
    """The block sizes of plans for a backend, from the time of an iteration in this process.

    `seconds` is the time of all iterations for which a size was asked, on one thread.
    """

    backend: Backend
    workers: int
    seconds: float = 0.0
    _timed: dict[object, float] = field(default_factory=dict)

    def of(self, plan: Plan, iterations: int, size: int | None = None) -> int:
        """Return the iterations per block: `size` if given, or that of the backend, or as many as fit `block_seconds`.

        Only the first of several plans with arrays of the same shapes, such as plans of different seeds, is timed.
        """
        if size is None and self.backend.block_size:
            return self.backend.block_size
        alike = plan.kind, plan.statistics, tuple((name, array.shape) for name, array in plan.arrays.items())
        if alike not in self._timed:
            self._timed[alike] = (
                # An iteration of such a plan may take seconds, so only one is timed.
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
        """The time of all iterations in words, or an empty text if no plan was timed."""
        return f"about {clock(self.seconds / self.workers)} on {self.workers} thread(s)" if self.seconds else ""


def stored_run(out: Place) -> tuple[PreparedStudy, dict[str, Plan]]:
    """Return the study and the plans that OUT holds.

    Raises
    ------
    StoreError
        when OUT holds no run.
    """
    if holds_sweep(out):
        raise StoreError(
            f"{out}: holds a sweep, and this is for the folder of a run; status, logs, collect and cite take both, and "
            "`ale-dask sweep --maps` writes the results of each combination"
        )
    prepared = prepare(stored_study(out))
    return prepared, make_plans(prepared, out=out)
